"""Judge encoders by what their features, or they themselves when trained on, make of images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from selfsight.logs import speaking

if TYPE_CHECKING:
    from selfsight.data import Source
    from selfsight.engine import Run
    from selfsight.nets import Encoder
    from selfsight.probes.features import Reader
    from selfsight.protocols import Protocol, Trial

log = logging.getLogger(__name__)


@speaking
def evaluate(
    model: str | Path | Encoder | Run | Sequence[Any],
    data: str | Path | Any,
    *,
    protocols: str | Protocol | Sequence[Any] = ("knn", "linear"),
    protocol_options: Mapping[str, Mapping[str, Any]] | None = None,
    baselines: bool = True,
    label: str = "label",
    path_column: str = "path",
    channels: int | None = None,
    test_split: str | None = None,
    folds: int | None = None,
    leave_out: str | None = None,
    group: str | None = None,
    limit: int | None = None,
    layer: int | str | Sequence[int] | None = None,
    pool: Literal["cls", "mean", "cls+mean"] | None = None,
    image_size: int | Sequence[int] | None = None,
    pretrained: bool = False,
    batch_size: int = 256,
    workers: int | None = None,
    devices: str = "auto",
    precision: Literal["auto", "bf16", "32"] = "auto",
    cache: str | Path | None = None,
    max_bad: int | float | None = None,
    seed: int | Sequence[int] = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    """Judge one encoder or several by protocols such as kNN and a linear probe on their features.

    Each result stands beside the same encoder untrained, the pixels (the normalised view, averaged
    down to at most 32 a side) and chance, with a 95 % interval, and with how far it lies above the untrained
    encoder on the same images. Images of which nobody knows the answer are left out and counted. Answers
    a list of records, one for each protocol, encoder and metric, prints the main metrics as a table and writes all as
    JSON: beside the run's results on other data or with other settings, in place of the same. What a protocol found
    before, of the same weights, data and settings, is taken from there.

    model: a run folder, an `encoder.safetensors`, or any name of timm; several of them side by side. A name without
        `pretrained` is the untrained encoder alone, whose row is `random`.
    data: images, anything that pretrain takes, with labels or columns for the protocols.
    protocols: names (`selfsight list protocols`), paths of classes of your own, or protocols.
    protocol_options: options of each protocol by its name: {"knn": {"k": 200}}, --knn.k 200 on the shell.
    baselines: judge the untrained encoder and the pixels, too.
    label: column of a table that holds the class.
    path_column: column of a table that holds the paths of the images.
    channels: how many channels images are read with; by default the encoder's, else what the data suggest.
    test_split: the part to test on; by default test, else val, else a held-out 20 %.
    folds: cross-validate: so many parts of the training images are tested on in turn.
    leave_out: a column such as the site: the images of each of its values are tested on in turn.
    group: column of what belongs together, such as patients: nothing of it is both learned from and tested on, and
        intervals are over its values. Equal images never are: they stay on one side, or are left out of training where
        the data has a test part.
    limit: learn from this many images only, drawn by the seed with the shares of the labels kept.
    layer: features of a block or stage in place of the encoder's own: a number from 0, -1 for the last; several,
        side by side; or all, each by itself.
    pool: how the positions of a layer are pooled: cls, mean or cls+mean.
    image_size: pixels a side, or a size for each axis; by default what the encoder was trained with.
    pretrained: load timm's own weights, where `model` is a name.
    batch_size: images at a time; it changes no result.
    workers: processes that decode images where they do not fit into memory.
    devices: auto, cpu, gpu, or one GPU such as cuda:1.
    precision: 32, bf16 for speed, or auto, which is bf16 where the hardware computes it.
    cache: a folder that keeps features, for the next call on the same images.
    max_bad: how many unreadable images are borne, as a number or a share; by default 1 %, and always ten.
    seed: of the split, the limit, the untrained encoder and the probes; several, for intervals over them.
    out: the JSON file; by default evaluation.json in the run folder, none for a name.
    overwrite: replace `out` where it exists and holds results; without it, do what was done before once more.
    """
    from selfsight.data import splits
    from selfsight.data.classes import unseen_classes
    from selfsight.probes.features import check_reading
    from selfsight.probes.options import check_numbers, check_switches, check_words
    from selfsight.probes.reading import check_layers
    from selfsight.probes.store import FeatureStore
    from selfsight.probes.subjects import as_encoder_reads, channels_for
    from selfsight.probes.trials import divide
    from selfsight.protocols import Trial, build_protocols
    from selfsight.protocols._records import answers_of, records_of, table
    from selfsight.protocols._results import Results

    asked = build_protocols(protocols, protocol_options)
    seeds = [seed] if isinstance(seed, int) or not isinstance(seed, Sequence) else list(seed)
    check_words(label=label, path_column=path_column, test_split=test_split, group=group, leave_out=leave_out)
    check_switches(baselines=baselines, pretrained=pretrained, overwrite=overwrite)
    check_numbers(folds=folds)
    if folds is not None and leave_out is not None:
        raise ValueError("folds and leave_out both say what is tested on in turn: leave one out")
    if test_split is not None and (folds or leave_out):
        raise ValueError("test_split names what is tested on, and folds and leave_out test on the training images")
    check_layers(layer, pool)
    for one in seeds:
        check_reading(
            precision=precision,
            devices=devices,
            max_bad=max_bad,
            channels=channels,
            limit=limit,
            image_size=image_size,
            batch_size=batch_size,
            workers=workers,
            seed=one,
        )
    subjects = subjects_of(model, pretrained)
    results = Results.of(subjects, out, overwrite)
    reading: dict[str, Any] = {
        "batch_size": batch_size,
        "workers": workers,
        "device": devices,
        "precision": precision,
        "max_bad": max_bad,
    }
    wanted = [channels_for(subject, pretrained, channels) for subject in subjects.values()]
    if len(set(wanted)) > 1:
        raise ValueError(f"the encoders take images of {', '.join(map(str, wanted))} channels: judge them one by one")

    parts = splits(data, label=label, path_column=path_column, channels=wanted[0])
    trials: list[Trial] = []
    store = FeatureStore({}, None if cache is None else Path(cache))
    for one in seeds:
        sides, source = divide(
            parts,
            folds=folds,
            leave_out=leave_out,
            test_split=test_split,
            group=group,
            limit=limit,
            seed=one,
            labelled=all(protocol.column is None and protocol.wants_label for protocol in asked.values()),
        )
        judged = Judged.of(subjects, source, image_size, pretrained, baselines, one, layer, pool, reading)
        store.reads.update(judged.reads)
        trials += [Trial(train, test, store, judged.rows, one, group) for train, test in sides]
        for train, test in sides:
            for side in (train, test):
                as_encoder_reads(side, judged.spec)
                store.expect(side)
    truths = {name: [protocol.task(trial).truth for trial in trials] for name, protocol in asked.items()}
    unseen = None if len(trials) > 1 else unseen_classes(trials[0].train, trials[0].test)
    if unseen is not None:
        log.warning("%s", unseen)
    about = {
        **describe(data, trials, judged),
        "label": label,
        "group": group,
        "limit": limit,
        "folds": folds,
        "leave_out": leave_out,
        "layer": layer,
        "pool": pool,
        "image_size": judged.size,
        "precision": judged.precision,
        "seed": seed,
    }
    records: list[dict[str, Any]] = []
    fresh = False
    for name, protocol in asked.items():
        about["truth"] = "-".join(truths[name])
        found = results.known(name, protocol.options, about)
        if found is None:
            log.info("%s", name)
            tasks = [protocol.task(trial.readable(protocol.wants_features)) for trial in trials]
            found = records_of(name, protocol, answers_of(protocol, tasks), judged.baselines, about)
            results.add(found, replace=results.again and not results.shared and not records)
            fresh = True
        records += found
    print(table(records))
    if fresh:
        results.say(records)
    return records


def subjects_of(model: Any, pretrained: bool) -> dict[str, Any]:
    """What is judged, by the name of its row: "trained" for one alone, else the names of folders and encoders."""
    from selfsight.probes.subjects import on_disk, subject_of

    several = isinstance(model, Sequence) and not isinstance(model, str)
    found = [subject_of(one, pretrained) for one in (model if several else [model])]
    if not found:
        raise ValueError("no model was named: give a run folder, a .safetensors file, a name or an Encoder")
    if len(found) == 1:
        return {"trained": found[0]}
    named: dict[str, Any] = {}
    for number, one in enumerate(found):
        name = (Path(one).stem if on_disk(one) else one) if isinstance(one, str | Path) else one.spec.name
        if name in named and on_disk(one):
            name = str(one)
        named[str(name) if name not in named else f"{name} {number + 1}"] = one
    return named


@dataclass(frozen=True)
class Judged:
    """Whose features are judged, with one seed.

    reads: how features are read, by their names in the store. rows: those names by row. baselines: by row, the row of
    the same encoder untrained. weights: by row. spec, size, precision: of the first encoder, and how it is read.
    """

    reads: dict[str, Any]
    rows: dict[str, str]
    baselines: dict[str, str]
    weights: dict[str, str]
    spec: Any
    size: Any
    precision: str

    @classmethod
    def of(
        cls,
        subjects: Mapping[str, Any],
        source: Source,
        image_size: Any,
        pretrained: bool,
        baselines: bool,
        seed: int,
        layer: Any,
        pool: str | None,
        reading: Mapping[str, Any],
    ) -> Judged:
        """Encoders, those untrained, and the pixels; `ValueError` where one cannot take the images."""
        from selfsight.nets import digest
        from selfsight.probes.features import Reader, pixels
        from selfsight.probes.reading import readings
        from selfsight.probes.store import Read, read_key
        from selfsight.probes.subjects import find_encoder, is_name, untrained

        encoders = {
            name: find_encoder(subject, source, image_size, pretrained=pretrained, seed=seed)
            for name, subject in subjects.items()
        }
        kinds = {name: architecture(encoder) for name, encoder in encoders.items()}
        reads, rows, compared, weights, drawn = {}, {}, {}, {}, {}

        def add(row: str, encoder: Encoder, reader: Reader, own: str) -> list[str]:
            ends = readings(encoder, layer, pool)
            reader.shapes(ends)
            for end, function in ends.items():
                rows[row + end] = f"{row}{end}{own}"
                reads[rows[row + end]] = Read(function, reader, read_key(function, f"{end} {layer} {pool}"))
                weights[row + end] = digest(encoder)
            return list(ends)

        readers = {name: Reader(encoder.spec, image_size, **reading) for name, encoder in encoders.items()}
        for name, encoder in encoders.items():
            alone = len(encoders) == 1
            if is_name(subjects[name]) and not pretrained:
                log.info(
                    "%s is a name without weights, judged as drawn by seed %d; pretrained loads timm's",
                    subjects[name],
                    seed,
                )
                add("random" if alone else name, encoder, readers[name], f" {seed}")
                continue
            ends = add(name, encoder, readers[name], "")
            if baselines and encoder.spec.custom:
                log.info("only its author can draw a module of their own again, so there is no random row")
            elif baselines:
                if kinds[name] not in drawn:
                    drawn[kinds[name]] = "random" if len(set(kinds.values())) == 1 else f"random {encoder.spec.name}"
                    add(drawn[kinds[name]], untrained(encoder, seed), readers[name], f" {seed}")
                compared.update({name + end: drawn[kinds[name]] + end for end in ends})
        first = next(iter(readers.values()))
        if baselines:
            rows["pixels"], reads["pixels"] = "pixels", Read(pixels, first, "pixels")
        return cls(reads, rows, compared, weights, first.spec, first.size, first.precision)


def architecture(encoder: Encoder) -> str:
    """What tells a net from another, however its weights stand."""
    spec = encoder.spec
    return repr((spec.name, spec.options, spec.channels, spec.image_size, spec.stem, spec.mean, spec.std))


def describe(data: Any, trials: Sequence[Trial], judged: Judged) -> dict[str, Any]:
    """What tells results on other data or of other weights apart, for each record."""
    from selfsight.data import identity
    from selfsight.naming import package_version

    first = trials[0]
    return {
        "data": str(data) if isinstance(data, str | Path) else first.train.name,
        "images": f"{identity(first.train)}-{identity(first.test)}",
        "weights": judged.weights,
        "version": package_version("selfsight"),
    }
