"""The documents say what is true: their examples run, their tables are what code says, their links lead somewhere."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import selfsight
from conformance.cases import small_method
from selfsight import arguments, cli
from selfsight.methods import method_names
from selfsight.testing import small_batches

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = ROOT / "docs" / "templates"
PAGES = [*ROOT.glob("*.md"), *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path.parent != TEMPLATES)]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
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


def run_code(code: str, names: dict | None = None) -> None:
    exec(compile(smaller(code), "example", "exec"), {"__name__": "example"} if names is None else names)


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
    assert selfsight.open_run("runs/spectral").finished
    lines = [line for line in (workplace / "spectral.py").read_text().splitlines() if line.strip()]
    assert len(lines) <= 60
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_spectral.py"]
    subprocess.run(test, cwd=workplace, check=True, capture_output=True)
    lint = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), "spectral.py"]
    subprocess.run(lint, cwd=workplace, check=True, capture_output=True)


def calls(code: str) -> list[tuple[str, list[str], dict[str, Any]]]:
    """Calls of verbs in Python: the verb, its words and its keywords; what is no literal is left out."""
    found = []
    for node in ast.walk(ast.parse(code)):
        match node:
            case (
                ast.Call(func=ast.Attribute(value=ast.Name(id="selfsight"), attr=verb))
                | ast.Call(func=ast.Name(id=verb))
            ) if verb in cli.COMMANDS and verb != "list":
                settings = {keyword.arg: literal(keyword.value) for keyword in node.keywords if keyword.arg}
                found.append((verb, ["word"] * len(node.args), settings))
    return found


def literal(node: ast.expr) -> Any:
    try:
        return json.loads(json.dumps(ast.literal_eval(node)))
    except ValueError:
        return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_call_in_a_page_can_be_made(page, tmp_path):
    """Keywords, and the options of method and views, are checked as a configuration is."""
    for number, (verb, words, settings) in enumerate(calls("".join(code for _, code in blocks(page, "python")))):
        unknown = set(settings) - set(inspect.signature(cli.find_verb(verb)).parameters)
        assert not unknown, f"{verb} has no {unknown}"
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump({name: value for name, value in settings.items() if value is not None}))
        required = [f"--{name}=x" for name, value in settings.items() if value is None and name == "out"]
        own = str(settings.get("method", "simclr")).partition(".")[0]
        if own in ("simclr", *method_names()):  # not a class of the reader's own
            arguments.parse(cli.find_verb(verb), [*words, *required, "--config", str(path)], verb)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs_from_top_to_bottom(page, workplace):
    """Its code blocks share their names; those that are files of their own are written."""
    names = {"__name__": page.stem}
    for note, code in blocks(page, "python"):
        if note and note.startswith("file: "):
            (workplace / note.removeprefix("file: ")).write_text(code)
        else:
            run_code(code, names)


def test_tables_and_pages_of_methods_are_what_code_says(generate):
    documents = generate.documents()
    written = {*(ROOT / "docs" / "methods").glob("*.md"), ROOT / "README.md", ROOT / "docs" / "protocols.md"}
    assert written == set(documents), "make docs writes and removes pages"
    for path, text in documents.items():
        assert path.read_text() == text, f"{path} is out of date: make docs writes it anew"


def test_all_pages_of_methods_have_the_same_headings():
    pages = [page for page in (ROOT / "docs" / "methods").glob("*.md") if page.stem != "index"]
    headings = {tuple(re.findall(r"^##+ .*", page.read_text(), re.MULTILINE)) for page in pages}
    assert len(headings) == 1, headings


@pytest.mark.parametrize("name", method_names())
def test_a_page_names_exactly_what_its_method_logs(name, generate):
    page = generate.read_page(ROOT / "docs" / "pages" / f"{name}.yaml")
    method = small_method(name)
    assert set(page["logged"]) == set(method(small_batches(method, count=1)[0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"idea": None}, "lacks idea"),
        ({"details": "  "}, "lacks details"),
        ({"results": "1"}, "has no use for results"),
        ({"family": "contrastif"}, "none of contrastive"),
        ({"logged": "loss"}, "logged must hold"),
        ({"usage": {"rust": ""}}, "python, shell or both"),
    ],
)
def test_a_page_with_a_wrong_key_is_refused_by_name(change, message, generate, tmp_path):
    page = yaml.safe_load((ROOT / "docs" / "pages" / "simclr.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({key: text for key, text in {**page, **change}.items() if text is not None}))
    with pytest.raises(ValueError, match=rf"mine\.yaml.*{message}"):
        generate.read_page(path)


def test_methods_and_pages_come_in_pairs(generate, tmp_path):
    for name in method_names():
        (tmp_path / f"{name}.yaml").write_text((ROOT / "docs" / "pages" / f"{name}.yaml").read_text())
    assert list(generate.read_pages(tmp_path)) == method_names()
    (tmp_path / "nobody.yaml").touch()
    with pytest.raises(ValueError, match=r"nobody\.yaml: no method"):
        generate.read_pages(tmp_path)
    (tmp_path / "nobody.yaml").unlink()
    (tmp_path / "simclr.yaml").unlink()
    with pytest.raises(ValueError, match=r"simclr\.yaml is missing"):
        generate.read_pages(tmp_path)


def test_the_example_of_a_method_runs(workplace):
    for _, code in blocks(ROOT / "docs" / "methods" / "simclr.md", "python"):
        run_code(code)
    assert selfsight.open_run("runs/simclr").finished


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("room", ["", "data", "engine", "nets", "views"])
def test_the_architecture_names_each_module_and_none_that_is_gone(room):
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"\w+\.py\b", text)) - {"__init__.py"}
    modules = {path.name for path in (ROOT / "src" / "selfsight" / room).glob("*.py") if not path.name.startswith("__")}
    assert modules <= named, f"say in ARCHITECTURE.md what these are for: {sorted(modules - named)}"
    there = {path.name for folder in ("src", "tests", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py")}
    assert named <= there, f"ARCHITECTURE.md names what is gone: {sorted(named - there)}"
