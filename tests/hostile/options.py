"""Kind 9: options out of their range, and options without effect, by every verb from Python and from the shell."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from numpy.random import Generator

import selfsight
from hostile.case import Answer, Case, Expect, Failed, Problem, Trial, either, said
from hostile.formats import noise
from selfsight import cli
from selfsight.nets import Encoder, build_encoder, save_encoder

NAN, INF = math.nan, math.inf
WHOLE = (0, -5, 2.5, "many", True, NAN, INF)
SHARED: dict[str, tuple[Any, ...]] = {
    "image_size": WHOLE,
    "batch_size": WHOLE,
    "workers": (-1, 0.5, "many", True),
    "seed": (-1, 1.5, "lucky", True, 2**64),
    "max_bad": (-1, -0.5, 1.5, NAN, "few", True),
    "devices": ("tpu", "cuda:99", "", -1),
    "precision": ("16", "fp32", "", 32),
    "channels": (0, -3, 2.5, "rgb", True),
    "label": ("", 3),
    "path_column": ("", 3),
    "overwrite": ("maybe", 1),
}
BAD: dict[str, dict[str, tuple[Any, ...]]] = {
    "pretrain": {
        **SHARED,
        "method": ("simclrr", "", 3),
        "encoder": ("resnet19", "", 3),
        "epochs": WHOLE,
        "limit": WHOLE,
        "out": ("",),
        "lr": (0, -1, NAN, INF, "fast", True),
        "optimizer": ("adamax", ""),
        "weight_decay": (-1, NAN, INF, "much"),
        "warmup_epochs": (-1, NAN, INF, 100, 1000.5, "long"),
        "clip": (0, -1, NAN, "tight"),
        "accumulate": (0, -1, 1.5, "all"),
        "lane": ("disk", ""),
        "split": ("", 3),
        "group": ("", 3),
        "debias": ("", 3, {"column": "site", "weight": NAN}, {"column": "site", "form": "mmd"}),
        "mean": (-1, 128, NAN, "grey", [0.5, 2.0]),
        "std": (-1, 58, NAN, "wide", 0, [0.2, 0.0]),
        "weights": ("",),
        "compile": ("maybe", 1),
        "monitor": ("maybe", 0),
        "on_alarm": ("raise", ""),
        "checkpoint_minutes": (-1, NAN, "often"),
        "max_minutes": (-1, NAN, "short"),
        "resume": ("maybe", 1),
        "method_options": ("fast", [1]),
        "encoder_options": ("fast", [1]),
        "view_options": ("fast", [1]),
    },
    "evaluate": {
        **SHARED,
        "protocols": ("svm", "", [], ["knn", "svm"], 3),
        "baselines": ("maybe", 1),
        "test_split": ("", 3),
        "group": ("", 3),
        "limit": WHOLE,
        "pretrained": ("maybe", 1),
        "protocol_options": ("fast", [1], {"knn": 5}),
        "folds": (*WHOLE, 1),
        "leave_out": ("", 3),
        "layer": ("first", 1.5, [], [True]),
        "pool": ("max", "", 3),
        "out": ("",),
    },
    "embed": {
        **SHARED,
        "features": ("cls", ""),
        "split": ("", 3),
        "pretrained": ("maybe", 1),
        "out": ("", "x.csv", "x"),
    },
    "export": {
        "format": ("tf", ""),
        "opset": (0, -1, 1.5, True, 999, "new"),
        "overwrite": ("maybe", 1),
        "out": ("", "x.tf", "x"),
    },
}
BUNDLES = ("method_options", "encoder_options", "view_options", "protocol_options")


@dataclass(frozen=True)
class NamesOption:
    """Refused in one line that names the option, before the data, which are nowhere, are looked for."""

    option: str

    def __call__(self, outcome: Any) -> Problem:
        text = error_text(outcome)
        if text is None:
            return f"taken: {outcome.value!r}, {outcome.said[-3:]}"
        if "nowhere" in text:
            return f"the data are looked for first: {text}"
        name = f"{self.option.removesuffix('s')}s?" if self.option == "protocols" else self.option
        return None if re.search(rf"(?<!\w){name}(?!\w)", text) else f"does not name {self.option}: {text}"


@dataclass(frozen=True)
class Refuses:
    """Refused in one line that holds one of the words, by Python or by the shell."""

    words: tuple[str, ...]

    def __call__(self, outcome: Any) -> Problem:
        text = error_text(outcome)
        if text is None:
            return f"taken: {outcome.value!r}, {outcome.said[-3:]}"
        return None if any(word in text for word in self.words) else f"names none of {self.words}: {text}"


def error_text(outcome: Any) -> str | None:
    """The one line of a refusal, None where there was none."""
    if isinstance(outcome, Failed):
        return str(outcome.error)
    assert isinstance(outcome, Answer)
    lines = [line for line in outcome.said if line.startswith("selfsight: error: ")]
    return lines[0] if outcome.value == 2 and len(lines) == 1 and outcome.said[-1] == lines[0] else None


@cache
def small_encoder(channels: int = 1) -> Encoder:
    torch.manual_seed(0)
    return build_encoder("resnet_slim", image_size=8, channels=channels).eval()


def verb_of(data: Any, folder: Path, *, verb: str, **options: Any) -> Any:
    """A verb, with whatever it needs beside the options."""
    if verb == "pretrain":
        return selfsight.pretrain(data, **{"out": folder / "run", "encoder": "resnet_slim", **options})
    if verb == "export":
        return selfsight.export(small_encoder(), **{"out": folder / "x.onnx", **options})
    if verb == "embed":
        return selfsight.embed("resnet_slim", data, **{"out": folder / "x.npz", **options})
    return selfsight.evaluate("resnet_slim", data, **options)


def shell(data: Any, folder: Path, *, argv: list[str]) -> int:
    return cli.main([one.replace("FOLDER", str(folder)) for one in argv])


def out_of_range(verb: str, option: str, value: Any) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        return Trial("nowhere", NamesOption(option), {"verb": verb, option: value}, act=verb_of)

    return build


NEEDED = {
    "pretrain": ["nowhere", "--out", "FOLDER/run", "--encoder", "resnet_slim"],
    "evaluate": ["resnet_slim", "nowhere"],
    "embed": ["resnet_slim", "nowhere", "--out", "FOLDER/x.npz"],
    "export": ["FOLDER/encoder.safetensors", "--out", "FOLDER/x.onnx"],
}


def typed_out_of_range(verb: str, option: str, value: Any) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        if verb == "export":
            save_encoder(small_encoder(), folder / "encoder.safetensors")
        needed = NEEDED[verb]
        if f"--{option}" in needed:
            place = needed.index(f"--{option}")
            needed = [*needed[:place], *needed[place + 2 :]]
        argv = [verb, *needed, f"--{option}={value}"]
        return Trial(None, NamesOption(option), {"argv": argv}, act=shell)

    return build


# Options that are looked at together, or only with the data.

FEW: dict[str, Any] = {
    "epochs": 1, "batch_size": 8, "image_size": 8, "workers": 0, "devices": "cpu", "precision": "32", "monitor": False
}  # fmt: skip
TOGETHER: dict[str, tuple[str, dict[str, Any], Expect]] = {
    "debias-weight-alone": ("pretrain", {"debias": {"weight": 2.0}}, Refuses(("debias",))),
    "debias-form-alone": ("pretrain", {"debias": {"form": "moments"}}, Refuses(("debias",))),
    "debias-no-column": ("pretrain", {"debias": "site"}, Refuses(("site", "label"))),
    "group-no-column": ("pretrain", {"group": "patient"}, Refuses(("patient",))),
    "label-of-array": ("pretrain", {"label": "class"}, Refuses(("label",))),
    "path-of-array": ("pretrain", {"path_column": "file"}, Refuses(("path_column",))),
    "split-of-array": ("pretrain", {"split": "train"}, Refuses(("split", "part", "train"))),
    "resume-overwrite": ("pretrain", {"resume": True, "overwrite": True}, Refuses(("resume",))),
    "resume-nothing": ("pretrain", {"resume": True, "epochs": 0}, Refuses(("epochs",))),
    "weights-pretrained": (
        "pretrain", {"weights": "nowhere.safetensors", "encoder_options": {"pretrained": True}}, Refuses(("weights",))
    ),
    "weights-nowhere": ("pretrain", {"weights": "nowhere.safetensors"}, Refuses(("nowhere.safetensors",))),
    "weights-pickle": ("pretrain", {"weights": "x.pt"}, Refuses(("x.pt",))),
    "mean-of-three": ("pretrain", {"mean": [0.5, 0.5, 0.5], "std": 0.2}, Refuses(("mean",))),
    "mean-alone-of-two": ("pretrain", {"mean": [0.5, 0.5]}, Refuses(("mean",))),
    "std-of-three": ("pretrain", {"std": [0.2, 0.2, 0.2]}, Refuses(("std",))),
    "warmup-all": ("pretrain", {"warmup_epochs": 1}, Refuses(("warmup_epochs",))),
    "batch-of-one": ("pretrain", {"batch_size": 1}, Refuses(("batch_size",))),
    "batch-too-large": ("pretrain", {"batch_size": 4096}, Refuses(("batch_size",))),
    "accumulate-too-much": ("pretrain", {"accumulate": 4096}, Refuses(("accumulate",))),
    "unknown-method-option": ("pretrain", {"method_options": {"heat": 1}}, Refuses(("heat",))),
    "text-for-number": ("pretrain", {"method_options": {"temperature": "hot"}}, Refuses(("temperature",))),
    "temperature-0": ("pretrain", {"method_options": {"temperature": 0}}, Refuses(("temperature",))),
    "temperature-negative": ("pretrain", {"method_options": {"temperature": -0.5}}, Refuses(("temperature",))),
    "temperature-nan": ("pretrain", {"method_options": {"temperature": NAN}}, Refuses(("temperature",))),
    "projector-negative": ("pretrain", {"method_options": {"projector": [-1]}}, Refuses(("projector",))),
    "projector-empty": ("pretrain", {"method_options": {"projector": []}}, Refuses(("projector",))),
    "momentum-above-1": (
        "pretrain", {"method": "byol", "method_options": {"momentum": 1.5}}, Refuses(("momentum",))
    ),
    "queue-negative": ("pretrain", {"method": "moco_v2", "method_options": {"queue": -1}}, Refuses(("queue",))),
    "freeze-too-long": (
        "pretrain", {"method": "dino", "method_options": {"freeze_epochs": 5}}, Refuses(("freeze_epochs",))
    ),
    "mask-above-1": (
        "pretrain",
        {"method": "mae", "encoder": "vit_small_image", "method_options": {"mask_ratio": 1.5}},
        Refuses(("mask", "keep")),
    ),
    "unknown-view-option": ("pretrain", {"view_options": {"blurr": 0.5}}, Refuses(("blurr",))),
    "flip-2": ("pretrain", {"view_options": {"flip": 2}}, Refuses(("flip",))),
    "flip-negative": ("pretrain", {"view_options": {"flip": -0.1}}, Refuses(("flip",))),
    "flip-nan": ("pretrain", {"view_options": {"flip": NAN}}, Refuses(("flip",))),
    "flip-text": ("pretrain", {"view_options": {"flip": "often"}}, Refuses(("flip",))),
    "flip-three": ("pretrain", {"view_options": {"flip": (0.1, 0.2, 0.3)}}, Refuses(("flip",))),
    "scale-turned": ("pretrain", {"view_options": {"scale": (1.0, 0.2)}}, Refuses(("scale",))),
    "scale-0": ("pretrain", {"view_options": {"scale": (0.0, 1.0)}}, Refuses(("scale",))),
    "scale-above-1": ("pretrain", {"view_options": {"scale": (0.5, 1.5)}}, Refuses(("scale",))),
    "scale-one": ("pretrain", {"view_options": {"scale": 0.5}}, Refuses(("scale",))),
    "jitter-negative": ("pretrain", {"view_options": {"jitter": (-1, 0, 0, 0)}}, Refuses(("jitter",))),
    "jitter-three": ("pretrain", {"view_options": {"jitter": (0.4, 0.4, 0.4)}}, Refuses(("jitter",))),
    "view-option-of-others": ("pretrain", {"method": "mae", "encoder": "vit_small_image",
                                           "view_options": {"blur": 0.9}}, Refuses(("blur",))),
    "unknown-encoder-option": ("pretrain", {"encoder_options": {"heads": 1}}, Refuses(("heads",))),
    "drop-path-2": ("pretrain", {"encoder_options": {"drop_path_rate": 2.0}}, Refuses(("drop_path_rate",))),
    "mae-with-resnet": ("pretrain", {"method": "mae"}, Refuses(("resnet_slim", "encoder"))),
    "vit-odd-size": ("pretrain", {"encoder": "vit_small_image", "image_size": 9}, Refuses(("9", "patch"))),
    "labels-missing": ("pretrain", {"method": "supcon"}, Refuses(("label",))),
    "channels-of-array": ("pretrain", {"channels": 3}, Refuses(("channels",))),
    "k-without-knn": ("evaluate", {"protocols": "ridge", "protocol_options": {"knn": {"k": 5}}}, Refuses(("k is",))),
    "temperature-without-knn": (
        "evaluate",
        {"protocols": "ridge", "protocol_options": {"knn": {"temperature": 0.5}}},
        Refuses(("temperature",)),
    ),
    "overwrite-alone": ("evaluate", {"overwrite": True}, Refuses(("overwrite",))),
    "protocol-twice": ("evaluate", {"protocols": ["knn", "knn"]}, either(Refuses(("protocol", "knn")), said("knn"))),
    "no-labels": ("evaluate", {}, Refuses(("label",))),
    "no-such-part": ("evaluate", {"test_split": "test"}, Refuses(("test",))),
    "evaluate-label": ("evaluate", {"label": "class"}, Refuses(("label",))),
    "evaluate-path": ("evaluate", {"path_column": "file"}, Refuses(("path_column",))),
    "evaluate-channels": ("evaluate", {"channels": 3}, Refuses(("channels",))),
    "split-of-one": ("embed", {"split": "test"}, Refuses(("test",))),
    "embed-label": ("embed", {"label": "class"}, Refuses(("label",))),
    "embed-path": ("embed", {"path_column": "file"}, Refuses(("path_column",))),
    "embed-channels": ("embed", {"channels": 3}, Refuses(("channels",))),
    "opset-of-state-dict": ("export", {"out": "x.pt", "format": "state_dict", "opset": 17}, Refuses(("opset",))),
    "suffix-of-others": ("export", {"out": "x.pt", "format": "onnx"}, Refuses((".onnx",))),
    "safetensors-named-pt": ("export", {"out": "x.pt", "format": "safetensors"}, Refuses((".safetensors",))),
}  # fmt: skip


def together(name: str) -> Callable[[Path, Generator], Trial]:
    """Options that do not go together, on 40 small grey images; nothing is trained, and nothing written."""
    verb, options, expect = TOGETHER[name]

    def build(folder: Path, rng: Generator) -> Trial:
        few = FEW if verb == "pretrain" else {"image_size": 8, "workers": 0} if verb != "export" else {}
        images = noise(rng, (40, 8, 8))
        labelled = verb == "evaluate" and name != "no-labels"
        return Trial(
            (images, list("ab") * 20) if labelled else images, expect, {"verb": verb, **few, **options}, act=verb_of
        )

    return build


WRONG_LINES: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "no-verb": (["pretain", "nowhere"], ("pretain",)),
    "no-data": (["pretrain"], ("data",)),
    "two-data": (["pretrain", "nowhere", "elsewhere"], ("elsewhere",)),
    "unknown-option": (["pretrain", "nowhere", "--epoch", "3"], ("epoch",)),
    "unknown-everywhere": (["evaluate", "resnet_slim", "nowhere", "--epochs", "3"], ("epochs",)),
    "option-without-value": (["pretrain", "nowhere", "--epochs"], ("epochs",)),
    "option-twice": (["pretrain", "nowhere", "--epochs", "0", "--epochs", "-1"], ("epochs",)),
    "no-out": (["embed", "resnet_slim", "nowhere"], ("out",)),
    "no-model": (["evaluate"], ("model",)),
    "bundle-unknown": (["pretrain", "nowhere", "--methods.temperature", "3"], ("methods",)),
    "view-unknown": (["pretrain", "digits", "--out", "FOLDER/run", "--views.blurr", "1"], ("blurr",)),
    "view-text": (["pretrain", "digits", "--out", "FOLDER/run", "--views.blur", "much"], ("blur",)),
    "method-unknown": (["pretrain", "digits", "--out", "FOLDER/run", "--method.heat", "1"], ("heat",)),
    "method-text": (["pretrain", "digits", "--out", "FOLDER/run", "--method.temperature", "hot"], ("temperature",)),
    "encoder-unknown": (["pretrain", "digits", "--out", "FOLDER/run", "--encoder.heads", "1"], ("heads",)),
    "config-missing": (["pretrain", "nowhere", "--config", "none.yaml"], ("none.yaml",)),
    "config-folder": (["pretrain", "nowhere", "--config", "FOLDER"], ("FOLDER", "in", "folder")),
    "recipe-unknown": (["pretrain", "nowhere", "--recipe", "digitss"], ("digitss",)),
    "list-unknown": (["list", "metods"], ("metods",)),
    "demo-0": (["demo", "--out", "FOLDER/d", "--seeds", "0"], ("seeds",)),
    "demo-negative": (["demo", "--out", "FOLDER/d", "--seeds=-1"], ("seeds",)),
}


def wrong_line(name: str) -> Callable[[Path, Generator], Trial]:
    argv, words = WRONG_LINES[name]

    def build(folder: Path, rng: Generator) -> Trial:
        return Trial(None, Refuses(words), {"argv": argv}, act=shell)

    return build


CONFIGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "unknown-key": ("epoch: 3\n", ("epoch",)),
    "negative": ("image_size: -5\n", ("image_size",)),
    "text": ("epochs: many\n", ("epochs",)),
    "twice": ("epochs: 3\nepochs: 4\n", ("epochs",)),
    "list": ("- epochs\n- 3\n", ("c.yaml",)),
    "word": ("epochs\n", ("c.yaml",)),
    "broken": ("epochs: [3\n", ("c.yaml",)),
    "tab": ("epochs:\t3\n\tlr: 1\n", ("c.yaml",)),
    "bytes": ("epochs: \udcff\n", ("c.yaml",)),
    "python": ("epochs: !!python/object/apply:os.getpid []\n", ("c.yaml",)),
    "endless-alias": ("a: &a [*a]\n", ("a", "c.yaml")),
    "bundle-word": ("method_options: fast\n", ("method_options",)),
    "bundle-unknown": ("view_options: {blurr: 1}\n", ("blurr",)),
    "null-epochs": ("epochs: null\n", ("epochs",)),
    "number-key": ("3: 4\n", ("3",)),
}


def wrong_config(name: str) -> Callable[[Path, Generator], Trial]:
    text, words = CONFIGS[name]

    def build(folder: Path, rng: Generator) -> Trial:
        (folder / "c.yaml").write_bytes(text.encode(errors="surrogateescape"))
        argv = ["pretrain", "digits", "--config", "FOLDER/c.yaml", "--out", "FOLDER/run"]
        return Trial(None, Refuses(words), {"argv": argv}, act=shell)

    return build


WORDS = (
    "label",
    "path_column",
    "split",
    "test_split",
    "group",
    "debias",
    "method",
    "encoder",
    "protocols",
    "precision",
)
SWITCHES = ("overwrite", "compile", "monitor", "resume", "baselines", "pretrained")


def typeable(option: str, value: Any) -> bool:
    """Whether a value can be typed and is wrong then, too: 3 typed is a word, and 1 a switch."""
    if option in WORDS or option in SWITCHES:
        return isinstance(value, str)
    return not isinstance(value, list | bool) and option not in BUNDLES


def cases() -> Iterator[Case]:
    for verb, options in BAD.items():
        for option, values in options.items():
            for value in values:
                yield Case(f"options/{verb}/{option}/{value!r}", 9, out_of_range(verb, option, value))
                if typeable(option, value):
                    yield Case(f"options/typed-{verb}/{option}/{value!r}", 9, typed_out_of_range(verb, option, value))
    for name in TOGETHER:
        yield Case(f"options/together/{name}", 9, together(name))
    for name in WRONG_LINES:
        yield Case(f"options/line/{name}", 9, wrong_line(name))
    for name in CONFIGS:
        yield Case(f"options/config/{name}", 9, wrong_config(name))
