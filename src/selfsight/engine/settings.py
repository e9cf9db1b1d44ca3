"""The options of `pretrain` by themselves: each is checked here before anything is opened, with its fix."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from selfsight.data.sizes import is_size
from selfsight.engine.build import debias_of, given_options
from selfsight.engine.images import Images
from selfsight.methods import find_method
from selfsight.methods.base import Method
from selfsight.nets import check_encoder_name

log = logging.getLogger(__name__)

MOST_SEED = 2**63 - 1
EPOCHS_OF_METHODS = ("freeze_epochs", "queue_start", "warmup_epochs")


@dataclass(frozen=True)
class Rule:
    """What an option may be: `holds` of the value, and in words."""

    holds: Callable[[Any], bool]
    wanted: str
    optional: bool = False

    def check(self, name: str, value: Any) -> None:
        """Raise a `ValueError` that names the option, its value and what it may be."""
        if not (self.holds(value) or (self.optional and value is None)):
            raise ValueError(f"{name} is {self.wanted}, not {value!r}")


def whole(least: int, most: float = math.inf, of: str = "a whole number", optional: bool = False) -> Rule:
    """A whole number of at least `least`."""
    reach = f"at least {least}" if most == math.inf else f"from {least} to {most}"
    return Rule(lambda value: is_a(value, Integral) and least <= value <= most, f"{of} and {reach}", optional)


def number(holds: Callable[[float], bool], wanted: str, optional: bool = True) -> Rule:
    """A number for which `holds` is true; NaN never is."""
    return Rule(lambda value: is_a(value, Real) and bool(holds(value)), f"a number {wanted}", optional)


def one_of(*names: str, optional: bool = False) -> Rule:
    """One of a few words."""
    return Rule(lambda value: isinstance(value, str) and value in names, " or ".join(map(repr, names)), optional)


def is_a(value: Any, kind: type) -> bool:
    """Whether `value` is a number of a kind, which True is not."""
    return isinstance(value, kind) and not isinstance(value, bool)


def is_share_or_count(value: Any) -> bool:
    """A whole number of images, or a share between 0 and 1."""
    return (is_a(value, Integral) and value >= 0) or (is_a(value, Real) and 0 <= value <= 1)


def are_pixels(value: Any, above_0: bool = False) -> bool:
    """Numbers of at least 0 (or above it) and at most 1, which pixels are."""
    values = [value] if is_a(value, Real) else value
    if isinstance(values, str) or (not isinstance(values, Sequence) and not hasattr(values, "__iter__")):
        return False
    return all(is_a(item, Real) and 0 <= item <= 1 and not (above_0 and item == 0) for item in values)


WORD = Rule(lambda value: isinstance(value, str) and value != "", "a name and not empty")
PATH = Rule(lambda value: isinstance(value, str | Path) and str(value) != "", "a path and not empty", optional=True)
SWITCH = Rule(lambda value: isinstance(value, bool), "True or False")
BUNDLE = Rule(lambda value: isinstance(value, Mapping), 'a dictionary of options, such as {"name": value},', True)
PIXELS = Rule(
    are_pixels,
    "of pixels mapped to [0, 1], one for all channels or one for each (of pixels in 0..255 give a 255th)",
    optional=True,
)
SPREAD = Rule(
    partial(are_pixels, above_0=True),
    "above 0, of pixels mapped to [0, 1], one for all channels or one for each (of pixels in 0..255 give a 255th)",
    optional=True,
)
ABOVE_0 = "above 0"

RULES: dict[str, Rule] = {
    "encoder": Rule(lambda value: isinstance(value, str | nn.Module) and value != "", "a name or a torch module"),
    "method": Rule(lambda value: callable(value) or (isinstance(value, str) and value != ""), "a name or a method"),
    "epochs": whole(1),
    "batch_size": whole(1),
    "out": PATH,
    "image_size": Rule(is_size, "a number of pixels and at least 1, or one for each axis", optional=True),
    "lr": number(lambda value: 0 < value < math.inf, ABOVE_0),
    "optimizer": one_of("adamw", "adam", "sgd", "lars", optional=True),
    "weight_decay": number(lambda value: 0 <= value < math.inf, "of at least 0"),
    "warmup_epochs": number(lambda value: 0 <= value < math.inf, "of at least 0"),
    "clip": number(lambda value: value > 0, "above 0 (infinity for none; 0 would hold all weights still)"),
    "accumulate": whole(1),
    "precision": one_of("auto", "bf16", "32"),
    "devices": Rule(
        lambda value: is_a(value, Integral) or (isinstance(value, str) and value != ""),
        "'auto', 'cpu', 'gpu' or a number",
    ),
    "lane": one_of("auto", "resident", "streaming"),
    "workers": whole(0, of="a number of processes", optional=True),
    "limit": whole(1, of="the number of training images", optional=True),
    "split": Rule(WORD.holds, WORD.wanted, optional=True),
    "label": WORD,
    "path_column": WORD,
    "channels": whole(1, optional=True),
    "group": Rule(WORD.holds, WORD.wanted, optional=True),
    "debias": Rule(
        lambda value: isinstance(value, str | Mapping) and len(value) > 0,
        'a column of groups, or options such as {"column": "site", "weight": 1.0}, and',
        optional=True,
    ),
    "mean": PIXELS,
    "std": SPREAD,
    "seed": whole(0, MOST_SEED),
    "weights": PATH,
    "compile": SWITCH,
    "monitor": SWITCH,
    "on_alarm": one_of("warn", "stop"),
    "max_bad": Rule(is_share_or_count, "a number of images, or a share from 0 to 1", optional=True),
    "checkpoint_minutes": number(lambda value: value >= 0, "of minutes and at least 0", optional=False),
    "max_minutes": number(lambda value: value >= 0, "of minutes and at least 0"),
    "resume": SWITCH,
    "overwrite": SWITCH,
    "method_options": BUNDLE,
    "encoder_options": BUNDLE,
    "view_options": BUNDLE,
}


@dataclass(frozen=True)
class Settings:
    """The options of one call of `pretrain`, checked, as attributes; they cannot change any more.

    Each is written once, in the signature of `pretrain`, and what it may be here, in `RULES`.
    """

    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))
        check_settings(self.options)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["options"][name]
        except KeyError:
            raise AttributeError(f"pretrain has no option {name!r}") from None


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse options that are not what they may be, or that another one leaves without effect.

    Raises:
        ValueError: naming the option, its value and the fix.
    """
    for name, value in settings.items():
        if name in RULES:
            RULES[name].check(name, value)
    if isinstance(settings.get("data"), str) and not settings["data"]:
        raise ValueError("data is an empty name: give a folder of images, a table, .npy, .npz, or 'digits'")
    find_method(settings["method"])
    if isinstance(settings["encoder"], str):
        check_encoder_name(settings["encoder"])
    debias_of(settings["debias"])
    check_together(settings)


def check_together(settings: Mapping[str, Any]) -> None:
    """Refuse options of which one leaves the other without effect."""
    warmup, epochs = settings["warmup_epochs"], settings["epochs"]
    if warmup is not None and warmup >= epochs:
        raise ValueError(
            f"warmup_epochs is {warmup} and epochs {epochs}: the rate would rise to the end, give fewer than epochs"
        )
    options = settings["encoder_options"] or {}
    if options and isinstance(settings["encoder"], nn.Module):
        raise ValueError(
            f"encoder_options {sorted(options)} are for an encoder by name, and yours is built: leave them out"
        )
    if settings["weights"] is not None and options.get("pretrained"):
        raise ValueError("weights and the encoder's pretrained both say what it starts from: leave one out")


def check_method(method: Method, settings: Mapping[str, Any], images: Images) -> None:
    """Refuse what this method cannot make use of in a run of this length; say where `limit` leaves nothing out.

    Raises:
        ValueError: naming the option, its value and the fix.
    """
    name, epochs = type(method).__name__, settings["epochs"]
    given = {**given_options(settings["method"]), **(settings["method_options"] or {})}
    if settings["batch_size"] < method.wants.smallest_batch:
        raise ValueError(
            f"batch_size is {settings['batch_size']} and {name} compares the images of a batch: "
            f"raise it to {method.wants.smallest_batch} or more"
        )
    for option in EPOCHS_OF_METHODS:
        usual = inspect.signature(type(method)).parameters.get(option)
        value = given.get(option)
        if usual is not None and is_a(value, Real) and value != usual.default and value >= epochs:
            raise ValueError(
                f"{option}, of method_options or --method.{option}, is {value} and epochs {epochs}, so that "
                f"what it waits for never comes: give fewer than epochs"
            )
    known = len(images.train) + (0 if images.held_out is None else len(images.held_out))
    if settings["limit"] is not None and settings["limit"] > known:
        log.info("limit is %d and the data has %d images: all are used", settings["limit"], known)
