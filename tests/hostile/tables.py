"""Kinds 2, 3 and 4: tables, their encodings, labels, paths, columns and splits."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from PIL import Image

from hostile.case import BAD, Case, Either, Expect, Parts, Reads, Trial, either, one_of, refused
from hostile.formats import first, noise, saved


def some_images(folder: Path, rng: Generator, names: list[str]) -> dict[str, np.ndarray]:
    """PNGs of noise under names below `folder`, and their pixels."""
    answers = {}
    for name in names:
        array = noise(rng, (6, 7, 3))
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(saved(Image.fromarray(array), "PNG"))
        answers[name] = first(array)
    return answers


def as_csv(
    rows: list[list[str]], *, separator: str = ",", quoting: int = csv.QUOTE_MINIMAL, newline: str = "\n"
) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator=newline).writerows(rows)
    return stream.getvalue()


# Encodings, separators, quotes and line ends.

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252", "utf-16-be-bare")
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
NEWLINES = {"unix": "\n", "dos": "\r\n", "mac": "\r"}


def written(
    encoding: str, separator: str, newline: str, quoted: bool, suffix: str
) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        names, labels = [f"{number}.png" for number in range(4)], ["naïve", "a, b", 'say "x"', "naïve"]
        answers = some_images(folder, rng, names)
        rows = [["path", "label"], *map(list, zip(names, labels, strict=True))]
        text = as_csv(
            rows, separator=separator, newline=newline, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
        )
        bare = encoding == "utf-16-be-bare"
        (folder / f"t{suffix}").write_bytes(text.encode("utf-16-be" if bare else encoding))
        reads: Expect = Reads(answers, dict(zip(names, labels, strict=True)), sorted(set(labels)))
        sure = encoding in ("utf-8", "utf-8-sig", "utf-16")
        return Trial(folder / f"t{suffix}", reads if sure else either(reads, refused("utf-8", "column", "bytes")))

    return build


# Labels.

NOTHING = ("", "-1")
COLUMNS: dict[str, list[str]] = {
    "words": ["cat", "dog", "cat", "ant", "dog", "bee"],
    "None": ["None", "scratch", "None", "dent", "scratch", "dent"],
    "NA": ["NA", "EU", "NA", "AS", "EU", "NA"],
    "null": ["null", "one", "null", "one", "two", "two"],
    "nan-name": ["nan", "roti", "nan", "roti", "nan", "roti"],
    "no-yes": ["no", "yes", "no", "no", "yes", "yes"],
    "truths": ["true", "false", "true", "false", "true", "true"],
    "Truths": ["True", "False", "True", "False", "True", "True"],
    "empty-some": ["cat", "", "dog", "", "cat", "dog"],
    "minus-some": ["cat", "-1", "dog", "-1", "cat", "dog"],
    "spaces": [" cat", "cat ", "dog", "  dog  ", "cat", "dog"],
    "case": ["Cat", "cat", "Cat", "cat", "CAT", "CAT"],
    "whole": ["0", "1", "2", "0", "1", "2"],
    "whole-gaps": ["5", "10", "5", "20", "10", "5"],
    "whole-missing": ["0", "1", "", "0", "1", "2"],
    "whole-minus": ["0", "1", "-1", "0", "-1", "1"],
    "whole-NA": ["0", "1", "NA", "0", "null", "1"],
    "whole-points": ["0.0", "1.0", "0.0", "2.0", "1.0", "2.0"],
    "minus-point": ["0.0", "1.0", "-1.0", "0.0", "1.0", "1.0"],
    "negative": ["-2", "-3", "-2", "-3", "4", "4"],
    "minus-only": ["-1", "-1", "-1", "-1", "-1", "-1"],
    "scale": ["0.5", "1.25", "3.75", "0.5", "2.5", "9.1"],
    "scale-missing": ["0.5", "", "3.75", "NA", "2.5", "9.1"],
    "scale-minus": ["0.5", "-1", "3.75", "-1", "2.5", "9.1"],
    "zeros-before": ["007", "01", "007", "01", "1", "1"],
    "exponents": ["1e3", "2e3", "1e3", "2e3", "1e3", "2e3"],
    "long": ["12345678901234567890", "12345678901234567891"] * 3,
    "mixed": ["1", "cat", "1", "cat", "2", "2"],
    "dates": ["2024-01-01", "2024-01-02"] * 3,
    "scripts": ["猫", "собака", "猫", "собака", "كلب", "كلب"],
    "emoji": ["🐱", "🐶"] * 3,
    "yaml": ["[a]", "a: b", "#1", "&x", "*y", "!z"],
    "formula": ["=1+1", "@x", "=1+1", "@x", "+a", "+a"],
    "quotes": ["'a'", '"b"', "'a'", '"b"', "`c`", "`c`"],
    "lines": ["a\nb", "c", "a\nb", "c", "c", "c"],
    "arabic-digits": ["١", "٢", "١", "٢", "١", "٢"],
    "halves": ["½", "¼", "½", "¼", "½", "¼"],
    "hex": ["0x10", "0x20"] * 3,
    "underscores": ["1_000", "2_000"] * 3,
    "thousands": ["1,000", "2,000"] * 3,
    "infinite": ["inf", "1", "2", "1", "2", "1"],
    "one-class": ["cat"] * 6,
    "none": [""] * 6,
}
WORDS_FOR_NONE = {"na", "nan", "null", "none", "n/a", "<na>"}


def plain_number(word: str) -> bool:
    """Whether a cell is a number that nobody takes for a name."""
    body = word.lstrip("+-")
    try:
        value = float(word)
    except ValueError:
        return False
    if not word.isascii() or "_" in word or not np.isfinite(value) or word.lower() in WORDS_FOR_NONE:
        return False
    return not (len(body) > 1 and body[0] == "0" and body[1].isdigit()) and not (body.isdigit() and int(body) > 2**53)


def labels_of(cells: list[str]) -> list[Any]:
    """The labels in a column by the rule: names of classes, numbers on a scale, or None."""
    words = [cell.strip() for cell in cells]
    known = [word for word in words if word and word.lower() not in WORDS_FOR_NONE]
    if known and all(map(plain_number, known)):
        numbers = [float(word) if word in known else None for word in words]
        numbers = [None if number == -1 else number for number in numbers]
        if any(number is not None and number != int(number) for number in numbers):
            return numbers
        return [None if number is None else str(int(number)) for number in numbers]
    return [None if word in NOTHING else word for word in words]


def labelled(column: str, suffix: str, label: str) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        cells = COLUMNS[column]
        names = [f"{number}.png" for number in range(len(cells))]
        some_images(folder, rng, names)
        table = folder / f"t{suffix}"
        if suffix == ".parquet":
            pd.DataFrame({"path": names, label: cells}).to_parquet(table)
        else:
            rows = [["path", label], *map(list, zip(names, cells, strict=True))]
            table.write_text(as_csv(rows, separator="," if suffix == ".csv" else "\t"), encoding="utf-8")
        # cells of text that are numbers: as numbers, or as the names that a table of typed columns makes of them
        right = [one_of(label, label.title()) if label in ("true", "false") else label for label in labels_of(cells)]
        typed = [None if cell.strip() in NOTHING else cell.strip() for cell in cells]
        reads: Expect = Reads(None, dict(zip(names, right, strict=True)))
        if suffix == ".parquet":
            reads = either(reads, Reads(None, dict(zip(names, typed, strict=True))))
        options = {} if label == "label" else {"label": label}
        odd = column in ("infinite", "lines", "thousands", "hex", "arabic-digits")
        return Trial(table, either(reads, refused("label", "infinite", label)) if odd else reads, options)

    return build


TYPED: dict[str, tuple[Any, list[Any]]] = {
    "int8": (pd.array([0, 1, -1, 2], dtype="int8"), ["0", "1", None, "2"]),
    "uint8": (pd.array([0, 1, 255, 2], dtype="uint8"), ["0", "1", "255", "2"]),
    "int64": (pd.array([0, 1, -1, 2]), ["0", "1", None, "2"]),
    "nullable": (pd.array([0, None, 1, -1], dtype="Int64"), ["0", None, "1", None]),
    "nullable-float": (pd.array([0.5, None, 1.5, 2.5], dtype="Float64"), [0.5, None, 1.5, 2.5]),
    "float-whole": (np.array([0.0, np.nan, 1.0, -1.0]), ["0", None, "1", None]),
    "float32": (np.array([0.25, np.nan, 1.5, 0.25], np.float32), [0.25, None, 1.5, 0.25]),
    "bool": (np.array([True, False, True, True]), ["True", "False", "True", "True"]),
    "nullable-bool": (pd.array([True, None, False, True], dtype="boolean"), ["True", None, "False", "True"]),
    "text": (pd.array(["a", None, "b", "-1"], dtype="string"), ["a", None, "b", None]),
    "category": (pd.Categorical(["b", "a", None, "b"]), ["b", "a", None, "b"]),
    "category-int": (pd.Categorical([3, 1, None, 3]), ["3", "1", None, "3"]),
    "category-words": (pd.Categorical(["None", "NA", "None", "NA"]), ["None", "NA", "None", "NA"]),
    "object-mixed": (np.array(["a", None, "b", ""], object), ["a", None, "b", None]),
    "lists": ([[1], [2, 3], [1], []], ["refused"] * 4),
    "dates": (pd.to_datetime(["2024-01-01", "2024-01-02", None, "2024-01-01"]), None),
    "durations": (pd.to_timedelta([1, 2, None, 1], unit="D"), None),
    "bytes": ([b"a", b"b", b"a", None], ["a", "b", "a", None]),
}  # fmt: skip


def typed(name: str) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        values, right = TYPED[name]
        names = [f"{number}.png" for number in range(4)]
        some_images(folder, rng, names)
        pd.DataFrame({"path": names, "label": values}).to_parquet(folder / "t.parquet")
        if right is None or "refused" in right:
            return Trial(folder / "t.parquet", either(refused("label"), Reads(None)))
        return Trial(folder / "t.parquet", Reads(None, dict(zip(names, right, strict=True))))

    return build


# Paths.

SPELLINGS: dict[str, tuple[str, Callable[[str, Path], str]]] = {
    "plain": ("a.png", lambda name, folder: name),
    "dot": ("a.png", lambda name, folder: f"./{name}"),
    "up": ("sub/a.png", lambda name, folder: "sub/../sub/a.png"),
    "absolute": ("a.png", lambda name, folder: str(folder / name)),
    "backslash": ("sub/a.png", lambda name, folder: "sub\\a.png"),
    "spaces": ("a b.png", lambda name, folder: name),
    "padded": ("a.png", lambda name, folder: "  a.png  "),
    "space-at-end": ("a.png ", lambda name, folder: name),
    "quote": ('a"b.png', lambda name, folder: name),
    "apostrophe": ("a'b.png", lambda name, folder: name),
    "comma": ("a,b.png", lambda name, folder: name),
    "semicolon": ("a;b.png", lambda name, folder: name),
    "newline": ("a\nb.png", lambda name, folder: name),
    "tab": ("a\tb.png", lambda name, folder: name),
    "percent": ("a%20b.png", lambda name, folder: name),
    "file-address": ("a b.png", lambda name, folder: f"file://{folder}/a%20b.png"),
    "accent-composed": ("\u00e9.png", lambda name, folder: name),
    "accent-apart": ("e\u0301.png", lambda name, folder: name),
    "script": ("写真/猫.png", lambda name, folder: name),
    "emoji": ("🐱.png", lambda name, folder: name),
    "number": ("007.png", lambda name, folder: name),
    "exponent": ("1e3.png", lambda name, folder: name),
    "dash": ("-n.png", lambda name, folder: name),
    "hash": ("#1.png", lambda name, folder: name),
    "hidden": (".a.png", lambda name, folder: name),
    "upper": ("A.PNG", lambda name, folder: name),
    "no-suffix": ("image", lambda name, folder: name),
    "number-no-suffix": ("007", lambda name, folder: name),
    "null-name": ("null", lambda name, folder: name),
    "dollar": ("$HOME.png", lambda name, folder: name),
    "star": ("*.png", lambda name, folder: name),
    "tilde": ("~a.png", lambda name, folder: name),
    "odd-bytes": ("caf\udce9.png", lambda name, folder: name),
}  # fmt: skip


def spelled(name: str, suffix: str) -> Callable[[Path, Generator], Trial]:
    stored, spell = SPELLINGS[name]

    def build(folder: Path, rng: Generator) -> Trial:
        answers = some_images(folder, rng, [stored, "z.png"])
        rows = [["path", "label"], [spell(stored, folder), "a"], ["z.png", "b"]]
        if suffix == ".parquet":
            pd.DataFrame(rows[1:], columns=rows[0]).to_parquet(folder / "t.parquet")
        else:
            text = as_csv(rows, separator="," if suffix == ".csv" else "\t")
            (folder / f"t{suffix}").write_bytes(text.encode("utf-8", "surrogateescape"))
        return Trial(folder / f"t{suffix}", Reads(answers, {stored: "a", "z.png": "b"}, ["a", "b"]))

    return build


BAD_PATHS: dict[str, tuple[str, Expect]] = {
    "missing": ("no.png", Reads({"a.png": one_of(BAD, np.zeros(1)), "no.png": BAD})),
    "folder": ("sub", Reads({"sub": BAD})),
    "empty": ("", refused("path")),
    "spaces-only": ("   ", refused("path")),
    "address": ("https://example.org/a.png", refused("address", "download", "https")),
    "bucket": ("s3://bucket/a.png", refused("address", "download", "s3")),
    "text-file": ("t.csv", Reads({"t.csv": BAD})),
    "pipe": ("pipe", Reads({"pipe": BAD})),
    "device": ("/dev/zero", Reads({"zero": BAD})),
    "loop": ("loop.png", Reads({"loop.png": BAD})),
    "very-long": ("x" * 5000 + ".png", Reads({"x": BAD})),
    "deep": ("/".join("d" * 500) + ".png", Reads({"d": BAD})),
}


def astray(name: str) -> Callable[[Path, Generator], Trial]:
    """A path that leads to no image: refused, or named as bad."""
    cell, expect = BAD_PATHS[name]

    def build(folder: Path, rng: Generator) -> Trial:
        answers = some_images(folder, rng, ["a.png"])
        (folder / "sub").mkdir()
        os.mkfifo(folder / "pipe")
        os.symlink("loop.png", folder / "loop.png")
        (folder / "t.csv").write_text(f"path,label\na.png,a\n{cell},b\n", encoding="utf-8")
        key = os.path.relpath(os.path.normpath(folder / cell), folder)
        named: Expect = Reads({**answers, key: BAD})
        return Trial(folder / "t.csv", either(named, refused()) if isinstance(expect, Reads) else expect)

    return build


# Whole tables that are odd.

TEXTS: dict[str, tuple[str | bytes, Expect]] = {
    "empty": ("", refused("empty", "column")),
    "blank-lines-only": ("\n\n\n", refused("empty", "column")),
    "header-only": ("path,label\n", refused("rows")),
    "no-header": ("a.png,x\nb.png,y\n", refused("column")),
    "no-path-column": ("file,label\na.png,x\n", refused("path")),
    "path-twice": ("path,path\na.png,b.png\n", refused("path")),
    "label-twice": ("path,label,label\na.png,x,y\n", refused("label")),
    "too-many-cells": ("path,label\na.png,x\nb.png,y,z\n", refused("line 3", "cells")),
    "too-few-cells": ("path,label\na.png,x\nb.png\n", Reads(None, {"a.png": "x", "b.png": None})),
    "blank-lines": ("path,label\n\na.png,x\n\nb.png,y\n\n", Reads(None, {"a.png": "x", "b.png": "y"})),
    "comma-at-end": ("path,label,\na.png,x,\nb.png,y,\n", Reads(None, {"a.png": "x", "b.png": "y"})),
    "index-column": (",path,label\n0,a.png,x\n1,b.png,y\n", Reads(None, {"a.png": "x", "b.png": "y"})),
    "spaces-in-header": (" path , label \na.png,x\nb.png,y\n", Reads(None, {"a.png": "x", "b.png": "y"})),
    "no-line-end": ("path,label\na.png,x\nb.png,y", Reads(None, {"a.png": "x", "b.png": "y"})),
    "open-quote": ('path,label\n"a.png,x\nb.png,y\n', refused("quot", "read", "end", "line")),
    "zero-bytes": (b"path,label\na.png,x\0\nb.png,y\n", refused("zero", "text", "table")),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), refused("column", "utf", "table", "zero")),
    "zip": (b"PK\x03\x04" + bytes(200), refused("column", "utf", "table", "zero")),
    "spreadsheet-line": ("sep=;\npath;label\na.png;x\nb.png;y\n", Reads(None, {"a.png": "x", "b.png": "y"})),
    "columns-of-ours": (
        "path,label,index,class,features,split_,path_in_table,label_in_table\na.png,x,9,8,7,6,5,4\nb.png,y,9,8,7,6,5,4\n",
        Reads(None, {"a.png": "x", "b.png": "y"}),
    ),
    "same-file-twice": ("path,label\na.png,x\na.png,x\nb.png,y\n", Reads(None, {"a.png": "x", "b.png": "y"})),
    "same-file-two-labels": ("path,label\na.png,x\na.png,y\nb.png,y\n", either(Reads(None), refused("label"))),
    "long-cell": (
        f"path,label\na.png,{'x' * 200_000}\nb.png,y\n",
        either(Reads(None, {"b.png": "y"}), refused("field", "long")),
    ),
    "many-columns": (
        "path,label,"
        + ",".join(f"c{i}" for i in range(3000))
        + "\n"
        + "".join(f"{n}.png,x{',1' * 3000}\n" for n in "ab"),
        Reads(None, {"a.png": "x", "b.png": "x"}),
    ),
}


def text_table(name: str, suffix: str) -> Callable[[Path, Generator], Trial]:
    contents, expect = TEXTS[name]

    def build(folder: Path, rng: Generator) -> Trial:
        some_images(folder, rng, ["a.png", "b.png"])
        data = contents if isinstance(contents, bytes) else contents.encode()
        (folder / f"t{suffix}").write_bytes(data.replace(b",", b"\t") if suffix == ".tsv" else data)
        return Trial(folder / f"t{suffix}", expect)

    return build


FILES: dict[str, tuple[str, Callable[[pd.DataFrame, Path], None]]] = {
    "parquet-cut": (".parquet", lambda t, p: cut_in_half(t.to_parquet(p), p)),
    "parquet-empty": (".parquet", lambda t, p: p.write_bytes(b"")),
    "parquet-is-csv": (".parquet", lambda t, p: t.to_csv(p, index=False)),
    "csv-is-parquet": (".csv", lambda t, p: t.to_parquet(p)),
    "csv-is-pickle": (".csv", lambda t, p: t.to_pickle(p)),
    "csv-is-gzip": (".csv", lambda t, p: t.to_csv(p, index=False, compression="gzip")),
    "xlsx": (".xlsx", lambda t, p: p.write_bytes(b"PK\x03\x04")),
    "json": (".json", lambda t, p: t.to_json(p)),
    "txt": (".txt", lambda t, p: t.to_csv(p, index=False)),
    "csv-gz": (".csv.gz", lambda t, p: t.to_csv(p, index=False)),
}


def cut_in_half(_: Any, path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def file_table(name: str) -> Callable[[Path, Generator], Trial]:
    suffix, write = FILES[name]

    def build(folder: Path, rng: Generator) -> Trial:
        some_images(folder, rng, ["a.png", "b.png"])
        write(pd.DataFrame({"path": ["a.png", "b.png"], "label": ["x", "y"]}), folder / f"t{suffix}")
        return Trial(folder / f"t{suffix}", refused("t."))

    return build


# Words of a split column.

TRAIN = ("train", "Train", "TRAIN", " train ", "training", "training_set", "Training Set", "trn", "train2017")
OTHERS = {
    "test": "test", "TEST": "test", "testing": "test", "test_set": "test", "Test Set": "test", "holdout": "test",
    "eval": "test", "val": "val", "valid": "val", "validation": "val", "Validation_Set": "val", "dev": "val",
    "val2017": "val", "": None, "unknown": None, "0": None, "extra": None, "none": None,
}  # fmt: skip


def split_by(train: str, other: str, column: str = "split") -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        names = [f"{number}.png" for number in range(6)]
        answers = some_images(folder, rng, names)
        words = [train] * 4 + [other] * 2
        (folder / "t.csv").write_text(
            as_csv(
                [
                    ["path", "label", column],
                    *([n, "ab"[i % 2], w] for i, (n, w) in enumerate(zip(names, words, strict=True))),
                ]
            )
        )
        inside = {name: answers[name] for name in names[:4]}
        outside = {name: answers[name] for name in names[4:]}
        part = OTHERS[other]
        if part is None:  # neither trained on nor lost without a word
            return Trial(
                folder / "t.csv", either(refused(column), Parts({"train": Reads(inside)}, said=("2 ", column)))
            )
        right: Expect = Parts({"train": Reads(inside, None, ["a", "b"]), part: Reads(outside, None, ["a", "b"])})
        plain = train.strip().lower() in ("train", "training") and other.lower() in (
            "test",
            "testing",
            "val",
            "valid",
            "validation",
        )
        unread = Reads(answers, said=(column, "split"))
        return Trial(
            folder / "t.csv", right if plain and column == "split" else Either((right, refused(column, other), unread))
        )

    return build


def cases() -> Iterator[Case]:
    for encoding in ENCODINGS:
        for separator, sign in SEPARATORS.items():
            for newline, end in NEWLINES.items():
                for quoted in (False, True):
                    suffix = ".tsv" if separator == "tab" else ".csv"
                    name = f"tables/written/{encoding}/{separator}/{newline}/{'all' if quoted else 'few'}-quotes"
                    yield Case(name, 4, written(encoding, sign, end, quoted, suffix))
    for column in COLUMNS:
        for suffix in (".csv", ".tsv", ".parquet"):
            for label in ("label", "kind of"):
                yield Case(f"tables/labels/{column}{suffix}/{label}", 2, labelled(column, suffix, label))
    for name in TYPED:
        yield Case(f"tables/typed/{name}", 2, typed(name))
    for name in SPELLINGS:
        for suffix in (".csv", ".tsv") if name in ("odd-bytes",) else (".csv", ".tsv", ".parquet"):
            yield Case(f"tables/paths/{name}{suffix}", 4, spelled(name, suffix))
    for name in BAD_PATHS:
        yield Case(f"tables/astray/{name}", 4, astray(name))
    for name in TEXTS:
        for suffix in (".csv", ".tsv") if "spreadsheet" not in name else (".csv",):
            yield Case(f"tables/texts/{name}{suffix}", 4, text_table(name, suffix))
    for name in FILES:
        yield Case(f"tables/files/{name}", 4, file_table(name))
    for train in TRAIN:
        for other in OTHERS:
            yield Case(f"tables/split/{train!r}-{other!r}", 3, split_by(train, other))
    for column in ("Split", "subset", "set", "partition", "fold"):
        yield Case(f"tables/split-column/{column}", 3, split_by("train", "test", column))
