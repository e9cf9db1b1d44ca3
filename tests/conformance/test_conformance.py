"""The battery that every method passes; a new method joins by its file and a line in `cases.CASES`."""

from __future__ import annotations

import pytest

from conformance.cases import CASES, small_method
from selfsight.methods import method_names
from selfsight.testing import CHECKS, Case, check_learns


def test_every_method_has_a_case():
    assert sorted(CASES) == method_names()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", sorted(CASES))
def test_method(name, check):
    check(name, CASES[name])


def test_dino_learns_with_a_transformer():
    check_learns("dino", Case(CASES["dino"].options, encoder="vit"))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.encoder == "vit"])
def test_a_convolutional_encoder_is_refused_where_patches_are_needed(name):
    with pytest.raises(ValueError, match="vit_small_image"):
        small_method(name, encoder="resnet")
