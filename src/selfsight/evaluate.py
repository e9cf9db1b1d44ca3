"""Judge an encoder by what simple classifiers make of its features."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from selfsight.logs import speaking

if TYPE_CHECKING:
    from torch import Tensor

    from selfsight.data import Source
    from selfsight.engine import Run
    from selfsight.nets import Encoder
    from selfsight.probes.features import Reader

log = logging.getLogger(__name__)

CHOSEN = (
    "protocol",
    "encoder",
    "data",
    "label",
    "images",
    "group",
    "limit",
    "seed",
    "image_size",
    "precision",
    "k",
    "temperature",
)


@speaking
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
    group: str | None = None,
    limit: int | None = None,
    image_size: int | Sequence[int] | None = None,
    pretrained: bool = False,
    k: int = 20,
    temperature: float = 0.07,
    batch_size: int = 256,
    workers: int | None = None,
    devices: str = "auto",
    precision: Literal["auto", "bf16", "32"] = "auto",
    max_bad: int | float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    """Judge an encoder by kNN, ridge regression and a linear probe on its features.

    Each result stands beside the same encoder untrained, the pixels (the normalised view, averaged
    down to at most 32 a side) and the commonest class. Images without a label are left out. Answers
    a list of records, prints them as a table and writes them as JSON: beside the run's results on other
    data or with other settings, in place of the same.

    model: a run folder, an `encoder.safetensors`, or any name of timm; a name without `pretrained`
        is the untrained encoder alone, whose row is `random`.
    data: labelled images, anything that pretrain takes; their training part is learned from.
    protocols: knn, ridge, linear, or several of them.
    baselines: judge the untrained encoder and the pixels, too.
    label: column of a table that holds the class.
    path_column: column of a table that holds the paths of the images.
    channels: how many channels images are read with; by default the encoder's, else what the data suggest.
    test_split: the part to test on; by default test, else val, else a held-out 20 %.
    group: column of what belongs together, such as patients: nothing of it is both learned from and tested on.
        Equal images never are: they stay on one side, or are left out of training where the data has a test part.
    limit: learn from this many images only, drawn by the seed with the shares of the labels kept.
    image_size: pixels a side, or a size for each axis; by default what the encoder was trained with.
    pretrained: load timm's own weights, where `model` is a name.
    k: neighbours of kNN.
    temperature: of kNN's weights, exp(cosine / temperature).
    batch_size: images at a time; it changes no result.
    workers: processes that decode images where they do not fit into memory.
    devices: auto, cpu, gpu, or one GPU such as cuda:1.
    precision: 32, bf16 for speed, or auto, which is bf16 where the hardware computes it.
    max_bad: how many unreadable images are borne, as a number or a share; by default 1 %, and always ten.
    seed: of the split, the limit, the untrained encoder and the linear probe.
    out: the JSON file; by default evaluation.json in the run folder, none for a name.
    overwrite: replace `out` where it exists and holds results.
    """
    from selfsight.data.classes import unseen_classes
    from selfsight.probes.features import Reader, check_reading
    from selfsight.probes.options import check_neighbours, check_switches, check_words
    from selfsight.probes.protocols import judge, protocol_names, table
    from selfsight.probes.subjects import as_encoder_reads, channels_for, find_encoder, subject_of, train_and_test

    names = protocol_names(protocols)
    check_neighbours(names, k, temperature)
    check_words(label=label, path_column=path_column, test_split=test_split, group=group)
    check_switches(baselines=baselines, pretrained=pretrained, overwrite=overwrite)
    check_reading(
        precision=precision,
        devices=devices,
        max_bad=max_bad,
        channels=channels,
        limit=limit,
        image_size=image_size,
        batch_size=batch_size,
        workers=workers,
        seed=seed,
    )
    subject = subject_of(model, pretrained)
    results = Results.of(subject, out, overwrite)
    train, test, said = train_and_test(
        data,
        test_split=test_split,
        seed=seed,
        group=group,
        label=label,
        path_column=path_column,
        channels=channels_for(subject, pretrained, channels),
    )
    log.info("%s", said)
    train, test = labelled(train, "training", limit, seed), labelled(test, "test")
    unseen = unseen_classes(train, test)
    if unseen is not None:
        log.warning("%s", unseen)
    if "knn" in names and k > len(train):
        log.warning("k is %d and there are %d training images: all of them are neighbours", k, len(train))

    encoder = find_encoder(subject, train, image_size, pretrained=pretrained, seed=seed)
    train, test = (as_encoder_reads(source, encoder.spec) for source in (train, test))
    reader = Reader(
        encoder.spec,
        image_size,
        batch_size=batch_size,
        workers=workers,
        device=devices,
        precision=precision,
        max_bad=max_bad,
    )
    functions = judged(subject, encoder, pretrained, baselines, seed)
    reader.shapes(functions)
    about = describe(data, train, test, encoder, reader, {"label": label, "group": group, "limit": limit})
    train_features, train_labels = read(reader, functions, train)
    test_features, test_labels = read(reader, functions, test)

    options = {"k": k, "temperature": temperature, "seed": seed}
    records = [
        record
        for name in names
        for record in judge(name, train_features, train_labels, test_features, test_labels, options, about)
    ]
    print(table(records))
    results.add(records)
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
        log.info("%d of %d %s images have no label (an empty one or -1) and are left out", missing, len(labels), role)
        source = subset(source, np.flatnonzero(labels >= 0))
    if limit is not None and limit > len(source):
        log.info("limit is %d and there are %d %s images: all are taken", limit, len(source), role)
    return limited(source, limit, seed)


def judged(
    subject: str | Path | Encoder, encoder: Encoder, pretrained: bool, baselines: bool, seed: int
) -> dict[str, Any]:
    """What answers features, by the name of its row."""
    from selfsight.probes.features import pixels
    from selfsight.probes.subjects import is_name, untrained

    more: dict[str, Any] = {"pixels": pixels} if baselines else {}
    if is_name(subject) and not pretrained:
        log.info("%s is a name without weights, judged as drawn by seed %d; pretrained loads timm's", subject, seed)
        return {"random": encoder, **more}
    if baselines and encoder.spec.custom:
        log.info("only its author can draw a module of their own again, so there is no random row")
    elif baselines:
        more = {"random": untrained(encoder, seed), **more}
    return {"trained": encoder, **more}


def describe(
    data: Any, train: Source, test: Source, encoder: Encoder, reader: Reader, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What tells results on other data or with other settings apart, for each record."""
    from selfsight.data import identity
    from selfsight.nets import digest

    return {
        "data": str(data) if isinstance(data, str | Path) else train.name,
        "images": f"{identity(train)}-{identity(test)}",
        **settings,
        "image_size": reader.size,
        "precision": reader.precision,
        "weights": digest(encoder),
    }


def read(reader: Reader, functions: dict[str, Any], source: Source) -> tuple[dict[str, Tensor], Tensor]:
    """Features by name `(N, D)` and labels `(N,)` of the images that can be read."""
    import torch

    features, index = reader(functions, source)
    if len(index) < len(source):
        log.warning("%d images of %s cannot be read and are left out", len(source) - len(index), source.name)
    assert source.labels is not None
    return {name: rows.flatten(1) for name, rows in features.items()}, torch.from_numpy(source.labels[index.numpy()])


@dataclass(frozen=True)
class Results:
    """The file of an encoder's results, if any.

    shared: whether it gathers results on other data and with other settings, too.
    """

    path: Path | None
    shared: bool = False

    @classmethod
    def of(cls, subject: str | Path | Encoder, out: str | Path | None, overwrite: bool) -> Results:
        """`out`, or the file that belongs to an encoder on disk. Raises `ValueError` where it cannot be written."""
        from selfsight.nets.storage import WEIGHTS, weights_file
        from selfsight.outputs import check_output
        from selfsight.probes.subjects import on_disk

        if out is not None:
            check_output(Path(out), overwrite=overwrite)
            results_in(Path(out))
            return cls(Path(out))
        if overwrite:
            raise ValueError("overwrite replaces the file that out names, and none is named: leave it out")
        if not on_disk(subject):
            return cls(None)
        file = weights_file(subject)
        name = "evaluation.json" if file.name == WEIGHTS else f"{file.stem}.evaluation.json"
        results = cls(file.with_name(name), shared=True)
        check_output(file.with_name(name), overwrite=True)
        results.former()
        return results

    def former(self) -> list[dict[str, Any]]:
        """The records that are there."""
        return results_in(self.path) if self.path is not None and self.shared else []

    def add(self, records: list[dict[str, Any]]) -> None:
        """Write the records, in place of those of the same encoder, data and settings."""
        import json

        from selfsight.outputs import replacing

        if self.path is None:
            return
        ours = {setting(record) for record in records}
        kept = [record for record in self.former() if setting(record) not in ours]
        with replacing(self.path) as stream:
            stream.write(json.dumps([*kept, *records], indent=2).encode() + b"\n")
        beside = f", beside {len(kept)} records on other data or with other settings" if kept else ""
        log.info("written to %s%s", self.path, beside)


def results_in(path: Path) -> list[dict[str, Any]]:
    """The records in a file, none where there is no file. Raises `ValueError` where it holds anything else."""
    import json

    if not path.is_file():
        return []
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        records = None
    if not isinstance(records, list) or not all(isinstance(one, dict) and "protocol" in one for one in records):
        raise ValueError(f"{path} holds no results of evaluate: move it, or name another file with out")
    return records


def setting(record: Mapping[str, Any]) -> str:
    """All that one chooses of an evaluation."""
    return repr([record.get(name) for name in CHOSEN])
