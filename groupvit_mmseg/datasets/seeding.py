"""Random numbers of a sample that depend on its position only, not on samples before it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's generators in the block; restore their state after it.

    The transforms of mmcv and mmpretrain draw from these three. Without workers they share them
    with the model, whose random numbers must not repeat with the data's.

    Args:
        *entropy (int): Non-negative numbers that the random numbers depend on.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence(entropy).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.default_generator.manual_seed(int(words[2]))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
