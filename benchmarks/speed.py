"""How fast is selfsight? Each section measures one part and rewrites its own part of the page.

    python benchmarks/speed.py --section views
    python benchmarks/speed.py --data cifar10

A section is a file `speed_NAME.py` beside this one, with a `TITLE` and `run(options) -> str` that
answers Markdown. Those in `WANT_DATA` measure on CIFAR-10 and are left out, aloud, without `--data`.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import torch

from selfsight.memory import keep_memory
from timing import hardware

HERE = Path(__file__).parent
SECTIONS = sorted(path.stem.removeprefix("speed_") for path in HERE.glob("speed_*.py"))
WANT_DATA = ("end_to_end", "steps")
TEXT = "# Speed\n\nWritten by `benchmarks/speed.py`. Rates are medians over rounds, with the lowest and highest."


def main() -> None:
    """Measure the sections asked for and write the page after each."""
    options = parse()
    torch.set_num_threads(options.threads)
    keep_memory()  # as `pretrain` does; the other program's workers inherit it
    for name in chosen(options):
        section = importlib.import_module(f"speed_{name}")
        body = f"{section.run(options)}\n\nMeasured on: {hardware(options.device)}."
        page = put(options.out.read_text() if options.out.exists() else TEXT, section.TITLE, body)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page)
        print(f"## {section.TITLE}\n\n{body}\n")


def chosen(options: argparse.Namespace) -> list[str]:
    """The sections to measure; one that was asked for by name has what it needs."""
    if options.data is not None:
        return SECTIONS if options.section == "all" else [options.section]
    wanted = "--data FOLDER, CIFAR-10 as train/CLASS/* and test/CLASS/*"
    if options.section in WANT_DATA:
        raise SystemExit(f"the section {options.section} wants {wanted}")
    if options.section != "all":
        return [options.section]
    print(f"left out: {', '.join(WANT_DATA)}, which want {wanted}\n")
    return [name for name in SECTIONS if name not in WANT_DATA]


def parse() -> argparse.Namespace:
    """Options that all sections share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--section", choices=[*SECTIONS, "all"], default="all")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "benchmarks" / "speed.md")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2, help="of torch, and workers of the other program")
    parser.add_argument("--rounds", type=int, default=7, help="how often each program runs, in turn")
    parser.add_argument("--methods", nargs="*", help="of the section steps; all by default")
    parser.add_argument("--data", type=Path, help="CIFAR-10 as train/CLASS/* and test/CLASS/*")
    return parser.parse_args()


def put(page: str, title: str, body: str) -> str:
    """The page with the section `title` replaced, or added at its end."""
    head, *sections = page.rstrip().split("\n## ")
    kept = {section.split("\n", 1)[0]: section for section in sections}
    kept[title] = f"{title}\n\n{body}"
    return "\n\n## ".join(part.rstrip() for part in (head, *kept.values())) + "\n"


if __name__ == "__main__":
    main()
