"""Records of a protocol, and the table that they are printed as."""

from __future__ import annotations

import pytest
import torch

from selfsight.probes.protocols import judge, protocol_names, table

COMMON = {"n_train": 1200, "n_test": 300, "seed": 5, "data": "digits"}


def record(protocol, encoder, top1, **settings):
    return {"protocol": protocol, "encoder": encoder, "top1": top1, **COMMON, **settings}


def test_the_settings_of_a_table_are_those_of_its_first_row():
    records = [
        record("knn", "trained", 0.91234, k=20, temperature=0.07),
        record("knn", "untrained", 0.5, k=30, temperature=0.1),
        record("knn", "chance", 0.1),
        record("ridge", "trained", 1.0, alpha=0.001),
        record("ridge", "untrained", 0.25, alpha=1000.0),
        record("ridge", "chance", 0.1),
    ]
    assert table(records).splitlines() == [
        "top-1           knn    ridge",
        "trained      0.9123   1.0000",
        "untrained    0.5000   0.2500",
        "chance       0.1000   0.1000",
        "",
        "1,200 training and 300 test images, seed 5",
        "knn: k 20, temperature 0.07",
        "ridge: alpha 0.001",
    ]


def test_each_encoder_is_judged_by_itself_and_chance_by_the_commonest_class_of_training():
    labels, test_labels = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 0, 0, 1])
    sides = {
        "told": (torch.nn.functional.one_hot(labels, 2), torch.nn.functional.one_hot(test_labels, 2)),
        "swapped": (torch.nn.functional.one_hot(labels, 2), torch.nn.functional.one_hot(1 - test_labels, 2)),
    }
    train, test = ({name: both[side].float() for name, both in sides.items()} for side in (0, 1))
    options = {"k": 2, "temperature": 0.1, "seed": 5}
    records = judge("knn", train, labels, test, test_labels, options, {"data": "digits"})
    common = {"protocol": "knn", "n_train": 5, "n_test": 4, "seed": 5, "data": "digits"}
    assert records == [
        {"encoder": "told", "top1": 1.0, "k": 2, "temperature": 0.1, **common},
        {"encoder": "swapped", "top1": 0.0, "k": 2, "temperature": 0.1, **common},
        {"encoder": "chance", "top1": 0.25, **common},
    ]


def test_protocols_are_named_once_each_in_their_order():
    assert protocol_names(" linear,knn , linear") == protocol_names(["linear", "knn"]) == ["linear", "knn"]
    for wrong, message in (("knnn", "did you mean 'knn'"), ([], "no protocol was asked for"), (3, "are names")):
        with pytest.raises(ValueError, match=message):
            protocol_names(wrong)
