"""The loop around a method: data in, steps, measurements, files out."""

from selfsight.engine.build import (
    build_augmentation,
    build_for,
    build_method,
    choose_optimisation,
    debias_of,
    resolve,
    size_for,
)
from selfsight.engine.claim import Claim
from selfsight.engine.columns import check_columns
from selfsight.engine.diagnosis import replay
from selfsight.engine.hardware import choose_hardware
from selfsight.engine.images import divide
from selfsight.engine.launch import run_on_ranks
from selfsight.engine.logs import run_log
from selfsight.engine.meeting import Meeting
from selfsight.engine.module import Training
from selfsight.engine.optimisers import LARS
from selfsight.engine.published import load_method
from selfsight.engine.run_folder import Run, open_run
from selfsight.engine.settings import check_method, check_settings
from selfsight.engine.signals import StopRequest
from selfsight.engine.train import (
    encoder_of_all,
    fit,
    make_monitor,
    make_schedule,
    make_supervisor,
    open_training_lane,
    prepare_method,
    resume_training,
)

__all__ = [
    "LARS",
    "Claim",
    "Meeting",
    "Run",
    "StopRequest",
    "Training",
    "build_augmentation",
    "build_for",
    "build_method",
    "check_columns",
    "check_method",
    "check_settings",
    "choose_hardware",
    "choose_optimisation",
    "debias_of",
    "divide",
    "encoder_of_all",
    "fit",
    "load_method",
    "make_monitor",
    "make_schedule",
    "make_supervisor",
    "open_run",
    "open_training_lane",
    "prepare_method",
    "replay",
    "resolve",
    "resume_training",
    "run_log",
    "run_on_ranks",
    "size_for",
]
