"""The main job on embedded real data: learn handwritten digits without labels, then read them with ten."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from selfsight.data import Source
    from selfsight.engine import Run

DRAWS = 100
TRAINED = 1437  # of 1,797: four in five
COLUMNS = ("pixels", "random", "trained")


def demo(*, out: str | Path = "runs/demo", seeds: int = 3, overwrite: bool = False) -> Path:
    """Train an encoder on handwritten digits without labels, and judge it with ten labels, one a class.

    Beside it stand the raw pixels and the same encoder untrained. For each seed a fifth of the images
    is set aside for the test, and the ten labelled images are drawn a hundred times from the others.

    out: the folder for the runs, one a seed.
    seeds: how often all is repeated with another split, other weights and other labels.
    overwrite: delete the runs in `out` first.
    """
    import selfsight
    from selfsight.engine import divide
    from selfsight.recipes import load_recipe

    if seeds < 1:
        raise ValueError(f"seeds is a number of repetitions and at least 1, not {seeds}")
    out, began, rows = Path(out), time.perf_counter(), []
    print(f"handwritten digits of 8x8 pixels: {TRAINED:,} train without labels, 360 are for the test; {seeds} seeds")
    for seed in range(seeds):
        path = out / f"seed-{seed}"
        print(f"\nseed {seed}, in {path}")
        settings = {**load_recipe("digits"), "limit": TRAINED, "seed": seed}
        run = selfsight.pretrain("digits", out=path, overwrite=overwrite, **settings)
        if not run.finished:
            raise KeyboardInterrupt
        images = divide("digits", split=None, limit=TRAINED, label="label", seed=seed)
        assert images.held_out is not None
        rows.append(judge(run, images.train, images.held_out, seed))
    write(rows, out)
    print(report(rows, out, time.perf_counter() - began))
    return out


def judge(run: Run, train: Source, test: Source, seed: int) -> dict[str, float]:
    """Accuracy on `test` of the nearest of ten labelled images, for pixels and both encoders, mean over draws."""
    from selfsight.probes.features import Reader, pixels
    from selfsight.probes.subjects import untrained

    encoder = run.encoder
    functions = {"pixels": pixels, "random": untrained(encoder, seed), "trained": encoder}
    reader = Reader(encoder.spec)
    known, unknown = reader(functions, train)[0], reader(functions, test)[0]
    return {name: with_ten_labels(known[name], train, unknown[name], test, seed) for name in COLUMNS}


def with_ten_labels(known: Tensor, train: Source, unknown: Tensor, test: Source, seed: int) -> float:
    """Mean accuracy over draws of one labelled image a class, by cosine to the nearest of them."""
    import numpy as np

    from selfsight.probes import KNN

    labels, answers = np.array(train.labels), np.array(test.labels)
    draw = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    scores = []
    for _ in range(DRAWS):
        ten = [draw.choice(members) for members in classes]
        scores.append(KNN(k=1).fit(known[ten], labels[ten]).score(unknown, answers))
    return statistics.mean(scores)


def write(rows: list[Mapping[str, float]], out: Path) -> None:
    """The accuracies of each seed as JSON."""
    (out / "demo.json").write_text(
        json.dumps([{"seed": seed, **row} for seed, row in enumerate(rows)], indent=2) + "\n"
    )


def report(rows: list[Mapping[str, float]], out: Path, seconds: float) -> str:
    """The table over seeds, what it says, where everything lies and what to type next."""
    spread = statistics.stdev if len(rows) > 1 else (lambda values: 0.0)
    lines = ["accuracy with ten labels" + "".join(f"{name:>10}" for name in COLUMNS)]
    for seed, row in enumerate(rows):
        lines.append(f"seed {seed:<19}" + "".join(f"{row[name]:>10.3f}" for name in COLUMNS))
    mean = {name: statistics.mean(row[name] for row in rows) for name in COLUMNS}
    lines.append(f"{'mean':<24}" + "".join(f"{mean[name]:>10.3f}" for name in COLUMNS))
    lines.append(
        f"{'standard deviation':<24}" + "".join(f"{spread([r[name] for r in rows]):>10.3f}" for name in COLUMNS)
    )
    first = out / "seed-0"
    files = {
        first / "views.png": "what the network saw",
        first / "metrics.csv": "how training went",
        first / "encoder.safetensors": f"the encoder: selfsight.load_encoder({str(first)!r})",
        out / "demo.json": "the table above",
    }
    width = max(len(str(path)) for path in files)
    return "\n".join(
        [
            "",
            *lines,
            "",
            f"Learned without labels and read with ten of them: {mean['trained']:.0%} of unseen digits are right,",
            f"{mean['pixels']:.0%} from raw pixels, {mean['random']:.0%} from the same encoder before training.",
            "",
            f"Everything lies in {out} ({seconds:.0f} s):",
            *(f"  {path!s:{width}}   {text}" for path, text in files.items()),
            "",
            "Next:",
            f"  selfsight evaluate {first} digits --protocols knn,linear",
            f"  selfsight embed {first} digits --out features.parquet",
            "  selfsight pretrain images/ --method vicreg --encoder resnet18 --epochs 100 --out runs/mine",
        ]
    )
