"""The command line: what it offers, how it fails, how fast it answers."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import selfsight
from selfsight import cli, signatures
from selfsight.methods import find_method, method_names

FROZEN = Path(__file__).parent / "options.txt"
VERBS = ("pretrain", "evaluate", "embed", "export")
SMALL = [
    "--method.projector",
    "16,8",
    "--encoder",
    "resnet_slim",
    "--limit",
    "64",
    "--batch_size",
    "32",
    "--no_monitor",
]


def options() -> str:
    """Every option of every verb, its type and its default, a line each."""
    lines = []
    for verb in VERBS:
        function = getattr(selfsight, verb)
        for name, item in signatures.parameters(function).items():
            shown = name.upper() if name in signatures.words(function) else f"--{name}"
            default = "" if item.default is item.empty else f" = {item.default!r}"
            lines.append(f"{verb} {shown}: {item.annotation}{default}")
    return "\n".join(lines) + "\n"


def test_no_option_changes_unnoticed():
    assert options() == FROZEN.read_text(), "if this is meant, say so in CHANGELOG.md and run: python tests/test_cli.py"


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_described(verb):
    function = getattr(selfsight, verb)
    missing = set(signatures.parameters(function)) - set(signatures.describe_parameters(function))
    assert not missing, f"the docstring of {verb} says nothing of {sorted(missing)}"


@pytest.mark.parametrize(
    "command",
    ["--help", "--version", *(f"{verb} --help" for verb in VERBS), "list methods", "list recipes", "list encoders"],
)
def test_answers_take_less_than_a_second_of_processor_time(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.run([sys.executable, "-m", "selfsight", *command.split()], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert shown.returncode == 0 and shown.stdout and not shown.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("pretrian images", "pretrain"),
        ("pretrain digits --epocs 3", "--epochs"),
        ("pretrain digits --epochs many", "--epochs"),
        ("pretrain digits --method vicrg", "vicreg"),
        ("pretrain digits --method.temprature .2", "--method.temperature"),
        ("pretrain digits --method.temperature warm", "--method.temperature"),
        ("pretrain digits --views.blurr 1", "--views.blur"),
        ("pretrain digits --views.blur much", "--views.blur"),
        ("pretrain digits --optimizer adamv", "adamw"),
        ("pretrain digits --encoder resnet81", "resnet18"),
        ("pretrain digits --recipe vicreg-cifar", "vicreg-cifar10"),
        ("pretrain nowhere", "nowhere"),
        ("pretrain", "DATA"),
        ("evaluate nowhere/run digits", "nowhere/run"),
        ("evaluate resnet_slim digits --protocols knm", "knn"),
        ("embed resnet_slim digits", "--out"),
        ("list recepies", "recipes"),
    ],
)
def test_what_is_asked_wrongly_exits_with_2_and_one_line_that_names_the_fix(
    command, words, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(command.split()) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("selfsight: error: ") and shown.err.count("\n") == 1
    assert words in shown.err


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="epocs"):
        cli.main(["pretrain", "digits", "--epocs", "3", "--debug"])


def test_every_method_is_listed_in_one_line(capsys):
    assert cli.main(["list", "methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == method_names()
    assert all(len(line) < 120 for line in lines)


def test_help_beside_a_method_shows_its_options(capsys):
    with pytest.raises(SystemExit):
        cli.main(["pretrain", "--method", "simclr", "--help"])
    shown = capsys.readouterr().out
    assert "--method.temperature (default: 0.1)" in shown and "of the softmax" in shown


def test_a_pattern_searches_all_encoders(capsys):
    assert cli.main(["list", "encoders", "resnet1"]) == 0
    assert "resnet18" in capsys.readouterr().out.split()


@pytest.mark.parametrize("method", method_names())
def test_every_option_of_every_method_can_be_typed(method):
    """An option given its own default arrives unchanged, lists for tuples."""
    from selfsight import arguments

    target = find_method(method)
    defaults = {
        n: p.default for n, p in signatures.parameters(target).items() if n != "encoder" and p.default is not p.empty
    }
    typed = arguments.typed(target, {name: arguments.as_text(value) for name, value in defaults.items()}, "method.")
    assert json.loads(json.dumps(typed)) == json.loads(json.dumps(defaults))


def test_the_main_job_from_a_shell(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["pretrain", "digits", "--epochs", "1", "--out", "run", "--views.flip", "0", *SMALL]) == 0
    assert "selfsight evaluate run" in capsys.readouterr().out
    config = selfsight.open_run("run").config
    assert config["method_options"]["projector"] == [16, 8] and config["view_options"]["flip"] == 0
    assert cli.main(["evaluate", "run", "digits", "--protocols", "knn,ridge", "--limit", "100"]) == 0
    assert {record["protocol"] for record in json.loads(Path("run/evaluation.json").read_text())} == {"knn", "ridge"}
    assert cli.main(["embed", "run", "digits", "--out", "features.parquet"]) == 0
    assert "wrote features.parquet" in capsys.readouterr().out
    assert cli.main(["pretrain", "digits", "--epochs", "1", "--out", "run", "--views.flip", "0", *SMALL]) == 2
    assert "--overwrite" in capsys.readouterr().err or Path("run").exists()


def test_a_method_of_ones_own_is_found_beside_the_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from selfsight.methods import SimCLR\n\n\n"
        "class Cooler(SimCLR):\n    '''SimCLR, cooled.'''\n\n"
        "    def __init__(self, encoder, *, temperature: float = 0.05, projector: tuple[int, ...] = (16, 8)):\n"
        "        super().__init__(encoder, projector=projector, temperature=temperature)\n"
    )
    assert cli.main(["pretrain", "digits", "--method", "mine.Cooler", "--epochs", "1", "--out", "run", *SMALL]) == 0
    assert selfsight.open_run("run").config["method"] == "mine.Cooler"


def test_ctrl_c_exits_with_130_and_the_run_goes_on(tmp_path):
    command = [sys.executable, "-m", "selfsight", "pretrain", "digits", "--out", "run", "--epochs", "2000", *SMALL]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        metrics = tmp_path / "run" / "metrics.csv"
        while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "--resume" in errors and "Traceback" not in errors
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


if __name__ == "__main__":
    FROZEN.write_text(options())
