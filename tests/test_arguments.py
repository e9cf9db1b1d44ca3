"""The layer between what is typed and a verb's keywords, on a verb of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from selfsight import arguments, signatures
from selfsight.evaluate import evaluate
from selfsight.methods import find_method
from selfsight.texts import plain_value

if TYPE_CHECKING:
    from torch import Tensor


def paint(
    canvas: str | Path | Tensor,
    *,
    encoder: str = "oil",
    layers: int = 2,
    gloss: float | None = None,
    size: int | Sequence[int] | None = None,
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
    found = plain_value(text)
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


@pytest.mark.parametrize("leads_to", ["pipe", "/dev/zero"])
def test_what_is_no_file_is_not_read_as_settings(leads_to, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "c.yaml").symlink_to(leads_to)
    with pytest.raises(ValueError, match=r"c\.yaml is no file of settings"):
        parse("wall", "--config", str(tmp_path / "c.yaml"))


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
        (["linen", "--size", "16,x"], "--size: Expected int. Got value: [16, 'x']"),
        (["linen", "--brush", "rond"], "round"),
        (["linen", "wood"], "'wood'"),
        (["linen", "--encodr.rate", "1"], "--encoder"),
        (["linen", "--config", "none.yaml"], "none.yaml"),
        (["linen", "--layers", "3", "--layers", "4"], "given twice, as '3' and '4'"),
        (["linen", "--no_frame=true"], "takes no value"),
        (["linen", "-layers", "3"], "--layers"),
        (["linen", "\N{EN DASH}layers", "3"], "--layers"),
        (["linen", "--encoder_options", "wet"], "options by name"),
        (["linen", "--print_config=all"], "skip_null"),
        ([], "CANVAS"),
    ],
)
def test_errors_take_one_line_and_name_what_was_meant(argv, words):
    with pytest.raises(Exception) as caught:
        parse(*argv)
    message = signatures.readable(caught.value)
    assert words in message and "\n" not in message


@pytest.mark.parametrize(
    ("text", "key", "line"), [("layers: 3\nlayers: 4\n", "layers", 2), ("brush:\n  size: 1\n  size: 2\n", "size", 3)]
)
def test_a_key_that_stands_twice_in_yaml_is_refused(tmp_path, text, key, line):
    file = tmp_path / "paint.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"paint\.yaml has '{key}' twice \(line {line}\): leave one"):
        parse("linen", "--config", str(file))


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


WORDS = [
    "2024", "007", "1e3", "true", "null", "~", "[a]", "{x}", "a: b", "#1", "a #b", "1_000", "0x1F", "2024-01-01", ".5",
    "yes", "*", "&a", "!x", "- a", "'q'", '"', "a,b", "a\nb", "a=b", "=x", "@f", "%y", "1:30", "-1", "--x", "nan", "?",
    " s ", "\N{LATIN SMALL LETTER E WITH ACUTE}", "a\udcffb",
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_what_is_typed_whatever_yaml_makes_of_it(word, tmp_path, capsys):
    typed = [f"--encoder={word}", "--", word]
    settings = parse(*typed)
    assert (settings["canvas"], settings["encoder"]) == (word, word)
    with pytest.raises(SystemExit):
        parse("--print_config", *typed)
    file = tmp_path / "again.yaml"
    file.write_text(capsys.readouterr().out)
    again = parse("--config", str(file))
    assert (again["canvas"], again["encoder"]) == (word, word)


@pytest.mark.parametrize("word", ["2024", "007", "1e3", "true", "yes", "2024-01-01", "1_000", "1:30", ".5"])
def test_a_word_in_a_file_is_what_is_written(word, tmp_path):
    file = tmp_path / "paint.yaml"
    file.write_text(f"canvas: {word}\n")
    assert parse("--config", str(file))["canvas"] == word


@pytest.mark.parametrize("text", ["[a]", "null", "{x: 1}", "#1"])
def test_what_is_no_word_in_a_file_is_refused(text, tmp_path):
    file = tmp_path / "paint.yaml"
    file.write_text(f"canvas: {text}\n")
    with pytest.raises(ValueError, match=r"--canvas is a word or a path, not .*: write it in quotes"):
        parse("--config", str(file))


@pytest.mark.parametrize(("typed", "wanted"), [("1e-3", [1e-3]), ("1e-3,0.1", [1e-3, 0.1]), ("[0.1]", [0.1])])
def test_a_list_may_be_typed_as_one_value(typed, wanted):
    argv = ["run", "data", "--protocols", "linear,dense_linear", "--linear.lrs", typed, "--dense_linear.ignore", "11"]
    options = arguments.parse(evaluate, argv, "selfsight evaluate")["protocol_options"]
    assert options == {"linear": {"lrs": tuple(wanted)}, "dense_linear": {"ignore": (11,)}}


def test_words_between_commas_stay_words():
    assert parse("linen", "--colours", "1e3,null, 007")["colours"] == ["1e3", "null", "007"]
    assert parse("linen", "--colours", "[2, true]")["colours"] == ["2", "true"]


@pytest.mark.parametrize("word", ["2", "007", "1e3", "null", "true", "2024-01-01"])
def test_a_column_may_be_called_anything(word):
    settings = arguments.typed(find_method("y_aware"), {"columns": word}, "method.")
    assert settings == {"columns": word}


@pytest.mark.parametrize(("text", "value"), [("010", 10), ("1_000", 1000), ("+3", 3), ("-3", -3)])
def test_whole_numbers_have_base_ten(text, value):
    assert parse("linen", "--layers", text)["layers"] == value


@pytest.mark.parametrize("text", ["1.0", "1e2", "0x1F", "1:30", "", "true", "null", "nan"])
def test_what_is_no_whole_number(text):
    with pytest.raises(ValueError, match="--layers is a whole number, not"):
        parse("linen", "--layers", text)


def test_nothing_is_typed_where_a_number_may_be_left_out():
    assert parse("linen", "--gloss", "null")["gloss"] is None
    with pytest.raises(ValueError, match="--gloss is a number, not '1:30'"):
        parse("linen", "--gloss", "1:30")


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
