"""What protocols say on real data: a table by section, each figure with its interval and its difference.

    python benchmarks/protocols.py --section camvid --encoder runs/imagenette --data data/
    python benchmarks/protocols.py --section pneumonia --encoder runs/xrays --data data/

`--data` holds the folders and files that SECTIONS name. An encoder is any that `selfsight evaluate` takes; the tables
say which one it was. `coco-fit` trains a detector on fifty images and asks for the same fifty, to see that it can learn
them by heart; `coco` asks for the other fifty.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import selfsight
from selfsight.data import splits
from selfsight.engine.hardware import cpu_name
from selfsight.nets import load_encoder
from selfsight.probes.features import Reader
from selfsight.probes.store import FeatureStore, Read
from selfsight.protocols import Trial, build_protocols
from selfsight.protocols._records import answers_of, records_of

SMALL_DETECTOR = {"size": 128, "channels": 64, "batch_size": 5, "lr": 5e-4, "epochs": 60}
VOID = {"ignore": (11, 255)}
SECTIONS: dict[str, dict[str, Any]] = {
    "cifar10": {
        "data": "cifar10",
        "limit": 10_000,
        "protocols": {
            name: {} for name in ("knn", "ridge", "linear", "logistic", "few_shot", "few_labels", "retrieval")
        },
    },
    "imagenette": {"data": "imagenette", "protocols": {"knn": {}, "ridge": {}, "linear": {}}},
    "camvid": {
        "data": "camvid",
        "image_size": (96, 128),
        "protocols": {
            "dense_knn": VOID,
            "dense_linear": VOID,
            "segmentation": {**VOID, "frozen": False, "channels": 64, "epochs": 20},
        },
    },
    "coco": {"data": "tiny_coco", "protocols": {"detection": SMALL_DETECTOR}},
    "coco-fit": {"data": "tiny_coco", "protocols": {"detection": {**SMALL_DETECTOR, "epochs": 150, "flip": 0.0}}},
    "pneumonia": {
        "data": "pneumoniamnist_reconstructed.npz",
        "protocols": {"knn": {}, "linear": {}, "logistic": {}, "regression": {"of": "brightness"}},
    },
}


def main() -> None:
    """One section, and the table anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--section", choices=SECTIONS, required=True)
    parser.add_argument("--encoder", type=Path, required=True, help="a run")
    parser.add_argument("--data", type=Path, required=True, help="the folder of all data")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/protocols.md"))
    options = parser.parse_args()
    section = dict(SECTIONS[options.section])
    data, protocols = options.data / section.pop("data"), section.pop("protocols")
    begun = time.monotonic()
    if options.section == "coco-fit":
        records = by_heart(options.encoder, data, protocols)
    else:
        given = with_brightness(data) if data.suffix == ".npz" else data
        records = selfsight.evaluate(
            options.encoder, given, protocols=list(protocols), protocol_options=protocols,
            out=Path("runs/protocols") / f"{options.section}.json", **section,
        )  # fmt: skip
    run = json.loads((options.encoder / "summary.json").read_text())
    about = f"{run['method']}, {run['encoder']}, {run['epochs']} epochs of {images_of(options.encoder)}"
    minutes = round((time.monotonic() - begun) / 60, 1)
    append(options.section, records, about, minutes, options.out)
    print(options.out.read_text())


def images_of(path: Path) -> str:
    """The name of the data that a run learned from."""
    return Path(str(yaml.safe_load((path / "config.yaml").read_text())["data"])).name


def with_brightness(file: Path) -> dict[str, dict[str, Any]]:
    """The parts of an archive as arrays, with a number for each image: its mean."""
    held = np.load(file)
    return {
        part: {
            "image": held[f"{part}_images"],
            "label": held[f"{part}_labels"].ravel(),
            "brightness": held[f"{part}_images"].reshape(len(held[f"{part}_images"]), -1).mean(axis=1),
        }
        for part in ("train", "test")
    }


def by_heart(path: Path, data: Path, protocols: dict[str, Any]) -> list[dict[str, Any]]:
    """Records of a protocol that is asked for the images that it learned from, which `evaluate` would keep apart."""
    encoder = load_encoder(path)
    source = splits(data)["train"]
    store = FeatureStore({"trained": Read(encoder, Reader(encoder.spec), "")})
    trial = Trial(source, source, store, {"trained": "trained"})
    found = []
    for name, protocol in build_protocols(list(protocols), protocols).items():
        found += records_of(name, protocol, answers_of(protocol, [protocol.task(trial)]), {}, {})
    return found


def append(section: str, records: list[dict[str, Any]], about: str, minutes: float, out: Path) -> None:
    """Add a section to the results beside the table, and write the table anew."""
    kept = out.with_suffix(".json")
    results = json.loads(kept.read_text()) if kept.exists() else {}
    names = (
        "protocol",
        "task",
        "variant",
        "encoder",
        "metric",
        "value",
        "low",
        "high",
        "better_by",
        "n_train",
        "n_test",
    )
    plain = [{name: record[name] for name in names} for record in records if not record["metric"].startswith("iou ")]
    machine = f"{cpu_name()}, {torch.get_num_threads()} threads"
    results[section] = {"encoder": about, "minutes": minutes, "hardware": machine, "records": plain}
    kept.write_text(json.dumps(results, indent=1) + "\n")
    out.write_text(table(results))


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Protocols on real data",
        "",
        "Written by `benchmarks/protocols.py`, which says the settings. Seed 0, last epoch, 95 % intervals over test",
        "images or draws. `untrained` is the same encoder drawn at random, or trained from scratch at equal cost where",
        "the protocol trains; the difference is over the same images.",
        "",
    ]
    for section, found in sorted(results.items()):
        lines += [
            f"## {section}",
            "",
            f"{found['encoder']}; {found['minutes']} minutes on {found['hardware']}.",
            "",
            "| protocol | metric | images | trained | untrained | chance | difference |",
            "|---|---|---|---|---|---|---|",
        ]
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for one in found["records"]:
            variant = "".join(f" {name} {value:g}" for name, value in one["variant"].items())
            row = "untrained" if one["encoder"] in ("random", "scratch") else one["encoder"]
            rows.setdefault((one["protocol"] + variant, one["metric"]), {})[row] = one
        for (protocol, metric), by in rows.items():
            first = by["trained"]
            cells = [protocol, metric, f"{first['n_train']:,} / {first['n_test']:,}"]
            cells += [shown(by.get(row)) for row in ("trained", "untrained", "chance")]
            better = first["better_by"]
            cells.append("" if not better or better[0] is None else between(*better, sign="+"))
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def shown(record: dict[str, Any] | None) -> str:
    """A figure with its interval."""
    return "" if record is None or record["value"] is None else between(record["value"], record["low"], record["high"])


def between(value: float, low: float | None, high: float | None, sign: str = "") -> str:
    """A figure and its ends."""
    return f"{value:{sign}.3f}" + ("" if low is None else f" ({low:{sign}.3f} to {high:{sign}.3f})")


if __name__ == "__main__":
    main()
