import errno
import os
from pathlib import Path

import pytest
import torch

from selfsight.engine.checkpoints import read_checkpoint, save_checkpoint
from selfsight.outputs import replacing

KNOWN = {"names": {}, "position": {}, "method": {}}


def test_round_trip(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    state = {
        **KNOWN,
        "step": 3,
        "weights": {"w": torch.arange(3.0)},
        "groups": [{"betas": (0.9, 0.99), "adapt": False}],
    }
    save_checkpoint(path, state)
    found = read_checkpoint(path)
    assert found["step"] == 3 and found["groups"] == state["groups"]
    assert torch.equal(found["weights"]["w"], torch.arange(3.0))
    assert os.listdir(path.parent) == ["last.ckpt"]


class FullDisk:
    """A file that takes some bytes and then none."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


@pytest.mark.parametrize("room", [0, 5_000])
def test_a_full_disk_leaves_the_former_checkpoint(tmp_path, monkeypatch, room):
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, KNOWN)
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *mode: FullDisk(opened(self, *mode), room))
    with pytest.raises(OSError, match=r"No space left.*former checkpoint is still valid.*resume"):
        save_checkpoint(path, {"step": 2, "weights": torch.zeros(10_000)})
    assert read_checkpoint(path) == KNOWN
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_what_is_wrong_with_the_state_is_not_blamed_on_the_disk(tmp_path):
    with pytest.raises((TypeError, AttributeError)):
        save_checkpoint(tmp_path / "last.ckpt", {"lane": (item for item in ())})
    assert os.listdir(tmp_path) == []


def test_an_interrupted_write_leaves_no_trace(tmp_path):
    path = tmp_path / "summary.json"
    path.write_bytes(b"old")

    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["summary.json"]


def test_code_in_a_pickle_is_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"step": Bomb()}, tmp_path / "last.ckpt")
    with pytest.raises(Exception, match="Weights only load failed"):
        read_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "harm").exists()


def test_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="nothing to resume"):
        read_checkpoint(tmp_path / "last.ckpt")
