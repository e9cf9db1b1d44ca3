import logging

import numpy as np
import pytest

from selfsight.data import ArraySource
from selfsight.engine.build import (
    build_augmentation,
    build_for,
    build_method,
    choose_optimisation,
    debias_of,
    plain,
    size_for,
    start_from,
)
from selfsight.methods import find_method
from selfsight.methods.base import Optimisation
from selfsight.nets import build_encoder, load_encoder, save_encoder

PAPER = Optimisation(optimizer="lars", lr=0.3, weight_decay=0.04, final_weight_decay=0.4, warmup_epochs=10, clip=3.0)
UNASKED = dict.fromkeys(("optimizer", "lr", "weight_decay", "warmup_epochs", "clip"))


def choose(epochs=100, **asked):
    return choose_optimisation(PAPER, epochs=epochs, **{**UNASKED, **asked})


def test_the_paper_unless_asked_otherwise():
    assert choose() == PAPER
    asked = choose(optimizer="adamw", lr=1e-3, clip=1.0)
    assert (asked.optimizer, asked.lr, asked.clip, asked.weight_decay) == ("adamw", 1e-3, 1.0, 0.04)


def test_warm_up_is_at_most_a_tenth_of_a_short_run_unless_asked_for():
    assert choose(epochs=20).warmup_epochs == 2
    assert choose(epochs=20, warmup_epochs=7).warmup_epochs == 7
    assert choose(epochs=20, warmup_epochs=0).warmup_epochs == 0


def test_a_weight_decay_that_was_asked_for_stays():
    assert choose(weight_decay=0.1).final_weight_decay is None
    assert choose(weight_decay=0.04).final_weight_decay == 0.4  # as config.yaml repeats it


def test_another_optimiser_wants_an_lr():
    with pytest.raises(ValueError, match="for lars, not for sgd: give an lr"):
        choose(optimizer="sgd")


def images(channels=1):
    pixels = np.random.default_rng(0).integers(0, 256, (20, channels, 8, 8)).astype(np.uint8)
    return ArraySource(pixels, name="noise")


def test_the_encoder_knows_the_data():
    encoder = build_for(images(4), "resnet_slim", 8, {"drop_path_rate": 0.1}, seed=0)
    assert encoder.spec.channels == 4 and encoder.spec.value_range == (0, 255)
    assert encoder.spec.mean == pytest.approx((0.5,) * 4, abs=0.05)
    assert encoder.spec.options == {"drop_path_rate": 0.1}
    with pytest.raises(ValueError, match="follows from the data"):
        build_for(images(4), "resnet_slim", 8, {"channels": 3}, seed=0)


def test_mean_and_std_may_be_given():
    encoder = build_for(images(2), "resnet_slim", 8, None, mean=[0.1, 0.2], std=[0.3, 0.4], seed=0)
    assert (encoder.spec.mean, encoder.spec.std) == ((0.1, 0.2), (0.3, 0.4))
    assert build_for(images(2), "resnet_slim", 8, None, mean=0.5, std=1, seed=0).spec.std == (1, 1)
    for mean, std, message in (([0.5], [0.2], "each of 2 channels"), ([0.5, 0.5], None, "belong together")):
        with pytest.raises(ValueError, match=message):
            build_for(images(2), "resnet_slim", 8, None, mean=mean, std=std, seed=0)


def test_the_seed_fixes_the_weights():
    first, again, other = (build_for(images(), "resnet_slim", 8, None, seed=seed) for seed in (0, 0, 1))
    same = [(a == b).all().item() for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert any((a != b).any().item() for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_options_reach_the_method_and_unknown_ones_name_the_nearest():
    encoder = build_for(images(), "resnet_slim", 8, None, seed=0)
    assert build_method("simclr", encoder, {"projector": [16, 8], "temperature": 0.3}).temperature == 0.3
    with pytest.raises(ValueError, match=r"no option 'temprature': did you mean 'temperature'\?"):
        build_method("simclr", encoder, {"temprature": 0.3})
    with_options = find_method("simclr").with_options(temperature=0.7)
    assert build_method(with_options, encoder, None).temperature == 0.7


@pytest.mark.parametrize("weight", [0, -1.0, float("inf"), float("nan"), "much", True])
def test_a_weight_that_debias_cannot_have_is_refused(weight):
    with pytest.raises(ValueError, match=r"debias.weight is above 0, not .*leave debias out"):
        debias_of({"column": "site", "weight": weight})


def test_what_debias_is_may_be_a_word_or_options():
    assert debias_of(None) is None
    assert debias_of("site") == debias_of({"column": "site"}) == debias_of({"column": "site", "form": "kl"})
    for wrong, message in (
        ({"columns": "site"}, "no option 'columns': did you mean 'column'"),
        ({"weight": 2.0}, "debias has weight and no column"),
        ({"column": "site", "form": "mmd"}, "debias.form is 'kl' or 'moments'"),
        ("", "names a column"),
        (3, "names a column"),
    ):
        with pytest.raises(ValueError, match=message):
            debias_of(wrong)


def test_view_options_turn_knobs():
    method = build_method("simclr", build_for(images(), "resnet_slim", 8, None, seed=0), None)
    augmentation = build_augmentation(method, {"blur": 0, "scale": [0.5, 1.0]})
    assert augmentation.blur == 0 and augmentation.scale == (0.5, 1.0)
    assert augmentation.jitter == method.augmentation.jitter
    with pytest.raises(ValueError, match=r"no option 'blurr': did you mean 'blur'"):
        build_augmentation(method, {"blurr": 0.1})


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("simclr", {"temperature": "hot"}, "temperature, of method_options or --method.temperature, is a number"),
        ("simclr", {"temperature": float("nan")}, "temperature, .* is a number, not nan"),
        ("simclr", {"temperature": True}, "temperature, .* is a number, not True"),
        ("simclr", {"projector": []}, "projector, .* is a list of whole numbers of at least 1, one or more"),
        ("simclr", {"projector": [-1]}, "projector, .* not"),
        ("simclr", {"projector": 128}, "projector, .* not 128"),
        ("dino", {"out": -5}, "out, .* is a whole number of at least 0"),
        ("dino", {"norm_last_layer": "yes"}, "norm_last_layer, .* is True or False"),
    ],
)
def test_options_of_another_type_are_named(method, options, message):
    encoder = build_for(images(), "resnet_slim", 8, None, seed=0)
    with pytest.raises(ValueError, match=message):
        build_method(method, encoder, options)


def test_options_that_with_options_carries_are_checked_too():
    encoder = build_for(images(), "resnet_slim", 8, None, seed=0)
    with pytest.raises(ValueError, match=r"no option 'temprature': did you mean 'temperature'\?"):
        build_method(find_method("simclr").with_options(temprature=0.7), encoder, None)


def test_weights_of_another_encoder_are_named(tmp_path, caplog):
    save_encoder(build_encoder("resnet_slim", image_size=8, channels=1), tmp_path)
    deeper = build_encoder("resnet_slim", image_size=8, channels=1, layers=[1, 1, 1, 2])
    with caplog.at_level("INFO", logger="selfsight"):
        start_from(deeper, tmp_path)
    assert "loaded" in caplog.text and "layer4.1" in caplog.text


def test_settings_become_plain(tmp_path):
    assert plain({"a": (1, [2.5, None]), "path": tmp_path, "data": np.zeros(3)}) == {
        "a": [1, [2.5, None]],
        "path": str(tmp_path),
        "data": "<ndarray>",
    }
    assert plain({"seed": np.int64(3), "lr": np.float64(0.5)}) == {"seed": 3, "lr": 0.5}
    assert type(plain(np.float64(0.5))) is float, "YAML cannot hold NumPy's numbers"


def test_trained_weights_keep_what_they_expect(tmp_path, caplog):
    first = build_for(images(), "resnet_slim", 8, None, mean=0.3, std=0.2, seed=0)
    save_encoder(first, tmp_path)
    kept = build_for(images(), "resnet_slim", 8, None, weights=tmp_path, seed=0).spec
    assert (kept.mean, kept.std, kept.value_range) == (first.spec.mean, first.spec.std, first.spec.value_range)
    ready = load_encoder(tmp_path)
    assert build_for(images(), ready, 8, None, seed=0).spec == first.spec
    given = build_for(images(), "resnet_slim", 8, None, mean=0.4, std=0.1, weights=tmp_path, seed=0).spec
    assert set(given.mean) == {0.4} and set(given.std) == {0.1}
    with caplog.at_level(logging.INFO):
        build_for(images(), "resnet18", 8, None, weights=tmp_path, seed=0)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "loaded 17 of 120 tensors" in warning and "trained with name resnet_slim, here resnet18" in warning


def test_a_ready_encoders_size_and_channels_hold():
    ready = build_encoder("resnet_slim", image_size=16)
    assert size_for(images(3), ready, None) == 16
    with pytest.raises(ValueError, match="16 px and image_size is 8"):
        size_for(images(3), ready, 8)
    with pytest.raises(ValueError, match="takes 3 channels and the images have 1"):
        build_for(images(1), ready, 16, None, seed=0)
    with pytest.raises(ValueError, match="encoder_options"):
        build_for(images(3), ready, 16, {"drop_path_rate": 0.1}, seed=0)
