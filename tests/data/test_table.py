from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from selfsight.data import numeric_metadata, open_source, splits

from .conftest import picture


@pytest.fixture
def rows(pictures):
    return pd.DataFrame(
        {
            "path": [f"images/{'ab'[i // 6]}/{i:02}.png" for i in range(12)],
            "label": ["cat", "dog", None] * 4,
            "age": np.arange(12) + 0.5,
            "split": ["train"] * 8 + ["valid"] * 2 + ["test"] * 2,
        }
    )


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_tables(rows, pictures, suffix):
    table = pictures.parent / f"table.{suffix}"
    if suffix == "parquet":
        rows.to_parquet(table)
    else:
        rows.to_csv(table, sep="\t" if suffix == "tsv" else ",", index=False)
    parts = splits(table)
    assert {name: len(part) for name, part in parts.items()} == {"train": 8, "val": 2, "test": 2}
    source = open_source(table)
    assert source.classes == ["cat", "dog"]
    assert source.labels.tolist() == [0, 1, -1, 0, 1, -1, 0, 1]
    assert parts["val"].labels.tolist() == [-1, 0]
    assert numeric_metadata(parts["test"])["age"].tolist() == [10.5, 11.5]
    np.testing.assert_array_equal(parts["val"].read(1).permute(1, 2, 0).numpy(), picture(10, 12, seed=9))


def test_other_column_names(rows, pictures):
    table = pictures.parent / "table.csv"
    rows.rename(columns={"path": "file", "label": "species"}).drop(columns="split").to_csv(table, index=False)
    source = open_source(table, path_column="file", label="species")
    assert len(source) == 12
    assert source.classes == ["cat", "dog"]
    assert set(source.metadata) == {"path", "label", "species", "age"}
    assert open_source(table, path_column="file").labels is None
    with pytest.raises(ValueError, match=r"no column 'path' but file, species, age: name it with path_column="):
        open_source(table)
    with pytest.raises(ValueError, match=r"no column 'sort' but .*: name the labels with label="):
        open_source(table, path_column="file", label="sort")


def test_rows_without_a_path(rows, pictures):
    table = pictures.parent / "table.csv"
    rows.assign(path=[None, *rows["path"][1:]]).to_csv(table, index=False)
    with pytest.raises(ValueError, match="no path in row 0"):
        open_source(table)
