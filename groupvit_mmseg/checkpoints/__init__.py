"""Weights from and to other implementations."""

from groupvit_mmseg.checkpoints.key_map import from_hugging_face, from_official

__all__ = ['from_hugging_face', 'from_official']
