"""The demo's judgement and its report; `make demo` itself is the long form."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from selfsight import demo
from selfsight.data.arrays import ArraySource


def source(labels: np.ndarray) -> ArraySource:
    return ArraySource(np.zeros((len(labels), 8, 8), np.uint8), pd.DataFrame({"label": labels}))


def test_ten_labels_read_what_is_separable_and_guess_what_is_not():
    labels = np.arange(200) % 10
    apart = torch.eye(10)[torch.from_numpy(labels)] + 0.01 * torch.randn(
        200, 10, generator=torch.Generator().manual_seed(0)
    )
    alike = torch.randn(200, 10, generator=torch.Generator().manual_seed(1))
    assert demo.with_ten_labels(apart, source(labels), apart, source(labels), 0) == 1
    assert demo.with_ten_labels(alike, source(labels), alike.roll(7, 0), source(labels), 0) < 0.3


def test_the_report_says_what_was_learned_where_it_lies_and_what_to_type(tmp_path):
    rows = [{"pixels": 0.6, "random": 0.4, "trained": 0.8}, {"pixels": 0.62, "random": 0.42, "trained": 0.78}]
    said = demo.report(rows, tmp_path, 12)
    assert "79% of unseen digits" in said and "61% from raw pixels" in said and "41% from the same" in said
    assert f"selfsight evaluate {tmp_path}/seed-0 digits" in said and f"{tmp_path}/seed-0/views.png" in said


def test_no_seed_is_refused(tmp_path):
    with pytest.raises(ValueError, match="seeds"):
        demo.demo(out=tmp_path, seeds=0)
