"""Write an encoder's features of all images to a file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from selfsight.logs import speaking

if TYPE_CHECKING:
    import numpy as np

    from selfsight.data import Source
    from selfsight.engine import Run
    from selfsight.nets import Encoder

log = logging.getLogger(__name__)

SUFFIXES = (".parquet", ".npz")


@speaking
def embed(
    model: str | Path | Encoder | Run,
    data: str | Path | Any,
    *,
    out: str | Path,
    features: Literal["pooled", "patch"] = "pooled",
    split: str | None = None,
    label: str = "label",
    path_column: str = "path",
    channels: int | None = None,
    image_size: int | Sequence[int] | None = None,
    pretrained: bool = False,
    batch_size: int = 256,
    workers: int | None = None,
    devices: str = "auto",
    precision: Literal["auto", "bf16", "32"] = "auto",
    max_bad: int | float | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write an encoder's features of all images, and what is known of each image, to a file.

    A row an image: `features` in float32, `index` (its position in its split), `split` where the data
    has several, `class` where labels have names, and all columns of metadata, such as `path`. A column of
    the data's own that has one of these names is kept as `NAME_in_table`. An image that cannot be read has
    no row. Answers the path of the file.

    model: a run folder, an `encoder.safetensors`, or any name of timm.
    data: images, anything that pretrain takes.
    out: a file that ends in .parquet (a column of lists) or .npz (an array for each column).
    features: pooled, (D,) an image, or patch, (N, D) of the last layer's positions in reading order.
    split: train, val or test; by default all there are.
    label: column of a table that holds the class.
    path_column: column of a table that holds the paths of the images.
    channels: how many channels images are read with; by default the encoder's, else what the data suggest.
    image_size: pixels a side, or a size for each axis; by default what the encoder was trained with.
    pretrained: load timm's own weights, where `model` is a name.
    batch_size: images at a time; it changes no result.
    workers: processes that decode images where they do not fit into memory.
    devices: auto, cpu, gpu, or one GPU such as cuda:1.
    precision: 32, bf16 for speed, or auto, which is bf16 where the hardware computes it.
    max_bad: how many unreadable images are borne, as a number or a share; by default 1 %, and always ten.
    seed: of the weights, where `model` is a name without pretrained ones.
    overwrite: replace `out` where it exists.
    """
    import numpy as np

    from selfsight.data import splits
    from selfsight.data.parts import find_part
    from selfsight.outputs import check_output, check_space, refuse_inputs, replacing
    from selfsight.probes.features import Reader, check_reading
    from selfsight.probes.options import check_choice, check_switches, check_words
    from selfsight.probes.subjects import as_encoder_reads, channels_for, find_encoder, is_name, subject_of
    from selfsight.probes.tables import known_of, write_npz, write_parquet

    out = Path(out)
    if out.suffix not in SUFFIXES:
        raise ValueError(
            f"cannot write features as {out.suffix or 'a file without suffix'!r}: end out in .parquet or .npz"
        )
    check_output(out, overwrite=overwrite)
    refuse_inputs(out, data)
    check_words(label=label, path_column=path_column, split=split)
    check_switches(pretrained=pretrained, overwrite=overwrite)
    check_choice("features", features, ("pooled", "patch"))
    check_reading(
        precision=precision,
        devices=devices,
        max_bad=max_bad,
        channels=channels,
        image_size=image_size,
        batch_size=batch_size,
        workers=workers,
        seed=seed,
    )
    subject = subject_of(model, pretrained)
    if seed and (pretrained or not is_name(subject)):
        log.info("seed %d has no effect: it draws the weights of a name without pretrained ones", seed)
    parts = splits(data, label=label, path_column=path_column, channels=channels_for(subject, pretrained, channels))
    asked = None if split is None else find_part(parts, split)
    trained_on = parts.get("train", next(iter(parts.values())))  # whichever part is asked for, one encoder
    encoder = find_encoder(subject, trained_on, image_size, pretrained=pretrained, seed=seed)
    chosen = {name: as_encoder_reads(part, encoder.spec) for name, part in parts.items() if asked in (None, name)}
    reader = Reader(
        encoder.spec,
        image_size,
        batch_size=batch_size,
        workers=workers,
        device=devices,
        precision=precision,
        max_bad=max_bad,
    )
    function = {"features": encoder if features == "pooled" else patches_of(encoder)}
    encoder.to(reader.device)
    shape = reader.shapes(function)["features"]
    check_space(out, 4 * int(np.prod(shape)) * sum(map(len, chosen.values())))
    known = known_of(chosen, several=len(parts) > 1, form=out.suffix)

    rows, taken = read_all(reader, function, chosen)
    with replacing(out) as stream:
        (write_parquet if out.suffix == ".parquet" else write_npz)(stream, rows, known, taken)
    return out


def patches_of(encoder: Encoder) -> Any:
    """A function that answers `(B, N, D)`, the positions of the last layer's map in reading order."""
    if not encoder.maps:
        raise ValueError("this encoder has no maps, timm's forward_intermediates: leave features at pooled")
    return lambda view: encoder.dense(view).flatten(2).transpose(1, 2)


def read_all(reader: Any, function: Mapping[str, Any], parts: Mapping[str, Source]) -> tuple[np.ndarray, np.ndarray]:
    """Features `(N, ...)` of the images that can be read, and their rows `(N,)` in all parts, one after the other."""
    import numpy as np

    rows, taken, first = [], [], 0
    for source in parts.values():
        found, index = reader(function, source)
        rows.append(found["features"].numpy())
        taken.append(index.numpy() + first)
        first += len(source)
        if len(index) < len(source):
            log.warning("%d images of %s cannot be read and have no row", len(source) - len(index), source.name)
    features = rows[0] if len(rows) == 1 else np.concatenate(rows)
    broken = ~np.isfinite(features.reshape(len(features), -1)).all(1)
    if broken.any():
        log.warning("features of %d images are not finite: has the encoder diverged?", broken.sum())
    return features, np.concatenate(taken)
