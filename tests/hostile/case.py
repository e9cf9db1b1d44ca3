"""What a case of the battery is, and what may be expected of it.

A case builds odd data and says the right answer: pixels and labels, an image that is named as bad, or a refusal in
one line. Whatever the answer, no case may leave a traceback, hang, or change what lies in the folder of its data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Problem = str | None
Expect = Callable[[Any], Problem]


@dataclass
class Trial:
    """Data as somebody hands them in, what is right, and what is done with them.

    expect: of the outcome, what is wrong, or None. options: of `act`. act: `act(data, folder, **options)`, by default
        `read_all`. own: relative paths that may come into being or change.
    """

    data: Any
    expect: Expect
    options: dict[str, Any] = field(default_factory=dict)
    act: Callable[..., Any] | None = None
    own: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One case. `build(folder, rng)` may only write into `folder`, which is new and empty."""

    name: str
    kind: int
    build: Callable[[Path, np.random.Generator], Trial]
    dear: bool = False
    seconds: int = 20


# Answers for one image.


class Bad:
    """An image that cannot be read, and is named."""

    def __repr__(self) -> str:
        return "BAD"


class LeftOut:
    """An image that is not among those of the source."""

    def __repr__(self) -> str:
        return "LEFT_OUT"


BAD, LEFT_OUT = Bad(), LeftOut()


@dataclass(frozen=True)
class OneOf:
    """Any of several answers."""

    answers: tuple[Any, ...]


def one_of(*answers: Any) -> OneOf:
    return OneOf(answers)


@dataclass(frozen=True)
class Raw:
    """Pixels `(C, *S)` as they are stored, within `within`."""

    pixels: np.ndarray
    within: float = 0.0


@dataclass(frozen=True)
class Unit:
    """Pixels `(C, *S)` as shares of the source's range, within `within`."""

    pixels: np.ndarray
    within: float = 1.01 / 255


def mismatch(answer: Any, found: Any, value_range: tuple[float, float]) -> Problem:
    """What is wrong with what was read of one image."""
    if isinstance(answer, OneOf):
        problems = [mismatch(one, found, value_range) for one in answer.answers]
        return None if None in problems else "; ".join(dict.fromkeys(map(str, problems)))
    if answer is LEFT_OUT:
        return "must be left out"
    if answer is BAD or isinstance(found, Exception):
        if answer is BAD and isinstance(found, Exception):
            return None
        return "read, and must be named as bad" if answer is BAD else f"cannot be read: {found}"
    if isinstance(answer, np.ndarray):
        answer = Raw(answer)
    low, high = value_range
    got = (found - low) / (high - low) if isinstance(answer, Unit) else found
    want = np.asarray(answer.pixels, np.float64)
    if got.ndim != want.ndim or got.shape[1:] != want.shape[1:] or len({len(got), len(want)} - {1}) > 1:
        return f"shape {got.shape}, must be {want.shape}"
    difference = np.abs(got - want)
    if not np.isfinite(got).all():
        return "holds values that are no numbers"
    if difference.max() > answer.within:
        return (
            f"pixels differ by {difference.max():g} (at most {answer.within:g}), mean {got.mean():g} of {want.mean():g}"
        )
    return None


# Outcomes.


@dataclass
class Part:
    """What was read of one part: by key, an array `(C, *S)` float64 or the error that names the image."""

    images: dict[str, Any]
    labels: dict[str, Any]
    classes: list[str] | None
    value_range: tuple[float, float]
    channels: int
    doubled: list[str] = field(default_factory=list)


@dataclass
class Read:
    """Parts that were read, and the lines that were said."""

    parts: dict[str, Part]
    said: list[str]


@dataclass
class Answer:
    """What something else than reading answered, and the lines that were said."""

    value: Any
    said: list[str]


@dataclass
class Failed:
    """An error, and the lines that were said before it."""

    error: BaseException
    said: list[str]


# Expectations.


@dataclass(frozen=True)
class Refused:
    """A `ValueError` in one line that holds one of the words."""

    words: tuple[str, ...] = ()

    def __call__(self, outcome: Any) -> Problem:
        if not isinstance(outcome, Failed):
            return f"taken, and must be refused ({' or '.join(self.words)}): {shown(outcome)}"
        text = str(outcome.error).casefold()
        if self.words and not any(word.casefold() in text for word in self.words):
            return f"the error names none of {self.words}: {outcome.error}"
        return None


def refused(*words: str) -> Refused:
    return Refused(words)


@dataclass(frozen=True)
class Reads:
    """Images and labels by key, of the only part or of each; what is None is not looked at.

    said: words of which one must be said.
    """

    images: Mapping[str, Any] | None = None
    labels: Mapping[str, Any] | None = None
    classes: list[str] | None = None
    said: tuple[str, ...] = ()
    channels: int | None = None

    def __call__(self, outcome: Any) -> Problem:
        if isinstance(outcome, Failed):
            return f"refused: {outcome.error}"
        if len(outcome.parts) != 1:
            return f"has parts {list(outcome.parts)}"
        return self.of(next(iter(outcome.parts.values()))) or unsaid(self.said, outcome)

    def of(self, part: Part) -> Problem:
        for key, answer in (self.images or {}).items():
            options = answer.answers if isinstance(answer, OneOf) else (answer,)
            if key not in part.images:
                if any(option is LEFT_OUT for option in options):
                    continue
                return f"{key!r} is missing among {sorted(part.images)[:8]}"
            problem = mismatch(answer, part.images[key], part.value_range)
            if problem:
                return f"{key!r}: {problem}"
        more = set(part.images) - set(self.images or part.images)
        if more:
            return f"read as well: {sorted(more)[:5]}"
        if self.channels is not None and part.channels != self.channels:
            return f"{part.channels} channels, must be {self.channels}"
        for key, label in (self.labels or {}).items():
            if not same_label(part.labels.get(key), label):
                return f"label of {key!r} is {part.labels.get(key)!r}, must be {label!r}"
        if self.classes is not None and (part.classes or []) != self.classes:
            return f"classes {part.classes}, must be {self.classes}"
        return None


@dataclass(frozen=True)
class Parts:
    """An expectation for each part, and no other part."""

    parts: Mapping[str, Reads]
    said: tuple[str, ...] = ()

    def __call__(self, outcome: Any) -> Problem:
        if isinstance(outcome, Failed):
            return f"refused: {outcome.error}"
        if set(outcome.parts) != set(self.parts):
            return f"has parts {list(outcome.parts)}, must have {list(self.parts)}"
        problems = [
            f"{name}: {problem}" for name, one in self.parts.items() if (problem := one.of(outcome.parts[name]))
        ]
        return problems[0] if problems else unsaid(self.said, outcome)


@dataclass(frozen=True)
class Either:
    """Any of several expectations."""

    expects: tuple[Expect, ...]

    def __call__(self, outcome: Any) -> Problem:
        problems = [expect(outcome) for expect in self.expects]
        return None if None in problems else " / ".join(map(str, problems))


def either(*expects: Expect) -> Either:
    return Either(expects)


@dataclass(frozen=True)
class Said:
    """Read or answered, with one of the words said."""

    words: tuple[str, ...]

    def __call__(self, outcome: Any) -> Problem:
        return f"refused: {outcome.error}" if isinstance(outcome, Failed) else unsaid(self.words, outcome)


def said(*words: str) -> Said:
    return Said(words)


def unsaid(words: tuple[str, ...], outcome: Any) -> Problem:
    text = "\n".join(outcome.said).casefold()
    return None if not words or any(word.casefold() in text for word in words) else f"says none of {words}"


def same_label(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, OneOf):
        return any(same_label(found, one) for one in wanted.answers)
    if isinstance(wanted, float) and isinstance(found, float):
        return abs(found - wanted) <= 1e-6 * max(1.0, abs(wanted))
    return type(found) is type(wanted) and found == wanted


def shown(outcome: Any) -> str:
    if isinstance(outcome, Read):
        return ", ".join(
            f"{name}: {len(part.images)} images, classes {part.classes}" for name, part in outcome.parts.items()
        )
    return repr(getattr(outcome, "value", outcome))[:200]
