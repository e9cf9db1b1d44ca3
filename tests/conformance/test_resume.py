"""A run of any method that is stopped in the middle of an epoch and resumed ends bit-identical to one that was not."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.testing import assert_close

import selfsight
from conformance.battery import CLASSES, SIZE, SMALL, TRANSFORMERS, metadata, small_encoder, textures
from selfsight.data import ArraySource
from selfsight.engine import Run
from selfsight.engine.module import Training
from selfsight.methods import method_names

IMAGES, BATCH, STOP = 36, 12, 4
DRAWING = {"npid": {"noise": 16}, "pirl": {"noise": 16}}
"""Options with which noise is drawn, of fewer images than there are."""


def source() -> ArraySource:
    known = pd.DataFrame({name: column.numpy() for name, column in metadata(IMAGES).items()})
    classes = [str(code) for code in range(CLASSES)]
    return ArraySource(textures(IMAGES)[0], known, name="textures", classes=classes)


def train(name: str, out: Path, **options) -> Run:
    torch.manual_seed(0)
    return selfsight.pretrain(
        source(),
        method=name,
        encoder=small_encoder("vit" if name in TRANSFORMERS else "resnet"),
        method_options={**SMALL[name], **DRAWING.get(name, {})},
        image_size=SIZE,
        epochs=2,
        batch_size=BATCH,
        out=out,
        monitor=False,
        devices="cpu",
        **options,
    )


def state_of(run: Run) -> dict:
    """All numbers of the last checkpoint: the method's, and the optimiser's."""
    checkpoint = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)
    return {"method": dict(checkpoint["method"]), "optimiser": checkpoint["optimiser"]["state"]}


@pytest.mark.parametrize("name", method_names())
def test_stopped_and_resumed_is_the_same_as_unbroken(name, tmp_path, monkeypatch):
    unbroken = state_of(train(name, tmp_path / "unbroken"))

    stepping = Training.optimizer_step

    def optimizer_step(self, *arguments, **options):
        stepping(self, *arguments, **options)
        if self.position.step == STOP:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "optimizer_step", optimizer_step)
        stopped = train(name, tmp_path / "run")
    assert stopped.summary["steps"] == STOP and not stopped.finished

    resumed = state_of(train(name, tmp_path / "run", resume=True))
    assert_close(resumed, unbroken, rtol=0, atol=0)
