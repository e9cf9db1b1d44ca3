"""A CSV or TSV file as a table: every cell as it is written, and columns of numbers as numbers."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from selfsight.data.labels import EXACT, NUMBER
from selfsight.naming import printable

log = logging.getLogger(__name__)

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# Words for a missing number, in a column whose other cells are numbers.
NO_NUMBER = {"", "na", "n/a", "#na", "#n/a", "nan", "-nan", "null", "none", "<na>"}
TRUTHS = {"true": True, "false": False}
SEPARATOR_LINE = re.compile(r"\Asep=.\r?\n")  # a spreadsheet's own first line
SURROGATE = re.compile("[\udc80-\udcff]")


def read_csv(path: Path, path_column: str) -> pd.DataFrame:
    """The table in a file, its rows in their order without blank ones.

    The separator is that which finds `path_column` in the first line. Cells of words stay as they
    are, but for spaces around them; paths keep theirs. A column is of numbers where every cell is one or stands
    for a missing one; numbers that begin with a 0, such as 007, or that float64 cannot tell apart, are words.

    Raises:
        ValueError: for a file that is no table or not UTF-8, naming the line.
    """
    text = read_text(path)
    preferred = "\t" if path.suffix.lower() == ".tsv" else ","
    separator = find_separator(text, preferred, path_column)
    if separator != preferred:
        log.info("%s is separated by %s", path, SEPARATORS[separator])
    names, rows = parse(text, separator)
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    columns = {name: cells for name, cells in columns.items() if any(cells) or not name.startswith("Unnamed: ")}
    if SURROGATE.search(text):
        check_encoding(columns, path, path_column)
    decimal_comma = separator == ";"
    return pd.DataFrame(
        {
            name: pd.Series(cells, dtype=object) if name == path_column else typed(cells, decimal_comma)
            for name, cells in columns.items()
        }
    )


def read_text(path: Path) -> str:
    """Contents as text: UTF-8, or UTF-16 with its mark; bytes that are neither are kept as surrogates."""
    contents = path.read_bytes()
    if contents[:2] in (b"\xff\xfe", b"\xfe\xff"):
        log.info("%s is UTF-16", path)
        text = contents.decode("utf-16")
    else:
        text = contents.decode("utf-8-sig", "surrogateescape")
    text = SEPARATOR_LINE.sub("", text)
    if "\0" in text:
        raise ValueError("it holds zero bytes, which no text does: save it as a CSV file in UTF-8")
    return text


def check_encoding(columns: dict[str, list[str]], path: Path, path_column: str) -> None:
    """Refuse bytes that are not UTF-8, but for paths of files that are called by such bytes."""
    for name, cells in columns.items():
        for row, cell in enumerate(cells):
            strange = SURROGATE.search(cell)
            if strange and not (name == path_column and os.path.lexists(path.parent / cell)):
                raise ValueError(
                    f"it is not UTF-8: byte 0x{ord(strange[0]) - 0xDC00:x} in column {printable(name)!r}, row {row}; "
                    "save it as UTF-8"
                )


def find_separator(text: str, preferred: str, path_column: str) -> str:
    """The separator that finds `path_column` in the first line, else the one that is preferred."""
    first = next((line for line in io.StringIO(text) if line.strip()), "")
    for separator in (preferred, *SEPARATORS):
        if path_column in (name.strip() for name in next(csv.reader([first], delimiter=separator), [])):
            return separator
    return preferred


def parse(text: str, separator: str) -> tuple[list[str], list[list[str]]]:
    """Names of columns, and rows of as many cells. Raises `ValueError` with the line of one that has more."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names: list[str] = []
    rows: list[list[str]] = []
    try:
        for cells in reader:
            if not "".join(cells).strip():
                continue
            if not names:
                names = [cell.strip() for cell in cells]
                continue
            if len(cells) != len(names):
                if "".join(cells[len(names) :]).strip():
                    raise ValueError(
                        f"line {reader.line_num} has {len(cells)} cells and the first line {len(names)}: put quotes "
                        "around a cell that holds the separator"
                    )
                cells = cells[: len(names)] + [""] * (len(names) - len(cells))
            rows.append(cells)
    except csv.Error as error:
        raise ValueError(f"{error} (line {reader.line_num})") from error
    if not names:
        raise ValueError("it is empty: write a line with names of columns, and one for each image")
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ValueError(f"several columns are called {twice[0]!r}: rename all but one")
    return [name or f"Unnamed: {place}" for place, name in enumerate(names)], rows


def typed(cells: list[str], decimal_comma: bool) -> pd.Series:
    """A column as whole numbers, numbers with NaN, truths, or words with None where empty."""
    positions, found = pd.factorize(np.array(cells, dtype=object))
    words = [cell.strip() for cell in found]
    known = [word for word in words if word.lower() not in NO_NUMBER]
    if decimal_comma and all(NUMBER.fullmatch(word.replace(",", ".", 1)) for word in known):
        words, known = ([word.replace(",", ".", 1) for word in some] for some in (words, known))
    if known and all(is_plain(word) for word in known):
        if len(known) == len(words) and all(word.lstrip("+-").isdecimal() for word in words):
            values = np.array([int(word) for word in words], dtype=np.int64)
        else:
            values = np.array([np.nan if word.lower() in NO_NUMBER else float(word) for word in words])
    elif words and all(word.lower() in TRUTHS for word in words):
        values = np.array([TRUTHS[word.lower()] for word in words])
    else:
        values = np.array([word or None for word in words], dtype=object)
    return pd.Series(values[positions], dtype=values.dtype)


def is_plain(word: str) -> bool:
    """Whether a cell is a number that nobody takes for a name: without zeros before it, and not too long."""
    if not NUMBER.fullmatch(word):
        return False
    digits = word.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdecimal():
        return False
    return not digits.isdecimal() or int(digits) <= EXACT
