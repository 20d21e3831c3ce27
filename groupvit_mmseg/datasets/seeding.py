"""Random numbers of a sample that depend on the sample's place and on nothing before it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's generators inside the block, and put them back after it.

    The transforms of mmcv and mmpretrain draw from these three. Without workers they share them
    with the model, whose random numbers must not repeat with the data's.

    Args:
        *entropy (int): Non-negative numbers that the random numbers depend on.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence(entropy).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.default_generator.manual_seed(int(words[2]))
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
