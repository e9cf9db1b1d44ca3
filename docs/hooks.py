"""What mkdocs does not do by itself: pages from the root, a reference, the navigation, formulas, links.

Pages are written for the code host: their links are relative to where they lie in the project. In the site README.md
is the home page, the other pages of the root stand beside it, and a link to a file that has no page is plain text.
"""

from __future__ import annotations

import html
import logging
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from latex2mathml.converter import convert_to_element
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
log = logging.getLogger("mkdocs.hooks.selfsight")

FROM_ROOT = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages at the root of the project, and where they stand in the site."""

VERBS = [f"selfsight.{verb}.{verb}" for verb in ("pretrain", "evaluate", "embed", "export")]
REFERENCE = {
    "Verbs": [*VERBS, "selfsight.load_encoder", "selfsight.open_run", "selfsight.engine.run_folder.Run"],
    "Method": ["selfsight.methods.base", "selfsight.methods.find_method", "selfsight.methods.describe_methods"],
    "Losses": ["selfsight.losses"],
    "Views": ["selfsight.views"],
    "Probes": ["selfsight.probes"],
    "Protocol": ["selfsight.protocols.base", "selfsight.protocols.describe_protocols"],
    "Metrics": ["selfsight.metrics"],
    "Testing": ["selfsight.testing"],
}
"""Pages of the reference, and what each describes."""
MODULES = {"selfsight.methods.base", "selfsight.losses", "selfsight.views", "selfsight.probes", "selfsight.testing"}
MODULES |= {"selfsight.protocols.base", "selfsight.metrics"}
MODULE = "\n    options:\n      show_root_heading: false"
HOME = "---\nhide: [navigation]\n---\n\n"

PRIMES, BARS = "′″‴", ("|", "∣", "‖", "∥")
INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?!\w+:)(?P<target>[^)#\s]+)(?P<anchor>#[^)]*)?\)")


def on_config(config: Any) -> Any:
    """The navigation: tutorials and benchmarks as they lie there, methods by family."""
    config.nav = [
        {"Home": "index.md"},
        {"Tutorials": pages_in("tutorials")},
        {"Methods": ["methods/index.md", *methods_by_family()]},
        {"Protocols": ["protocols.md"]},
        {"Benchmarks": pages_in("benchmarks")},
        {"Reference": [{title: reference_path(title)} for title in REFERENCE]},
        {"Project": [{"Architecture": "architecture.md"}, {"Contributing": "contributing.md"}, "changelog.md"]},
    ]
    config.nav = [{title: pages} for item in config.nav for title, pages in item.items() if pages]
    return config


def pages_in(folder: str) -> list[str]:
    """Markdown pages of a folder of docs/, if there is one; `index.md` first."""
    pages = sorted((ROOT / "docs" / folder).glob("*.md"), key=lambda page: (page.stem != "index", page.stem))
    return [f"{folder}/{page.name}" for page in pages]


def methods_by_family() -> list[dict[str, list[str]]]:
    """Pages of methods, under their families in the order of the index."""
    index = (ROOT / "docs" / "methods" / "index.md").read_text(encoding="utf-8")
    families = re.split(r"^## ", index, flags=re.MULTILINE)[1:]
    return [
        {family.partition("\n")[0]: [f"methods/{name}" for name in re.findall(r"\]\((\w+\.md)\)", family)]}
        for family in families
    ]


def reference_path(title: str) -> str:
    """Where a page of the reference stands."""
    return f"reference/{title.lower()}.md"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the root, and the reference."""
    for name, path in FROM_ROOT.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, path, content=HOME + text if path == "index.md" else text))
    for title, names in REFERENCE.items():
        blocks = "\n\n".join(f"::: {name}" + MODULE * (name in MODULES) for name in names)
        files.append(File.generated(config, reference_path(title), content=f"# {title}\n\n{blocks}\n"))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links between files of the project as links between pages of the site."""
    here = page.file.src_uri
    origin = {path: name for name, path in FROM_ROOT.items()}.get(here, f"docs/{here}")

    def link(found: re.Match[str]) -> str:
        text, target, anchor = found["text"], found["target"], found["anchor"] or ""
        path = os.path.normpath(PurePosixPath(origin).parent / target)
        if not (ROOT / path).exists():
            return found[0]  # mkdocs warns of it
        inside = FROM_ROOT.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if inside is None or files.get_file_from_path(inside) is None:
            return text
        return f"[{text}]({os.path.relpath(inside, PurePosixPath(here).parent)}{anchor})"

    return LINK.sub(link, markdown)


def on_page_content(content: str, page: Any, config: Any, files: Files) -> str:
    """Formulas as MathML, which browsers set themselves: no script, and nothing loaded from elsewhere."""

    def mathml(found: re.Match[str], display: str) -> str:
        latex = re.sub(r"\\arg(?![a-z])", r"\\operatorname{arg}", html.unescape(found[1]))  # unknown to latex2mathml
        formula = convert_to_element(latex, display=display)
        for node in formula.iter():
            node.text = html.unescape(node.text or "")  # latex2mathml escapes by itself
            if node.text in BARS:
                node.attrib.setdefault("stretchy", "false")
        lower_primes(formula)
        text = tostring(formula, encoding="unicode")
        unknown = re.findall(r">\s*(\\\w+)", text)
        if unknown:
            log.warning("%s: unknown in a formula: %s", page.file.src_uri, ", ".join(unknown))
        return text

    content = DISPLAY.sub(lambda found: f'<div class="arithmatex">{mathml(found, "block")}</div>', content)
    return INLINE.sub(lambda found: mathml(found, "inline"), content)


def lower_primes(formula: Element) -> None:
    """Primes beside their letter, not above it: fonts raise them already, and not all browsers know."""
    for node in formula.iter():
        if node.tag not in ("msup", "msubsup") or not node[-1].text or node[-1].text.strip(PRIMES):
            continue
        letter, prime = node[0], node[-1]
        node.remove(letter)
        node.remove(prime)
        group = Element("mrow")
        group.append(letter)
        SubElement(group, "mo", lspace="0", rspace="0").text = prime.text
        node.insert(0, group)
        node.tag = "mrow" if node.tag == "msup" else "msub"
