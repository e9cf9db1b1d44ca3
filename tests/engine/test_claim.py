"""Two runs never share a folder, and nothing is deleted but what selfsight wrote."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from selfsight.engine import claim as claims
from selfsight.engine.claim import Claim
from selfsight.engine.run_folder import open_run
from selfsight.naming import RUN_MARKER

CONFIG = {"data": "images", "method": "simclr", "encoder": "resnet18", "epochs": 3, "view_options": {"blur": 0.0}}
FILES = ("metrics.csv", "encoder.safetensors", "encoder.json", "summary.json", "log.txt", "views.png", "held_out.csv")


def take(path, config=CONFIG, **options):
    with Claim(path, "simclr", **options) as claim:
        return claim.take(config)


@pytest.fixture
def filled(tmp_path):
    path = take(tmp_path / "run")
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / "last.ckpt").touch()
    (path / "tensorboard").mkdir()
    (path / "tensorboard" / "events.out.tfevents.1").touch()
    for name in FILES:
        (path / name).touch()
    return path


def names(path):
    return {str(file.relative_to(path)) for file in path.rglob("*")}


def test_a_fresh_folder_each_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Claim(None, "vicreg") as first, Claim(None, "vicreg") as second:  # both looked before either took one
        assert [str(claim.take(CONFIG)) for claim in (first, second)] == ["runs/vicreg-1", "runs/vicreg-2"]
    assert json.loads((tmp_path / "runs/vicreg-1" / RUN_MARKER).read_text())["process"] == os.getpid()
    with pytest.raises(ValueError, match="name one"):
        Claim(None, "vicreg", several=True)


def test_a_folder_with_something_in_it_is_refused(filled, tmp_path):
    Claim(tmp_path / "new", "simclr")
    Claim(filled, "simclr", resume=True)
    Claim(filled, "simclr", overwrite=True)
    with pytest.raises(ValueError, match=r"not empty: resume goes on.*overwrite deletes"):
        Claim(filled, "simclr")
    with pytest.raises(ValueError, match="choose one"):
        Claim(filled, "simclr", resume=True, overwrite=True)


@pytest.mark.parametrize("content", ["config.yaml", "thesis.tex"])
def test_what_is_not_marked_is_never_deleted(tmp_path, content):
    (tmp_path / content).write_text("years of work")
    with pytest.raises(ValueError, match=f"not known to be a run .no {RUN_MARKER}"):
        Claim(tmp_path, "simclr", overwrite=True)
    with pytest.raises(ValueError, match="is a file"):
        Claim(tmp_path / content, "simclr", overwrite=True)
    assert names(tmp_path) == {content}


@pytest.mark.parametrize(
    "strange", ["notes.txt", "img/1.png", "checkpoints/mine.ckpt", "tensorboard/a.png", "checkpoints/last.ckpt/x"]
)
def test_a_run_with_anything_else_in_it_is_not_deleted(filled, strange):
    if strange.startswith("checkpoints/last"):
        (filled / "checkpoints" / "last.ckpt").unlink()
    (filled / strange).parent.mkdir(exist_ok=True)
    (filled / strange).write_text("mine")
    before = names(filled)
    named = strange.rpartition("/x")[0] or strange.partition("/1")[0]
    with pytest.raises(ValueError, match=f"holds what selfsight did not write .{named}"):
        Claim(filled, "simclr", overwrite=True)
    assert names(filled) == before


def test_up_to_three_are_named(filled):
    for number in range(5):
        (filled / f"{number}.tex").touch()
    with pytest.raises(ValueError, match=r"\(0.tex, 1.tex, 2.tex and 2 more\)"):
        Claim(filled, "simclr", overwrite=True)


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard", "encoder.safetensors"])
def test_links_are_not_followed(filled, tmp_path, name):
    there = tmp_path / "elsewhere"
    (filled / name).rename(there)
    (filled / name).symlink_to(there)
    with pytest.raises(ValueError, match=f"did not write .{name}"):
        Claim(filled, "simclr", overwrite=True)
    assert there.exists()


def test_images_in_a_list_or_a_table_are_not_deleted(filled, tmp_path):
    image = str(filled / "views.png")
    (tmp_path / "link").symlink_to(filled)
    for data in ([image], [(image, 1)], pd.DataFrame({"file": [image]}), [str(tmp_path / "link" / "views.png")]):
        with pytest.raises(ValueError, match="which overwrite would delete"):
            Claim(filled, "simclr", overwrite=True, sources=(data, None))
    Claim(filled, "simclr", overwrite=True, sources=(["a\0b", str(tmp_path / "elsewhere.png")], None))


def test_a_foreign_config_is_neither_resumed_nor_marked(tmp_path):
    (tmp_path / "config.yaml").write_text("settings of something else")
    with pytest.raises(ValueError, match="holds no settings of a run"):
        take(tmp_path, resume=True)
    assert names(tmp_path) == {"config.yaml"}, "a marker would let overwrite delete what lies here"


def test_resume_in_a_marked_folder_with_other_files_is_refused(tmp_path):
    for name in (RUN_MARKER, "main.py"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="is not empty"):
        take(tmp_path, resume=True)


def test_a_marker_that_is_a_link_or_a_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.json").write_text("mine")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / RUN_MARKER).symlink_to("../mine.json")
    (tmp_path / "b" / RUN_MARKER).mkdir(parents=True)
    for path in (tmp_path / "a", tmp_path / "b"):
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(ValueError, match="is no file of a run's"):
                take(path, **options)
    assert (tmp_path / "mine.json").read_text() == "mine"


def test_a_ring_of_links_is_no_folder(tmp_path):
    (tmp_path / "run").symlink_to("run")
    with pytest.raises(ValueError, match="choose another out"):
        take(tmp_path / "run", overwrite=True, sources=("digits", None))


@pytest.mark.parametrize("source", ["", "held_out.csv", "encoder.safetensors"])
def test_what_this_run_reads_is_not_deleted(filled, source):
    for sources in ((filled / source, None), ({"train": str(filled / source)}, None), ("digits", filled / source)):
        with pytest.raises(ValueError, match="which overwrite would delete"):
            Claim(filled, "simclr", overwrite=True, sources=sources)


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"cannot make the folder .*thesis.tex.run .*: choose another"):
        take(tmp_path / "thesis.tex" / "run")


def test_overwrite_deletes_the_former_run(filled):
    (filled / "evaluation.json").touch()
    take(filled, {**CONFIG, "epochs": 9}, overwrite=True)
    assert names(filled) == {"config.yaml", RUN_MARKER} and open_run(filled).config["epochs"] == 9


def test_resuming_names_what_differs(filled):
    take(filled, {**CONFIG, "workers": 4}, resume=True)  # changes nothing that is computed
    with pytest.raises(ValueError, match=r"settings: epochs was 3, now 4; view_options.blur was 0.0, now 0.5\. Repeat"):
        take(filled, {**CONFIG, "epochs": 4, "view_options": {"blur": 0.5}}, resume=True)
    with pytest.raises(ValueError, match=r"settings: method was 'simclr', now 'vicreg'\. Repeat"):
        take(filled, {**CONFIG, "method": "vicreg", "lr": 9}, resume=True)
    assert names(filled) >= set(FILES)


def test_resuming_where_the_settings_are_lost_deletes_nothing(filled):
    (filled / "config.yaml").unlink()
    with pytest.raises(ValueError, match="holds no run"):
        Claim(filled, "simclr", resume=True)


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}])
def test_a_running_run_is_left_alone(tmp_path, flags):
    path = tmp_path / "run"
    early = Claim(path, "simclr", **flags)  # looked before the other came
    with Claim(path, "simclr") as running:
        running.take(CONFIG)
        for start in (lambda: Claim(path, "simclr", **flags), lambda: early.take(CONFIG)):
            with pytest.raises(ValueError, match=f"is in use by process {os.getpid()} on "):
                start()
    assert open_run(path).config == CONFIG


HOLDER = """
import sys, time
from selfsight.engine.claim import Claim
with Claim(sys.argv[1], "simclr") as claim:
    claim.take({"method": "simclr", "data": "x"})
    print("taken", flush=True)
    time.sleep(600)
"""


def test_a_killed_run_holds_nothing_and_may_be_resumed(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "taken\n"
        with pytest.raises(ValueError, match=f"in use by process {holder.pid}"):
            Claim(tmp_path / "run", "simclr", resume=True)
        holder.kill()
    Claim(tmp_path / "run", "simclr", resume=True)
    take(tmp_path / "run", {"method": "vicreg"})  # nor does what came to nothing occupy the folder


def test_a_forked_worker_does_not_hold_the_folder(tmp_path):
    with Claim(tmp_path / "run", "simclr") as claim:
        claim.take(CONFIG)
        reader, writer = os.pipe()
        worker = os.fork()
        if worker == 0:  # lives longer than the run
            os.read(reader, 1)
            os._exit(0)
    try:
        take(tmp_path / "run", resume=True)
    finally:
        os.write(writer, b"x")
        os.waitpid(worker, 0)


@pytest.mark.parametrize("step", [None, 0, 1])
def test_what_fails_before_its_first_step_leaves_nothing(tmp_path, step):
    def fail():
        with Claim(tmp_path / "new" / "run", "simclr") as claim:
            path = claim.take(CONFIG)
            (path / "log.txt").touch()
            if step is not None:
                claim.watch(lambda: step)
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert (tmp_path / "new").exists() == bool(step)


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(claims.fcntl, "flock", refuse)
    take(tmp_path / "run")
    assert "has no locks" in caplog.text
    with pytest.raises(ValueError, match="may be in use by process"):
        Claim(tmp_path / "run", "simclr")
    take(tmp_path / "run", resume=True)
