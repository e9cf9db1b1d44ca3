"""Seeds as functions of what is being drawn, so that no generator's state needs to be kept."""

from __future__ import annotations

import numpy as np
import torch

# What a seed is for; each stream is independent of the others.
WEIGHTS, VIEWS, STEP, HOLD_OUT, MONITOR, BANK, SHARED = range(7)


def derived_seed(stream: int, *numbers: int) -> int:
    """A seed that differs between streams and between tuples of numbers."""
    # the count is part of it, since NumPy takes (1,) and (1, 0) for the same
    return int(np.random.SeedSequence((stream, len(numbers), *numbers)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator_for(stream: int, *numbers: int) -> torch.Generator:
    """A CPU generator with a derived seed: view parameters are small, drawn there and then moved."""
    return torch.Generator().manual_seed(derived_seed(stream, *numbers))
