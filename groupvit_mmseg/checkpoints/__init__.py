"""Weights of other implementations: read safely, converted in both directions."""

from groupvit_mmseg.checkpoints.key_map import (
    from_hugging_face,
    from_official,
    to_hugging_face,
    to_official,
)
from groupvit_mmseg.checkpoints.weight_files import WeightFile, read_weights

__all__ = [
    'WeightFile',
    'from_hugging_face',
    'from_official',
    'read_weights',
    'to_hugging_face',
    'to_official',
]
