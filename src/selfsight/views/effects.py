"""Which knobs of an augmentation change the views that are made by it.

A method may ignore some, or lack what they act on: the scale of small crops where there are none.
It is found by trying: views are plain descriptions that can be compared, so a knob without effect is one
that can be turned without changing them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from selfsight.views.augmentation import PROBABILITIES, Augmentation, pair
from selfsight.views.colour import Colour, ColourJitter, GaussianBlur, Grayscale, Noise
from selfsight.views.view_sets import View, ViewSet

Make = Callable[[Augmentation], ViewSet]

# Two values that differ for each knob, one of which is not the user's.
TURNED: dict[str, tuple[Any, Any]] = {
    **dict.fromkeys(("scale", "global_scale", "local_scale", "cutout_scale"), ((0.2, 0.3), (0.25, 0.35))),
    "ratio": ((0.9, 1.1), (0.8, 1.2)),
    **dict.fromkeys(PROBABILITIES, (0.3, 0.6)),
    "rotate": (10.0, 20.0),
    "shift": (0.1, 0.2),
    "jitter": ((0.1, 0.1, 0.1, 0.1), (0.2, 0.2, 0.2, 0.2)),
    "blur_sigma": ((0.5, 1.0), (0.6, 1.1)),
    "solarize_threshold": (0.4, 0.6),
    "noise_sigma": ((0.1, 0.2), (0.2, 0.3)),
    "crops": ((2, 1), (3, 1)),
    "local_size": (8, 12),
}
OFF: dict[str, Any] = {**dict.fromkeys(PROBABILITIES, 0), "rotate": 0, "shift": 0, "jitter": (0, 0, 0, 0)}
# What may bring a knob to life.
REMEDIES: dict[str, dict[str, Any]] = {
    **{f"{name} above 0": {name: 0.5} for name in PROBABILITIES},
    "jitter above 0": {"jitter": (0.4, 0.4, 0.4, 0.1)},
    "noise_sigma above 0": {"noise_sigma": (0.1, 0.2)},
    "small crops, such as crops (2, 6)": {"crops": (2, 6)},
    "no small crops, as crops (2, 0), or turn global_scale and local_scale": {"crops": (2, 0)},
}


def without_effect(make: Make, default: Augmentation, chosen: Augmentation, channels: int) -> dict[str, str]:
    """Knobs that `chosen` turns away from `default` and that change nothing, each with what would make them count.

    make: the views of a method by an augmentation. A knob that is turned off is never among them.
    """

    def alive(augmentation: Augmentation, name: str, place: int | None = None) -> bool:
        seen = effective(make(augmentation), channels)
        return any(
            effective(make(turned(augmentation, name, value, place)), channels) != seen for value in TURNED[name]
        )

    idle = {}
    for field in fields(Augmentation):
        name, value = field.name, getattr(chosen, field.name)
        usual = getattr(default, name)
        if value == usual or value == OFF.get(name):
            continue
        if name in PROBABILITIES and isinstance(value, tuple):
            places = [i for i in (0, 1) if value[i] not in (0, pair(usual)[i]) and value[0] != value[1]]
            lost = [i for i in places if not alive(chosen, name, i)]
            if lost and alive(chosen, name):
                idle[name] = f"the {('first', 'second')[lost[0]]} of its two values reaches no view: give a single one"
                continue
        if not alive(chosen, name):
            found = [text for text, change in REMEDIES.items() if alive(replace(chosen, **change), name)]
            idle[name] = f"leave it out, or give {found[0]}" if found else "leave it out"
    return idle


def turned(augmentation: Augmentation, name: str, value: Any, place: int | None) -> Augmentation:
    """The augmentation with one knob at another value, or one place of its pair."""
    if place is not None:
        both = list(pair(getattr(augmentation, name)))
        both[place] = value
        value = tuple(both)
    return replace(augmentation, **{name: value})


def effective(views: ViewSet, channels: int) -> tuple[Any, Any]:
    """What can be told of views by looking at images of `channels`: without the colours that leave them as they are."""
    return tuple(replace(view, colour=changing(view, channels)) for view in views.views), dict(views.draws)


def changing(view: View, channels: int) -> tuple[Colour, ...]:
    """The colours of a view that change its pixels."""
    size = view.size if view.tiles is None else view.tiles.size
    shortest = size if isinstance(size, int) else min(size)
    kept: list[Colour] = []
    for colour in view.colour:
        if isinstance(colour, ColourJitter) and channels != 3:
            colour = replace(colour, saturation=0.0, hue=0.0)
        still = (
            (isinstance(colour, Grayscale) and channels != 3)
            or (isinstance(colour, GaussianBlur) and colour.taps(shortest) == 1)
            or (isinstance(colour, Noise) and colour.sigma[1] == 0)
            or (isinstance(colour, ColourJitter) and not any(strengths(colour)))
        )
        if not still:
            kept.append(colour)
    return tuple(kept)


def strengths(jitter: ColourJitter) -> tuple[float, ...]:
    """Of brightness, contrast, saturation and hue."""
    return jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue
