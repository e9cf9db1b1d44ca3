"""No option is taken and then ignored: every knob and every option, with every method, acts or is refused."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import selfsight
from conformance.cases import CASES
from selfsight.data.canvas import full_canvas
from selfsight.engine.build import build_augmentation, build_method
from selfsight.engine.settings import RULES, check_settings
from selfsight.methods import method_names
from selfsight.signatures import parameters
from selfsight.testing import small_encoder
from selfsight.views import Augmentation
from selfsight.views.effects import OFF, TURNED

KNOBS = [field.name for field in fields(Augmentation)]


def method_of(name, channels=3, **options):
    encoder = small_encoder(CASES[name].encoder)
    encoder.spec = replace(encoder.spec, channels=channels)
    return build_method(name, encoder, {**CASES[name].options, **options})


def pixels_of(method, augmentation, channels=3):
    """All views of some images, drawn with one seed."""
    images = torch.randint(0, 256, (16, channels, 24, 24), generator=torch.Generator().manual_seed(0))
    canvas = full_canvas(images.to(torch.uint8), torch.arange(16), {})
    return method.views(24, augmentation)([canvas], torch.Generator().manual_seed(0)).views


@pytest.mark.parametrize("name", method_names())
def test_a_knob_changes_the_pixels_or_is_refused(name):
    """The judge of effects compares descriptions; here the pixels themselves are compared."""
    method = method_of(name)
    usual = pixels_of(method, method.augmentation)
    for knob in KNOBS:
        values = [value for value in TURNED[knob] if value != getattr(method.augmentation, knob)]
        taken = [is_taken(method, knob, value) for value in values]
        chosen = [replace(method.augmentation, **{knob: value}) for value in values]
        changed = [differ(pixels_of(method, augmentation), usual) for augmentation in chosen]
        assert set(taken) == {any(changed)}, f"{name}: {knob}={values} taken: {taken}, pixels changed: {changed}"


def is_taken(method, knob, value):
    try:
        build_augmentation(method, {knob: value})
    except ValueError as error:
        assert str(error).startswith(f"{knob}, of view_options or --views.{knob}")
        return False
    return True


def differ(views, others):
    return len(views) != len(others) or any(
        one.shape != other.shape or not one.equal(other) for one, other in zip(views, others, strict=True)
    )


@pytest.mark.parametrize("name", method_names())
def test_the_settings_of_a_run_and_what_is_turned_off_are_taken(name):
    method = method_of(name)
    own = {knob: getattr(method.augmentation, knob) for knob in KNOBS}
    assert build_augmentation(method, own) == method.augmentation
    for knob, value in OFF.items():
        build_augmentation(method, {knob: value})


@pytest.mark.parametrize(
    ("name", "channels", "options", "message"),
    [
        ("dino", 3, {"scale": (0.9, 1.0)}, "no small crops"),
        ("swav", 3, {"crops": (2, 0), "global_scale": (0.5, 1.0)}, "small crops, such as crops"),
        ("simclr", 3, {"local_size": 8}, "small crops"),
        ("simclr", 3, {"cutout_scale": (0.3, 0.31)}, "cutout above 0"),
        ("simclr", 3, {"noise_sigma": (0.5, 0.6)}, "noise above 0"),
        ("simclr", 3, {"noise": 0.5, "noise_sigma": (0.0, 0.0)}, "noise_sigma above 0"),
        ("simclr", 3, {"solarize_threshold": 0.1}, "solarize above 0"),
        ("simclr", 3, {"blur": 0, "blur_sigma": (1.0, 1.5)}, "blur above 0"),
        ("simclr", 3, {"jitter_p": 0, "jitter": (0.1, 0.1, 0.1, 0.1)}, "jitter_p above 0"),
        ("simclr", 1, {"grayscale": 0.5}, "with 1 channels"),
        ("npid", 3, {"crops": (2, 4)}, "leave it out"),
        ("npid", 3, {"flip": (0.5, 0.2)}, "second of its two values"),
        ("pirl", 3, {"crops": (2, 4)}, "leave it out"),
    ],
)
def test_a_knob_without_effect_says_what_would_make_it_count(name, channels, options, message):
    with pytest.raises(ValueError, match=message):
        build_augmentation(method_of(name, channels), options)


def test_knobs_that_count_together_are_taken():
    swav = method_of("swav")
    assert build_augmentation(swav, {"crops": (2, 0), "scale": (0.5, 1.0)}).scale == (0.5, 1.0)
    simclr = method_of("simclr")
    for options in (
        {"crops": (2, 2), "local_size": 8, "local_scale": (0.1, 0.2)},
        {"cutout": 0.5, "cutout_scale": (0.3, 0.31)},
        {"blur": (1.0, 0.0)},
    ):
        build_augmentation(simclr, options)
    automatic = {"crops": (2, 2), "local_size": 12}  # what None stands for at 24 pixels
    assert build_augmentation(simclr, automatic).local_size == 12


@pytest.mark.parametrize(
    ("name", "options", "idle"),
    [
        ("metric_learning", {"loss": "n_pair", "margin": 0.5}, "margin"),
        ("metric_learning", {"temperature": 0.5}, "temperature"),
        ("metric_learning", {"loss": "margin", "mining": "hard"}, "mining"),
        ("joint_embedding", {"loss": "vicreg", "temperature": 0.5}, "temperature"),
        ("pirl", {"pretext": "rotation", "puzzle_size": 40}, "puzzle_size"),
        ("swav", {"queue": 0, "queue_start": 3}, "queue_start"),
        ("dino", {"teacher_temperature": (0.04, 0.04), "warmup_epochs": 5}, "warmup_epochs"),
        ("clae", {"alpha": 0.0, "epsilon": 0.1}, "epsilon"),
        ("align_uniform", {"uniformity": 0.0, "t": 3.0}, "t"),
        ("moco_v3", {"freeze_patches": False}, "freeze_patches"),
    ],
)
def test_a_keyword_of_a_method_without_effect_is_refused(name, options, idle):
    with pytest.raises(ValueError, match=f"^{idle}, of method_options or --method.{idle}, is .* changes nothing"):
        method_of(name, **options)


def test_blur_of_small_crops_wants_small_crops():
    with pytest.raises(ValueError, match=r"local_blur is 0\.2"):
        build_augmentation(method_of("dino", local_blur=0.2), {"crops": (2, 0)})


def test_a_teacher_may_start_warm():
    dino = method_of("dino", warmup_epochs=0)
    dino.steps, dino.epochs = 10, 2
    assert dino.sharpness == dino.teacher_temperature[1]


DEFAULTS = {name: item.default for name, item in parameters(selfsight.pretrain).items()} | {"data": "digits"}


def test_every_option_has_a_rule_and_every_default_keeps_it():
    assert set(DEFAULTS) - set(RULES) <= {"data", "channels", "group"}, (
        "a new option wants a rule in engine/settings.py"
    )
    check_settings(DEFAULTS)


NAN, INF = float("nan"), float("inf")
WRONG = {
    **dict.fromkeys(("epochs", "batch_size", "accumulate"), (0, -1, 2.5, "ten", True, None, NAN)),
    **dict.fromkeys(("image_size", "limit"), (0, -5, 2.5, "ten", True)),
    "workers": (-1, 1.5, True),
    "lr": (0, -1.0, NAN, INF, "fast", True),
    "weight_decay": (-1.0, NAN, INF),
    "warmup_epochs": (-1, NAN, 100, 1000),
    "clip": (0, -1, NAN, "tight"),
    "seed": (-1, 2**63, 1.0, True),
    "max_bad": (-1, 1.5, NAN, True, "few"),
    "checkpoint_minutes": (-1, NAN, None),
    "max_minutes": (-1, NAN),
    "mean": ((123.675, 116.28, 103.53), 128, -0.1, NAN, "dark", True),
    "std": ((58.395, 57.12, 57.375), 64, NAN, 0, (0.2, 0.0)),
    **dict.fromkeys(("out", "weights"), ("", 5, b"run")),
    **dict.fromkeys(("label", "path_column", "split"), ("", 1)),
    **dict.fromkeys(("resume", "overwrite", "monitor", "compile"), ("false", 1, None)),
    **dict.fromkeys(("method_options", "encoder_options", "view_options"), ([], "blur", 3)),
    "debias": ("", 1, {}, ["site"]),
    "optimizer": ("adamv", 1),
    "precision": ("16", 32, None),
    "lane": ("slow", None),
    "on_alarm": ("panic", None),
    "encoder": (None, 3, ""),
    "method": (None, 3, ""),
    "devices": (None, 1.5, True, ""),
    "data": ("",),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_named_before_anything_is_opened(name, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"^{name} is "):
        selfsight.pretrain(**{"data": "nowhere", name: value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", np.int64(3)), ("lr", np.float64(0.1)), ("seed", np.int32(1)), ("clip", INF), ("max_bad", 1.0),
        ("max_bad", 0), ("mean", (0.5,)), ("std", np.array([0.2])), ("out", Path("run")), ("workers", 0),
        ("max_minutes", 0), ("warmup_epochs", 99),
    ],
)  # fmt: skip
def test_a_right_value_is_taken(name, value):
    check_settings({**DEFAULTS, name: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": torch.nn.Identity(), "encoder_options": {"drop_path_rate": 0.1}}, "for an encoder by name"),
        ({"weights": "run", "encoder_options": {"pretrained": True}}, "leave one out"),
        ({"batch_size": 1}, "raise it to 2"),
        ({"method": "swav", "method_options": {"freeze_epochs": 5}}, "freeze_epochs.* is 5 and epochs 5"),
        ({"path_column": "file", "data": "."}, "path_column is a column of a table"),
    ],
)
def test_options_that_do_not_go_together(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = {"data": "digits", "encoder": "resnet_slim", "epochs": 5, "limit": 64, "monitor": False}
    with pytest.raises(ValueError, match=message):
        selfsight.pretrain(**{**small, **options})
    assert not list(tmp_path.iterdir())
