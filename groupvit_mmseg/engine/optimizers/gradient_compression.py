"""Gradients that travel between ranks in half precision."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmseg.registry import HOOKS
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from groupvit_mmseg.engine.sharding import is_sharded

COMPRESSIONS = {
    'float16': default_hooks.fp16_compress_hook,
    'bfloat16': default_hooks.bf16_compress_hook,
}


@HOOKS.register_module()
class GradientCompressionHook(Hook):
    """Halves what data parallel training sends: gradients are rounded, averaged, and widened again.

    Not exact; for slow networks between machines. A run of one process is not changed.

    Args:
        dtype (str): ``'float16'`` or ``'bfloat16'`` (GPUs only). Defaults to ``'float16'``.

    Raises:
        ValueError: If the type is another one, or bfloat16 is asked for without a GPU.
    """

    def __init__(self, dtype: str = 'float16') -> None:
        if dtype not in COMPRESSIONS:
            raise ValueError(f'Gradients travel as {sorted(COMPRESSIONS)}, not as {dtype!r}.')
        if dtype == 'bfloat16' and not torch.cuda.is_available():
            raise ValueError("bfloat16 gradients need NCCL, so GPUs; use dtype='float16' on CPUs.")
        self.dtype = dtype

    def before_train(self, runner: Any) -> None:
        """Hand the compression to DDP.

        Raises:
            ValueError: If the model is sharded.
        """
        if is_sharded(runner.model):
            raise ValueError(
                'GradientCompressionHook works with data parallel training only: drop the hook, or '
                'drop model_wrapper_cfg.'
            )
        if isinstance(runner.model, DistributedDataParallel):
            runner.model.register_comm_hook(None, COMPRESSIONS[self.dtype])
