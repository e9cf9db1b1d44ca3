"""One case a method: its small sizes, its own recipe where the common one does not suit, and what it remembers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from selfsight.methods.base import Method
from selfsight.testing import Case, Learn

REDRAWN = Learn(redrawn=True)
FROM_ALL = Learn(redrawn=True, options={"noise": 4096})
"""Told from all other images: from a few drawn ones NPID and PIRL learn too slowly to be seen."""

CASES: dict[str, Case] = {
    "align_uniform": Case({"projector": (32,)}),
    "barlow_twins": Case({"projector": (64, 64, 64)}),
    "byol": Case({"projector": (64, 32), "predictor": (64, 32), "momentum": 0.8}, learns=Learn(steps=120)),
    "clae": Case({"projector": (64, 32)}),
    "cpc_v2": Case(
        {"target": 16, "context": 32, "depth": 1, "tile": 16, "stride": 4, "scale": 1.0}, own_views=True, learns=REDRAWN
    ),
    "dcl": Case({"projector": (64, 32)}),
    "dclw": Case({"projector": (64, 32)}),
    "debiased": Case({"projector": (64, 32)}),
    "deep_infomax": Case({"units": 64}, own_views=True),
    "dino": Case({"out": 64, "hidden": 64, "bottleneck": 32, "momentum": 0.8, "batch_norm": True}, state=("centre",)),
    "eps_infonce": Case({"projector": (64, 32)}),
    "eps_supcon": Case({"projector": (64, 32)}),
    "eps_supinfonce": Case({"projector": (64, 32)}),
    "exemplar": Case(own_views=True, learns=REDRAWN),
    "hard_negatives": Case({"projector": (64, 32)}),
    "joint_embedding": Case({"projector": (64, 32), "predictor": (64, 32), "momentum": 0.8, "support": 96}),
    "mae": Case({"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2}, encoder="vit", own_views=True),
    "mean_shift": Case(
        {"projector": (64, 32), "predictor": (64, 32), "queue": 96, "neighbours": 2, "momentum": 0.8},
        own_views=True,
        state=("queue",),
    ),
    "metric_learning": Case({"projector": (64, 32)}),
    "moco_v1": Case({"projector": (32,), "queue": 96, "momentum": 0.9, "key_group": 6}, state=("queue",)),
    "moco_v2": Case({"projector": (64, 32), "queue": 96, "momentum": 0.9, "key_group": 6}, state=("queue",)),
    "moco_v3": Case({"projector": (64, 32), "predictor": (64, 32), "momentum": 0.8}),
    "mv_mr": Case({"projector": (64, 64, 64)}, own_views=True),
    "nnclr": Case({"projector": (64, 64, 32), "predictor": (64, 32), "queue": 96}, state=("queue",)),
    "npid": Case({"dim": 32, "noise": 16}, own_views=True, learns=FROM_ALL, state=("bank", "contrast")),
    "pirl": Case(
        {"dim": 32, "noise": 16, "puzzle_size": 48}, own_views=True, learns=FROM_ALL, state=("bank", "contrast")
    ),
    "regression_exp": Case({"projector": (64, 32)}),
    "regression_thr": Case({"projector": (64, 32)}),
    "rotation": Case(own_views=True),
    "simclr": Case({"projector": (64, 32)}),
    "simsiam": Case({"projector": (64, 64, 64), "predictor": (16, 64)}),
    "supcon": Case({"projector": (64, 32)}),
    "swav": Case({"projector": (64, 32), "prototypes": 16, "queue": 48, "queue_start": 0}, state=("queue",)),
    "vicreg": Case({"projector": (64, 64, 64)}),
    "y_aware": Case({"projector": (64, 32)}),
}
"""A new method adds a line."""


def small_method(name: str, seed: int = 0, encoder: str | None = None, **options: Any) -> Method:
    """The method with small heads and weights drawn from `seed`; with another encoder or other options where given."""
    case = CASES[name]
    return (case if encoder is None else replace(case, encoder=encoder)).build(name, seed=seed, **options)
