"""Encoders on disk: `encoder.safetensors` with timm's names, `encoder.json` with how to build and feed it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from selfsight.nets.building import build_encoder, create_timm, is_path, own_keywords, timm_call
from selfsight.nets.encoder import Encoder, EncoderSpec, as_encoder
from selfsight.outputs import write_atomically

WEIGHTS = "encoder.safetensors"
PICKLES = {".pt", ".pth", ".ckpt", ".bin", ".pkl"}


@dataclass(frozen=True)
class WeightReport:
    """Names of parameters and buffers after weights were read into an encoder.

    loaded: taken over. missing: not among the weights, left as they were.
    mismatched: of another shape, left as they were. unused: weights that the encoder has no place for.
    spec: of the encoder that the weights are from, whose mean, std and value range were taken over too; or None.
    notes: what else differs between the two encoders, in words.
    """

    loaded: list[str]
    missing: list[str]
    mismatched: list[str]
    unused: list[str]
    spec: EncoderSpec | None = None
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every name of the encoder was loaded and nothing was left over."""
        return not (self.missing or self.mismatched or self.unused)

    def __str__(self) -> str:
        parts = [f"loaded {len(self.loaded)} of {len(self.loaded) + len(self.missing) + len(self.mismatched)} tensors"]
        for title, names in (
            ("not in the file", self.missing),
            ("of another shape", self.mismatched),
            ("not in the encoder", self.unused),
        ):
            if names:
                parts.append(f"{len(names)} {title} ({_first(names)})")
        if self.spec is not None:
            mean, std = (" ".join(f"{value:.3g}" for value in values) for values in (self.spec.mean, self.spec.std))
            parts.append(f"with their mean {mean}, std {std} and value range {shown_range(self.spec.value_range)}")
        return ", ".join([*parts, *self.notes])


def save_encoder(encoder: Encoder, path: str | Path, **more: Any) -> Path:
    """Write the weights, and beside them a JSON with the spec and `more`; answer the weights' path.

    path: a folder, which gets `encoder.safetensors` and `encoder.json`, or a file `*.safetensors`.
    """
    file = Path(path)
    file = file if file.suffix == ".safetensors" else file / WEIGHTS
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: _plain(value) for name, value in encoder.model.state_dict().items()}
    write_atomically(file, safetensors.torch.save(tensors))
    description = {**more, **encoder.spec.to_json()}
    write_atomically(file.with_suffix(".json"), json.dumps(description, indent=2).encode() + b"\n")
    return file


def load_encoder(path: str | Path, module: nn.Module | None = None) -> Encoder:
    """The encoder of a run folder or `encoder.safetensors`, rebuilt exactly, in evaluation mode.

    module: a new one like that which was trained, where that was a user's own; weights, size, channels,
        mean, std and value range are those it was trained with.
    Raises `ValueError` where anything is missing, left over or of another shape.
    """
    file = weights_file(path)
    spec = read_spec(file)
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced: leave the caller's generator alone
        encoder = rebuild(spec, module, file)
    width = encoder.width
    report = _read_into(encoder, file)
    if not report.complete or width != spec.width:
        wide = "" if width == spec.width else f", and its features are {width} wide, not {spec.width}"
        raise ValueError(
            f"{file} does not fit the encoder {spec.name!r} that {file.stem}.json describes: {report}{wide}"
        )
    encoder.spec, encoder.prepared = spec, True
    return encoder.eval()


def rebuild(spec: EncoderSpec, module: nn.Module | None, file: Path) -> Encoder:
    """A new encoder by a spec, around `module` where that was a user's own; file: where the spec is from."""
    if spec.custom and module is None:
        raise ValueError(
            f"{file} holds a module of your own, which nobody else can build: in Python, "
            f"load_encoder({str(file)!r}, module=...) reads it into a new one"
        )
    if not (spec.custom or is_path(spec.name)) and module is not None:
        raise ValueError(f"{file} holds {spec.name!r}, which is built by its name: leave module out")
    if module is not None:
        plain: nn.Module = module.model if isinstance(module, Encoder) else module
        return as_encoder(plain, image_size=spec.image_size, channels=spec.channels)
    return build_encoder(spec.name, image_size=spec.image_size, channels=spec.channels, stem=spec.stem, **spec.options)


def load_weights(encoder: Encoder, path: str | Path) -> WeightReport:
    """Start `encoder` from the weights of a run or `*.safetensors` wherever name and shape agree.

    Mean, std and value range are taken over from the JSON beside the file, as the weights expect them.
    """
    file = weights_file(path)
    report = _read_into(encoder, file)
    if not report.loaded:
        raise ValueError(f"nothing in {file} fits encoder {encoder.spec.name!r}: {report}")
    theirs, own = read_spec(file) if file.with_suffix(".json").exists() else None, encoder.spec
    if theirs is None:
        return replace(report, notes=(f"no {file.stem}.json beside it says how images are normalised",))
    notes = [
        f"trained with {name} {getattr(theirs, name)}, here {getattr(own, name)}"
        for name in ("name", "image_size", "stem", "channels", "interpolation")
        if getattr(theirs, name) != getattr(own, name)
    ]
    if theirs.channels != own.channels:
        return replace(report, notes=(*notes, "so their mean and std are of no use"))
    encoder.spec = replace(own, mean=theirs.mean, std=theirs.std, value_range=theirs.value_range)
    encoder.prepared = True
    return replace(report, spec=theirs, notes=tuple(notes))


def read_spec(path: str | Path) -> EncoderSpec:
    """The spec beside an encoder's weights."""
    file = weights_file(path).with_suffix(".json")
    if not file.is_file():
        raise ValueError(f"{file} is missing: it says how to build the encoder, keep it beside the weights")
    try:
        return EncoderSpec.from_json(json.loads(file.read_text()))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error


def rebuild_snippet(spec: EncoderSpec, weights: str = "encoder.pt") -> str:
    """Lines of plain timm, or of the class of one's own, that rebuild the net and read its weights."""
    if spec.custom:
        raise ValueError("a custom module can only be rebuilt by its author's code")
    if is_path(spec.name):
        package, _, name = spec.name.rpartition(".")
        keywords = own_keywords(spec.name, spec.image_size, spec.channels, spec.options)
        given = ", ".join(f"{key}={value!r}" for key, value in keywords.items())
        return "\n".join(
            [
                "import safetensors.torch, torch" if weights.endswith(".safetensors") else "import torch",
                f"from {package} import {name}",
                f"model = {name}({given})",
                f"model.load_state_dict({_reader(weights)})",
            ]
        )
    name, arguments = timm_call(spec.name, spec.image_size, spec.channels, spec.options)
    keywords = "".join(f", {key}={value!r}" for key, value in arguments.items())
    return "\n".join(
        [
            "import safetensors.torch, timm, torch" if weights.endswith(".safetensors") else "import timm, torch",
            f"model = timm.create_model({name!r}{keywords})",
            *_stem_lines(spec, name, arguments),
            f"model.load_state_dict({_reader(weights)})",
        ]
    )


def _reader(weights: str) -> str:
    if weights.endswith(".safetensors"):
        return f"safetensors.torch.load_file({weights!r})"
    return f"torch.load({weights!r}, weights_only=True)"


def weights_file(path: str | Path) -> Path:
    """The safetensors file that a run folder or a path means."""
    path = Path(path)
    if path.suffix in PICKLES:
        raise ValueError(f"{path} is a pickle, which can run code when read: give the run folder or {WEIGHTS}")
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"no encoder at {file}: give a run folder or a .safetensors file")
    return file


def digest(module: nn.Module) -> str:
    """Twelve hex digits of the weights of a module; of an encoder, those of its net."""
    found = hashlib.sha256()
    plain: nn.Module = module.model if isinstance(module, Encoder) else module
    for name, value in plain.state_dict().items():
        found.update(name.encode())
        found.update(_plain(value).reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:12]


def shown_range(value_range: tuple[float, float]) -> str:
    """A range of values, for people."""
    return " to ".join(f"{value:g}" for value in value_range)


@torch.no_grad()
def _read_into(encoder: Encoder, file: Path) -> WeightReport:
    try:
        found = safetensors.torch.load_file(file)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{file} is not a readable safetensors file: {error}") from error
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error}): give another encoder") from error
    own: dict[str, Tensor] = encoder.model.state_dict()
    same = [name for name in own if name in found and found[name].shape == own[name].shape]
    for name in same:
        own[name].copy_(found[name])
    encoder.fresh = encoder.fresh and not same
    return WeightReport(
        loaded=same,
        missing=[name for name in own if name not in found],
        mismatched=[name for name in own if name in found and name not in set(same)],
        unused=[name for name in found if name not in own],
    )


def _plain(tensor: Tensor) -> Tensor:
    """A tensor that shares no memory and has no strides of its own, as safetensors wants it."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _stem_lines(spec: EncoderSpec, name: str, arguments: dict[str, Any]) -> Iterable[str]:
    if spec.stem != "small":
        return
    with torch.device("meta"):
        deep = isinstance(create_timm(name, arguments).conv1, torch.nn.Sequential)
    if deep:
        yield "model.conv1[0].stride = (1, 1)"
    else:
        yield f"model.conv1 = torch.nn.Conv2d({spec.channels}, 64, 3, padding=1, bias=False)"
    yield "model.maxpool = torch.nn.Identity()"


def _first(names: list[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
