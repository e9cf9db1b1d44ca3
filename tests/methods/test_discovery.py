"""Methods are found by their files, and named without torch."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest

from selfsight import methods
from selfsight.methods import describe_methods, find_method, method_name, method_names
from selfsight.methods.base import Method
from selfsight.methods.vicreg import VICReg

TWELVE = [
    "barlow_twins",
    "byol",
    "dino",
    "mae",
    "moco_v2",
    "mv_mr",
    "rotation",
    "simclr",
    "simsiam",
    "supcon",
    "swav",
    "vicreg",
]


class Mine(Method):
    """A user's own."""


def test_files_are_methods():
    assert set(TWELVE) <= set(method_names())
    assert method_names() == sorted(method_names())
    assert not {"base", "_queue", "__init__"} & set(method_names())


def test_every_method_has_a_sentence_a_paper_and_defaults():
    for name, sentence in describe_methods().items():
        found = find_method(name)
        assert isinstance(found, type) and issubclass(found, Method)
        assert sentence.endswith(".") and len(sentence) < 110, f"{name}: {sentence}"
        assert "(" in found.__doc__ and "20" in found.__doc__, f"{name} names no paper with its year"
        assert "optimisation" in vars(found) and "augmentation" in vars(found), f"{name} lacks the paper's settings"


def test_a_method_is_found_by_name_class_options_or_path():
    assert find_method("vicreg") is VICReg
    assert find_method(VICReg) is VICReg
    options = VICReg.with_options(covariance=2.0)
    assert find_method(options) is options
    assert find_method("selfsight.methods.vicreg.VICReg") is VICReg
    assert methods.VICReg is VICReg


def test_names_lead_back():
    assert [method_name(find_method(name)) for name in method_names()] == method_names()
    assert method_name(VICReg.with_options(covariance=2.0)) == "vicreg"
    assert method_name(Mine) == f"{__name__}.Mine"
    assert find_method(method_name(Mine)) is Mine


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("vicrge", "did you mean 'vicreg'"),
        ("zzzz", "selfsight list methods"),
        ("no_such_package.Method", "no module 'no_such_package'.*PYTHONPATH"),
        ("selfsight.methods.vicreg.VICRge", "did you mean 'VICReg'"),
        ("collections.OrderedDict", "not a method"),
        (dict, "not a method"),
        (partial(dict, a=1), "not a method"),
    ],
)
def test_what_is_no_method_is_refused_with_a_hint(wrong, hint):
    with pytest.raises(ValueError, match=hint):
        find_method(wrong)


def test_an_error_inside_a_users_module_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        find_method("broken_module.Mine")


def test_listing_does_not_import_torch():
    code = "import sys; from selfsight.methods import *; describe_methods(); sys.exit('torch' in sys.modules)"
    code = code.replace("import *", "import describe_methods")
    subprocess.run([sys.executable, "-c", code], check=True)
