"""One command trains: on real digits, with a small net, to the end, interrupted, killed, and asked wrongly."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import selfsight
from selfsight import engine
from selfsight.data import ResidentLane, open_source
from selfsight.engine.module import Training
from selfsight.engine.recorder import Recorder
from selfsight.methods.base import Method, Optimisation
from selfsight.nets import Encoder, build_encoder

SMALL = {
    "method": "simclr",
    "encoder": "resnet_slim",
    "method_options": {"projector": (32, 16)},
    "epochs": 2,
    "batch_size": 64,
    "limit": 192,
    "precision": "32",
    "devices": "cpu",
}
TIMING = ["seconds", "images_per_second", "data_wait"]


def train(out, data="digits", **options):
    return selfsight.pretrain(**{"data": data, **SMALL, **options}, out=out)


def weights_of(run):
    return torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)["method"]


def assert_same(run, other):
    """Bit for bit the same weights."""
    weights = weights_of(other)
    assert all(torch.equal(value, weights[name]) for name, value in weights_of(run).items())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "whole")


def test_the_run_folder_holds_everything(run):
    assert {path.name for path in run.path.iterdir()} == {
        "config.yaml", "metrics.csv", "views.png", "checkpoints", "encoder.safetensors", "encoder.json",
        "method.safetensors", "method.json",
        "summary.json", "log.txt", "held_out.csv", "tensorboard", "selfsight-run.json",
    }  # fmt: skip
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["last.ckpt"]
    assert not Path("lightning_logs").exists()


def test_summary_says_what_happened(run):
    summary = run.summary
    assert summary["finished"] and run.finished and summary["stopped"] is None
    assert (summary["epochs"], summary["steps"], summary["training_images"]) == (2, 6, 192)
    assert summary["held_out_images"] == 1605 and summary["held_out_from"] == "images that limit leaves unused"
    assert summary["bad_images"] == [] and summary["images_per_second"] > 0
    assert 0 < summary["final"]["knn"] <= 1
    assert summary["packages"]["torch"] and summary["hardware"]["threads"] == torch.get_num_threads()


def test_metrics_have_a_row_an_epoch(run):
    metrics = run.metrics
    assert metrics["step"].tolist() == [3, 6] and metrics["epoch"].tolist() == [1, 2]
    measured = ["loss", "lr", "progress", "encoder_rank", "projector_spread", "projector_uniformity", "knn", "ridge"]
    assert metrics[[*measured, *TIMING]].notna().all().all()


def test_the_encoder_is_the_trained_one(run):
    loaded = selfsight.load_encoder(run.path)
    trained = weights_of(run)
    state = loaded.model.state_dict()
    assert all(torch.equal(value, trained[f"encoder.model.{name}"]) for name, value in state.items())
    assert not loaded.training and loaded(torch.zeros(2, 1, 8, 8)).shape == (2, 256)
    assert run.encoder.spec.value_range == (0, 16)
    assert selfsight.open_run(run.path).summary == run.summary


def test_the_config_runs_again_to_the_same_weights(run, tmp_path):
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    assert config["image_size"] == 8 and config["method_options"]["temperature"] == 0.1
    again = selfsight.pretrain(**config, out=tmp_path / "again")
    assert again.summary["config_hash"] == run.summary["config_hash"]
    assert_same(run, again)
    columns = run.metrics.columns.difference(TIMING)
    assert again.metrics[columns].equals(run.metrics[columns])


def test_the_monitor_leaves_training_alone(run, tmp_path):
    source = open_source("digits")
    blind = train(tmp_path / "blind", source, monitor=False)
    assert blind.summary["held_out_images"] == 0 and "knn" not in blind.metrics
    assert_same(run, blind)


def test_another_seed_is_another_run(run, tmp_path):
    other = weights_of(train(tmp_path / "other", seed=1))
    assert any(not torch.equal(value, other[name]) for name, value in weights_of(run).items())


def interrupt_at(monkeypatch, step, number=signal.SIGTERM):
    stepping = Training.optimizer_step

    def optimizer_step(self, *arguments, **options):
        stepping(self, *arguments, **options)
        if self.position.step == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Training, "optimizer_step", optimizer_step)


@pytest.mark.parametrize(("step", "number"), [(2, signal.SIGTERM), (3, signal.SIGINT)])
def test_interrupted_and_resumed(run, tmp_path, monkeypatch, step, number):
    with monkeypatch.context() as patch:
        interrupt_at(patch, step, number)
        stopped = train(tmp_path / "run")
    assert not stopped.finished and stopped.summary["stopped"] == "interrupted" and stopped.summary["steps"] == step
    resumed = train(tmp_path / "run", resume=True)
    assert resumed.finished and resumed.metrics["step"].tolist() == [3, 6]
    assert_same(run, resumed)
    columns = ["step", "epoch", "loss", "lr"]
    assert resumed.metrics[columns].equals(run.metrics[columns])


def test_pauses_when_time_is_up(run, tmp_path):
    paused = train(tmp_path / "run", max_minutes=0)
    assert paused.summary["steps"] == 1 and paused.summary["stopped"] == "max_minutes are over"
    assert_same(run, train(tmp_path / "run", resume=True))


KILLED = """
import os, signal, sys
import selfsight
from selfsight.engine.module import Training
stepping = Training.optimizer_step
def optimizer_step(self, *arguments, **options):
    stepping(self, *arguments, **options)
    if self.position.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
Training.optimizer_step = optimizer_step
selfsight.pretrain("digits", out=sys.argv[1], **{settings!r})
"""


def test_killed_and_resumed(run, tmp_path):
    script = KILLED.format(settings={**SMALL, "checkpoint_minutes": 0.0})
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": threads}
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    with open(tmp_path / "run" / "metrics.csv", "a") as file:
        file.write("4,1.3")  # a row that the kill left half written
    resumed = train(tmp_path / "run", resume=True, checkpoint_minutes=0.0)
    assert resumed.finished and resumed.metrics["step"].tolist() == [3, 6]
    assert_same(run, resumed)


def test_killed_before_the_first_checkpoint(run, tmp_path):
    early = tmp_path / "run"
    early.mkdir()
    (early / "config.yaml").write_text((run.path / "config.yaml").read_text())
    assert_same(run, train(early, resume=True))


def test_a_finished_run_is_left_as_it_is(run):
    before = (run.path / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert train(run.path, resume=True).finished
    assert (run.path / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before


def test_resuming_as_something_else_is_refused(run):
    with pytest.raises(ValueError, match="encoder was 'resnet_slim', now 'resnet18'"):
        train(run.path, resume=True, encoder="resnet18")
    with pytest.raises(ValueError, match="method was 'simclr', now 'simsiam'"):
        train(run.path, resume=True, method="simsiam", method_options=None)
    with pytest.raises(ValueError, match="not empty"):
        train(run.path)
    assert run.finished


def test_resuming_on_other_images_is_refused(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (80, 3, 16, 16)).astype(np.uint8)
    options = {"method": "npid", "method_options": None, "batch_size": 16, "limit": None, "monitor": False}
    train(tmp_path / "run", pixels, **options, max_minutes=0)
    for others in (pixels[::-1].copy(), np.zeros_like(pixels)):  # a memory bank is by an image's place
        with pytest.raises(ValueError, match="written with other images, or the same in another order: give it those"):
            train(tmp_path / "run", others, **options, resume=True)
    assert train(tmp_path / "run", pixels, **options, resume=True).finished


def test_a_checkpoint_of_something_else_is_refused(run, tmp_path):
    other = train(tmp_path / "other", epochs=1, encoder="resnet_slim", encoder_options={"layers": [1, 1, 1, 2]})
    (tmp_path / "mixed" / "checkpoints").mkdir(parents=True)
    (tmp_path / "mixed" / "config.yaml").write_text((run.path / "config.yaml").read_text())
    (other.path / "checkpoints" / "last.ckpt").rename(tmp_path / "mixed" / "checkpoints" / "last.ckpt")
    with pytest.raises(ValueError, match=r"does not fit: .*'encoder.model.layer4.1"):
        train(tmp_path / "mixed", resume=True)


def test_stopped_in_the_first_epoch_there_is_an_encoder(run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 1, signal.SIGHUP)
        stopped = train(tmp_path / "run")
    assert stopped.summary["stopped"] == "interrupted" and stopped.summary["steps"] == 1
    assert json.loads((stopped.path / "encoder.json").read_text())["step"] == 1
    weights = weights_of(stopped)
    state = stopped.encoder.model.state_dict()
    assert all(torch.equal(value, weights[f"encoder.model.{name}"]) for name, value in state.items())
    assert_same(run, train(tmp_path / "run", resume=True))


def test_a_signal_between_two_steps_is_granted_there(run, tmp_path, monkeypatch):
    def waiting(lane, epoch, position):
        for step, batch in enumerate(_batches(lane, epoch, position)):
            if (epoch, position + step) == (1, 2) and len(lane) == 3:
                os.kill(os.getpid(), signal.SIGUSR1)
                raise AssertionError("it goes on waiting")
            yield batch

    _batches = ResidentLane._batches
    with monkeypatch.context() as patch:
        patch.setattr(ResidentLane, "_batches", waiting)
        stopped = train(tmp_path / "run")
    assert stopped.summary["stopped"] == "interrupted" and 3 <= stopped.summary["steps"] < 6
    assert_same(run, train(tmp_path / "run", resume=True))


@pytest.mark.parametrize("where", ["selfsight.engine.steps.divide", "selfsight.gallery.draw_views"])
def test_a_signal_before_the_first_step_leaves_nothing(tmp_path, monkeypatch, where):
    monkeypatch.setattr(where, lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt, match="interrupted by SIGTERM"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_fails_before_its_first_step_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("selfsight.gallery.draw_views", fail)
        with pytest.raises(OSError, match="no space"):
            train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_by_time_while_stopping_is_written_once(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(Recorder, "save", lambda self, training, _: written.append(training.position.step))
    interrupt_at(monkeypatch, 2)
    train(tmp_path / "run", checkpoint_minutes=0.0)
    assert written == [1, 2]


def test_resumed_exactly_at_the_last_epoch(run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 6)
        stopped = train(tmp_path / "run")
    assert stopped.finished
    assert_same(run, stopped)
    before = (stopped.path / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    resumed = train(tmp_path / "run", resume=True)
    assert resumed.finished and resumed.metrics["step"].tolist() == [3, 6]
    assert (resumed.path / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_damaged_checkpoint_is_said(tmp_path, keep):
    stopped = train(tmp_path / "run", epochs=1)
    file = stopped.path / "checkpoints" / "last.ckpt"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"last.ckpt is damaged and cannot be read .*begin again with overwrite"):
        train(tmp_path / "run", epochs=1, resume=True)


def test_the_encoder_is_compiled_where_it_is_asked_for(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(Encoder, "compile", lambda encoder: compiled.append(encoder.spec.name))
    assert train(tmp_path / "new" / "folder" / "run", epochs=1, monitor=False).finished and compiled == []
    assert train(tmp_path / "other", epochs=1, monitor=False, compile=True).finished and compiled == ["resnet_slim"]


def test_ten_measurements_a_run(tmp_path):
    run = train(tmp_path / "run", epochs=12, limit=64)
    assert run.metrics["knn"].notna().sum() >= 10 and run.metrics["encoder_rank"].notna().sum() >= 10
    assert run.metrics["knn"].notna().iloc[[0, -1]].all()


def test_ten_measurements_in_one_long_epoch(tmp_path):
    run = train(tmp_path / "run", epochs=1, limit=400, batch_size=4)
    assert run.metrics["knn"].notna().sum() >= 10


def test_a_killed_worker_leaves_a_checkpoint(tmp_path, monkeypatch):
    stepping = Training.optimizer_step

    def optimizer_step(self, *arguments, **options):
        stepping(self, *arguments, **options)
        if self.position.step == 2:
            worker = multiprocessing.active_children()[0]
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()

    with monkeypatch.context() as patch:
        patch.setattr(Training, "optimizer_step", optimizer_step)
        with pytest.raises(RuntimeError, match="ended by signal SIGKILL; most likely the machine ran out of memory"):
            train(tmp_path / "run", epochs=20, lane="streaming", workers=1)
    whole = train(tmp_path / "whole", epochs=20, lane="streaming", workers=1, max_minutes=0)
    assert whole.summary["steps"] == 1
    resumed = train(tmp_path / "run", epochs=20, lane="streaming", workers=1, max_minutes=0, resume=True)
    assert resumed.summary["steps"] > 3
    assert (resumed.path / "encoder.safetensors").exists()


def test_overwrite_begins_anew(run, tmp_path):
    train(tmp_path / "run", epochs=1)
    assert train(tmp_path / "run", epochs=1, seed=2, overwrite=True).config["seed"] == 2


def test_start_from_the_weights_of_a_run(run, tmp_path):
    started = train(tmp_path / "run", epochs=1, weights=run.path, lr=1e-12)
    named = weights_of(run)
    after = weights_of(started)
    torch.testing.assert_close(after["encoder.model.conv1.weight"], named["encoder.model.conv1.weight"])
    assert "loaded" in (started.path / "log.txt").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 500}, "larger than the data.*192.*lower batch_size"),
        ({"accumulate": 4}, "lower accumulate to at most 3"),
        ({"epochs": 0}, "epochs is a whole number and at least 1"),
        ({"method": "simclrr"}, "did you mean 'simclr'"),
        ({"method_options": {"temprature": 0.1}}, "did you mean 'temperature'"),
        ({"encoder": "resnet_slimm"}, "did you mean 'resnet_slim'"),
        ({"devices": "gpu"}, "no GPU"),
        ({"lane": "fast"}, "lane is .*not 'fast'"),
        ({"data": "nowhere/"}, "does not exist"),
        ({"seed": -1}, "seed is a whole number and from 0"),
        ({"data": {"all": "digits"}, "split": "tset"}, "the data has no split 'tset' but 'all'"),
        ({"on_alarm": "panic"}, "on_alarm is 'warn' or 'stop'"),
    ],
)
def test_what_is_asked_wrongly_is_said_and_leaves_no_folder(tmp_path, options, message):
    if options.get("devices") == "gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_broken_images_are_named_and_skipped(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    for position, image in enumerate(pixels):
        folder = tmp_path / "images" / f"class-{position % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{position:02}.png")
    (folder / "empty.png").write_bytes(b"")
    run = train(tmp_path / "run", tmp_path / "images", epochs=1, batch_size=16, limit=None, monitor=False)
    (bad,) = run.summary["bad_images"]
    assert "empty.png" in bad and "empty.png" in (run.path / "log.txt").read_text()
    with pytest.raises(ValueError, match="max_bad"):
        train(tmp_path / "strict", tmp_path / "images", epochs=1, batch_size=16, limit=None, monitor=False, max_bad=0)


class Exploding(Method):
    """Goes well for some steps, and then does not."""

    optimisation = Optimisation(optimizer="sgd", lr=0.01, warmup_epochs=0)

    def forward(self, batch):
        loss = self.encoder(batch.views[0]).square().mean()
        return {"loss": loss / (0.0 if self.step >= 4 else 1.0)}

    def embed(self, view):
        return self.encoder(view)


class Collapsing(Exploding):
    """Pulls all images to one point."""

    def forward(self, batch):
        features = self.encoder(batch.views[0])
        return {"loss": (features - 1).square().mean()}

    def embed(self, view):
        return 1 + 1e-3 * self.encoder(view)


def test_a_loss_that_explodes_stops_before_it_reaches_the_checkpoint(tmp_path):
    run = train(tmp_path / "run", method=Exploding, method_options=None, epochs=3)
    assert not run.finished and "no longer finite" in run.summary["stopped"]
    assert all(value.isfinite().all() for value in weights_of(run).values())
    log = (run.path / "log.txt").read_text()
    assert "non-finite: loss is not finite" in log
    assert "non-finite at step 5, first: term loss" in log and "engine.replay(" in log
    assert run.metrics["loss"].tolist()[-1] == float("inf") or run.metrics["loss"].isna().iloc[-1]
    assert json.loads((run.path / "summary.json").read_text(), parse_constant=pytest.fail)["final"]["loss"] is None
    assert selfsight.open_run(run.path).config == run.config


class Overflowing(Exploding):
    """One layer's output becomes infinite."""

    def __init__(self, encoder):
        super().__init__(encoder)
        self.head = nn.Linear(encoder.width, 4)

    def forward(self, batch):
        scale = float("inf") if self.step >= 4 else 1.0
        return {"loss": self.head(self.encoder(batch.views[0]) * scale).square().mean()}


def test_the_first_number_that_is_not_finite_is_named_and_can_be_replayed(tmp_path):
    run = train(tmp_path / "run", method=Overflowing, method_options=None, epochs=3)
    replay = engine.replay(run.path, Overflowing(build_encoder("resnet_slim", image_size=8, channels=1)))
    assert replay.found == replay.again == "output of head (Linear)" and replay.step == 4
    assert "first: output of head (Linear)" in (run.path / "log.txt").read_text()
    assert len(replay.batch) == 64 and all(value.isfinite().all() for value in replay.method.parameters())


def test_a_run_of_a_known_method_is_replayed_from_its_folder(tmp_path):
    run = train(tmp_path / "run", lr=1e30, epochs=3, optimizer="sgd")
    assert "no longer finite" in run.summary["stopped"]
    replay = engine.replay(run)
    assert replay.again == replay.found
    with pytest.raises(ValueError, match="keeps no batch"):
        engine.replay(train(tmp_path / "fine", epochs=1))


@pytest.mark.parametrize("on_alarm", ["warn", "stop"])
def test_a_collapse_is_seen_within_an_epoch(tmp_path, on_alarm, monkeypatch):
    monkeypatch.setattr("selfsight.engine.alarms.SETTLED", 1)
    run = train(tmp_path / "run", method=Collapsing, method_options=None, on_alarm=on_alarm)
    assert "collapse: projector_spread is" in (run.path / "log.txt").read_text()
    assert run.finished == (on_alarm == "warn")
    assert run.summary["epochs"] == (2 if on_alarm == "warn" else 1)


def test_two_processes(tmp_path):
    run = train(tmp_path / "run", devices=2, batch_size=32, epochs=1, limit=128)
    assert run.finished and run.summary["steps"] == 2 and run.summary["hardware"]["processes"] == 2
    assert len(run.metrics) == 1 and 0 < run.metrics["knn"][0] <= 1
