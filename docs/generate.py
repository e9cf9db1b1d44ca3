"""Write what code knows best: README's tables, a page for each method, their index. `make docs`; a test says when.

A method's page is `templates/method.md`, filled from `pages/NAME.yaml` (what a person must write), from the
method's class (paper, keywords, defaults, recipe) and from the learning benchmark.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Sequence
from dataclasses import MISSING, fields
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from selfsight import methods, protocols, signatures
from selfsight.views.augmentation import PROBABILITIES

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
CODE = Path(methods.__file__).parent
PAPER = re.compile(r"[A-Z][^:]*: (?P<title>[^()]*?) \((?P<venue>[^()]*?\d{4})\)")

FAMILIES = (
    "contrastive",
    "clustering",
    "self-distillation",
    "information maximisation",
    "masked",
    "pretext",
    "supervised and weakly supervised",
    "regression",
)
REQUIRED = ("family", "idea", "formula", "logged", "details", "published")
OPTIONAL = ("options", "usage")

PYTHON = """import selfsight

run = selfsight.pretrain("images/", method="{name}", encoder="resnet18", epochs=100, out="runs/{name}")"""
SHELL = "selfsight pretrain images/ --method {name} --encoder resnet18 --epochs 100 --out runs/{name}"


# What a person wrote.


def read_page(path: Path) -> dict[str, Any]:
    """`docs/pages/NAME.yaml`, with exactly the keys of the template.

    Raises:
        ValueError: for a missing file, a missing, unknown or empty key, or an unknown family, naming the file.
    """
    if not path.exists():
        raise ValueError(f"{path} is missing: every method has a page with {', '.join(REQUIRED)}")
    page = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(page, dict):
        raise ValueError(f"{path} must hold `key: text` lines")
    missing = [key for key in REQUIRED if not str(page.get(key) or "").strip()]
    extra = sorted(set(page) - {*REQUIRED, *OPTIONAL})
    if missing or extra:
        wrong = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has no use for {', '.join(extra)}"] * bool(extra)
        raise ValueError(f"{path} {' and '.join(wrong)}")
    if page["family"] not in FAMILIES:
        raise ValueError(f"{path}: family is {page['family']!r}, none of {', '.join(FAMILIES)}")
    usage = page.get("usage", {})
    if not isinstance(page["logged"], dict) or not isinstance(usage, dict) or not {"python", "shell"} >= set(usage):
        raise ValueError(f"{path}: logged must hold `name: meaning` lines, and usage python, shell or both")
    return page


def read_pages(folder: Path = DOCS / "pages") -> dict[str, dict[str, Any]]:
    """The pages of all methods, by name; a page without a method is refused, too."""
    names = methods.method_names()
    orphans = [path for path in sorted(folder.glob("*")) if path.suffix != ".yaml" or path.stem not in names]
    if orphans:
        raise ValueError(f"{', '.join(map(str, orphans))}: no method has this name")
    return {name: read_page(folder / f"{name}.yaml") for name in names}


# What code says.


def docstrings(name: str) -> tuple[str, list[str]]:
    """The module's docstring, and the paragraphs of its class's, which is not imported."""
    tree = ast.parse((CODE / f"{name}.py").read_text(encoding="utf-8"))
    (method,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_"))
    paragraphs = (ast.get_docstring(method) or "").split("\n\n")
    return ast.get_docstring(tree) or "", [" ".join(paragraph.split()) for paragraph in paragraphs]


def paper(name: str) -> tuple[str, str]:
    """Title and venue from the docstring of a method's class."""
    found = list(PAPER.finditer(docstrings(name)[1][1]))
    assert found, f"the docstring of {name} names no paper as `Authors: Title (Venue 2020)`"
    return found[-1]["title"], found[-1]["venue"]  # the last is the version's own


def keywords(name: str) -> str:
    """A table of a method's own keywords."""
    built: Any = methods.find_method(name)
    described = signatures.describe_parameters(built)
    known = {key: item for key, item in signatures.parameters(built).items() if key != "encoder"}
    missing = [key for key in known if key not in described]
    assert not missing, f"the docstring of {name} does not describe {', '.join(missing)}"
    if not known:
        return "It has no keywords of its own."
    rows = []
    for meaning, keys in groupby(known, key=lambda key: described[key]):
        together = list(keys)  # described by one line
        defaults = ", ".join(code(shown(known[key].default)) for key in together)
        rows.append((", ".join(map(code, together)), defaults, meaning))
    example = next((key for key, item in known.items() if isinstance(item.default, float)), next(iter(known)))
    value = known[example].default
    how = (
        f"In Python as `method_options={{{json.dumps(example)}: {value!r}}}`, "
        f"on the shell as `--method.{example} {typed(value)}`."
    )
    return table(("keyword", "default", "meaning"), rows) + "\n\n" + how


def recipe(name: str) -> str:
    """A table of the paper's optimisation and augmentation, by the options that change them."""
    built: Any = methods.find_method(name)
    return table(("option", "default"), [*optimisation_rows(built.optimisation), *view_rows(built.augmentation)])


def optimisation_rows(paper: Any) -> list[tuple[str, str]]:
    """What a paper's `Optimisation` says of each option of `pretrain`."""
    inner = f"betas {shown(paper.betas)}" if paper.optimizer.startswith("adam") else f"momentum {paper.momentum:g}"
    rate = f"{paper.lr:g}" + (
        f" for {paper.reference_batch} images" if paper.reference_batch else " whatever the batch"
    )
    decay = f"{paper.weight_decay:g}"
    if paper.final_weight_decay is not None:
        decay += f", rising to {paper.final_weight_decay:g}"
    rows = [
        ("--optimizer", f"{paper.optimizer}, {'Nesterov ' * paper.nesterov}{inner}"),
        ("--lr", rate + (f", down to {paper.final_lr:g} of it" if paper.final_lr else "")),
        ("--weight_decay", decay),
        ("--warmup_epochs", f"{paper.warmup_epochs:g}"),
    ]
    if paper.clip is not None:
        by = {"all": "", "part": ", each part by itself", "tensor": ", each parameter by itself"}[paper.clip_by]
        rows.append(("--clip", f"{paper.clip:g}{by}"))
    return [(code(option), value) for option, value in rows]


def view_rows(augmentation: Any) -> list[tuple[str, str]]:
    """What a paper's `Augmentation` says of each option of views that has an effect."""
    cropped = augmentation.crops[1] > 0
    named = ("crops", "global_scale", "local_scale") if cropped else ("scale",)
    named += ("flip", "jitter", "jitter_p", "grayscale", "blur", "solarize")
    changed = [
        field.name
        for field in fields(augmentation)
        if field.default is not MISSING and getattr(augmentation, field.name) != field.default
    ]
    names = [*named, *(name for name in changed if name not in (*named, "scale"))]
    if not augmentation.jitter_p:
        names.remove("jitter")
    return [(code(f"--views.{name}"), views_value(name, getattr(augmentation, name))) for name in names]


def views_value(name: str, value: Any) -> str:
    """A field of `Augmentation`; two probabilities are those of the first view and of the others."""
    if not isinstance(value, tuple) or name not in PROBABILITIES:
        return shown(value)
    return f"{value[0]:g} for the first view, {value[1]:g} for the others"


def results(name: str) -> str:
    """What both benchmarks of learning say of a method."""
    return "\n\n".join(filter(None, (learned_alone(name), learned_from_labels(name)))) or (
        "Not in the [learning benchmark](../benchmarks/learning.md) yet."
    )


def learned_alone(name: str) -> str:
    """The rows of the learning benchmark."""
    rows = [
        (
            result["epochs"],
            result["seed"],
            code(result["encoder"]),
            *(f"{result['knn'][which]:.3f}" for which in ("trained", "random", "pixels")),
        )
        for result in learning()
        if result["method"] == name
    ]
    if not rows:
        return ""
    about = (
        "The [learning benchmark](../benchmarks/learning.md): CIFAR-10, 10,000 training images, a small encoder, a\n"
        "short run; top-1 on the test images by kNN, of what was trained, of the same encoder untrained and of raw\n"
        "pixels. It asks whether the method learns; settings and hardware are there."
    )
    return about + "\n\n" + table(("epochs", "seed", "encoder", "trained", "untrained", "pixels"), rows)


def learned_from_labels(name: str) -> str:
    """The rows of the benchmark of methods that learn from labels, numbers and groups."""
    path = DOCS / "benchmarks" / "supervised.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    rows = [
        (
            result["task"],
            result["program"],
            result["seed"],
            result["metric"],
            *(f"{result['scores'][which]:.3f}" for which in ("trained", "random", "pixels")),
        )
        for result in found
        if result["method"] == name
    ]
    if not rows:
        return ""
    about = (
        "[Tasks with labels](../benchmarks/supervised.md) made from the same images: a tenth of the classes kept, the\n"
        "angle by which an image was turned, classes that come with a colour."
    )
    return about + "\n\n" + table(("task", "program", "seed", "score", "trained", "untrained", "pixels"), rows)


def learning() -> list[dict[str, Any]]:
    """The results of the learning benchmark."""
    return json.loads((DOCS / "benchmarks" / "learning.json").read_text(encoding="utf-8"))


def scores(name: str) -> tuple[str, str]:
    """A method's mean accuracy after the fewest epochs that were measured, and that of its encoder untrained."""
    rows = [result for result in learning() if result["method"] == name]
    shortest = min((result["epochs"] for result in rows), default=0)
    found = {
        which: [result["knn"][which] for result in rows if result["epochs"] == shortest]
        for which in ("trained", "random")
    }
    if not rows:
        return "", ""
    spread = f" ± {stdev(found['trained']):.3f}" if len(found["trained"]) > 1 else ""
    return f"{mean(found['trained']):.3f}{spread}", f"{mean(found['random']):.3f}"


# From both to Markdown.


def method_page(name: str, page: dict[str, Any]) -> str:
    """A method's page."""
    module, paragraphs = docstrings(name)
    usage = page.get("usage", {})
    texts = {key: str(page[key]).strip() for key in ("family", "idea", "formula", "details", "published")}
    return template("method").format(
        name=name,
        title=module.split("\n")[0].rstrip("."),
        sentence=methods.describe_methods()[name],
        citation=paragraphs[1],
        anchor=anchor(page["family"]),
        python=with_import(usage.get("python", PYTHON.format(name=name)).strip()),
        shell=usage.get("shell", SHELL.format(name=name)).strip(),
        options="\n\n".join([keywords(name), *([page["options"].strip()] if page.get("options") else [])]),
        recipe=recipe(name),
        logged=table(("name", "meaning"), [(code(key), meaning) for key, meaning in page["logged"].items()]),
        results=results(name),
        **texts,
    )


def with_import(python: str) -> str:
    """A call of `pretrain` alone as something that runs."""
    if "import" in python:
        return python
    return "import selfsight\n\n" + re.sub(r"^pretrain\(", "selfsight.pretrain(", python, flags=re.MULTILINE)


def index_page(pages: dict[str, dict[str, Any]]) -> str:
    """All methods by family, with what they scored here."""
    tables = []
    for family, names in by_family(pages).items():
        rows = [(*method_row(name, f"{name}.md"), *scores(name)) for name in names]
        head = ("method", "what it learns by", "paper", "kNN here", "untrained")
        tables.append(f"## {family.capitalize()}\n\n{table(head, rows)}")
    return template("index").format(tables="\n\n".join(tables))


def protocols_page() -> str:
    """The page of what `evaluate` can ask."""
    sections, rows = [], []
    for name, sentence in protocols.describe_protocols().items():
        found = protocols.find_protocol(name)
        paragraphs = [" ".join(text.split()) for text in inspect.getdoc(found).split("\n\n")]
        described = signatures.describe_parameters(found)
        missing = [key for key in signatures.parameters(found) if key not in described]
        assert not missing, f"the docstring of {name} does not describe {', '.join(missing)}"
        kept = [text for text in paragraphs if not re.match(rf"({'|'.join(described) or '-'}): ", text)]
        options = [
            (code(f"{name}.{key}"), code(shown(item.default)), described[key])
            for key, item in signatures.parameters(found).items()
        ]
        link = f"[`protocols/{name}.py`](../src/selfsight/protocols/{name}.py)"
        parts = [f"## {name}", *kept, *([table(("option", "default", "meaning"), options)] if options else [])]
        sections.append("\n\n".join([*parts, f"Code: {link}."]))
        rows.append((f"[{name}](#{anchor(name)})", sentence))
    return template("protocols").format(table=table(("protocol", "what it asks"), rows), sections="\n\n".join(sections))


def template(name: str) -> str:
    """The text around what is filled in."""
    return (DOCS / "templates" / f"{name}.md").read_text(encoding="utf-8")


def methods_tables(pages: dict[str, dict[str, Any]]) -> str:
    """README's tables, one a family."""
    tables = []
    for family, names in by_family(pages).items():
        rows = [method_row(name, f"docs/methods/{name}.md") for name in names]
        tables.append(f"### {family.capitalize()}\n\n" + table(("method", "what it learns by", "paper"), rows))
    return "\n\n".join(tables)


def method_row(name: str, link: str) -> tuple[str, str, str]:
    """A method, what it learns by, its paper."""
    title, venue = paper(name)
    return f"[`{name}`]({link})", methods.describe_methods()[name].rstrip("."), f"{title} ({venue})"


def by_family(pages: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Names by family, families without a method left out."""
    found = {family: [name for name, page in pages.items() if page["family"] == family] for family in FAMILIES}
    return {family: names for family, names in found.items() if names}


def table(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell(item) for item in line)} |" for line in lines)


def cell(item: Any) -> str:
    """Text that fits into a cell of a table."""
    return " ".join(str(item).split()).replace("|", "\\|")


def code(text: str) -> str:
    """Text as code."""
    return f"`{text}`"


def shown(value: Any) -> str:
    """A default as Python writes it, its numbers short."""
    if isinstance(value, tuple):
        return f"({', '.join(map(shown, value))}{',' * (len(value) == 1)})"
    return f"{value:g}" if isinstance(value, float) else repr(value)


def typed(value: Any) -> str:
    """A default as it is typed on a shell."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


def anchor(heading: str) -> str:
    """How a heading is linked to."""
    return heading.lower().replace(" ", "-")


def fill(text: str, name: str, content: str) -> str:
    """`text` with what stands between the markers `name` replaced."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    assert found, f"the markers {begin} and {end} are missing"
    return f"{before}{begin}\n{content}\n{end}{after}"


def documents() -> dict[Path, str]:
    """Every file that is written here, with the text that it should have."""
    pages = read_pages()
    readme = ROOT / "README.md"
    folder = DOCS / "methods"
    return {
        readme: fill(readme.read_text(encoding="utf-8"), "methods", methods_tables(pages)),
        folder / "index.md": index_page(pages),
        DOCS / "protocols.md": protocols_page(),
        **{folder / f"{name}.md": method_page(name, page) for name, page in pages.items()},
    }


def write() -> None:
    """Write all of them, and remove the pages of methods that are no more."""
    texts = documents()
    for path in set((DOCS / "methods").glob("*.md")) - set(texts):
        path.unlink()
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
