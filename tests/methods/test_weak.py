"""Methods that learn from classes by a margin, and from numbers by a kernel."""

from __future__ import annotations

import logging
import re

import pytest
import torch

from conformance.cases import small_method
from selfsight import losses
from selfsight.methods import Plan, find_method
from selfsight.testing import IMAGES, metadata, prepare, small_batches, small_encoder
from selfsight.views import Batch

BY_VALUE = ["y_aware", "regression_thr", "regression_exp"]
BY_CLASS = ["eps_supinfonce", "eps_supcon"]


def told(method, **columns):
    """Tell a method of other numbers."""
    method.prepare(Plan(samples=len(columns["target"]), steps=4, epochs=1, batch=IMAGES, metadata=columns))
    return method


@pytest.mark.parametrize("name", [*BY_VALUE, *BY_CLASS, "eps_infonce"])
def test_they_take_small_crops_too(name):
    method = small_method(name)
    batch = small_batches(method, count=1)[0]
    batch.views += [view[..., 6:18, 6:18] for view in batch.views]
    assert method(batch)["loss"].isfinite()


@pytest.mark.parametrize("name", BY_CLASS)
def test_the_margin_arrives(name):
    method = small_method(name, epsilon=0.0)
    batch = small_batches(method, count=1)[0]
    z = [method.embed(view) for view in batch.views]
    assert method(batch)["loss"] < getattr(losses, name)(z, batch.metadata["label"], 0.07, -1.0)
    if name == "eps_supcon":
        loss = find_method("supcon").forward(method, batch)["loss"]
        torch.testing.assert_close(method(batch)["loss"], loss)


@pytest.mark.parametrize("name", BY_VALUE)
def test_the_bandwidth_is_that_of_the_rule_or_the_one_given(name):
    values = metadata(2 * IMAGES)["target"]
    assert small_method(name).widths == losses.rule_of_thumb(values[:, None], "scott")
    assert small_method(name, bandwidth="silverman").widths == losses.rule_of_thumb(values[:, None], "silverman")
    assert small_method(name, bandwidth=7).widths == (7.0,)
    two = small_method(name, columns=("target", "label"), bandwidth=(7.0, 0.5))
    assert two.wants.columns == ("target", "label") and two.widths == (7.0, 0.5)
    assert two(small_batches(two, count=1)[0])["loss"].isfinite()
    assert small_method(name, columns="target").wants.columns == ("target",)


def test_the_kernel_and_its_width_reach_the_loss():
    method = small_method("y_aware", kernel="linear", bandwidth=30.0, temperature=0.3)
    batch = small_batches(method, count=1)[0]
    method.eval()
    z = [method.embed(view) for view in batch.views]
    ours = losses.y_aware(z, batch.metadata["target"], 0.3, "linear", 30.0)
    torch.testing.assert_close(method(batch)["loss"], ours)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "box"}, "no kernel 'box'"),
        ({"bandwidth": "scot"}, "'scott' or 'silverman'"),
        ({"bandwidth": 0.0}, "positive number"),
        ({"bandwidth": (1.0, 2.0)}, "as many as columns, 1"),
        ({"columns": ()}, r"columns=\("),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        find_method("y_aware")(small_encoder(), **options)


@pytest.mark.parametrize("name", BY_VALUE)
def test_a_missing_column_is_named_with_the_nearest(name):
    method = small_method(name)
    with pytest.raises(ValueError, match=r"column 'target'.*did you mean 'targets'.*columns="):
        method.prepare(Plan(samples=4, steps=1, epochs=1, batch=4, metadata={"targets": torch.arange(4.0)}))


@pytest.mark.parametrize(("bandwidth", "words"), [(1e-4, "are 0.*raise"), (1e5, "are 1.*lower")])
def test_a_bandwidth_that_tells_nothing_apart_is_warned_of(bandwidth, words, caplog):
    method = small_method("y_aware", bandwidth=bandwidth)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        prepare(method)
    (record,) = caplog.records
    assert re.search(words, record.getMessage()) and "target" in record.getMessage()


def test_a_bandwidth_is_judged_by_numbers_that_differ_and_each_column_alone(caplog):
    years = torch.randint(20, 80, (4000,), generator=torch.Generator().manual_seed(0))
    one = small_method("y_aware", bandwidth=0.1)
    two = small_method("y_aware", columns=("target", "label"), bandwidth=(5.0, 1e9))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        told(one, target=years)  # one pair in sixty has the same
        told(two, target=years, label=years % 7)
    first, second = (record.getMessage() for record in caplog.records)
    assert re.search("weights of target are 0.*raise", first) and re.search("weights of label are 1.*lower", second)


@pytest.mark.parametrize("kernel", ["rbf", "gaussian", "cauchy", "epanechnikov"])
def test_a_bandwidth_that_tells_apart_is_not(kernel, caplog):
    with caplog.at_level(logging.WARNING):
        small_method("y_aware", kernel=kernel)
        told(small_method("y_aware", bandwidth=0.1), target=torch.arange(4000) % 2)  # classes
    assert not caplog.records


@pytest.mark.parametrize("name", BY_VALUE)
def test_missing_values_are_borne(name):
    method = small_method(name, columns=("target", "label"))
    batch = small_batches(method, count=1)[0]
    batch.metadata["target"][:5] = torch.nan
    batch.metadata["label"][3:8] = -1
    outcome = method(batch)["loss"]
    outcome.backward()
    assert outcome.isfinite() and all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)
    assert method.values(batch.metadata).isnan().any(1).sum() == 8
    assert 0 <= method.progress(batch) <= 1


def test_progress_is_one_for_the_same_values_and_zero_by_chance():
    method = small_method("y_aware")
    method.embed = lambda view: view.flatten(1)
    view = torch.randn(400, 8)
    target = torch.randn(400)
    exact = Batch([view, view], torch.arange(400), {"target": target})
    assert method.progress(exact) == pytest.approx(1, abs=1e-5)
    target[::3] = torch.nan
    assert method.progress(exact) == pytest.approx(1, abs=1e-5)
    guessed = Batch([view, torch.randn(400, 8)], torch.arange(400), {"target": target})
    assert method.progress(guessed) < 0.15
    assert method.progress(Batch([view, view], torch.arange(400))) == 1  # of images without the column: view matching
