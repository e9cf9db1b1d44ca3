"""Each recipe is a valid call of `pretrain`, and says what it promises."""

from __future__ import annotations

import re

import pytest

import selfsight
from selfsight import arguments, recipes
from selfsight.methods import find_method
from selfsight.nets import encoder_names
from selfsight.views import Augmentation


@pytest.mark.parametrize("name", recipes.recipe_names())
def test_a_recipe_is_a_valid_call(name):
    settings = arguments.parse(selfsight.pretrain, ["images", "--recipe", name], "pretrain")
    assert settings["data"] == "images"
    assert callable(find_method(settings["method"]))
    assert settings["encoder"] in encoder_names()
    Augmentation(**settings["view_options"] or {})
    assert settings["epochs"] > 0 and settings["batch_size"] > 0


@pytest.mark.parametrize("name", recipes.recipe_names())
def test_a_recipe_says_command_hardware_time_and_score(name):
    head = (recipes._FOLDER / f"{name}.yaml").read_text().split("\nmethod:")[0]
    for word in ("command", "data", "hardware", "time", "score"):
        assert re.search(rf"^# {word}\s+\S", head, re.MULTILINE), f"{name} does not say its {word}"
    assert f"--recipe {name}" in head
    assert all(line.startswith("#") for line in head.splitlines())


@pytest.mark.parametrize("name", recipes.recipe_names())
def test_a_recipe_and_its_python_call_mean_the_same(name):
    assert arguments.unfold(recipes.load_recipe(name), arguments.parameters(selfsight.pretrain)) == recipes.load_recipe(
        name
    )


def test_the_recipe_of_the_published_vicreg_run():
    settings = recipes.load_recipe("vicreg-cifar10")
    assert settings["method"] == "vicreg" and settings["encoder"] == "resnet18"
    assert set(settings["method_options"]["projector"]) == {1024}
    assert (settings["optimizer"], settings["lr"], settings["weight_decay"]) == ("adam", 2e-4, 1e-6)
    assert (settings["batch_size"], settings["epochs"]) == (256, 500)
    assert settings["view_options"]["scale"] == [0.2, 1.0] and settings["view_options"]["solarize"] == 0.2


def test_the_command_line_overrides_a_recipe():
    argv = ["images", "--epochs", "3", "--recipe", "vicreg-cifar10", "--method.variance", "1", "--views.blur", "0"]
    settings = arguments.parse(selfsight.pretrain, argv, "pretrain")
    assert settings["epochs"] == 3 and settings["view_options"]["blur"] == 0
    assert settings["method_options"]["variance"] == 1 and settings["method_options"]["projector"][0] == 1024


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'vicreg-cifar10'"):
        recipes.load_recipe("vicreg-cifar")
