"""What a step takes is foretold from a few images."""

import pytest
import torch

import selfsight
from selfsight.engine import footprint
from selfsight.engine.footprint import check_footprint, kept_bytes
from selfsight.engine.hardware import Hardware
from selfsight.methods import find_method
from selfsight.nets import build_encoder
from selfsight.testing.images import small_canvases, small_views

CPU = Hardware("cpu", "32")


def make(name="simclr", images=8):
    torch.manual_seed(0)
    method = find_method(name)(build_encoder("resnet_slim", image_size=16))
    return method, small_views(method)(small_canvases(1, images), torch.Generator())


def test_what_is_kept_grows_with_the_images():
    method, batch = make()
    two, four, eight = (kept_bytes(method, batch[:n], CPU, float("inf")) for n in (2, 4, 8))
    assert 0 < two < four < eight
    assert eight - four == pytest.approx(2 * (four - two), rel=0.05)


def test_kept_bytes_are_those_of_a_plain_network():
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(10, 20)

        def forward(self, batch):
            return {"loss": self.layer(batch.views[0].flatten(1)[:, :10]).exp().sum()}

    _, batch = make(images=4)
    # the exponentials of (4, 20) float32 numbers; the view itself is there already
    assert kept_bytes(Plain(), batch, CPU, float("inf")) == 4 * 20 * 4


def test_a_method_stays_as_it_is():
    method, batch = make("moco_v2")
    before = {name: value.clone() for name, value in [*method.named_parameters(), *method.named_buffers()]}
    random = torch.get_rng_state()
    check_footprint(method, batch, CPU)
    after = dict([*method.named_parameters(), *method.named_buffers()])
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert torch.equal(torch.get_rng_state(), random)


def test_too_large_a_batch_is_refused(monkeypatch):
    method, batch = make(images=16)
    learned = footprint.OF_PARAMETERS * sum(part.nbytes for part in method.parameters())
    two, four = (kept_bytes(method, batch[:n], CPU, float("inf")) for n in (2, 4))
    monkeypatch.setattr(footprint, "free_memory", lambda: learned + two + 4 * (four - two) + 100)
    with pytest.raises(ValueError, match=r"a step of 16 images .* set batch_size to 10 at most"):
        check_footprint(method, batch, CPU)
    check_footprint(method, batch[:10], CPU)


def test_an_image_too_large_is_refused(monkeypatch):
    method, batch = make()
    monkeypatch.setattr(footprint, "free_memory", lambda: 1000)
    with pytest.raises(ValueError, match=r"takes all the memory there is.*: choose a smaller image_size"):
        check_footprint(method, batch, CPU)


def test_pretrain_refuses_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(footprint, "free_memory", lambda: 1000)
    with pytest.raises(ValueError, match="memory"):
        selfsight.pretrain(
            "digits", encoder="resnet_slim", limit=64, batch_size=16, epochs=1, out=tmp_path / "run", devices="cpu"
        )
    assert not (tmp_path / "run").exists()


def test_a_gpu_says_it_itself(monkeypatch):
    method, batch = make()
    monkeypatch.setattr(footprint, "free_memory", lambda: 0)
    check_footprint(method, batch, Hardware("gpu", "32"))
