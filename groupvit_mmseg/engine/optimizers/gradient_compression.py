"""GradientCompressionHook: ranks exchange gradients in half precision."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
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
    """Halves the data that data parallel training sends, for slow networks between machines.

    Gradients are rounded, averaged and converted back, so they are not exact. A run of one process
    does not change.

    Args:
        dtype (str): ``'float16'`` or ``'bfloat16'`` (GPUs only). Defaults to ``'float16'``.

    Raises:
        ValueError: If the type is another one, or bfloat16 without a GPU.

    Example:
        >>> custom_hooks = [dict(type='GradientCompressionHook')]
    """

    def __init__(self, dtype: str = 'float16') -> None:
        if dtype not in COMPRESSIONS:
            raise ValueError(f'Gradients are sent as {sorted(COMPRESSIONS)}, not as {dtype!r}.')
        if dtype == 'bfloat16' and not torch.cuda.is_available():
            raise ValueError("bfloat16 gradients need NCCL, so GPUs; use dtype='float16' on CPUs.")
        self.dtype = dtype

    def before_train(self, runner: Runner) -> None:
        """Register the compression with DistributedDataParallel.

        Raises:
            ValueError: If the model is sharded.
        """
        if is_sharded(runner.model):
            raise ValueError(
                'GradientCompressionHook works with data parallel training only: remove the hook, '
                'or remove model_wrapper_cfg.'
            )
        if isinstance(runner.model, DistributedDataParallel):
            runner.model.register_comm_hook(None, COMPRESSIONS[self.dtype])
