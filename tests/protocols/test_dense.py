"""Dense protocols: that they find what maps tell, in whole images, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from selfsight.data import splits
from selfsight.evaluate import evaluate
from selfsight.nets import build_encoder
from selfsight.probes.features import Reader
from selfsight.probes.reading import Maps, readings
from selfsight.probes.store import FeatureStore, Read
from selfsight.protocols import build_protocols
from selfsight.protocols._dense import shares_of
from selfsight.protocols.base import Trial
from selfsight.protocols.dense_linear import soft_iou
from selfsight.views.geometry import Whole

FAST = {"dense_knn": {"patches": 2000, "k": 5}, "dense_linear": {"patches": 2000, "epochs": 10, "batch_size": 128}}
NAMES = list(FAST)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return build_encoder("resnet_slim", image_size=32).eval()


def judge(encoder, data, name, **options):
    protocol = build_protocols(name, {name: {**FAST[name], **options}})[name]
    return evaluate(encoder, data, protocols=[protocol], seed=3)


def value(records, row, metric="miou"):
    return next(one["value"] for one in records if (one["encoder"], one["metric"]) == (row, metric))


@pytest.mark.parametrize("name", NAMES)
def test_colours_are_found(encoder, scenes, name):
    records = judge(encoder, scenes, name)
    assert list(dict.fromkeys(one["encoder"] for one in records)) == ["trained", "random", "chance"]
    assert value(records, "trained") > 0.6 > 0.3 > value(records, "chance")
    assert {one["metric"] for one in records} >= {"miou", "pixel_accuracy", "mean_accuracy", "iou 0", "iou 2"}
    assert records[0]["n_train"] == 24 and records[0]["n_test"] == 12 and records[0]["kind"] == "pixels"
    assert records == judge(encoder, scenes, name)


@pytest.mark.parametrize("name", NAMES)
def test_the_batch_does_not_matter(encoder, scenes, name):
    one = evaluate(encoder, scenes, protocols=name, protocol_options={name: FAST[name]}, batch_size=5)
    other = evaluate(encoder, scenes, protocols=name, protocol_options={name: FAST[name]}, batch_size=24)
    assert value(one, "trained") == pytest.approx(value(other, "trained"), abs=1e-3)


@pytest.mark.parametrize("layer", [0, "0,1", "all"])
def test_layers(scenes, layer):
    torch.manual_seed(0)
    vit = build_encoder("vit_small_image", image_size=16, embed_dim=48, depth=2, num_heads=3, patch_size=4).eval()
    options = {"dense_knn": FAST["dense_knn"]}
    records = evaluate(vit, scenes, protocols="dense_knn", protocol_options=options, baselines=False, layer=layer)
    rows = {"trained layer 0", "trained layer 1"} if layer == "all" else {"trained"}
    assert {one["encoder"] for one in records} == rows | {"chance"}
    assert all(value(records, row) > value(records, "chance") + 0.2 for row in rows)


def test_maps_are_those_of_the_encoder(encoder):
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(Maps(encoder)(x), encoder.features(x).map)
    both = Maps(readings(encoder, "0,-1")[""])(x)
    first, last = (encoder.features(x, layers=len(encoder.maps)).layers[place] for place in (0, -1))
    assert torch.equal(both[:, : first.shape[1]], first)
    assert torch.equal(both[:, first.shape[1] :], F.interpolate(last, first.shape[2:], mode="bilinear"))


def test_a_whole_image_is_seen():
    place = Whole().sample(2, torch.Generator(), torch.tensor([[24, 48], [10, 7]]))
    corner = torch.tensor([1.0, 1.0])
    assert torch.equal(place.centre + place.axes @ corner, torch.tensor([[24.0, 48], [10, 7]]))
    assert torch.equal(place.centre - place.axes @ corner, torch.zeros(2, 2))


def test_shares_of_cells():
    mask = torch.tensor([[0, 0, 1, -1], [0, 1, 1, -1], [2, 2, -1, -1], [2, 2, -1, -1]])
    shares, known = shares_of(mask, (2, 2), 3)
    assert shares.tolist() == [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert known.tolist() == [1, 0.5, 1, 0]
    uneven, known = shares_of(torch.arange(3).expand(2, 3), (1, 2), 3)
    assert uneven.tolist() == [[1, 0, 0], [0, 0.5, 0.5]] and known.tolist() == [1, 1]


def test_soft_iou_of_whole_patches_is_iou():
    shares = F.one_hot(torch.tensor([0, 0, 1, 1]), 3).double()
    assert soft_iou(torch.tensor([0, 1, 1, 1]), shares) == pytest.approx((1 / 2 + 2 / 3) / 2)


def copied(data, tmp_path):
    for folder in sorted(data.iterdir()):
        (tmp_path / folder.name).mkdir()
        for file in sorted(folder.iterdir())[:8]:
            (tmp_path / folder.name / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_images_without_a_mask_are_counted(encoder, scenes, tmp_path):
    root = copied(scenes, tmp_path)
    (root / "testannot" / "03.png").unlink()
    (root / "trainannot" / "00.png").unlink()
    records = judge(encoder, root, "dense_knn")
    assert records[0]["left_out"] == [1, 1] and records[0]["n_test"] == 7


def test_a_class_that_training_lacks_counts_as_wrong(encoder, scenes, tmp_path, caplog):
    root = copied(scenes, tmp_path)
    mask = np.array(Image.open(root / "testannot" / "03.png"))
    mask[:, 40:] = 9
    Image.fromarray(mask).save(root / "testannot" / "03.png")
    records = judge(encoder, root, "dense_linear")
    assert "test masks show classes that training masks lack, and count as wrong: 9" in caplog.text
    assert value(records, "trained", "iou 9") == 0


def test_what_cannot_be(encoder, scenes, tmp_path, pooled):
    root = copied(scenes, tmp_path)
    with pytest.raises(ValueError, match=r"00.png holds 2, and classes are 0 to 1"):
        judge(encoder, root, "dense_knn", classes=2)
    Image.fromarray(np.zeros((5, 5), dtype=np.uint8)).save(root / "testannot" / "02.png")
    with pytest.raises(ValueError, match=r"testannot/02.png has 5 x 5 pixels and its image 24 x 48"):
        judge(encoder, root, "dense_knn")
    with pytest.raises(ValueError, match="has no masks: give a table with a column 'other'"):
        judge(encoder, root, "dense_knn", of="other")
    with pytest.raises(ValueError, match="dense_linear wants at least one patch"):
        judge(encoder, root, "dense_linear", patches=0)
    with pytest.raises(ValueError, match="at least one patch, epoch"):
        judge(encoder, root, "dense_linear", epochs=0)

    with pytest.raises(ValueError, match="answers pooled features alone and has no map: ResNets, ConvNeXts and ViTs"):
        judge(pooled, scenes, "dense_knn")


def test_images_are_read_in_the_range_of_the_encoder(encoder, scenes):
    """Darker by half, an encoder of twice the range sees what one of bytes sees of the images as they are."""
    parts = splits(scenes)
    store = FeatureStore({"trained": Read(encoder, Reader(encoder.spec), "")})
    task = Trial(parts["train"], parts["test"], store, {"trained": "trained"}).masks(ignore=(255,))
    wide = Reader(replace(encoder.spec, value_range=(0.0, 510.0)))
    train, test = task.sources(wide)
    assert train.value_range == test.value_range == (0.0, 510.0)
    dark = next(wide.batches({"view": lambda view: view}, test))[1]["view"]
    plain = next(Reader(encoder.spec).batches({"view": lambda view: view}, task.sources()[1]))[1]["view"]
    torch.testing.assert_close(2 * dark, plain)


def test_masks_of_one_class_are_refused(encoder, scenes, tmp_path):
    root = copied(scenes, tmp_path)
    for file in (root / "trainannot").iterdir():
        Image.fromarray(np.zeros((24, 48), dtype=np.uint8)).save(file)
    with pytest.raises(ValueError, match="show 0 alone: at least two classes are wanted"):
        judge(encoder, root, "dense_knn")


def test_masks_do_not_reach_training_without_labels(scenes):
    assert [len(part) for part in splits(scenes).values()] == [24, 12]
