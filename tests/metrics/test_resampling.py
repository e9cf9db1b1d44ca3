"""Intervals: their width against theory, their pairing, and groups that stay together."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from selfsight.metrics import Classes, Numbers, PerImage, Resamples
from selfsight.metrics.resampling import by_percentiles, by_repetition


def test_an_image_is_drawn_once_on_average():
    weights = torch.cat(list(Resamples(50, draws=400)))
    assert weights.shape == (400, 50) and (weights.sum(dim=1) == 50).all()
    assert weights.mean(dim=0).sub(1).abs().max() < 0.25


def test_members_of_a_group_are_drawn_together():
    groups = np.array([3, 3, 1, 1, 1, 9])
    weights = torch.cat(list(Resamples(6, groups=groups, draws=200)))
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 2] == weights[:, 4]).all()
    assert (weights[:, [0, 2, 5]].sum(dim=1) == 3).all()


def test_the_interval_of_a_share_is_the_textbooks():
    hits = (torch.arange(400) % 4 == 0).double()
    values = Resamples(400).of({"one": PerImage(hit=hits)})["one"]["hit"]
    estimate = by_percentiles(values)
    reach = 1.96 * math.sqrt(0.25 * 0.75 / 400)
    assert estimate.value == 0.25
    assert estimate.low == pytest.approx(0.25 - reach, abs=0.006)
    assert estimate.high == pytest.approx(0.25 + reach, abs=0.006)


def test_images_that_repeat_within_groups_are_no_new_evidence():
    hits = (torch.arange(100) % 4 == 0).double().repeat_interleave(9)
    groups = np.arange(100).repeat(9)
    alone, together = (
        by_percentiles(Resamples(900, groups=some).of({"one": PerImage(hit=hits)})["one"]["hit"])
        for some in (None, groups)
    )
    assert together.high - together.low > 2.5 * (alone.high - alone.low)  # 3 times, the root of 9


def test_differences_are_paired():
    """Two that are right on the same images but one differ surely, though each by itself is unsure."""
    first = (torch.arange(300) % 2 == 0).double()
    second = first.clone()
    second[1:40:2] = 1
    values = Resamples(300).of({"a": PerImage(hit=first), "b": PerImage(hit=second)})
    difference = by_percentiles(values["b"]["hit"] - values["a"]["hit"])
    a, b = (by_percentiles(values[name]["hit"]) for name in "ab")
    assert difference.low > 0 and a.high > b.low


def test_what_is_undefined_in_most_resamples_has_no_interval():
    truth = torch.zeros(40, dtype=torch.int64)
    truth[0] = 1
    values = Resamples(40).of({"one": Classes(truth, torch.rand(40, 2))})["one"]
    assert values["auc"].isnan().any() and math.isfinite(by_percentiles(values["auc"]).low)
    constant = Resamples(40).of({"one": Numbers(torch.ones(40), torch.rand(40))})["one"]
    assert math.isnan(by_percentiles(constant["r2"]).value) and math.isnan(by_percentiles(constant["r2"]).high)


def test_repetitions_have_students_interval():
    values = [0.5, 0.6, 0.7, math.nan]
    low, high = stats.t.interval(0.95, 2, loc=0.6, scale=stats.sem(values[:3]))
    estimate = by_repetition(values)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.6, low, high))
    assert by_repetition([0.5]).value == 0.5 and math.isnan(by_repetition([0.5]).low)
    assert math.isnan(by_repetition([math.nan]).value)
