"""Figures to be known by: a recipe's promise, or a public table that a laptop can afford.

    python benchmarks/headline.py --recipe vicreg-cifar10 --data cifar10 --minutes 30
    python benchmarks/headline.py --methods vicreg,simclr --epochs 1 --data cifar10

The first trains a recipe for at most so many minutes and leaves a checkpoint; the same command goes on
from there. The second trains ResNet-18 on all training images for a few epochs, with the settings of
`benchmarks/settings.py`, which were found on training images, and a tenth of the epochs as warm-up.
When the last epoch is done the encoder is scored on the test images by kNN and a linear probe, beside
the untrained encoder, pixels and chance, a row is added to the table, and the encoder of a recipe is
written in half precision, in files of at most 15 MiB. CPU or CUDA, whatever there is.
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
from settings import settings

PART_BYTES = 15 * 2**20


# Linear probe after so many epochs of all 50,000 images, from the readme of EMP-SSL (Tong, Chen, Ma, LeCun 2023).
PUBLISHED = {
    "simclr": {1: 0.282, 10: 0.565, 30: 0.663, 1000: 0.910},
    "vicreg": {1: 0.406, 10: 0.697, 30: 0.781, 1000: 0.921},
    "byol": {1: 0.249, 10: 0.489, 30: 0.684, 1000: 0.926},
}
OWN_ENCODER = ("mae",)  # no ResNet will do


def main() -> None:
    """One slice of a recipe, or one method after the other; and the scores of what is done."""
    options = parse()
    for name, chosen in runs_of(options).items():
        if any(key(old) == (name, chosen["epochs"], options.seed) for old in read(options.out)):
            print(f"{name}, {chosen['epochs']} epochs, seed {options.seed}: done before")
            continue
        out = options.runs / f"{name}-{chosen['epochs']}-{options.seed}"
        run = selfsight.pretrain(
            options.data,
            **{**chosen, "seed": options.seed},
            out=out,
            max_minutes=options.minutes,
            resume=out.exists(),
            devices=options.devices,
        )
        if not run.finished:
            print(f"{out} was stopped: the same command goes on with it")
            return
        same = [old for old in read(options.out) if old["encoder"] == run.config["encoder"] and "knn random" in old]
        records = selfsight.evaluate(
            run.path, options.data, protocols="knn,linear", seed=options.seed, baselines=not same
        )
        append({**row(name, run, records), **untrained(same)}, options.out)
        if options.recipe:
            write_half(run, out / "half")
    print(options.out.read_text())


def runs_of(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Settings by the name of the run: a recipe's, or those of the methods."""
    if options.recipe:
        recipe = load_recipe(options.recipe)
        return {options.recipe: {**recipe, "epochs": options.epochs or recipe["epochs"]}}
    epochs = options.epochs or 1
    short = {"epochs": epochs, "warmup_epochs": 0.1 * epochs, "monitor": False}  # which holds out some images
    chosen = {method: settings(method, **short) for method in options.methods}
    for method in chosen.keys() - set(OWN_ENCODER):
        chosen[method]["encoder"] = "resnet18"
    return chosen


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--recipe", help="as `selfsight list recipes` names them")
    what.add_argument("--methods", type=lambda text: text.split(","), help="some, by commas")
    parser.add_argument("--data", type=Path, required=True, help="a folder with train/CLASS/* and test/CLASS/*")
    parser.add_argument("--minutes", type=float, default=None, help="of this slice; without it, to the end")
    parser.add_argument("--epochs", type=int, default=None, help="another length than the recipe's; 1 for methods")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--devices", default="auto", help="auto, cpu, gpu or a number of GPUs")
    parser.add_argument("--runs", type=Path, default=Path("runs/headline"), help="where runs are kept")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/headline.md"))
    return parser.parse_args()


def row(name: str, run: Run, records: list[dict[str, Any]]) -> dict[str, Any]:
    """What the table says of a run."""
    scores = {(one["protocol"], one["encoder"]): one["value"] for one in records if one["metric"] == "top1"}
    epochs = run.config["epochs"]
    return {
        "run": name,
        "encoder": run.config["encoder"],
        "epochs": epochs,
        "seed": run.config["seed"],
        **{f"{protocol} {encoder}": round(top1, 4) for (protocol, encoder), top1 in scores.items()},
        "published": PUBLISHED.get(name, {}).get(epochs, ""),
        "minutes": round(run.summary["seconds"] / 60, 1),
        "images/s": round(run.summary["images_per_second"]),
        "hardware": run.summary["hardware"],
    }


def untrained(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What is not trained scores the same beside every run with the same encoder."""
    ends = ("random", "pixels", "chance")
    return {name: value for name, value in rows[0].items() if name.endswith(ends)} if rows else {}


def key(row: dict[str, Any]) -> tuple[str, int, int]:
    """What a row is of."""
    return row["run"], row["epochs"], row["seed"]


def read(out: Path) -> list[dict[str, Any]]:
    """The rows so far."""
    kept = out.with_suffix(".json")
    return json.loads(kept.read_text()) if kept.exists() else []


def append(new: dict[str, Any], out: Path) -> None:
    """Add a row to the results beside the table, and write the table anew."""
    rows = [old for old in read(out) if key(old) != key(new)] + [new]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    out.write_text(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    scores = ["linear trained", "linear random", "linear pixels", "linear chance", "knn trained", "knn random"]
    heads = ["run", "encoder", "epochs", "seed", *scores, "published", "minutes", "images/s"]
    machines = sorted({"{device}, {threads} threads, {precision}".format(**result["hardware"]) for result in rows})
    lines = [
        "# Headline runs",
        "",
        "CIFAR-10 (JPEG), all 50,000 training images without labels, last epoch, scored on the 10,000 test images.",
        "A run named after a recipe has the recipe as shipped; one named after a method has the settings of",
        "`benchmarks/settings.py`, which were found with a slim encoder on held-out training images, a batch of 256,",
        "and a tenth of the epochs as warm-up. `published` is the linear probe of ResNet-18 after as many epochs in",
        "the readme of EMP-SSL, with other settings. Minutes are those of training on a machine that was not idle.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(str(result.get(name, "")) for name in heads) + " |" for result in sorted(rows, key=key)),
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
