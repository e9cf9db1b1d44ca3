"""The parts of a data set, train, val and test, under whatever names people give them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from selfsight.data.sources import Source, Subset
from selfsight.naming import listed, nearest, printable

log = logging.getLogger(__name__)

ORDER = ("train", "val", "test")
WORDS = {
    "train": ("train", "training", "trn", "tr", "trainval"),
    "val": ("val", "valid", "validation", "validate", "vali", "dev", "devel", "development"),
    "test": ("test", "testing", "tst", "ts", "eval", "evaluation", "holdout", "heldout"),
}
PARTS = {word: part for part, words in WORDS.items() for word in words}
FILLERS = "dataset|sets?|data|images?|imgs?|pictures|split|part|folder"
FILLED = re.compile(f"({FILLERS})$|^({FILLERS})")
YEAR = re.compile(r"(?<=[a-z])(19|20)\d\d$")
NUMBERED = re.compile(r"(train|training|test|testing|val|valid|validation)([ _.-]?\d+|[ _.-]?[a-z]|[ _.-].*)")
COLUMNS = ("split", "splits", "subset", "set", "partition", "part", "phase", "usage", "fold")
PROPER = "train, val and test"


def part_of(name: object) -> str | None:
    """Which part a word stands for: "train", "val" or "test", or None.

    Capitals, spaces and signs between words do not count, nor does what people add: `Training_Set`, `test images`,
    `imagesTr`, `val2017`, `dev`, `hold-out`.
    """
    word = YEAR.sub("", re.sub(r"[\s_.-]+", "", str(name).lower()))
    while word not in PARTS and (filler := FILLED.search(word)):
        word = word[: filler.start()] + word[filler.end() :]
    return PARTS.get(word)


def find_part(parts: Mapping[str, Any], wanted: str, named: str = "the data") -> str:
    """The name in `parts` of the part that is wanted by its name or another word for it.

    Raises:
        ValueError: where there is none.
    """
    if wanted in parts:
        return wanted
    part = part_of(wanted)
    if part is not None and part in parts:
        return part
    raise ValueError(f"{named} has no split {wanted!r} but {', '.join(map(repr, parts))}")


def main_part(parts: Mapping[str, Any], named: str = "the data") -> str:
    """The part that is meant where none is named: the training part, or the only one.

    Raises:
        ValueError: where there are others only.
    """
    if "train" in parts:
        return "train"
    if len(parts) == 1:
        return next(iter(parts))
    raise ValueError(f"{named} has no split 'train' but {', '.join(map(repr, parts))}: name one of them")


def by_part(names: Iterable[str], named: str) -> dict[str, str]:
    """The given name of each part, in the order train, val, test; names that stand for none are left out.

    Raises:
        ValueError: where two names stand for one part.
    """
    found: dict[str, str] = {}
    for name in names:
        part = part_of(name)
        if part in found:
            raise ValueError(
                f"both {printable(found[part])!r} and {printable(name)!r} of {named} are names of its part {part!r}: "
                "put them together or rename one"
            )
        if part is not None:
            found[part] = name
    return {part: found[part] for part in ORDER if part in found}


def part_folders(folders: list[str], named: str) -> dict[str, str]:
    """Which of the folders in a folder are its parts, by part; {} where they are classes.

    They are parts where the training part has another one beside it, or where all are parts.

    Raises:
        ValueError: for two folders of one part, and for names such as trainA and test_1 that may be parts.
    """
    words = [folder for folder in folders if part_of(folder) is not None]
    parts = {part_of(folder) for folder in words}
    if ("train" in parts and len(parts) > 1) or (words and len(words) == len(folders)):
        return by_part(words, named)
    alike = {folder: match[1] for folder in folders if (match := NUMBERED.fullmatch(folder.lower()))}
    kinds = {part_of(word) for word in alike.values()} | parts
    if "train" in kinds and len(kinds) > 1:
        raise ValueError(
            f"{named} has folders that may be parts, {listed([printable(one) for one in alike], 4)}: call its parts "
            f"{PROPER}, or rename these where they are classes"
        )
    return {}


def by_split_column(source: Source) -> dict[str, Source]:
    """The parts that a column "split" names, else {"all": source}; a column of another usual name, such as "subset",
    counts where all of its words are parts.

    Rows with another word, or none, are in no part, and counted in the log.

    Raises:
        ValueError: where a column "split" names no part.
    """
    column = split_column(source)
    if column is None:
        return {"all": source}
    words = written(pd.Series(source.metadata[column]))
    parts = words.map(part_of)
    strange = pd.Series(words[words.notna() & parts.isna()])
    if parts.isna().all():
        raise ValueError(
            f"column {column!r} of {source.name} holds {listed(sorted(map(repr, strange.unique())), 4)}, and no part: "
            f"write {PROPER}, or give the column another name"
        )
    if len(strange):
        counts = [f"{word!r} ({count:,})" for word, count in strange.value_counts().items()]
        hints = {nearest(word, sum(WORDS.values(), ())) for word in strange.unique()} if len(counts) == 1 else set()
        hint = next((hint for hint in hints if "mean" in hint), "")
        log.warning(
            "column %r of %s: rows in no part, and not read: %s%s", column, source.name, listed(counts, 4), hint
        )
    if words.isna().any():
        missing = int(words.isna().sum())
        log.warning("column %r of %s is empty in %d rows, which are in no part", column, source.name, missing)
    return {
        part: Subset(source, (parts == part).to_numpy().nonzero()[0], f"{source.name} ({part})")
        for part in ORDER
        if (parts == part).any()
    }


def split_column(source: Source) -> str | None:
    """The column that says which part a row belongs to, or None."""
    named = {str(name).strip().lower(): str(name) for name in source.metadata if isinstance(name, str)}
    own = named.get("split")
    if own is not None and written(pd.Series(source.metadata[own])).notna().any():
        return own
    for name in COLUMNS[1:]:
        if name not in named:
            continue
        column = named[name]
        words = written(pd.Series(source.metadata[column])).dropna().unique()
        parts = {part_of(word) for word in words}
        if "train" in parts and len(parts - {None}) > 1:
            if None not in parts:
                log.info("%s: column %r names the parts", source.name, column)
                return column
            log.warning(
                "column %r of %s holds parts and other words, and is not taken for parts: call it 'split' if it is",
                column,
                source.name,
            )
    return None


def written(column: pd.Series) -> pd.Series:
    """A column as words without spaces around them; missing where a cell is empty."""
    words = column.astype(object).where(column.notna()).map(lambda cell: str(cell).strip(), na_action="ignore")
    return pd.Series(words.where(words != ""))
