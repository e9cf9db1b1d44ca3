"""Write an encoder's features of all images to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from selfsight.engine import Run
    from selfsight.nets import Encoder

SUFFIXES = (".parquet", ".npz")


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
    image_size: int | None = None,
    pretrained: bool = False,
    batch_size: int = 256,
    workers: int | None = None,
    devices: str = "auto",
    precision: Literal["32", "bf16"] = "32",
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write an encoder's features of all images, and what is known of each image, to a file.

    A row an image: `features` in float32, `index` (its position in its split), `split` where the data
    has several, `class` where labels have names, and all columns of metadata, such as `path`. An image
    that cannot be read has no row. Answers the path of the file.

    model: a run folder, an `encoder.safetensors`, or any name of timm.
    data: images, anything that pretrain takes.
    out: a file that ends in .parquet (a column of lists) or .npz (an array for each column).
    features: pooled, (D,) an image, or patch, (N, D) of the last layer's positions in reading order.
    split: train, val or test; by default all there are.
    label: column of a table that holds the class.
    path_column: column of a table that holds the paths of the images.
    channels: how many channels images are read with; by default the encoder's, else what the data suggest.
    image_size: pixels a side; by default what the encoder was trained with.
    pretrained: load timm's own weights, where `model` is a name.
    batch_size: images at a time; it changes no result.
    workers: processes that decode images where they do not fit into memory.
    devices: auto, cpu, gpu, or one GPU such as cuda:1.
    precision: 32, or bf16 for speed.
    seed: of the weights, where `model` is a name without pretrained ones.
    overwrite: replace `out` where it exists.
    """
    import numpy as np
    import pandas as pd

    from selfsight.data import splits
    from selfsight.probes.features import Reader
    from selfsight.probes.subjects import as_encoder_reads, channels_for, find_encoder

    out = Path(out)
    check_target(out, overwrite)
    subject: Any = getattr(model, "path", model)
    parts = splits(data, label=label, path_column=path_column, channels=channels_for(subject, pretrained, channels))
    if split is not None and split not in parts:
        raise ValueError(f"the data has no split {split!r} but {', '.join(map(repr, parts))}")
    chosen = parts if split is None else {split: parts[split]}
    encoder = find_encoder(subject, next(iter(chosen.values())), image_size, pretrained=pretrained, seed=seed)
    chosen = {name: as_encoder_reads(source, encoder.spec) for name, source in chosen.items()}
    reader = Reader(
        encoder.spec, image_size, batch_size=batch_size, workers=workers, device=devices, precision=precision
    )

    function = encoder if features == "pooled" else lambda view: encoder.dense(view).flatten(2).transpose(1, 2)
    encoder.to(reader.device)
    rows, tables = [], []
    for name, source in chosen.items():
        found, index = reader({"features": function}, source)
        rows.append(found["features"].numpy())
        tables.append(describe(source, index.numpy(), name if len(parts) > 1 else None))
    write(out, np.concatenate(rows), pd.concat(tables, ignore_index=True))
    return out


def check_target(out: Path, overwrite: bool) -> None:
    """Raise a `ValueError` unless `out` can be written."""
    if out.suffix not in SUFFIXES:
        raise ValueError(
            f"cannot write features as {out.suffix or 'a file without suffix'!r}: end out in .parquet or .npz"
        )
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists: set overwrite, or choose another out")


def describe(source: Any, index: np.ndarray, split: str | None) -> pd.DataFrame:
    """What is known of the images at `index`, a row each."""
    known = source.metadata.iloc[index].reset_index(drop=True)
    known.insert(0, "index", index, allow_duplicates=False)
    if split is not None and "split" not in known:
        known.insert(1, "split", split)
    if source.classes and "class" not in known:
        names = dict(enumerate(source.classes))
        known.insert(known.columns.get_loc("label") + 1, "class", known["label"].map(names))
    return known


def write(out: Path, features: np.ndarray, known: pd.DataFrame) -> None:
    """Write features and metadata, whole or not at all."""
    import os

    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{out.stem}.{os.getpid()}{out.suffix}")
    try:
        (write_parquet if out.suffix == ".parquet" else write_npz)(beside, features, known)
        os.replace(beside, out)
    finally:
        beside.unlink(missing_ok=True)


def write_parquet(path: Path, features: np.ndarray, known: pd.DataFrame) -> None:
    """A table with one column of fixed-size lists, nested for patch features."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = pa.array(features.reshape(-1))
    for length in reversed(features.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, length)
    table = pa.Table.from_pandas(known, preserve_index=False).append_column("features", column)
    pq.write_table(table, path)


def write_npz(path: Path, features: np.ndarray, known: pd.DataFrame) -> None:
    """An array for each column; text as fixed-width strings, empty where missing, so that nothing is pickled."""
    import numpy as np
    import pandas as pd

    columns: dict[str, Any] = {
        str(name): column.to_numpy() if pd.api.types.is_numeric_dtype(column) else column.fillna("").to_numpy(str)
        for name, column in known.items()
    }
    np.savez(path, **{"features": features, **columns})
