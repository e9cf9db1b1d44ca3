"""Encoders on disk: exact, atomic, and strict."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from torch import nn

from selfsight.nets import as_encoder, build_encoder, load_encoder, load_weights, rebuild_snippet, save_encoder

CASES = [
    ("resnet18", 32, {}),
    ("resnet50d", 32, {"layers": [1, 1, 1, 1]}),
    ("resnet_slim", 96, {"drop_path_rate": 0.1}),
    ("mobilenetv3_small_050", 64, {}),
    ("vit_small_image", 32, {"depth": 1}),
    ("vit_small_patch14_reg4_dinov2", 56, {"embed_dim": 48, "depth": 1, "num_heads": 2}),
    ("eva02_tiny_patch14_224", 56, {"embed_dim": 48, "depth": 1, "num_heads": 2}),
]


def trained(name, size, **options):
    """An encoder whose weights and statistics are not those of any initialisation."""
    encoder = build_encoder(name, image_size=size, **options)
    encoder(torch.randn(4, encoder.spec.channels, size, size))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    return encoder.eval()


@pytest.mark.parametrize(("name", "size", "options"), CASES)
def test_loading_is_exact(name, size, options, tmp_path):
    encoder = trained(name, size, **options)
    encoder.spec = replace(encoder.spec, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), value_range=(0.0, 1.0))
    file = save_encoder(encoder, tmp_path, method="vicreg")
    images = torch.randn(2, 3, size, size)
    state = torch.get_rng_state()
    for path in (tmp_path, file, str(file)):
        loaded = load_encoder(path)
        assert loaded.spec == encoder.spec
        assert not loaded.training
        assert torch.equal(loaded(images), encoder(images))
    assert torch.equal(torch.get_rng_state(), state)
    assert json.loads((tmp_path / "encoder.json").read_text())["method"] == "vicreg"
    assert sorted(os.listdir(tmp_path)) == ["encoder.json", "encoder.safetensors"]


@pytest.mark.parametrize(("name", "size", "options"), CASES)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_the_snippet_rebuilds_the_net_in_plain_timm(name, size, options, suffix, tmp_path):
    encoder = trained(name, size, **options)
    weights = tmp_path / f"weights.{suffix}"
    if suffix == "pt":
        torch.save(encoder.model.state_dict(), weights)
    else:
        save_encoder(encoder, weights)
    names = {}
    exec(rebuild_snippet(encoder.spec, str(weights)), names)
    model = names["model"].eval()
    images = torch.randn(2, 3, size, size)
    answer = model.forward_head(model.forward_features(images), pre_logits=True)
    assert torch.equal(answer, encoder(images))
    assert "selfsight" not in rebuild_snippet(encoder.spec, "encoder.pt")


def edit(folder, **changes):
    tensors = safetensors.torch.load_file(folder / "encoder.safetensors")
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    safetensors.torch.save_file(tensors, folder / "encoder.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer1__0__conv1__weight": None}, r"1 not in the file \(layer1.0.conv1.weight\)"),
        ({"extra": torch.ones(1)}, r"1 not in the encoder \(extra\)"),
        ({"conv1__weight": torch.ones(64, 3, 7, 7)}, r"1 of another shape \(conv1.weight\)"),
    ],
)
def test_any_mismatch_fails(changes, message, tmp_path):
    save_encoder(build_encoder("resnet_slim", image_size=32), tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load_encoder(tmp_path)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match="no encoder at"):
        load_encoder(tmp_path)
    pickle = tmp_path / "last.ckpt"
    pickle.write_bytes(b"cos\nsystem\n")
    with pytest.raises(ValueError, match="is a pickle"):
        load_encoder(pickle)
    with pytest.raises(ValueError, match="is a pickle"):
        load_weights(build_encoder("resnet_slim", image_size=32), pickle)
    save_encoder(build_encoder("resnet_slim", image_size=32), tmp_path)
    whole = (tmp_path / "encoder.safetensors").read_bytes()
    (tmp_path / "encoder.safetensors").write_bytes(whole[:1000])
    with pytest.raises(ValueError, match="not a readable safetensors"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text("{}")
    with pytest.raises(ValueError, match="does not describe an encoder"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").unlink()
    with pytest.raises(ValueError, match=r"encoder.json is missing"):
        load_encoder(tmp_path)


def test_a_failed_write_keeps_the_former_file(tmp_path, monkeypatch):
    encoder = trained("resnet_slim", 32)
    save_encoder(encoder, tmp_path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_encoder(build_encoder("resnet_slim", image_size=32), tmp_path)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(load_encoder(tmp_path)(images), encoder(images))
    assert sorted(os.listdir(tmp_path)) == ["encoder.json", "encoder.safetensors"]


def test_starting_weights_are_reported_by_name(tmp_path):
    source = trained("resnet_slim", 32)
    save_encoder(source, tmp_path)
    same = build_encoder("resnet_slim", image_size=32)
    assert load_weights(same, tmp_path).complete
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), source.parameters(), strict=True))

    other = build_encoder("resnet_slim", image_size=128)  # native stem: a 7x7 convolution
    first = other.model.conv1.weight.clone()
    report = load_weights(other, tmp_path)
    assert report.mismatched == ["conv1.weight"] and not report.missing and not report.unused
    assert "1 of another shape (conv1.weight)" in str(report)
    assert torch.equal(other.model.conv1.weight, first)
    assert torch.equal(other.model.bn1.weight, source.model.bn1.weight)

    with pytest.raises(ValueError, match=r"nothing in .* fits encoder 'vit_small_image'"):
        load_weights(build_encoder("vit_small_image", image_size=32, depth=1), tmp_path)


def test_a_custom_module_is_saved_and_only_its_author_rebuilds_it(tmp_path):
    def build():
        return as_encoder(nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), image_size=4)

    encoder = build()
    save_encoder(encoder, tmp_path)
    with pytest.raises(ValueError, match="module="):
        load_encoder(tmp_path)
    again = build()
    assert load_weights(again, tmp_path).complete
    images = torch.randn(2, 3, 4, 4)
    assert torch.equal(again(images), encoder(images))


def test_strided_weights_are_saved(tmp_path):
    encoder = trained("resnet_slim", 32).to(memory_format=torch.channels_last)
    save_encoder(encoder, tmp_path)
    loaded = load_encoder(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), encoder.parameters(), strict=True))
