"""The layer between what is typed and a verb's keywords, on a verb of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from selfsight import arguments, signatures

if TYPE_CHECKING:
    from torch import Tensor


def paint(
    canvas: str | Path | Tensor,
    *,
    encoder: str = "oil",
    layers: int = 2,
    gloss: float | None = None,
    dry: bool = False,
    frame: bool = True,
    brush: Literal["flat", "round"] = "flat",
    colours: Sequence[str] = ("red",),
    encoder_options: Mapping[str, Any] | None = None,
) -> None:
    """Paint a canvas.

    canvas: what to paint on.
    layers, gloss: how thick, and how shiny:
        from 0 to 1. brush: flat or round.
    """


def parse(*argv: str) -> dict[str, Any]:
    return arguments.parse(paint, list(argv), "paint")


def test_types_come_from_the_signature():
    settings = parse("linen", "--layers", "3", "--gloss=1e-1", "--colours", "red,blue", "--brush", "round")
    assert settings["canvas"] == "linen"
    assert settings["layers"] == 3 and settings["gloss"] == 0.1 and settings["brush"] == "round"
    assert list(settings["colours"]) == ["red", "blue"]


@pytest.mark.parametrize(
    ("argv", "dry", "frame"),
    [
        ([], False, True),
        (["--dry"], True, True),
        (["--dry", "true"], True, True),
        (["--dry=false"], False, True),
        (["--no_frame"], False, False),
        (["--frame", "false", "--dry"], True, False),
    ],
)
def test_flags_need_no_value(argv, dry, frame):
    settings = parse(*argv, "linen")
    assert (settings["dry"], settings["frame"], settings["canvas"]) == (dry, frame, "linen")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"), ("inf", "inf"), ("2020-01-01", "2020-01-01"), ("", ""), ("1e-3", 1e-3), ("-2", -2),
        ("true", True), ("null", None), ("[512, 128]", [512, 128]),
    ],
)  # fmt: skip
def test_words_are_numbers_only_where_they_are_finite_ones(text, value):
    found = arguments.plain_value(text)
    assert found == value and type(found) is type(value)


def test_dotted_options_fill_their_bundle():
    settings = parse(
        "linen", "--encoder.rate", "1e-3", "--encoder.sizes", "1,2", "--encoder.pretrained", "--layers", "1"
    )
    assert settings["encoder_options"] == {"rate": 0.001, "sizes": [1, 2], "pretrained": True}


@pytest.mark.parametrize(
    "text",
    [
        "encoder: {name: ink, rate: 0.1}\nlayers: 5\n",
        "encoder: ink\nencoder.rate: 0.1\nlayers: 5\n",
        "encoder: ink\nencoder_options: {rate: 0.1}\nlayers: 5\n",
    ],
)
def test_yaml_says_the_same_nested_or_flat_and_the_command_line_overrides(tmp_path, text):
    file = tmp_path / "paint.yaml"
    file.write_text(text)
    settings = parse("--layers", "7", "linen", "--config", str(file), "--encoder.wet", "true")
    assert settings["encoder"] == "ink" and settings["layers"] == 7
    assert settings["encoder_options"] == {"rate": 0.1, "wet": True}


def test_the_positional_word_may_come_from_yaml(tmp_path):
    file = tmp_path / "paint.yaml"
    file.write_text("canvas: linen\ncolours: [red, green]\n")
    settings = parse("--config", str(file))
    assert settings["canvas"] == "linen" and list(settings["colours"]) == ["red", "green"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["linen", "--layer", "3"], "--layers"),
        (["linen", "--layers", "three"], "--layers"),
        (["linen", "--layers"], "wants a value"),
        (["linen", "--brush", "rond"], "round"),
        (["linen", "wood"], "'wood'"),
        (["linen", "--encodr.rate", "1"], "--encoder"),
        (["linen", "--config", "none.yaml"], "none.yaml"),
        ([], "CANVAS"),
    ],
)
def test_errors_take_one_line_and_name_what_was_meant(argv, words):
    with pytest.raises(Exception) as caught:
        parse(*argv)
    message = signatures.readable(caught.value)
    assert words in message and "\n" not in message


def test_a_file_with_an_unknown_key_is_named(tmp_path):
    file = tmp_path / "paint.yaml"
    file.write_text("layrs: 3\n")
    with pytest.raises(ValueError, match=r"paint\.yaml: unknown option 'layrs': did you mean 'layers'\?"):
        parse("linen", "--config", str(file))


def test_help_says_what_the_docstring_says_and_imports_no_type_of_ours(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "what to paint on" in shown and "how thick, and how shiny: from 0 to 1. (type" in shown
    assert "flat or round." in shown
    assert "str | Path" in shown and "Tensor" not in shown


def test_print_config_runs_again_as_config(tmp_path, capsys):
    with pytest.raises(SystemExit):
        parse("linen", "--encoder.rate", "0.1", "--print_config", "--dry")
    file = tmp_path / "again.yaml"
    file.write_text(capsys.readouterr().out)
    again, before = parse("--config", str(file)), parse("linen", "--encoder.rate", "0.1", "--dry")
    assert list(again.pop("colours")) == list(before.pop("colours"))
    assert again == before


def test_signatures_read_on_without_torch():
    assert signatures.typeable("str | Tensor | None") == str | None
    assert signatures.typeable("Tensor") is str
    assert signatures.typeable("Sequence[str | int] | float") == Sequence[str | int] | float
