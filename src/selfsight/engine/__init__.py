"""The loop around a method: data in, steps, measurements, files out."""

from selfsight.engine.build import (
    build_augmentation,
    build_for,
    build_method,
    choose_optimisation,
    debiased,
    resolve,
    start_from,
)
from selfsight.engine.columns import check_columns
from selfsight.engine.hardware import choose_hardware
from selfsight.engine.images import divide
from selfsight.engine.launch import run_on_ranks
from selfsight.engine.logs import run_log
from selfsight.engine.module import Training
from selfsight.engine.optimisers import LARS
from selfsight.engine.run_folder import Run, check_folder, choose_folder, claim_folder, open_run
from selfsight.engine.settings import check_method, check_settings
from selfsight.engine.train import (
    begin,
    encoder_of_all,
    fit,
    go_on,
    make_monitor,
    make_plan,
    open_training_lane,
    prepare_method,
)

__all__ = [
    "LARS",
    "Run",
    "Training",
    "begin",
    "build_augmentation",
    "build_for",
    "build_method",
    "check_columns",
    "check_folder",
    "check_method",
    "check_settings",
    "choose_folder",
    "choose_hardware",
    "choose_optimisation",
    "claim_folder",
    "debiased",
    "divide",
    "encoder_of_all",
    "fit",
    "go_on",
    "make_monitor",
    "make_plan",
    "open_run",
    "open_training_lane",
    "prepare_method",
    "resolve",
    "run_log",
    "run_on_ranks",
    "start_from",
]
