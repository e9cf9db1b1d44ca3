"""The documents say what is true: their examples run, their tables are what code says, their links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import selfsight
from selfsight import arguments, cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?:<!-- (?P<note>.*?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)```", re.DOTALL)

# Examples run as printed except for their size.
SMALLER = {
    "epochs=100": 'epochs=1, batch_size=16, devices="cpu"',
    'method="vicreg"': 'method="vicreg", method_options={"projector": [16, 16]}',
    '{"temperature": 0.2}': '{"temperature": 0.2, "projector": [16, 8]}',
    '"resnet18"': '"resnet_slim"',
    "--epochs 100": "--epochs 1 --batch_size 16 --devices cpu --method.projector 16,16",
    "resnet18": "resnet_slim",
}


def blocks(page: Path, language: str) -> list[tuple[str | None, str]]:
    """Code blocks of a language, each with the comment right above it."""
    return [(b["note"], b["code"]) for b in BLOCK.finditer(page.read_text()) if b["language"] == language]


def shell_lines(page: Path) -> list[list[str]]:
    """Calls of `selfsight` in a page's shell blocks, split into words."""
    lines = "".join(code for _, code in blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.startswith("selfsight ")]


def smaller(text: str) -> str:
    for large, small in SMALLER.items():
        text = text.replace(large, small)
    return text


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """A folder with `images/`, eight photographs-to-be in each of four classes, and nothing else."""
    from PIL import Image
    from sklearn.datasets import load_digits

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        folder = tmp_path / "images" / str(label)
        if label < 4 and len(list(folder.glob("*"))) < 12:
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pixels * 15).astype("uint8")).resize((16, 16)).convert("RGB").save(
                folder / f"{number}.png"
            )
    return tmp_path


def run_code(code: str) -> None:
    exec(compile(smaller(code), "example", "exec"), {"__name__": "example"})


def test_the_main_job_of_the_readme_runs_in_python_and_on_the_shell(workplace):
    python = [code for _, code in blocks(ROOT / "README.md", "python")]
    for code in python:
        run_code(code)
    assert (workplace / "runs/mine/evaluation.json").exists() and (workplace / "features.parquet").exists()
    (workplace / "encoder.onnx").rename("python.onnx")
    (workplace / "features.parquet").rename("python.parquet")
    (workplace / "runs").rename("python-runs")

    main_job = shell_lines(ROOT / "README.md")[:4]
    assert [words[1] for words in main_job] == ["pretrain", "evaluate", "embed", "export"]
    for words in main_job:
        assert cli.main(shlex.split(smaller(shlex.join(words[1:])))) == 0, words
    assert (workplace / "encoder.onnx").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_a_page_can_be_typed(page):
    for _, verb, *words in shell_lines(page):
        if verb == "list":
            assert cli.main(["list", *words]) == 0
        elif "--help" not in words and "--print_config" not in words:
            arguments.parse(cli.find_verb(verb), words, verb)
        else:
            with pytest.raises(SystemExit) as left:
                arguments.parse(cli.find_verb(verb), words, verb)
            assert not left.value.code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_yaml_in_a_page_is_a_configuration(page, tmp_path):
    for _, code in blocks(page, "yaml"):
        assert isinstance(yaml.safe_load(code), dict)
        (tmp_path / "settings.yaml").write_text(code)
        arguments.parse(selfsight.pretrain, ["images", "--config", str(tmp_path / "settings.yaml")], "pretrain")


def test_a_method_in_60_lines(workplace):
    """The files of CONTRIBUTING.md are written, its example trains, its test passes."""
    for note, code in blocks(ROOT / "CONTRIBUTING.md", "python"):
        if note and note.startswith("file: "):
            (workplace / note.removeprefix("file: ")).write_text(code)
        else:
            run_code(code)
    assert selfsight.open_run("runs/dcl").finished
    lines = [line for line in (workplace / "dcl.py").read_text().splitlines() if line.strip()]
    assert len(lines) <= 60
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_dcl.py"]
    subprocess.run(test, cwd=workplace, check=True, capture_output=True)
    lint = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), "dcl.py"]
    subprocess.run(lint, cwd=workplace, check=True, capture_output=True)


def test_the_tables_of_the_readme_are_what_code_says():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    readme = (ROOT / "README.md").read_text()
    assert generate.generate(readme) == readme, "make docs writes it anew"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
