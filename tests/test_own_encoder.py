"""A net of one's own by its import path, from `pretrain` on volumes to what reads the encoder."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import selfsight
from selfsight import cli
from selfsight.nets import build_encoder, load_encoder

SOURCE = '''
from torch import nn

class Net3D(nn.Module):
    """A small net for volumes."""

    def __init__(self, channels, width=8):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(channels, width, 3, padding=1), nn.BatchNorm3d(width), nn.ReLU(),
            nn.AdaptiveAvgPool3d(1), nn.Flatten(),
        )

    def forward(self, x):
        return self.body(x)

class Flat(nn.Module):
    def __init__(self, in_chans, img_size, deep=False):
        super().__init__()
        self.body = nn.Linear(in_chans * img_size**2, 4)

    def forward(self, x):
        return self.body(x.flatten(1))

NUMBER = 3
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a module of one's own, on the path and where we are."""
    (tmp_path / "own_nets.py").write_text(SOURCE)
    volumes = np.random.default_rng(0).integers(0, 256, (24, 10, 12, 14), dtype=np.uint8)
    np.savez(tmp_path / "volumes.npz", images=volumes[:, None], labels=np.arange(24) % 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("own_nets", None)


def run(*arguments):
    assert cli.main([str(argument) for argument in arguments]) == 0


def test_a_net_for_volumes_goes_all_the_way(folder):
    run(
        "pretrain", "volumes.npz", "--method", "simclr", "--encoder", "own_nets.Net3D", "--encoder.width", 6,
        "--epochs", 1, "--batch_size", 8, "--image_size", "10,12,14", "--channels", 1, "--out", "run",
        "--method.projector", "16,8",
    )  # fmt: skip
    spec = json.loads((folder / "run" / "encoder.json").read_text())
    assert (spec["name"], spec["options"], spec["dims"]) == ("own_nets.Net3D", {"width": 6}, 3)
    run("evaluate", "run", "volumes.npz", "--protocols", "knn,ridge", "--channels", 1)
    rows = json.loads((folder / "run" / "evaluation.json").read_text())
    assert {row["encoder"] for row in (rows if isinstance(rows, list) else rows["records"])} >= {"trained", "random"}
    run("embed", "run", "volumes.npz", "--out", "features.npz", "--channels", 1, "--precision", 32)
    features = np.load("features.npz")["features"]
    assert features.shape == (24, 6)
    run("export", "run", "--out", "net.onnx")
    run("export", "run", "--format", "state_dict", "--out", "net.pt")
    encoder = load_encoder("run")
    volume = torch.from_numpy(np.load("volumes.npz")["images"][:2]).float() / 255
    (mean,), (std,) = encoder.spec.mean, encoder.spec.std
    with torch.no_grad():
        np.testing.assert_allclose(encoder((volume - mean) / std).numpy(), features[:2], atol=1e-4)

    import onnxruntime

    session = onnxruntime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: volume.numpy()})
    np.testing.assert_allclose(found, features[:2], atol=1e-4)


def test_the_lines_that_rebuild_it_run(folder, capsys):
    encoder = build_encoder("own_nets.Net3D", image_size=(8, 8, 8), channels=2, width=4)
    selfsight.nets.save_encoder(encoder, "run")
    run("export", "run", "--format", "state_dict", "--out", "net.pt")
    printed = capsys.readouterr().out
    lines = printed[printed.index("import torch") :]
    assert "from own_nets import Net3D" in lines
    subprocess.run([sys.executable, "-c", lines], check=True, cwd=folder)


def test_a_module_that_cannot_be_imported_any_more_is_named(folder):
    selfsight.nets.save_encoder(build_encoder("own_nets.Net3D", image_size=(8, 8, 8), channels=1), "run")
    net = sys.modules.pop("own_nets").Net3D(1)
    (folder / "own_nets.py").unlink()
    with pytest.raises(ValueError, match=r"no module 'own_nets' for encoder 'own_nets.Net3D'.*PYTHONPATH"):
        load_encoder("run")
    assert load_encoder("run", module=net).width == 8


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("own_nets.Net", {}, "own_nets has no 'Net': did you mean 'Net3D'"),
        ("own_net.Net3D", {}, "no module 'own_net' for encoder"),
        ("own_nets.NUMBER", {}, "is no class and no function, but a int"),
        ("own_nets.Flat", {"depp": True}, "has no option 'depp': did you mean 'deep'"),
        ("own_nets.Flat", {"pretrained": True}, "takes no pretrained"),
        ("own_nets.Flat", {"stem": "small"}, "only ResNets"),
        ("resnet18.a1_in2k", {}, "unknown encoder 'resnet18.a1_in2k': did you mean 'resnet18.a1_in1k'"),
    ],
)
def test_what_is_wrong_with_a_path_is_named(folder, name, options, message):
    with pytest.raises(ValueError, match=message):
        build_encoder(name, image_size=8, **options)


def test_a_net_is_told_channels_and_size_by_the_names_it_has(folder):
    encoder = build_encoder("own_nets.Flat", image_size=8, channels=2, deep=True)
    assert encoder(torch.zeros(1, 2, 8, 8)).shape == (1, 4) and encoder.fresh
    assert encoder.spec.options == {"deep": True} and not encoder.spec.custom
