"""Fine-tuning: that it learns, beats its own frozen start, and leaves the encoder that was given as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from selfsight.evaluate import evaluate
from selfsight.nets import build_encoder
from selfsight.protocols._classifier import Classifier
from selfsight.protocols._training import schedule
from selfsight.protocols.finetune import Finetune

FAST = {"epochs": 6, "batch_size": 32, "lrs": (3e-3,), "layer_decay": 1.0, "scale": 0.6, "flip": 0.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    images, labels = load_digits(return_X_y=True)
    images = (images * 15).astype(np.uint8).reshape(-1, 8, 8)
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(
        path,
        train_images=images[:400],
        train_labels=labels[:400],
        test_images=images[400:700],
        test_labels=labels[400:700],
    )
    return path


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return build_encoder("resnet_slim", image_size=8, channels=1).eval()


def top1(records, row):
    return next(one["value"] for one in records if (one["encoder"], one["metric"]) == (row, "top1"))


def judge(encoder, data, **options):
    return evaluate(encoder, data, protocols="finetune", protocol_options={"finetune": {**FAST, **options}})


def test_it_learns_and_leaves_the_encoder_as_it_was(encoder, data):
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    records = judge(encoder, data)
    frozen = evaluate(encoder, data, protocols="ridge")
    rows = list(dict.fromkeys(one["encoder"] for one in records))
    assert rows == ["trained", "scratch", "chance"]
    assert top1(records, "scratch") > top1(frozen, "random") - 0.05 and top1(records, "trained") > 0.75
    assert records[0]["than"] == "scratch" and records[0]["settings"]["lr"] == 3e-3
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert records == judge(encoder, data)


def test_the_rate_is_chosen_on_what_is_held_out(encoder, data):
    records = judge(encoder, data, lrs=(1e-7, 3e-3), epochs=3)
    assert records[0]["settings"]["lr"] == 3e-3


def test_all_that_can_be_switched_on(encoder, data):
    more = {"mixup": 0.2, "cutmix": 0.5, "drop_path": 0.1, "ema": 0.9, "layer_decay": 0.75, "epochs": 12}
    before = np.random.get_state()[1].copy()
    records = judge(encoder, data, **more)
    assert top1(records, "trained") > 0.5
    assert records == judge(encoder, data, **more)
    assert (np.random.get_state()[1] == before).all()


def test_a_transformer_learns_too(data):
    torch.manual_seed(0)
    vit = build_encoder("vit_small_image", image_size=8, channels=1, embed_dim=48, depth=2, num_heads=3, patch_size=2)
    records = judge(vit, data, epochs=40, lrs=(1e-3,), scale=0.8)
    assert top1(records, "trained") > top1(records, "chance") + 0.2


def test_shares_of_the_labels(encoder, data):
    records = judge(encoder, data, shares=(0.1, 0.5), epochs=2)
    assert [one["n_train"] for one in records if one["metric"] == "top1" and one["encoder"] == "trained"] == [40, 200]
    assert {one["variant"]["share"] for one in records} == {0.1, 0.5}


def test_numbers(encoder, tmp_path):
    images, _ = load_digits(return_X_y=True)
    images = (images[:500] * 15).astype(np.uint8).reshape(-1, 8, 8)
    records = evaluate(
        encoder,
        (images, images.mean(axis=(1, 2)) + 0.5),
        protocols="finetune",
        protocol_options={"finetune": {**FAST, "of": "label", "epochs": 8, "scale": 0.9}},
    )
    assert next(one["value"] for one in records if one["metric"] == "r2" and one["encoder"] == "trained") > 0.5


def test_rates_fall_from_layer_to_layer():
    torch.manual_seed(0)
    vit = build_encoder("vit_small_image", image_size=8, channels=1, embed_dim=48, depth=2, num_heads=3, patch_size=2)
    model = Classifier(vit, 10)
    groups = model.groups(weight_decay=0.05, layer_decay=0.5)
    scale = {id(part): group.get("lr_scale", 1.0) for group in groups for part in group["params"]}
    first, last = (scale[id(vit.model.blocks[number].mlp.fc1.weight)] for number in (0, 1))
    assert scale[id(model.head.weight)] == 1.0 and first == last / 2
    assert scale[id(vit.model.patch_embed.proj.weight)] == first / 2
    assert len(scale) == sum(part.requires_grad for part in model.parameters())
    decay = {id(part): group["weight_decay"] for group in groups for part in group["params"]}
    assert decay[id(vit.model.blocks[0].norm1.weight)] == 0.0 and decay[id(vit.model.blocks[0].mlp.fc1.weight)] == 0.05


def test_a_net_that_knows_no_layers_has_one_rate():
    class Plain(nn.Module):
        spec, width = None, 4

        def __init__(self):
            super().__init__()
            self.model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))

    groups = Classifier(Plain(), 2).groups(0.05, 0.75)
    assert sum(len(group["params"]) for group in groups) == 6 and all("lr_scale" not in group for group in groups)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "at least one epoch"),
        ({"lrs": ()}, "rates above 0"),
        ({"shares": (2.0,)}, "shares are above 0 and at most 1"),
        ({"of": "age", "mixup": 0.2}, "mixup and cutmix mix classes"),
    ],
)
def test_what_cannot_be_asked(options, message):
    with pytest.raises(ValueError, match=message):
        Finetune(**options)


def test_the_schedule_rises_and_falls():
    rates = [schedule(done, 0.1) for done in (0.0, 0.05, 0.1, 0.55, 1.0)]
    assert rates == pytest.approx([0, 0.5, 1, 0.5, 0])
