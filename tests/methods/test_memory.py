"""Methods that remember every image, and those that make a class of each."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch.nn import functional

import selfsight
from conformance.cases import CASES, small_method
from selfsight import losses
from selfsight.data import ArraySource
from selfsight.methods import Plan
from selfsight.methods._bank import MemoryBank
from selfsight.testing import IMAGES, SIZE, small_batches, small_encoder, textures, train
from selfsight.views import Augmentation


def bank_of(samples, width=8, **options):
    bank = MemoryBank(width, **options)
    bank.allocate(samples)
    return bank


def test_a_bank_begins_as_the_same_unit_noise_everywhere_and_as_other_noise_in_other_runs():
    torch.manual_seed(3)
    bank = bank_of(20)
    torch.rand(5)
    assert torch.equal(bank.rows, bank_of(20).rows)
    torch.manual_seed(4)
    assert not torch.isclose(bank.rows, bank_of(20).rows).any()
    torch.testing.assert_close(bank.rows.norm(dim=1), torch.ones(20))
    assert (bank.rows @ bank.rows.T - torch.eye(20)).abs().max() < 0.99


def test_an_update_moves_the_rows_of_the_batch_alone():
    bank = bank_of(10, momentum=0.75)
    before, index = bank.rows.clone(), torch.tensor([7, 2])
    v = functional.normalize(torch.randn(2, 8), dim=1)
    bank.update(index, v)
    torch.testing.assert_close(bank.rows[index], functional.normalize(0.75 * before[index] + 0.25 * v, dim=1))
    others = [i for i in range(10) if i not in (2, 7)]
    assert torch.equal(bank.rows[others], before[others])


def test_of_an_image_that_is_there_twice_the_last_counts():
    v = functional.normalize(torch.randn(4, 8), dim=1)
    several, once = bank_of(10), bank_of(10)
    several.update(torch.tensor([3, 5, 3, 3]), v)
    once.update(torch.tensor([5, 3]), v[[1, 3]])
    assert torch.equal(several.rows, once.rows)


def update_on_rank():
    torch.manual_seed(0)
    bank = bank_of(10)
    index, v = torch.tensor([1, 4, 4, 8]), torch.eye(8)[:4]
    half = slice(2 * dist.get_rank(), 2 * dist.get_rank() + 2)
    bank.update(index[half], v[half])
    return bank.rows, bank.noise(5, seed=3)


def test_ranks_remember_the_same_and_draw_the_same_noise(gloo_pool):
    torch.manual_seed(0)
    bank = bank_of(10)
    bank.update(torch.tensor([1, 4, 4, 8]), torch.eye(8)[:4])
    for rows, noise in gloo_pool.run(update_on_rank):
        assert torch.equal(rows, bank.rows) and torch.equal(noise, bank.noise(5, seed=3))


def test_noise_follows_the_seed_and_is_uniform():
    bank = bank_of(6)
    assert not torch.equal(bank.noise(50, 0), bank.noise(50, 1))
    drawn = (bank.noise(6000, 0) @ bank.rows.T).argmax(1).bincount(minlength=6)
    assert (drawn - 1000).abs().max() < 150


def test_a_bank_keeps_its_size_and_a_changed_data_set_is_named():
    bank = bank_of(10)
    bank.allocate(12)
    assert len(bank) == 12, "nothing was remembered yet"
    bank.update(torch.tensor([1]), torch.eye(8)[:1])
    kept = bank.rows
    bank.allocate(12)
    assert bank.rows is kept
    with pytest.raises(ValueError, match=r"holds 12 images and the data has 13: the data set has changed"):
        bank.allocate(13)
    with pytest.raises(ValueError, match=r"holds 12 images and the data has 10: the data set has changed"):
        bank_of(10).load_state_dict(bank.state_dict())
    other = MemoryBank(8)
    other.load_state_dict(bank.state_dict())
    assert torch.equal(other.rows, bank.rows)
    with pytest.raises(ValueError, match="the data set has changed"):
        other.allocate(13)


@pytest.mark.parametrize("wrong", [-1, 10])
def test_no_index_reads_beside_the_bank(wrong):
    with pytest.raises((IndexError, RuntimeError), match="out of range"):
        bank_of(10).of(torch.tensor([wrong]))


def test_a_run_does_not_go_on_with_other_images(tmp_path):
    def pretrain(images, **options):
        selfsight.pretrain(
            ArraySource(textures(images)[0], name="textures"),
            method="npid",
            encoder=small_encoder(),
            method_options=CASES["npid"].options,
            image_size=SIZE,
            batch_size=12,
            epochs=2,
            out=tmp_path / "run",
            monitor=False,
            devices="cpu",
            **options,
        )

    pretrain(24)
    with pytest.raises(ValueError, match=r"training images 24, not 36: the data set has changed"):
        pretrain(36, resume=True)


def forward_and_back(method, batch):
    outcome = method(batch)
    outcome["loss"].backward()
    method.end_backward()
    return outcome


def test_npid_with_all_images_is_the_softmax_over_the_bank():
    method = small_method("npid", noise=0).eval()
    (batch,) = small_batches(method, count=1)
    v, bank = functional.normalize(method.embed(batch.views[0]), dim=1), method.bank.rows.clone()
    expected = functional.cross_entropy(v @ bank.T / 0.07, batch.index)
    torch.testing.assert_close(forward_and_back(method, batch)["loss"], expected)
    torch.testing.assert_close(method.bank.rows[batch.index], functional.normalize(0.5 * bank[batch.index] + 0.5 * v))
    few, many = (small_method("npid", noise=noise).eval()(batch)["loss"] for noise in (48, 4096))
    assert torch.equal(few, many)


def test_npid_takes_its_partition_from_the_first_batch_for_good():
    method = small_method("npid", noise=16)
    batches = small_batches(method)
    assert not method.contrast.known
    method.eval()
    v = functional.normalize(method.embed(batches[0].views[0]), dim=1)
    expected = losses.log_partition(v, method.bank.noise(16, 0), len(method.bank))
    method.step = 0
    forward_and_back(method, batches[0])
    torch.testing.assert_close(method.contrast.log_partition, expected)
    forward_and_back(method, batches[1])
    torch.testing.assert_close(method.contrast.log_partition, expected)
    other = small_method("npid", noise=16)
    other.load_state_dict(method.state_dict())
    assert other.contrast.known and other.contrast.log_partition == method.contrast.log_partition


@pytest.mark.parametrize("name", ["npid", "pirl"])
def test_noise_follows_the_seed_that_ranks_share_and_not_the_step(name):
    method = small_method(name, noise=16).eval()
    (batch,) = small_batches(method, count=1)
    with torch.no_grad():
        batch.shared_seed = 5
        one = method(batch)["loss"]
        method.step = 7
        assert torch.equal(method(batch)["loss"], one)
        batch.shared_seed = 6
        assert not torch.isclose(method(batch)["loss"], one)


def test_pirl_has_one_partition_that_the_images_of_the_first_batch_give():
    method = small_method("pirl", noise=16).eval()
    (batch,) = small_batches(method, count=1)
    v = functional.normalize(method.embed(batch.views[0]), dim=1)
    expected = losses.log_partition(v, method.bank.noise(16, 0), len(method.bank))
    method(batch)
    torch.testing.assert_close(method.contrast.log_partition, expected)


def test_npid_told_from_noise_comes_to_match_views():
    method = small_method("npid", noise=16, temperature=0.2)
    batches = [batch for seed in range(20) for batch in small_batches(method, seed=seed)]
    history = train(method, batches, 60, lr=1e-3, draws=20)
    assert sum(history[-5:]) < sum(history[10:15])


@pytest.mark.parametrize(("pretext", "views"), [("jigsaw", 10), ("rotation", 4)])
def test_pirl_remembers_the_image_branch_alone(pretext, views):
    method = small_method("pirl", pretext=pretext, weight=0.25).eval()
    (batch,) = small_batches(method, count=1)
    assert len(batch.views) == views
    before = method.bank.rows.clone()
    v = functional.normalize(method.embed(batch.views[0]), dim=1)
    outcome = forward_and_back(method, batch)
    torch.testing.assert_close(outcome["loss"].detach(), 0.25 * outcome["pretext"] + 0.75 * outcome["image"])
    moved = functional.normalize(0.5 * before[batch.index] + 0.5 * v, dim=1)
    torch.testing.assert_close(method.bank.rows[batch.index], moved)


def test_pirl_sees_the_papers_puzzle():
    image, puzzle = small_method("pirl", puzzle_size=None).views(224, Augmentation()).views
    assert image.size == 224 and puzzle.size == (255, 255)
    assert puzzle.tiles is not None and (puzzle.tiles.size, puzzle.tiles.jitter) == (64, 21)
    assert puzzle.geometry.crop.scale == (0.6, 1.0)


def test_pirl_names_the_pretexts():
    with pytest.raises(ValueError, match="'jigsaw' or 'rotation'"):
        small_method("pirl", pretext="colour")


def test_exemplar_makes_a_class_of_each_image_and_refuses_too_many():
    method = small_method("exemplar")
    assert method.classifier is not None and method.classifier.out_features == 2 * IMAGES
    classifier = method.classifier
    method.prepare(Plan(samples=2 * IMAGES, steps=1, epochs=1, batch=IMAGES))
    assert method.classifier is classifier
    with pytest.raises(ValueError, match="limit=10"):
        small_method("exemplar", classes=10)
    for enough in (2 * IMAGES, 1000):
        assert small_method("exemplar", classes=enough).classifier.out_features == 2 * IMAGES


def test_exemplar_is_cross_entropy_of_the_index():
    method = small_method("exemplar").eval()
    batch = small_batches(method)[1]
    assert batch.index.min() == IMAGES
    logits = method.classifier(method.encoder(batch.views[0]))
    torch.testing.assert_close(method(batch)["loss"], functional.cross_entropy(logits, batch.index))
