from __future__ import annotations

import os
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from selfsight.data import UnreadableImage, identity, numeric_metadata, open_source, splits

from .conftest import picture, write


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


IMAGES = [f"images/{'ab'[i // 6]}/{i:02}.png" for i in range(6)]


@pytest.fixture
def table(pictures):
    """A function that writes cells beside the first six pictures, each a row of a table, and answers its path."""

    def write_table(cells, *, header="path,label", encoding="utf-8", suffix="csv", paths=IMAGES, separator=","):
        lines = [header, *(f"{path}{separator}{cell}" for path, cell in zip(paths, cells, strict=True))]
        path = pictures.parent / f"cells.{suffix}"
        path.write_bytes(("\n".join(lines) + "\n").encode(encoding, "surrogateescape"))
        return path

    return write_table


@pytest.mark.parametrize(
    ("cells", "codes", "classes"),
    [
        (["None", "NA", "null", "nan", "no", ""], [1, 0, 4, 2, 3, -1], ["NA", "None", "nan", "no", "null"]),
        (["1", "NA", "null", "2", "", "10"], [0, -1, -1, 1, -1, 2], ["1", "2", "10"]),
        (["1", "2.0", "1e1", "-1", "1", "2"], [0, 1, 2, -1, 0, 1], ["1", "2", "10"]),
        (["007", "01", "1", "10", "2", "-1"], [3, 0, 1, 4, 2, -1], ["01", "1", "2", "007", "10"]),
        (["true", "FALSE"] * 3, [1, 0] * 3, ["False", "True"]),
        (["yes", "no"] * 3, [1, 0] * 3, ["no", "yes"]),
        (["12345678901234567890", "12345678901234567891"] * 3, [0, 1] * 3, None),
        (["2020-01-02", "2020-01-01"] * 3, [1, 0] * 3, ["2020-01-01", "2020-01-02"]),
        (["cat ", " cat", "dog", "Dog", "-1", " "], [1, 1, 2, 0, -1, -1], ["Dog", "cat", "dog"]),
        (['"a,b"', '"two\nlines"', '"say ""x"""'] * 2, [0, 2, 1] * 2, ["a,b", 'say "x"', "two\nlines"]),
        (["1_0", "0x1", "inf"] * 2, [1, 0, 2] * 2, ["0x1", "1_0", "inf"]),
        (["1", "2", "cat", "-1", "NA", ""], [0, 1, 3, -1, 2, -1], ["1", "2", "NA", "cat"]),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_cells_are_what_they_look_like(table, cells, codes, classes, encoding):
    source = open_source(table(cells, encoding=encoding))
    assert source.labels.tolist() == codes
    assert source.classes == (classes or sorted(set(cells)))


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["5", "10", "20", "21", "80", "5"], [5, 10, 20, 21, 80, 5]),
        (["5", "10", "", "NA", "-1", "5"], [5, 10, -1, -1, -1, 5]),
        (["0.5", "-2", "-1", "", "NaN", "1e1"], [0.5, -2, np.nan, np.nan, np.nan, 10]),
    ],
)
def test_labels_that_are_numbers_stay_numbers(table, cells, numbers):
    source = open_source(table(cells))
    np.testing.assert_array_equal(numeric_metadata(source)["label"].numpy(), numbers)


@pytest.mark.parametrize(
    ("cells", "dtype", "values"),
    [
        (["1", "2", "3", "4", "5", "-6"], "int64", [1, 2, 3, 4, 5, -6]),
        (["1", "NA", "none", "4", "", "5"], "float64", [1, np.nan, np.nan, 4, np.nan, 5]),
        (["01", "2", "3", "4", "5", ""], "object", ["01", "2", "3", "4", "5", None]),
        (["9007199254740993"] * 6, "object", ["9007199254740993"] * 6),
        (["1e300", "0.5", "-0", "1.", ".5", "+1"], "float64", [1e300, 0.5, 0, 1, 0.5, 1]),
        (["true", "False"] * 3, "bool", [True, False] * 3),
        (["true", ""] * 3, "object", ["true", None] * 3),
        (["NA", ""] * 3, "object", ["NA", None] * 3),
        ([""] * 6, "object", [None] * 6),
    ],
)
def test_columns_have_the_type_of_all_their_cells(table, cells, dtype, values):
    column = open_source(table(cells, header="path,age")).metadata["age"]
    assert str(column.dtype) == dtype
    assert all(a == b or a is b or (a != a and b != b) for a, b in zip(column, values, strict=True))


@pytest.mark.parametrize(
    ("separator", "suffix"), [(";", "csv"), ("\t", "csv"), ("|", "csv"), (",", "tsv"), ("\t", "tsv")]
)
def test_separators(table, separator, suffix):
    header = separator.join(["path", "label"])
    source = open_source(table(["a", "b"] * 3, header=header, separator=separator, suffix=suffix))
    assert source.labels.tolist() == [0, 1] * 3


def test_a_first_line_with_the_separator_is_no_header(table):
    assert open_source(table(["a", "b"] * 3, header="sep=;\npath;label", separator=";")).classes == ["a", "b"]


def test_decimal_commas_between_semicolons(table):
    source = open_source(table(["1,5", "-2,25"] * 3, header="path;age", separator=";"))
    assert numeric_metadata(source)["age"].tolist() == [1.5, -2.25] * 3
    source = open_source(table(["1,5", "2"] * 3, header="path\tlabel", separator="\t"))
    assert source.classes == ["1,5", "2"]


@pytest.mark.parametrize(
    ("header", "cells", "words"),
    [
        ("images/a/00.png,a", ["a"] * 6, "has no line of column names.*write one, such as path,label"),
        ("path,label,label", ["a,b"] * 6, "several columns are called 'label': rename"),
        ("path,label", ["a", "b,c", "a", "a", "a", "a"], "line 3 has 3 cells and the first line 2"),
        ("path,label", ['"a', *["b"] * 5], r"cannot be read as a table: .*line \d"),
        ("path,label", ["a\0b", *["b"] * 5], "zero bytes"),
        ("path,label", ["caf\udce9", *["b"] * 5], r"not UTF-8: byte 0xe9 in column 'label', row 0; save it as UTF-8"),
    ],
)
def test_tables_that_are_broken(table, header, cells, words):
    with pytest.raises(ValueError, match=words) as refused:
        open_source(table(cells, header=header))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("contents", "words"), [(b"", "is empty"), (b"\n\n", "is empty"), (b"path,label\n", "has no rows")]
)
def test_tables_without_anything(tmp_path, contents, words):
    for suffix in ("csv", "tsv"):
        (tmp_path / f"x.{suffix}").write_bytes(contents)
        with pytest.raises(ValueError, match=words):
            open_source(tmp_path / f"x.{suffix}")
    (tmp_path / "x.parquet").write_bytes(contents)
    with pytest.raises(ValueError, match=r"x\.parquet cannot be read as a table"):
        open_source(tmp_path / "x.parquet")


def test_blank_lines_short_rows_and_an_index_column(table, pictures):
    path = pictures.parent / "x.csv"
    path.write_text(f"\n,path,label,\n\n0,{IMAGES[0]},a,\n , ,\n1,{IMAGES[1]}\n\n")
    source = open_source(path)
    assert source.labels.tolist() == [0, -1]
    assert set(source.metadata) == {"Unnamed: 0", "path", "label"}


def test_a_column_that_may_hold_the_labels_is_named(table, caplog):
    assert open_source(table(["a", "b"] * 3, header="path,Class")).labels is None
    assert "no column 'label', so no labels: is it 'Class'? Name it with label=" in caplog.text


def test_own_columns_called_label_and_path_are_kept(table):
    rows = [f"x,{name}" for name in "abcabc"]
    source = open_source(table(rows, header="file,label,species"), label="species", path_column="file")
    assert source.classes == ["a", "b", "c"]
    assert source.metadata["label_in_table"].tolist() == ["x"] * 6
    source = open_source(table(rows, header="file,path,label"), path_column="file")
    assert source.metadata["path_in_table"].tolist() == ["x"] * 6
    with pytest.raises(ValueError, match="'file' is the column of paths: name the column of labels with label="):
        open_source(table(rows, header="file,path,label"), path_column="file", label="file")


def spelled(spell):
    return lambda folder: [spell(folder / path) for path in IMAGES]


@pytest.mark.parametrize(
    "paths",
    [
        spelled(str), spelled(lambda path: f"file://{path}"), spelled(lambda path: f"file://localhost{path}"),
        spelled(lambda path: f"~/{path.parent.name}/{path.name}"), spelled(lambda path: f" {path} "),
        lambda folder: [path.replace("/", "\\") for path in IMAGES], lambda folder: [f"./{path}" for path in IMAGES],
        lambda folder: [f"images/../{path}" for path in IMAGES],
    ],
)  # fmt: skip
def test_paths_in_any_spelling(table, pictures, monkeypatch, paths):
    monkeypatch.setenv("HOME", str(pictures))
    source = open_source(table(["x"] * 6, paths=paths(pictures.parent)))
    for index in range(6):
        np.testing.assert_array_equal(source.read(index).permute(1, 2, 0).numpy(), picture(10, 12, seed=index))


def test_a_file_is_taken_by_its_very_name_first(table, pictures):
    for name in ("a\\b.png", " c.png", "%20.png", "001", "file:x.png"):
        write(pictures.parent / "deep" / f"{name}.png", picture(4, 4))
    paths = [f"deep/{name}.png" for name in ("a\\b.png", " c.png", "%20.png", "001", "file:x.png")]
    source = open_source(table(["x"] * 5, paths=paths))
    assert [source.read(index).shape for index in range(5)] == [(3, 4, 4)] * 5


def test_names_of_any_bytes_in_a_table(table, pictures):
    write(pictures / os.fsdecode(b"caf\xe9.png"), picture(4, 4))
    source = open_source(table(["a", "b"], paths=["images/caf\udce9.png", IMAGES[0]]))
    assert source.read(0).shape == (3, 4, 4)
    assert source.describe(0).endswith("caf\\xe9.png") and len(identity(source)) == 16


@pytest.mark.parametrize(
    ("path", "words"),
    [("https://a.org/1.png", "an address: download"), ("s3://a/1.png", "an address"), ("  ", "no path in row 0")],
)
def test_paths_that_lead_nowhere(table, path, words):
    with pytest.raises(ValueError, match=words):
        open_source(table(["x"] * 6, paths=[path, *IMAGES[1:]]))


def test_files_that_are_missing_or_none_are_bad_images(table, pictures):
    os.mkfifo(pictures / "pipe.png")
    source = open_source(
        table(["x"] * 6, paths=["images/pipe.png", "images/a", "nowhere.png", "/dev/zero", *IMAGES[:2]])
    )
    for index, words in enumerate(["no file but", "no file but", "No such file", "no file but"]):
        with pytest.raises(UnreadableImage, match=words):
            source.read(index)
    assert source.read(4).shape == (3, 10, 12)


def test_paths_from_here_are_told_from_those_of_the_table(pictures, monkeypatch):
    monkeypatch.chdir(pictures.parent)
    path = pictures / "table.csv"
    path.write_text("path\n" + "\n".join(IMAGES))
    with pytest.raises(ValueError, match=r"relative to its folder, where 'images/a/00.png' does not exist, as it does"):
        open_source(path)


@pytest.mark.parametrize(
    ("label", "codes", "classes"),
    [
        (pd.Categorical(["b", "a", None] * 2, categories=["b", "c", "a"]), [1, 0, -1] * 2, ["a", "b"]),
        (pd.Categorical([10, 2, None] * 2), [1, 0, -1] * 2, ["2", "10"]),
        (pd.array([10, 2, None] * 2, dtype="Int64"), [1, 0, -1] * 2, ["2", "10"]),
        (pd.array([True, None, False] * 2, dtype="boolean"), [1, -1, 0] * 2, ["False", "True"]),
        ([b"cat", b"dog", None] * 2, [0, 1, -1] * 2, ["cat", "dog"]),
        ([Decimal("1.0"), Decimal("2"), None] * 2, [0, 1, -1] * 2, ["1", "2"]),
        (np.array([0, 1, np.nan] * 2, np.float32), [0, 1, -1] * 2, ["0", "1"]),
        ([Decimal("1.5"), Decimal("2"), None] * 2, None, None),
    ],
)
def test_types_of_parquet(pictures, label, codes, classes):
    frame = pd.DataFrame({"label": label}, index=pd.Index(IMAGES, name="path"))  # the index counts as a column
    frame.to_parquet(pictures.parent / "x.parquet")
    source = open_source(pictures.parent / "x.parquet")
    assert source.classes == classes
    assert (source.labels if codes is None else source.labels.tolist()) == codes


def test_several_labels_in_a_cell_are_refused(pictures):
    pd.DataFrame({"path": IMAGES, "label": [[1, 2]] * 6}).to_parquet(pictures.parent / "x.parquet")
    with pytest.raises(ValueError, match=r"column 'label' of .*x\.parquet cannot be read as labels.*more than one"):
        open_source(pictures.parent / "x.parquet")
