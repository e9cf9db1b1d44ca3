"""The loop around a method: data in, steps, measurements, files out."""

from selfsight.engine.claim import Claim
from selfsight.engine.diagnosis import replay
from selfsight.engine.footprint import check_footprint
from selfsight.engine.hardware import choose_hardware
from selfsight.engine.images import divide
from selfsight.engine.launch import run_on_ranks
from selfsight.engine.logs import run_log
from selfsight.engine.meeting import Meeting
from selfsight.engine.optimisers import LARS
from selfsight.engine.published import load_method
from selfsight.engine.run_folder import Run, open_run
from selfsight.engine.settings import Settings
from selfsight.engine.signals import StopRequest
from selfsight.engine.steps import choose_setup, look_at_images, make_training, open_feed
from selfsight.engine.train import fit, resume_training

__all__ = [
    "LARS",
    "Claim",
    "Meeting",
    "Run",
    "Settings",
    "StopRequest",
    "check_footprint",
    "choose_hardware",
    "choose_setup",
    "divide",
    "fit",
    "load_method",
    "look_at_images",
    "make_training",
    "open_feed",
    "open_run",
    "replay",
    "resume_training",
    "run_log",
    "run_on_ranks",
]
