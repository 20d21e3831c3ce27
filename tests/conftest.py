"""Shared by all tests: one thread, a fixed seed, clean mmengine globals."""

import pytest
import torch
from mmengine.registry import DefaultScope

import groupvit_mmseg  # noqa: F401  (registers everything)

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _mmseg_scope():
    """Plain names resolve as they do under ``default_scope = 'mmseg'``."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield
