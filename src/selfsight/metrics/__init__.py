"""How right answers are, and how sure that is: each metric as a function of how often every test image counts."""

from selfsight.metrics.boxes import Boxes
from selfsight.metrics.classes import Classes
from selfsight.metrics.numbers import Numbers
from selfsight.metrics.outcome import Outcome, PerImage
from selfsight.metrics.pixels import Pixels
from selfsight.metrics.resampling import Estimate, Resamples
from selfsight.metrics.tags import Tags

__all__ = ["Boxes", "Classes", "Estimate", "Numbers", "Outcome", "PerImage", "Pixels", "Resamples", "Tags"]
