"""FairKL beside any method: its gradient arrives, and nothing else changes."""

from __future__ import annotations

import copy

import pandas as pd
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import selfsight
from conformance.cases import CASES, small_method
from selfsight import distributed, losses, testing
from selfsight.data import ArraySource
from selfsight.methods import method_names
from selfsight.methods._fair_kl import FairKL
from selfsight.testing import CLASSES, IMAGES, SIZE, metadata, small_batches, small_encoder

every_method = pytest.mark.parametrize("name", method_names())
SITES = torch.arange(2 * IMAGES) // CLASSES % 2


def debiased(name, weight=1.0, **options):
    method = small_method(name, **options)
    FairKL(method, "site", weight)
    return method


def batches_with_sites(method, count=1):
    batches = small_batches(method, count=count)
    for batch in batches:
        batch.metadata["site"] = SITES[batch.index]
    return batches


@every_method
def test_it_adds_itself_and_reaches_the_encoder(name):
    plain, method = small_method(name), debiased(name, weight=0.5)
    assert method.state_dict().keys() == plain.state_dict().keys()
    (batch,) = batches_with_sites(method)
    torch.manual_seed(0)
    without = plain(batch)
    torch.manual_seed(0)
    outcome = method(batch)
    assert outcome["fair_kl"] > 0 and not outcome["fair_kl"].requires_grad
    torch.testing.assert_close(outcome["loss"], without["loss"] + 0.5 * outcome["fair_kl"])
    assert outcome.keys() == {*without, "fair_kl"}

    method.zero_grad()
    (outcome["loss"] - outcome["loss"].detach()).backward()
    plain.zero_grad()
    without["loss"].backward()
    ours, theirs = (dict(m.encoder.named_parameters()) for m in (method, plain))
    changed = [key for key, p in ours.items() if p.grad is not None and not torch.equal(p.grad, theirs[key].grad)]
    assert changed, "the regulariser has no gradient"


@every_method
def test_it_is_finite_in_half_precision_and_waits_for_nothing(name):
    method = debiased(name)
    (batch,) = batches_with_sites(method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outcome = method(batch)
    outcome["loss"].backward()
    assert outcome["loss"].dtype == torch.float32 and outcome["loss"].isfinite()
    with FakeTensorMode(allow_non_fake_inputs=True) as no_values:
        batch.views = [no_values.from_tensor(view) for view in batch.views]
        batch.index = no_values.from_tensor(batch.index)
        batch.metadata = {key: no_values.from_tensor(column) for key, column in batch.metadata.items()}
        batch.draws = {key: no_values.from_tensor(mask) for key, mask in batch.draws.items()}
        method(batch)["loss"].backward()


@every_method
def test_progress_is_what_it_is_without(name):
    method = small_method(name)
    (batch,) = small_batches(method, count=1, watched=True)
    batch.metadata = {column: values for column, values in batch.metadata.items() if column != "site"}
    method.eval()
    with torch.no_grad():
        expected = method.progress(batch)
        FairKL(method, "site")
        torch.testing.assert_close(method.progress(batch), expected)


def test_it_compares_all_views_that_forward_embeds():
    method = debiased("simclr")
    (batch,) = batches_with_sites(method)
    method.eval()
    z = torch.stack([method.embed(view) for view in batch.views])
    expected = losses.fair_kl(losses.standardise(z), batch.metadata["label"], batch.metadata["site"])
    torch.testing.assert_close(method(batch)["fair_kl"], expected)


@pytest.mark.parametrize("name", ["mae", "dino"])
def test_a_method_that_embeds_nothing_for_gradients_is_asked(name):
    method = debiased(name).eval()
    (batch,) = batches_with_sites(method)
    z = method.encoder(batch.views[0]) if name == "dino" else method.embed(batch.views[0])
    torch.testing.assert_close(
        method(batch)["fair_kl"],
        losses.fair_kl(losses.standardise(z[None]), batch.metadata["label"], batch.metadata["site"]),
    )


@pytest.mark.parametrize("form", ["kl", "moments"])
def test_pointing_all_embeddings_one_way_lowers_nothing(form):
    z, labels = torch.randn(2, 32, 6), torch.arange(32) % 2
    bias = (z[0, :, 0] > 0).long()
    aside = z + 100 * torch.ones(6)
    ours, theirs = (losses.fair_kl(losses.standardise(x), labels, bias, form) for x in (z, aside))
    torch.testing.assert_close(theirs, ours, rtol=1e-2, atol=0)
    assert losses.fair_kl(aside, labels, bias, "moments") < ours / 100


def test_embeddings_elsewhere_are_not_remembered_and_copies_are_whole():
    method = debiased("simclr")
    (batch,) = batches_with_sites(method)
    twin = copy.deepcopy(method)
    method.embed(batch.views[0])
    assert method._heard is None
    assert twin.listeners[0].method is twin
    torch.testing.assert_close(twin(batch)["loss"], method(batch)["loss"])


def losses_and_gradients(name, state, batch, sharded):
    torch.set_num_threads(1)
    method = debiased(name, weight=2.0, **({"key_group": IMAGES // 4} if name == "moco_v2" else {})).double()
    method.load_state_dict(state)
    if sharded:
        method = distributed.convert_sync_batchnorm(method)
        half = len(batch) // 2
        batch = batch[distributed.rank() * half : (distributed.rank() + 1) * half]
    outcome = method(batch)
    outcome["loss"].backward()
    with torch.no_grad():
        return (
            distributed.reduce_mean(torch.stack([outcome["loss"].detach(), outcome["fair_kl"]])),
            {k: distributed.reduce_mean(p.grad) for k, p in method.named_parameters() if p.grad is not None},
        )


@pytest.mark.parametrize("name", ["simclr", "supcon", "moco_v2", "dino", "mae", "y_aware"])
def test_two_ranks_are_one(name, gloo_pool):
    method = small_method(name).double()
    (batch,) = batches_with_sites(method)
    batch.views = [view.double() for view in batch.views]
    values, gradients = losses_and_gradients(name, method.state_dict(), batch, False)
    for found, theirs in gloo_pool.run(losses_and_gradients, name, method.state_dict(), batch, True):
        torch.testing.assert_close(found, values)
        for key, gradient in gradients.items():
            torch.testing.assert_close(theirs[key], gradient, rtol=1e-6, atol=1e-8)


def source():
    known = {name: column.numpy() for name, column in metadata(36).items()}
    table = pd.DataFrame({**known, "site": [f"site {code}" for code in SITES[:36].tolist()]})
    table.loc[3, "site"] = None
    return ArraySource(testing.textures(36)[0], table, name="textures", classes=[str(code) for code in range(CLASSES)])


def run(out, **options):
    torch.manual_seed(0)
    settings = {
        "method": "supcon",
        "method_options": CASES["supcon"].options,
        "epochs": 2,
        "batch_size": 12,
        "devices": "cpu",
    }
    data = source()
    encoder = small_encoder()
    settings = {**settings, "image_size": SIZE, "monitor": False, "debias": "site", **options}
    return selfsight.pretrain(data, encoder=encoder, out=out, **settings)


def weights_of(run):
    return torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)["method"]


def test_a_run_names_it_logs_it_and_resumes_to_the_same_weights(tmp_path):
    whole = run(tmp_path / "whole")
    assert whole.config["debias"] == {"column": "site", "weight": None, "form": "kl"}
    assert (whole.metrics["fair_kl"] > 0).all()
    assert "kept out of the embeddings: site, 2 groups" in (whole.path / "log.txt").read_text()
    assert "1 of 36 training images have no site" in (whole.path / "log.txt").read_text()

    paused = run(tmp_path / "run", max_minutes=0)
    assert not paused.finished
    resumed = weights_of(run(tmp_path / "run", resume=True))
    assert all(torch.equal(value, resumed[name]) for name, value in weights_of(whole).items())
    with pytest.raises(ValueError, match=r"debias.weight was None, now 2.0"):
        run(tmp_path / "run", resume=True, debias={"column": "site", "weight": 2.0})

    plain = weights_of(run(tmp_path / "plain", debias=None))
    assert plain.keys() == resumed.keys()
    assert any(not torch.equal(value, plain[name]) for name, value in resumed.items())
