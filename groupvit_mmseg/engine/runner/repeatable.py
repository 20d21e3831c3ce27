"""The switch for the same bits on every run, on GPUs as well."""

from __future__ import annotations

import os

import torch

from groupvit_mmseg.engine.runner.environment_log import EnvironmentLog

CUBLAS_WORKSPACE = ':4096:8'
"""str: Memory with which cuBLAS adds in a fixed order; it has to be set before its first use."""


class RepeatableRunner(EnvironmentLog):
    """Runner for which ``randomness=dict(deterministic=True)`` is the whole switch."""

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seed the generators; a deterministic run has the same bits each time, on GPUs as well.

        Args:
            seed (int, optional): None draws one.
            diff_rank_seed (bool): Whether ranks have seeds of their own. Defaults to False.
            deterministic (bool): Whether PyTorch, cuDNN and cuBLAS use algorithms that add in a
                fixed order. An operation without such an algorithm raises an error. Defaults to
                False.
        """
        if deterministic:
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', CUBLAS_WORKSPACE)
            torch.backends.cudnn.benchmark = False  # which mmengine would warn of
        super().set_randomness(seed, diff_rank_seed, deterministic)
