"""Random numbers of a sample that depend on its position only, not on samples before it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def kept_random_states() -> Iterator[None]:
    """Restore the states of Python's, NumPy's and torch's generators after the block.

    Without workers, the data shares them with the model, whose random numbers must not repeat with
    the data's.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def seed_generators(*entropy: int) -> None:
    """Seed the three generators, from which the transforms of mmcv and mmpretrain draw.

    Args:
        *entropy (int): Non-negative numbers that the random numbers depend on.
    """
    words = np.random.SeedSequence(entropy).generate_state(3).tolist()
    random.seed(words[0])
    np.random.seed(words[1])
    torch.default_generator.manual_seed(words[2])
