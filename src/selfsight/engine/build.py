"""From names and options to a method, its encoder and its views."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from selfsight.data import Source, choose_size, mean_and_std
from selfsight.data.sizes import Size, alike, check_flat, checked_size, each_axis, own_size
from selfsight.engine.seeds import WEIGHTS, derived_seed
from selfsight.methods import find_method, method_name
from selfsight.methods._fair_kl import Debias
from selfsight.methods.base import Method, Optimisation
from selfsight.naming import nearest
from selfsight.nets import Encoder, as_encoder, build_encoder, is_path, load_weights
from selfsight.views import Augmentation, without_effect

log = logging.getLogger(__name__)

WARMUP_SHARE = 0.1
# Options of the same name are the same thing in every method.
RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "temperature": ("above 0", lambda value: 0 < value < math.inf),
    "momentum": ("from 0 to 1", lambda value: 0 <= value <= 1),
    "queue": ("at least 0", lambda value: value >= 0),
    "noise": ("at least 0", lambda value: value >= 0),
}
PASSING = {"out", "resume", "overwrite", "max_minutes"}  # settings of a call, not of a run


def size_for(source: Source, encoder: str | nn.Module, image_size: int | Sequence[int] | None) -> Size:
    """The size of a view: a ready encoder's own, else as asked, else as `choose_size` has it."""
    if not isinstance(encoder, Encoder):
        return choose_size(source, image_size)
    if image_size is not None:
        as_encoder(encoder, image_size=checked_size(image_size), channels=encoder.spec.channels)
    return alike(encoder.spec.size)


def build_for(
    source: Source,
    encoder: str | nn.Module,
    image_size: Size,
    options: Mapping[str, Any] | None,
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    weights: str | Path | None = None,
    seed: int,
) -> Encoder:
    """The encoder, with the channels, value range, mean and std of the data in its spec, or started from `weights`.

    Trained weights keep the mean, std and value range that they expect, unless a mean and std are given.
    """
    if (mean is None) != (std is None):
        raise ValueError("mean and std belong together: give both, or neither")
    options = dict(options or {})
    if options and isinstance(encoder, nn.Module):
        raise ValueError(f"encoder_options {', '.join(options)} are of an encoder by name: build the module with them")
    for name in ("channels", "image_size"):
        if name in options:
            raise ValueError(f"encoder_options has {name!r}, which follows from the data and image_size: leave it out")
    torch.manual_seed(derived_seed(WEIGHTS, seed))
    if isinstance(encoder, nn.Module):
        built = as_encoder(encoder, image_size=own_size(source, image_size), channels=source.channels)
    else:
        size = image_size
        if is_path(encoder):
            size = own_size(source, image_size)
        else:
            check_flat(source, encoder)
        built = build_encoder(encoder, image_size=size, channels=source.channels, **options)
    keeps = built.spec.has_mean or not (built.fresh or built.spec.custom)  # weights of timm's may expect 0 and 1
    if weights is not None:
        start_from(built, weights)
    keeps = keeps or built.prepared
    if mean is not None and std is not None:
        mean, std = (each_channel(value, source.channels) for value in (mean, std))
        if {len(mean), len(std)} != {source.channels} or not min(std) > 0 or not all(map(math.isfinite, mean + std)):
            wanted = f"one value, or one for each of {source.channels} channels, and std above 0"
            raise ValueError(f"mean {mean} and std {std} want {wanted}")
        built.spec = replace(built.spec, value_range=tuple(source.value_range), mean=mean, std=std)
    elif not keeps:
        mean, std = mean_and_std(source, seed, size=max(each_axis(image_size)))
        built.spec = replace(built.spec, value_range=tuple(source.value_range), mean=mean, std=std)
    elif not (built.prepared or built.spec.has_range):
        built.spec = replace(built.spec, value_range=tuple(source.value_range))
    if keeps:
        why = "given ones" if mean is not None else "the encoder's own, not those of the images"
        log.info("mean %s and std %s are %s", shown(built.spec.mean), shown(built.spec.std), why)
    return built


def shown(values: Sequence[float]) -> str:
    """Numbers for a line of the log."""
    return " ".join(f"{value:.3g}" for value in values)


def each_channel(value: float | Sequence[float], channels: int) -> tuple[float, ...]:
    """One number for each channel."""
    return (float(value),) * channels if isinstance(value, int | float) else tuple(map(float, value))


def start_from(encoder: Encoder, weights: str | Path) -> None:
    """Read weights of a run or a safetensors file, and say which were taken over."""
    report = load_weights(encoder, weights)
    log.log(logging.INFO if report.complete else logging.WARNING, "weights of %s: %s", weights, report)


def build_method(
    method: str | Callable[..., Method],
    encoder: Encoder,
    options: Mapping[str, Any] | None,
    debias: Debias | None = None,
) -> Method:
    """The method around an encoder, which keeps what `debias` names out of its embeddings.

    Raises:
        ValueError: for a method or an option that does not exist, naming the nearest that does.
    """
    builder = find_method(method)
    options = {**given_options(builder), **(options or {})}
    known = inspect.signature(getattr(builder, "func", builder)).parameters
    if not any(item.kind is item.VAR_KEYWORD for item in known.values()):
        check_names(options, [name for name in known if name != "encoder"], f"method {method_name(method)!r}")
    check_types(options, known)
    check_ranges(options)
    built = builder(encoder, **{name: as_tuple(value) for name, value in options.items()})
    defaults = default_options(type(built))
    for name, fix in built.idle().items():
        if name in options and as_tuple(options[name]) != defaults.get(name):
            raise ValueError(
                f"{name}, of method_options or --method.{name}, is {options[name]!r} and changes nothing {fix}: "
                f"leave it out"
            )
    return built if debias is None else debias.join(built)


def check_types(options: Mapping[str, Any], known: Mapping[str, inspect.Parameter]) -> None:
    """Refuse what is no number, switch or width where the method's signature asks for one."""
    for name, value in options.items():
        if name not in known:
            continue
        kind = known[name].annotation
        kind = (kind if isinstance(kind, str) else inspect.formatannotation(kind)).replace(" ", "")
        kind, optional = kind.removesuffix("|None"), kind.endswith("|None")
        if kind not in TYPES or (optional and value is None):
            continue
        wanted, holds = TYPES[kind]
        if not holds(value) or (kind in SEQUENCES and len(value) == 0 and known[name].default != ()):
            raise ValueError(f"{name}, of method_options or --method.{name}, is {wanted}, not {value!r}")


def is_number(value: Any) -> bool:
    """Whether this is a finite number, and no switch."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any, least: int = 0) -> bool:
    """Whether this is a whole number of at least `least`."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def are_widths(value: Any) -> bool:
    """Whether these are widths of layers."""
    return isinstance(value, list | tuple) and all(is_whole(one, least=1) for one in value)


SEQUENCES = ("Sequence[int]", "collections.abc.Sequence[int]")
TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "float": ("a number", is_number),
    "int": ("a whole number of at least 0", is_whole),
    "bool": ("True or False", lambda value: isinstance(value, bool)),
    "str": ("a word", lambda value: isinstance(value, str)),
    **dict.fromkeys(SEQUENCES, ("a list of whole numbers of at least 1, one or more", are_widths)),
}


def check_ranges(options: Mapping[str, Any]) -> None:
    """Refuse numbers that mean nothing in any method."""
    for name, (range_, holds) in RANGES.items():
        value = options.get(name)
        if isinstance(value, int | float) and not holds(value):
            raise ValueError(f"{name} is {range_}, not {value}")


def debias_of(value: str | Mapping[str, Any] | None) -> Debias | None:
    """What shall be kept out of the embeddings, from the option `debias`.

    Raises:
        ValueError: for an option that it does not have, or a value that it cannot have.
    """
    if value is None or isinstance(value, str):
        return None if value is None else Debias(value)
    if not isinstance(value, Mapping):
        raise ValueError(f'debias names a column of groups, or is {{"column": "site", "weight": 1.0}}, not {value!r}')
    check_names(value, [field.name for field in fields(Debias)], "debias")
    if "column" not in value:
        given = " and ".join(value) or "no options"
        raise ValueError(f"debias has {given} and no column: name one of groups, such as sites")
    return Debias(**value)


def given_options(method: str | Callable[..., Method]) -> dict[str, Any]:
    """The options that `Method.with_options(...)` carries."""
    return dict(method.keywords) if isinstance(method, partial) else {}


def build_augmentation(method: Method, options: Mapping[str, Any] | None) -> Augmentation:
    """The method's own augmentation with some of its knobs turned.

    Raises:
        ValueError: for a knob that does not exist, or that changes nothing in the views of this method.
    """
    options = options or {}
    check_names(options, [field.name for field in fields(Augmentation)], "view_options")
    chosen = replace(method.augmentation, **{name: as_tuple(value) for name, value in options.items()})
    spec = method.encoder.spec
    idle = without_effect(
        lambda augmentation: method.views(alike(spec.size), augmentation), method.augmentation, chosen, spec.channels
    )
    for name, fix in idle.items():
        raise ValueError(
            f"{name}, of view_options or --views.{name}, is {getattr(chosen, name)!r} and changes nothing in the views "
            f"of {method_name(method)} with {spec.channels} channels at {alike(spec.size)} pixels: {fix}"
        )
    return chosen


def choose_optimisation(
    paper: Optimisation,
    *,
    epochs: int,
    optimizer: str | None,
    lr: float | None,
    weight_decay: float | None,
    warmup_epochs: float | None,
    clip: float | None,
) -> Optimisation:
    """The paper's optimisation, where the user has not asked for another.

    A warm-up that was not asked for lasts at most a tenth of the epochs: papers train for hundreds.
    A weight decay that was asked for stays as it is, also where the paper's rises.
    """
    numbers = {"lr": lr, "weight_decay": weight_decay, "warmup_epochs": warmup_epochs, "clip": clip}
    chosen: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None}
    if lr is None and optimizer not in (None, paper.optimizer):
        raise ValueError(f"the paper's lr {paper.lr} is for {paper.optimizer}, not for {optimizer}: give an lr, too")
    if optimizer is not None:
        chosen["optimizer"] = optimizer
    if weight_decay not in (None, paper.weight_decay):
        chosen["final_weight_decay"] = None
    chosen.setdefault("warmup_epochs", min(paper.warmup_epochs, WARMUP_SHARE * epochs))
    return replace(paper, **chosen)


def check_names(given: Iterable[str], known: list[str], owner: str) -> None:
    """Refuse an unknown option and name the nearest known one."""
    for name in given:
        if name not in known:
            raise ValueError(f"{owner} has no option {name!r}{nearest(name, known)}")


def as_tuple(value: Any) -> Any:
    """Lists, as YAML has them, as tuples, all the way down."""
    return tuple(as_tuple(item) for item in value) if isinstance(value, list | tuple) else value


def plain(value: Any) -> Any:
    """A setting as YAML and JSON can hold it; what they cannot hold is described."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return f"<{type(value).__name__}>" if not hasattr(value, "__fspath__") else str(value)


def resolve(
    settings: Mapping[str, Any],
    *,
    encoder: Encoder,
    model: Method,
    optimisation: Optimisation,
    augmentation: Augmentation,
    precision: str,
) -> dict[str, Any]:
    """The settings as they were used, under the names of `pretrain`: what `config.yaml` holds.

    Where the run lies, whether it resumes and when it pauses is not part of them.
    """
    config = {name: plain(value) for name, value in settings.items() if name not in PASSING}
    method = settings["method"]
    given = {**given_options(method), **(settings["method_options"] or {})}
    config |= {
        "method": method_name(method),
        "encoder": encoder.spec.name,
        "image_size": plain(alike(encoder.spec.size)),
        "precision": precision,
        "method_options": plain({**default_options(type(model)), **given}),
        "encoder_options": plain(settings["encoder_options"] or {}),
        "view_options": plain(asdict(augmentation)),
        "debias": None if (debias := debias_of(settings["debias"])) is None else plain(asdict(debias)),
    }
    for name in ("optimizer", "lr", "weight_decay", "warmup_epochs", "clip"):
        config[name] = plain(getattr(optimisation, name))
    return config


def default_options(method: type[Method]) -> dict[str, Any]:
    """A method's keywords and their defaults, as far as a file can hold them."""
    defaults = {name: item.default for name, item in inspect.signature(method).parameters.items()}
    plain_types = bool | int | float | str | tuple | list | None
    return {name: value for name, value in defaults.items() if name != "encoder" and isinstance(value, plain_types)}
