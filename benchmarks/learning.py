"""Does each method learn? CIFAR-10, 10,000 images, a slim encoder, few epochs; kNN on the test images.

    python benchmarks/learning.py --data cifar10 --methods simclr,vicreg --seeds 0,1,2

DATA holds `train/CLASS/*` and `test/CLASS/*`. 10,000 training images are drawn once (seed 0); every
run trains on them without labels, and they are the bank of the kNN classifier (k 20, T .07) that is
tested on the test images. Results are kept in a JSON file beside the table. What is there is skipped,
and a run that was killed goes on where it stood.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

import selfsight
from selfsight.data import open_source
from selfsight.data.subsets import stratified_order
from settings import EXCEPTIONS, SHARED, settings

IMAGES = 10_000
WATCHED = 2_048
PAGES = Path(__file__).resolve().parents[1] / "docs" / "pages"
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
MARGIN = 0.05
Result = dict[str, Any]

TEXT = """# Learning benchmark

CIFAR-10 (JPEG): {images:,} training images drawn by seed 0, without labels (but for `supcon`), batch {batch}.
Top-1 on the 10,000 test images by kNN (cosine, k 20, weights exp(cosine / .07)) with the {images:,} as its bank.

`random` is the same encoder untrained, `pixels` the normalised images, `chance` the commonest class, all by {shown}.
A method `learns` when it is at least {margin:.0%} over random, and over pixels; one that is only over random
has a longer run as well. Settings are in `benchmarks/settings.py`, which says how they were found; the score
is the last epoch's. Rows in bf16 on Intel's processors were measured before initial weights, decay, momentum and
noise of some methods followed their authors' code more closely (see the changelog); those that this changes most were
run again, in float32, on another machine. The minutes are those of training on a machine that was not idle:
[speed.md](speed.md) measures speed.
"""


def main() -> None:
    """Run what is missing and write the table after each run."""
    options = parse()
    images = draw_images(options.data, options.runs)
    results = read(options.out.with_suffix(".json"))
    for seed in options.seeds:
        for method in options.methods:
            key = {"method": method, "seed": seed, "epochs": options.epochs}
            if any(key.items() <= result.items() for result in results):
                print(f"{method}, seed {seed}, {options.epochs} epochs: done before")
                continue
            results.append(measure(images, options.runs, results, **key, protocols=options.protocols))
            write(results, options.out)
    write(results, options.out)
    print(options.out.read_text())


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as train/CLASS/* and test/CLASS/*")
    parser.add_argument("--methods", type=comma(str), default=list(EXCEPTIONS), help="all by default")
    parser.add_argument("--seeds", type=comma(int), default=[0])
    parser.add_argument("--epochs", type=int, default=SHARED["epochs"])
    parser.add_argument("--protocols", default="knn", help="knn,ridge,linear or some of them")
    parser.add_argument("--runs", type=Path, default=Path("runs/learning"), help="where runs are kept")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/learning.md"))
    return parser.parse_args()


def comma(kind):
    """What reads a comma-separated list."""
    return lambda text: [kind(item) for item in text.split(",")]


def draw_images(data: Path, runs: Path) -> Path:
    """A table of the drawn training images, of others that the monitor may watch, and of all test images."""
    table = runs / f"cifar10-{IMAGES}.csv"
    if not table.exists():
        train, test = (open_source(data, split=split).metadata for split in ("train", "test"))
        order = stratified_order(train["label"].to_numpy(), seed=0)
        drawn, watched = train.iloc[np.sort(order[:IMAGES])], train.iloc[np.sort(order[IMAGES:][:WATCHED])]
        rows = pd.concat([drawn.assign(split="train"), watched.assign(split="val"), test.assign(split="test")])
        rows["path"] = [Path(path).resolve() for path in rows["path"]]
        table.parent.mkdir(parents=True, exist_ok=True)
        rows.to_csv(table, index=False)
    return table


def measure(
    images: Path, runs: Path, former: list[Result], method: str, seed: int, epochs: int, protocols: str
) -> Result:
    """Train and judge one encoder."""
    path = runs / f"{method}-{epochs}-{seed}"
    chosen = settings(method, epochs=epochs)
    run = selfsight.pretrain(images, **chosen, seed=seed, out=path, resume=path.exists())
    if not run.finished:
        raise SystemExit(f"{path} was stopped: the same command goes on with it")
    # what is not trained scores the same beside every method
    net = {"encoder": chosen["encoder"], "encoder_options": chosen.get("encoder_options", {}), "seed": seed}
    same = [result for result in former if net.items() <= {"encoder_options": {}, **result}.items()]
    scores: Result = {name: dict(same[0].get(name, {})) if same else {} for name in protocols.split(",")}
    baselines = not all(scores.values())
    for record in selfsight.evaluate(run, images, protocols=protocols, baselines=baselines, seed=seed):
        if record["metric"] == "top1":
            scores.setdefault(record["protocol"], {})[record["encoder"]] = round(record["value"], 4)
    return {
        "method": method,
        "seed": seed,
        "epochs": epochs,
        **net,
        **scores,
        "seconds": round(run.summary["seconds"]),
        "hardware": run.summary["hardware"],
        "packages": run.summary["packages"],
    }


def passes(scores: dict[str, float]) -> str:
    """How a score stands to the random encoder and to raw pixels."""
    over_random = scores["trained"] - scores["random"] >= MARGIN
    over_pixels = scores["trained"] > scores["pixels"]
    return "yes" if over_random and over_pixels else "over random" if over_random else "no"


def read(path: Path) -> list[Result]:
    """Results so far."""
    return json.loads(path.read_text()) if path.exists() else []


def write(results: list[Result], out: Path) -> None:
    """The results by family, method, epochs and seed."""
    of = families()
    results = sorted(
        results,
        key=lambda result: (FAMILIES.index(of[result["method"]]), result["method"], result["epochs"], result["seed"]),
    )
    write_both(results, table(results), out)


def families() -> dict[str, str]:
    """The family of each method, as its page says."""
    return {page.stem: yaml.safe_load(page.read_text())["family"] for page in PAGES.glob("*.yaml")}


def write_both(results: list[Result], markdown: str, out: Path) -> None:
    """The results as JSON and as a table, each replaced as a whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    for path, text in ((out.with_suffix(".json"), json.dumps(results, indent=1) + "\n"), (out, markdown)):
        beside = path.with_name(f".{path.name}")
        beside.write_text(text)
        os.replace(beside, path)


def table(results: list[Result]) -> str:
    """The results as Markdown."""
    protocols = [name for name in ("knn", "ridge", "linear") if any(name in result for result in results)]
    of = families()
    heads = ["family", "method", "encoder", "epochs", "seed", *protocols]
    heads += ["random", "pixels", "chance", "learns", "minutes"]
    rows = []
    for result in results:
        knn = result[protocols[0]]
        rows.append(
            [of[result["method"]], result["method"], result["encoder"], result["epochs"], result["seed"]]
            + [f"{result[name]['trained']:.3f}" if name in result else "" for name in protocols]
            + [f"{knn[name]:.3f}" for name in ("random", "pixels", "chance")]
            + [passes(knn), f"{result['seconds'] / 60:.1f}"]
        )
    about = TEXT.format(images=IMAGES, batch=SHARED["batch_size"], margin=MARGIN, shown=protocols[0])
    lines = [f"| {' | '.join(map(str, row))} |" for row in [heads, ["---"] * len(heads), *rows]]
    return "\n".join([about, *lines, "", machines(results), ""])


def machines(results: list[Result]) -> str:
    """What the results were measured on, in a line."""
    devices = sorted({"{device}, {threads} threads, {precision}".format(**result["hardware"]) for result in results})
    packages = sorted({"torch {torch}, timm {timm}".format(**result["packages"]) for result in results})
    return f"Hardware: {'; '.join(devices)}. Packages: {'; '.join(packages)}."


if __name__ == "__main__":
    main()
