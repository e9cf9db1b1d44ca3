"""Judge an encoder by what simple classifiers make of its features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from selfsight.data import Source
    from selfsight.engine import Run
    from selfsight.nets import Encoder
    from selfsight.probes.features import Reader


def evaluate(
    model: str | Path | Encoder | Run,
    data: str | Path | Any,
    *,
    protocols: str | Sequence[str] = ("knn", "linear"),
    baselines: bool = True,
    label: str = "label",
    path_column: str = "path",
    channels: int | None = None,
    test_split: str | None = None,
    limit: int | None = None,
    image_size: int | None = None,
    pretrained: bool = False,
    k: int = 20,
    temperature: float = 0.07,
    batch_size: int = 256,
    workers: int | None = None,
    devices: str = "auto",
    precision: Literal["32", "bf16"] = "32",
    seed: int = 0,
    out: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Judge an encoder by kNN, ridge regression and a linear probe on its features.

    Each result stands beside the same encoder untrained, the pixels (the normalised view, averaged
    down to at most 32 a side) and the commonest class. Images without a label are left out. Answers
    a list of records, prints them as a table and writes them as JSON.

    model: a run folder, an `encoder.safetensors`, or any name of timm; a name without `pretrained`
        is the untrained encoder alone, whose row is `random`.
    data: labelled images, anything that pretrain takes; their training part is learned from.
    protocols: knn, ridge, linear, or several of them.
    baselines: judge the untrained encoder and the pixels, too.
    label: column of a table that holds the class.
    path_column: column of a table that holds the paths of the images.
    channels: how many channels images are read with; by default the encoder's, else what the data suggest.
    test_split: the part to test on; by default test, else val, else a held-out 20 %.
    limit: learn from this many images only, drawn by the seed with the shares of the labels kept.
    image_size: pixels a side; by default what the encoder was trained with.
    pretrained: load timm's own weights, where `model` is a name.
    k: neighbours of kNN.
    temperature: of kNN's weights, exp(cosine / temperature).
    batch_size: images at a time; it changes no result.
    workers: processes that decode images where they do not fit into memory.
    devices: auto, cpu, gpu, or one GPU such as cuda:1.
    precision: 32, or bf16 for speed.
    seed: of the split, the limit, the untrained encoder and the linear probe.
    out: the JSON file; by default evaluation.json in the run folder.
    """
    from selfsight.data.classes import unseen_classes
    from selfsight.probes.features import Reader, pixels
    from selfsight.probes.protocols import judge, protocol_names, table
    from selfsight.probes.subjects import (
        as_encoder_reads,
        channels_for,
        find_encoder,
        is_name,
        train_and_test,
        untrained,
    )

    names = protocol_names(protocols)
    subject: Any = getattr(model, "path", model)
    train, test, said = train_and_test(
        data,
        test_split=test_split,
        seed=seed,
        label=label,
        path_column=path_column,
        channels=channels_for(subject, pretrained, channels),
    )
    print(said)
    train, test = labelled(train, "training", limit, seed), labelled(test, "test")
    unseen = unseen_classes(train, test)
    if unseen is not None:
        print(unseen)

    encoder = find_encoder(subject, train, image_size, pretrained=pretrained, seed=seed)
    train, test = (as_encoder_reads(source, encoder.spec) for source in (train, test))
    reader = Reader(
        encoder.spec, image_size, batch_size=batch_size, workers=workers, device=devices, precision=precision
    )
    functions: dict[str, Any]
    if is_name(subject) and not pretrained:
        print(f"{subject} is a name without weights, judged as drawn by seed {seed}; pretrained loads timm's")
        functions = {"random": encoder, **({"pixels": pixels} if baselines else {})}
    else:
        functions = {"trained": encoder}
        if baselines:
            functions |= {"random": untrained(encoder, seed), "pixels": pixels}
    train_features, train_labels = read(reader, functions, train)
    test_features, test_labels = read(reader, functions, test)

    options = {"k": k, "temperature": temperature, "seed": seed}
    records = [
        record
        for name in names
        for record in judge(name, train_features, train_labels, test_features, test_labels, options)
    ]
    print(table(records))
    save(records, subject, out)
    return records


def labelled(source: Source, role: str, limit: int | None = None, seed: int = 0) -> Source:
    """The images that have a label, at most `limit` of them."""
    import numpy as np

    from selfsight.data import subset
    from selfsight.data.labels import missing_classes
    from selfsight.data.subsets import limited

    why, labels = missing_classes(source), source.labels
    if why is not None or labels is None:
        raise ValueError(why)
    missing = int((labels < 0).sum())
    if missing:
        print(f"{missing:,} of {len(labels):,} {role} images have no label (an empty one or -1) and are left out")
        source = subset(source, np.flatnonzero(labels >= 0))
    return limited(source, limit, seed)


def read(reader: Reader, functions: dict[str, Any], source: Source) -> tuple[dict[str, Tensor], Tensor]:
    """Features by name `(N, D)` and labels `(N,)` of the images that can be read."""
    import torch

    features, index = reader(functions, source)
    if len(index) < len(source):
        print(f"{len(source) - len(index):,} images of {source.name} cannot be read and are left out")
    assert source.labels is not None
    return {name: rows.flatten(1) for name, rows in features.items()}, torch.from_numpy(source.labels[index.numpy()])


def save(records: list[dict[str, Any]], model: str | Path | Encoder, out: str | Path | None) -> None:
    """Write the records to `out`, or into the run folder where `model` is one."""
    import json

    from selfsight.probes.subjects import on_disk

    if out is None and on_disk(model):
        folder = Path(model) if Path(model).is_dir() else Path(model).parent
        out = folder / "evaluation.json"
    if out is not None:
        out = Path(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(records, indent=2) + "\n")
        print(f"written to {out}")
