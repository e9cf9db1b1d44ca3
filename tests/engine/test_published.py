"""A run's whole method on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

import selfsight
from selfsight.engine import load_method, open_run
from selfsight.methods import SimCLR, VICReg
from selfsight.nets import Frozen, as_encoder

SMALL = {
    "simclr": {"projector": [16, 8]},
    "byol": {"projector": [16, 8], "predictor": [16, 8]},
    "nnclr": {"projector": [16, 8], "predictor": [16, 8], "queue": 16},
    "npid": {"dim": 8},
    "exemplar": {},
    "y_aware": {"projector": [16, 8], "columns": "label"},
    "dino": {"out": 16, "hidden": 16, "bottleneck": 8},
}


def images(count=16):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8), dtype=np.uint8)
    return pixels, np.arange(count) / 3


def train(out, method="simclr", options=None, **more):
    return selfsight.pretrain(
        images(),
        **{"method": method, "method_options": options, "encoder": "resnet_slim", "epochs": 1, "batch_size": 8, **more},
        out=out,
        devices="cpu",
        monitor=False,
    )


@pytest.mark.parametrize("name", SMALL)
def test_a_method_comes_back_whole(name, tmp_path):
    run = train(tmp_path / "run", name, SMALL[name])
    method = load_method(run)
    kept = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)["method"]
    assert type(method).__module__.endswith(name) and not method.training
    state = method.state_dict()
    assert state.keys() == kept.keys()
    for key, value in kept.items():
        assert torch.equal(state[key], value) if isinstance(value, torch.Tensor) else state[key] == value
    x = torch.zeros(2, 1, 8, 8)
    with torch.no_grad():
        assert method.embed(x).isfinite().all()
        assert torch.equal(method.exported(x), open_run(run.path).encoder(x))
    assert method.step == run.summary["steps"] and method.encoder.spec.mean == run.encoder.spec.mean


def test_what_has_no_name_is_not_published(tmp_path):
    class Local(SimCLR):
        """Of this function."""

    run = train(tmp_path / "run", Local.with_options(projector=(16, 8)))
    assert not (run.path / "method.json").exists()
    with pytest.raises(ValueError, match="holds no whole method"):
        load_method(run)


def test_files_that_do_not_fit_are_named(tmp_path):
    run = train(tmp_path / "run", "simclr", {"projector": [16, 8]})
    file = run.path / "method.json"
    described = json.loads(file.read_text())
    file.write_text(json.dumps({**described, "options": {"projector": [16, 4]}}))
    with pytest.raises(ValueError, match=r"method.safetensors does not fit the method 'simclr'"):
        load_method(run.path)
    file.write_text(json.dumps({"method": "simclr"}))
    with pytest.raises(ValueError, match=r"method.json does not describe a method"):
        load_method(run.path)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(64, 4)

    def forward(self, x):
        return self.body(x.flatten(1))


def test_a_module_without_a_name_is_given_again(tmp_path):
    net = as_encoder(Net(), image_size=8, channels=1)
    run = train(tmp_path / "run", "vicreg", {"projector": [8, 8]}, encoder=net)
    with pytest.raises(ValueError, match="module of your own"):
        load_method(run)
    assert torch.equal(load_method(run, Net()).encoder.model.body.weight, net.model.body.weight)


class Guided(VICReg):
    """Has a guest."""

    def __init__(self, encoder, *, scale: float = 1.0):
        super().__init__(encoder, projector=(8, 8))
        guest = nn.Linear(2, 2)
        nn.init.constant_(guest.weight, scale)
        nn.init.zeros_(guest.bias)
        self.guest = Frozen(guest)


def test_a_run_resumes_with_the_same_guest_only(tmp_path, monkeypatch):
    run = train(tmp_path / "run", Guided, {"scale": 2.0}, max_minutes=1e-9, epochs=2)
    assert not run.finished
    kept = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)
    assert not any("guest" in key for key in kept["method"])
    monkeypatch.setattr(nn.init, "zeros_", lambda bias: bias.data.fill_(1.0))
    with pytest.raises(ValueError, match="guest guest"):
        train(tmp_path / "run", Guided, {"scale": 2.0}, resume=True, epochs=2)
    monkeypatch.undo()
    assert train(tmp_path / "run", Guided, {"scale": 2.0}, resume=True, epochs=2).finished
