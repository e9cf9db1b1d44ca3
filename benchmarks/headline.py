"""A recipe's promise kept or not: train it within a time, in slices, and score it on the test images.

    python benchmarks/headline.py --recipe vicreg-cifar10 --data cifar10 --minutes 30

Trains for at most so many minutes and leaves a checkpoint; the same command goes on from there. When
the recipe's last epoch is done it scores the encoder by kNN and a linear probe, beside the untrained
encoder, pixels and chance, adds a row to the table, and writes the encoder in half precision, in
files of at most 15 MiB. CPU or CUDA, whatever there is.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import selfsight
from selfsight.engine import Run
from selfsight.recipes import load_recipe

PART_BYTES = 15 * 2**20


def main() -> None:
    """One slice; and the scores, when it was the last."""
    options = parse()
    out = options.runs / options.recipe
    settings = {**load_recipe(options.recipe), "seed": options.seed}
    if options.epochs is not None:
        settings["epochs"] = options.epochs
    run = selfsight.pretrain(
        options.data, **settings, out=out, max_minutes=options.minutes, resume=out.exists(), devices=options.devices
    )
    if not run.finished:
        print(f"stopped after {options.minutes:g} minutes: the same command goes on")
        return
    records = selfsight.evaluate(run.path, options.data, protocols="knn,linear", seed=options.seed)
    write_half(run, out / "half")
    append(row(options.recipe, run, records), options.out)
    print(options.out.read_text())


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True, help="as `selfsight list recipes` names them")
    parser.add_argument("--data", type=Path, required=True, help="a folder with train/CLASS/* and test/CLASS/*")
    parser.add_argument("--minutes", type=float, default=None, help="of this slice; without it, to the end")
    parser.add_argument("--epochs", type=int, default=None, help="another length than the recipe's; the table says so")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--devices", default="auto", help="auto, cpu, gpu or a number of GPUs")
    parser.add_argument("--runs", type=Path, default=Path("runs/headline"), help="where runs are kept")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/headline.md"))
    return parser.parse_args()


def row(recipe: str, run: Run, records: list[dict[str, Any]]) -> dict[str, Any]:
    """What the table says of a run."""
    scores = {(record["protocol"], record["encoder"]): record["top1"] for record in records}
    return {
        "recipe": recipe,
        "epochs": run.config["epochs"],
        "seed": run.config["seed"],
        **{f"{protocol} {encoder}": round(top1, 4) for (protocol, encoder), top1 in scores.items()},
        "minutes": round(run.summary["seconds"] / 60, 1),
        "images/s": round(run.summary["images_per_second"]),
        "hardware": run.summary["hardware"],
    }


def append(new: dict[str, Any], out: Path) -> None:
    """Add a row to the results beside the table, and write the table anew."""
    kept = out.with_suffix(".json")
    rows = json.loads(kept.read_text()) if kept.exists() else []
    same = ("recipe", "epochs", "seed")
    rows = [old for old in rows if any(old[name] != new[name] for name in same)] + [new]
    out.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(rows, indent=1) + "\n")
    out.write_text(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    heads = [name for name in rows[0] if name != "hardware"]
    machines = sorted({"{device}, {threads} threads, {precision}".format(**result["hardware"]) for result in rows})
    lines = [
        "# Headline runs",
        "",
        "Recipes as shipped, trained on the training images without labels, last epoch, scored on the test images.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(str(result.get(name, "")) for name in heads) + " |" for result in rows),
        "",
        f"Hardware: {'; '.join(machines)}.",
    ]
    return "\n".join(lines) + "\n"


def write_half(run: Run, folder: Path) -> None:
    """The encoder's state dict in fp16, in timm's names, in parts of at most 15 MiB."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in run.encoder.model.state_dict().items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        if size + half.nbytes > PART_BYTES and parts[-1]:
            parts.append({})
            size = 0
        parts[-1][name] = half.contiguous()
        size += half.nbytes
    for number, part in enumerate(parts, 1):
        save_file(part, folder / f"encoder-{number}-of-{len(parts)}.safetensors")


if __name__ == "__main__":
    main()
