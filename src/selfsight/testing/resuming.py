"""A run that is stopped in the middle of an epoch and resumed ends as one that was not."""

from __future__ import annotations

import io
import signal
import tempfile
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import torch

import selfsight
from selfsight.data import ArraySource
from selfsight.engine import Run
from selfsight.engine.module import Training
from selfsight.engine.supervisor import Supervisor
from selfsight.testing.case import Build, Case, small_encoder
from selfsight.testing.checks import require
from selfsight.testing.images import CLASSES, SIZE, metadata, textures

IMAGES, BATCH, STOP = 36, 12, 4


def check_resumes(method: Build, case: Case) -> None:
    """Two epochs of `pretrain`, stopped in the second and resumed, leave method and optimiser bit for bit as two
    epochs without a stop do."""
    with tempfile.TemporaryDirectory(prefix="selfsight-resumes-") as folder, redirect_stderr(io.StringIO()):
        unbroken = state_of(run(method, case, Path(folder, "unbroken")))
        with mock.patch.object(Training, "optimizer_step", stopping(Training.optimizer_step)):
            stopped = run(method, case, Path(folder, "run"))
        steps = stopped.summary["steps"]
        require(steps == STOP and not stopped.finished, f"a run that was to stop at step {STOP} did so at {steps}")
        resumed = state_of(run(method, case, Path(folder, "run"), resume=True))
    try:
        torch.testing.assert_close(resumed, unbroken, rtol=0, atol=0, equal_nan=True)
    except AssertionError as error:
        raise AssertionError(
            f"a resumed run is not what an unbroken one is: keep in the state (buffers, get_extra_state) all that the "
            f"next steps depend on, and in prepare what was loaded: {error}"
        ) from None


def run(method: Build, case: Case, out: Path, **options: Any) -> Run:
    """A run of two epochs of three steps."""
    known = pd.DataFrame({name: column.numpy() for name, column in metadata(IMAGES).items()})
    classes = [str(code) for code in range(CLASSES)]
    torch.manual_seed(0)
    return selfsight.pretrain(
        ArraySource(textures(IMAGES)[0], known, name="textures", classes=classes),
        method=method,
        encoder=small_encoder(case.encoder),
        method_options=dict(case.options),
        image_size=SIZE,
        epochs=2,
        batch_size=BATCH,
        out=out,
        monitor=False,
        devices="cpu",
        **options,
    )


def stopping(step: Any) -> Any:
    """The engine's optimiser step, after which a signal is there at step `STOP`."""

    def optimizer_step(training: Training, *arguments: Any, **options: Any) -> None:
        step(training, *arguments, **options)
        if training.position.step == STOP:
            (supervisor,) = (callback for callback in training.trainer.callbacks if isinstance(callback, Supervisor))  # pyright: ignore
            supervisor.stop.signal = signal.SIGTERM

    return optimizer_step


def state_of(run: Run) -> dict[str, Any]:
    """All numbers of the last checkpoint: the method's, and the optimiser's."""
    checkpoint = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)
    return {"method": dict(checkpoint["method"]), "optimiser": checkpoint["optimiser"]["state"]}
