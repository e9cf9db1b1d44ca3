"""What goes wrong in self-supervised training, by name, with its likely cause and what to try."""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST_SPREAD = 0.1
SETTLED = 100  # steps after which a low spread is training's doing, and no longer the initial weights'
MOST_WAITING = 0.2
SURE, UNSURE = 0.01, 0.99  # shares of the largest entropy


@dataclass(frozen=True)
class Alarm:
    """One thing that is wrong.

    fatal: whether the representation is lost or being lost; a merely slow run is not.
    """

    name: str
    cause: str
    suggestion: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.cause}. {self.suggestion}"


def find_alarms(values: dict[str, float], former: dict[str, float]) -> list[Alarm]:
    """Alarms in the values logged at one `step`; `former` holds those measured before."""
    alarms = [
        non_finite(values),
        collapse(values, former),
        rank_halved(values, former),
        teacher_entropy(values),
        waiting(values),
    ]
    return [alarm for alarm in alarms if alarm is not None]


def non_finite(values: dict[str, float]) -> Alarm | None:
    """A loss or one of its terms is no number."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if not bad:
        return None
    return Alarm(
        "non-finite",
        f"{', '.join(bad)} is not finite: the rate is too high, or numbers overflow at this precision",
        "Lower lr, set clip 1.0, lengthen warmup_epochs, or use precision 32",
    )


def collapse(values: dict[str, float], former: dict[str, float]) -> Alarm | None:
    """All images get nearly the same features, and no less so than at the measurement before.

    The first measurement counts once `SETTLED` steps are done: many heads start with a low spread.
    """
    watched = ("encoder_spread", "projector_spread")
    most = math.inf if values.get("step", SETTLED) >= SETTLED else 0.0
    low = {
        name: values[name]
        for name in watched
        if name in values and values[name] < LEAST_SPREAD and values[name] <= former.get(name, most)
    }
    if not low:
        return None
    seen = ", ".join(f"{name} is {value:.3f}" for name, value in low.items())
    return Alarm(
        "collapse",
        f"{seen} (1 is healthy, below {LEAST_SPREAD} all images look alike to the net)",
        "Lower lr, raise batch_size, lengthen warmup_epochs, or check what keeps this method from collapsing "
        "(negatives, predictor, variance term, centring)",
    )


def rank_halved(values: dict[str, float], former: dict[str, float]) -> Alarm | None:
    """The features use half the dimensions that they used at the measurement before."""
    for name in ("encoder_rank", "projector_rank"):
        if name in values and name in former and values[name] < former[name] / 2:
            return Alarm(
                "rank halved",
                f"{name} fell from {former[name]:.1f} to {values[name]:.1f}: dimensions are collapsing",
                "Lower lr or lengthen warmup_epochs; a wider projector or a larger batch_size also helps",
            )
    return None


def teacher_entropy(values: dict[str, float]) -> Alarm | None:
    """The teacher always says the same class, or says all classes alike.

    A method logs `teacher_entropy` and its largest value, `teacher_entropy_max`, both in nats.
    """
    largest = values.get("teacher_entropy_max", 0.0)
    if "teacher_entropy" not in values or largest <= 0:
        return None
    share = values["teacher_entropy"] / largest
    if share < SURE:
        return Alarm(
            "teacher too sure",
            f"the teacher's entropy is {share:.1%} of its largest: one class takes every image",
            "Raise the teacher's temperature, or strengthen centring",
        )
    if share > UNSURE:
        return Alarm(
            "teacher unsure",
            f"the teacher's entropy is {share:.1%} of its largest: it says all classes alike",
            "Lower the teacher's temperature, or lengthen its warm-up",
        )
    return None


def waiting(values: dict[str, float]) -> Alarm | None:
    """Training waits for data."""
    if values.get("data_wait", 0.0) <= MOST_WAITING:
        return None
    return Alarm(
        "data wait",
        f"{values['data_wait']:.0%} of the time goes by waiting for images",
        "Raise workers, use lane resident where memory allows, or store the images smaller",
        fatal=False,
    )
