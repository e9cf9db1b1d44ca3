"""Do methods that learn from labels learn? Three tasks made from CIFAR-10, each with what it must beat.

    python benchmarks/supervised.py --data cifar10 --tasks few_labels,angle,tint

few_labels: a tenth of the training images keep their class; kNN on the test images, as in learning.py.
angle: every image is turned by an angle within 60 degrees, a number that the methods see in training;
    ridge regression from features to the angle, R2 on the test images.
tint: every image is dyed, 99 % of the training images in the colour of their class, test images in any;
    kNN on the test images, with a bank of training images dyed in any colour.

DATA holds `train/CLASS/*` and `test/CLASS/*`. Results are kept in a JSON file beside the table; what is
there is skipped, and a run that was killed goes on where it stood.
"""

from __future__ import annotations

import argparse
import colorsys
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

import selfsight
from learning import IMAGES, comma, draw_images, machines, read, write_both
from selfsight.data import open_source
from selfsight.data.subsets import stratified_order
from settings import SHARED, Settings, settings

Result = dict[str, Any]
KEPT, TURN, ALIGNED, DYE = 0.1, 60.0, 0.99, 0.5

TEXT = """# Methods that learn from labels

CIFAR-10 (JPEG), {images:,} training images drawn by seed 0, {epochs} epochs, batch {batch}, a slim ResNet. What each
task is, `benchmarks/supervised.py` says; settings stand there and in `benchmarks/settings.py`. The score is the
last epoch's, on the 10,000 test images, which nothing was chosen by; FairKL's form, weight and schedule were, on
training images that are not among the 10,000, dyed at random.
"""


@dataclass(frozen=True)
class Task:
    """What is learned from, how it is judged, and the programs that are compared.

    images: makes the table of images. judged: makes the table that judges, by default the same.
    programs: changes to `settings`, by a name for the table; "method" is one of them.
    """

    about: str
    images: Callable[[Path, Path], Path]
    judged: Callable[[Path, Path], Path]
    score: Callable[[Any, Path, int], dict[str, float]]
    metric: str
    programs: dict[str, Settings] = field(default_factory=dict)


def few_labels(data: Path, runs: Path) -> Path:
    """The images of learning.py with nine labels in ten taken away from the training images."""
    table = runs / "few-labels.csv"
    if not table.exists():
        rows = pd.read_csv(draw_images(data, runs))
        train = rows.index[rows["split"] == "train"].to_numpy()
        order = stratified_order(pd.factorize(rows.loc[train, "label"], sort=True)[0], seed=0)
        rows["label"] = rows["label"].astype("object")
        rows.loc[train[order[round(KEPT * len(train)) :]], "label"] = np.nan
        rows.to_csv(table, index=False)
    return table


def turned(data: Path, runs: Path) -> Path:
    """Every image turned by an angle, mirrored beyond its border."""
    rng = np.random.default_rng(0)

    def turn(image: Image.Image, _: pd.Series) -> tuple[Image.Image, dict[str, Any]]:
        angle = float(rng.uniform(-TURN, TURN))
        wide = Image.fromarray(np.pad(np.asarray(image), ((16, 16), (16, 16), (0, 0)), mode="reflect"))
        return wide.rotate(angle, Image.Resampling.BICUBIC).crop((16, 16, 48, 48)), {"angle": round(angle, 3)}

    return made("angle", data, runs, turn, keep=["path", "split"])


def dyed(data: Path, runs: Path, aligned: float = ALIGNED) -> Path:
    """Every image dyed: training images mostly in the colour of their class, all others in any."""
    rng = np.random.default_rng(0)
    colours = [255 * np.array(colorsys.hsv_to_rgb(hue / 10, 1, 1)) for hue in range(10)]

    def dye(image: Image.Image, row: pd.Series) -> tuple[Image.Image, dict[str, Any]]:
        share = aligned if row["split"] == "train" else 0.0
        colour = int(row["label"]) if rng.random() < share else int(rng.integers(10))
        grey = np.asarray(image.convert("L"), dtype=np.float64)[..., None]
        mixed = (1 - DYE) * grey + DYE * colours[colour]
        return Image.fromarray(mixed.clip(0, 255).astype(np.uint8)), {"tint": colour}

    return made(f"tint-{aligned}", data, runs, dye, keep=["path", "split", "label"])


def made(name: str, data: Path, runs: Path, change: Callable, keep: list[str]) -> Path:
    """A table of changed copies of the images of learning.py, written once."""
    table = runs / f"{name}.csv"
    if not table.exists():
        rows = pd.read_csv(draw_images(data, runs))
        rows["label"] = pd.factorize(rows["label"], sort=True)[0]
        folder = (runs / name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        changed = []
        for position, row in rows.iterrows():
            path = folder / f"{position:05d}.png"
            image, facts = change(Image.open(row["path"]).convert("RGB"), row)
            image.save(path)
            changed.append({**row, "path": path, **facts})
        columns = [*keep, *(column for column in changed[0] if column not in rows)]
        pd.DataFrame(changed)[columns].to_csv(table, index=False)
    return table


def knn(run: Any, images: Path, seed: int) -> dict[str, float]:
    """Accuracy of nearest neighbours, of the encoder and of what stands beside it."""
    records = selfsight.evaluate(run, images, protocols="knn", seed=seed)
    return {record["encoder"]: round(record["value"], 4) for record in records if record["metric"] == "top1"}


def angle_r2(run: Any, images: Path, seed: int) -> dict[str, float]:
    """R2 of ridge regression, its strength chosen by leave-one-out on the training images."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from selfsight.probes.features import Reader, pixels
    from selfsight.probes.subjects import untrained

    train, test = (open_source(images, split=split) for split in ("train", "test"))
    encoder = run.encoder
    functions = {"trained": encoder, "random": untrained(encoder, seed), "pixels": pixels}
    reader = Reader(encoder.spec)
    (seen, i), (unseen, j) = reader(functions, train), reader(functions, test)
    scores = {"chance": 0.0}
    for name in functions:
        ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 13)))
        ridge.fit(seen[name].flatten(1).numpy(), train.metadata["angle"].to_numpy()[i.numpy()])
        score = ridge.score(unseen[name].flatten(1).numpy(), test.metadata["angle"].to_numpy()[j.numpy()])
        scores[name] = round(float(score), 4)
    return scores


NO_MIRROR = {"view_options": {"flip": 0.0}}
# Colour changes would take the dye off. Keeping it out takes more than 10 epochs, which small images pay for.
DYED_VIEWS = {"view_options": {"scale": (0.5, 1.0), "jitter_p": 0.0, "grayscale": 0.0}}
DYED = {"method": "supcon", **DYED_VIEWS, "image_size": 16, "epochs": 30}
HEADLESS = {**DYED, "method_options": {"projector": ()}}
HEAD = {"projector": (512, 128)}
VALUE = {"method_options": {**HEAD, "columns": ("angle",), "kernel": "rbf", "bandwidth": 10.0}, **NO_MIRROR}

TASKS: dict[str, Task] = {
    "few_labels": Task(
        "A tenth of the labels; `simclr` sees none.",
        few_labels,
        draw_images,
        knn,
        "kNN",
        {
            "simclr": {"method": "simclr"},
            "supcon": {"method": "supcon"},
            "eps_supcon": {"method": "eps_supcon"},
            "eps_supinfonce": {"method": "eps_supinfonce"},
        },
    ),
    "angle": Task(
        "The angle by which an image was turned, within 60 degrees; `simclr` sees none. No view is mirrored.",
        turned,
        turned,
        angle_r2,
        "R2",
        {
            "simclr": {"method": "simclr", **NO_MIRROR},
            "y_aware": {"method": "y_aware", **VALUE},
            "regression_thr": {"method": "regression_thr", **VALUE},
            "regression_exp": {"method": "regression_exp", **VALUE},
        },
    ),
    "tint": Task(
        "Classes that come with a colour, 99 % of them; tested on colours at random. Images are halved to 16 pixels, "
        "30 epochs, views cropped and mirrored. The authors of FairKL train without a head, too.",
        dyed,
        lambda data, runs: dyed(data, runs, aligned=0.0),
        knn,
        "kNN",
        {
            "supcon": DYED,
            "supcon headless": HEADLESS,
            "supcon headless + FairKL": {**HEADLESS, "debias": "tint"},
            "supcon headless + FairKL by moments": {
                **HEADLESS,
                "debias": {"column": "tint", "form": "moments"},
            },
        },
    ),
}


def main() -> None:
    """Run what is missing and write the table after each run."""
    options = parse()
    results = read(options.out.with_suffix(".json"))
    for seed in options.seeds:
        for task in options.tasks:
            for program in TASKS[task].programs:
                if options.programs and program not in options.programs:
                    continue
                key = {"task": task, "program": program, "seed": seed}
                if any(key.items() <= result.items() for result in results):
                    print(f"{task}, {program}, seed {seed}: done before")
                    continue
                results.append(measure(options, **key))
                write_both(results, table(results), options.out)
    write_both(results, table(results), options.out)
    print(options.out.read_text())


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as train/CLASS/* and test/CLASS/*")
    parser.add_argument("--tasks", type=comma(str), default=list(TASKS))
    parser.add_argument("--programs", type=comma(str), default=[], help="some rows of a task; all by default")
    parser.add_argument("--seeds", type=comma(int), default=[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/supervised"), help="where runs are kept")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/supervised.md"))
    return parser.parse_args()


def measure(options: argparse.Namespace, task: str, program: str, seed: int) -> Result:
    """Train and judge one encoder."""
    what = TASKS[task]
    options.runs.mkdir(parents=True, exist_ok=True)
    path = options.runs / "-".join([task, *re.findall(r"\w+", program.lower()), str(seed)])
    chosen = settings(**what.programs[program])
    run = selfsight.pretrain(
        what.images(options.data, options.runs), **chosen, seed=seed, out=path, resume=path.exists()
    )
    if not run.finished:
        raise SystemExit(f"{path} was stopped: the same command goes on with it")
    return {
        "task": task,
        "program": program,
        "method": what.programs[program]["method"],
        "metric": what.metric,
        "seed": seed,
        "scores": what.score(run, what.judged(options.data, options.runs), seed),
        "seconds": round(run.summary["seconds"]),
        "hardware": run.summary["hardware"],
        "packages": run.summary["packages"],
    }


def table(results: list[Result]) -> str:
    """The results as Markdown, a table a task."""
    lines = [TEXT.format(images=IMAGES, epochs=SHARED["epochs"], batch=SHARED["batch_size"])]
    for name, task in TASKS.items():
        rows = sorted(
            (result for result in results if result["task"] == name),
            key=lambda result: (list(task.programs).index(result["program"]), result["seed"]),
        )
        if rows:
            heads = ["program", "seed", task.metric, "random", "pixels", "chance", "minutes"]
            lines += [f"## {name}", "", task.about, "", f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
            for row in rows:
                scores = [f"{row['scores'][subject]:.3f}" for subject in ("trained", "random", "pixels", "chance")]
                lines.append(f"| {row['program']} | {row['seed']} | {' | '.join(scores)} | {row['seconds'] / 60:.1f} |")
            lines.append("")
    return "\n".join([*lines, machines(results), ""])


if __name__ == "__main__":
    main()
