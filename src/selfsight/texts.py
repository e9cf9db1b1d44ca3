"""Words and numbers from what is typed: a word stays as it is written, whatever YAML would make of it.

A value comes as text from a shell, or as a Python value from a YAML file or a recipe.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from inspect import Parameter
from pathlib import Path
from types import NoneType
from typing import Any

from selfsight.signatures import typed_as

WORDS = {str, Path, Any, NoneType}
NUMBERS = {int, float, NoneType}
LISTS_OF_WORDS = (Sequence[str], list[str])
NOTHING = "null"


def is_text(parameter: Parameter | None) -> bool:
    """Whether a keyword takes a word or a path, and nothing else that can be typed."""
    return parameter is not None and typed_as(parameter) <= WORDS


def read_simple(value: Any, kinds: set[Any], name: str) -> tuple[bool, Any]:
    """Whether `kinds` are words or numbers alone, and the value as one of them.

    Raises:
        ValueError: for a value that is neither, naming the option `name`.
    """
    if kinds <= WORDS:
        return True, as_word(value, kinds, name)
    if kinds <= NUMBERS:
        return True, as_number(value, kinds, name)
    if kinds <= {int, str}:
        whole = isinstance(value, str) and re.fullmatch(r"\d+", value)
        return True, int(value) if whole else value
    if kinds - {str, NoneType} and kinds - {str, NoneType} <= {*LISTS_OF_WORDS}:
        return True, as_words(value, kinds, name)
    return False, value


def as_word(value: Any, kinds: set[Any], name: str) -> str | None:
    """A word, a path, or None where a file may say so."""
    if isinstance(value, str | Path) or (value is None and NoneType in kinds):
        return value if value is None else str(value)
    raise ValueError(f"{name} is a word or a path, not {value!r}: write it in quotes")


def as_words(value: Any, kinds: set[Any], name: str) -> Any:
    """Words between commas, or a list of them in brackets; a single one is that word."""
    import yaml

    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        try:
            value = yaml.load(value, yaml.BaseLoader)
        except yaml.YAMLError:
            raise ValueError(f"{name} is a list of words such as [one, two], not {value!r}") from None
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")]
        return value if len(parts) == 1 and str in kinds else parts
    if value is None and NoneType in kinds:
        return None
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return list(value)
    raise ValueError(f"{name} is a list of words, not {value!r}: write each in quotes")


def as_number(value: Any, kinds: set[Any], name: str) -> int | float | None:
    """A number as Python writes it: base ten, no clock times; whole where `kinds` has no float."""
    if NoneType in kinds and (value is None or value == NOTHING):
        return None
    whole = float not in kinds
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{name} is {'a whole number' if whole else 'a number'}, not {value!r}")
    if not isinstance(value, str):
        if whole and not isinstance(value, int):
            raise ValueError(f"{name} is a whole number, not {value!r}")
        return value if int in kinds else float(value)
    for kind in (int, float):
        if kind in kinds:
            try:
                return kind(value)
            except ValueError:
                continue
    raise ValueError(f"{name} is {'a whole number' if whole else 'a number'}, not {value!r}")


def comma_list(value: Any) -> Any:
    """`"knn,linear"` as a list, and anything else as it is."""
    if isinstance(value, str) and not value.lstrip().startswith(("[", "{")) and "," in value:
        return [plain_value(item.strip()) for item in value.split(",")]
    return value


def is_one_of_several(value: Any, parameter: Parameter | None) -> bool:
    """Whether a value stands alone where a list is wanted and nothing else: `--linear.lrs 1e-3`."""
    alone = isinstance(value, str | int | float) and not str(value).lstrip().startswith(("[", "("))
    kind = "" if parameter is None else str(parameter.annotation)
    return alone and kind.startswith(("Sequence[", "tuple[", "list[")) and "|" not in kind


def plain_value(text: Any) -> Any:
    """A finite number, `true`, `false`, `null`, list or mapping where `text` reads as one, else `text`: columns may be
    called "no" and "inf"."""
    if not isinstance(text, str):
        return text
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, list | dict) or text in ("true", "false", "null"):
        return value
    if isinstance(value, str):  # YAML 1.1 takes 1e-3 for a word
        try:
            value = float(value)
        except ValueError:
            return text
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else text
