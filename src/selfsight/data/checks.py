"""Images that cannot be read: named once, counted, and too many of them an error."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

ALWAYS_ALLOWED = 10
NAMED = 5  # in the log, one by one


@dataclass
class BadImages:
    """The unreadable images of a source, shared by whoever reads it.

    max_bad: how many are borne: a whole number is a count, a fraction a share of the images;
        None is 1 %, or ten if that is more.
    reasons: "path: reason" by index.
    """

    max_bad: int | float | None = None
    reasons: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        share = isinstance(self.max_bad, float)
        if self.max_bad is not None and (
            not isinstance(self.max_bad, int | float)
            or self.max_bad is True
            or not 0 <= self.max_bad <= (1 if share else float("inf"))
        ):
            raise ValueError(f"max_bad is a number of images, or a share from 0.0 to 1.0, not {self.max_bad!r}")

    def __len__(self) -> int:
        return len(self.reasons)

    @property
    def names(self) -> list[str]:
        """One line an image, in the order of the source."""
        return [self.reasons[index] for index in sorted(self.reasons)]

    def allowed(self, total: int) -> int:
        """How many of `total` images may be unreadable."""
        if self.max_bad is None:
            return max(ALWAYS_ALLOWED, total // 100)
        return int(self.max_bad * total) if isinstance(self.max_bad, float) else self.max_bad

    def add(self, index: int, reason: str, total: int) -> None:
        """Note an image; `ValueError` when there are too many, or when none is left."""
        if index in self.reasons:
            return
        self.reasons[index] = reason
        if len(self) <= NAMED:
            more = ", and what follows is only counted" if len(self) == NAMED else ""
            log.warning("skipped an unreadable image: %s%s", reason, more)
        if len(self) >= total:
            raise ValueError(f"no readable image: all {total} fail, such as {self.names[0]}")
        if len(self) > self.allowed(total):
            raise ValueError(
                f"{len(self)} of {total} images are unreadable, more than max_bad allows ({self.allowed(total)}), "
                f"such as {self.names[0]}: repair them or raise max_bad"
            )
