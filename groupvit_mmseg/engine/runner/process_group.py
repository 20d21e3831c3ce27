"""End of the process group of a run."""

import torch
from mmengine.dist import barrier, is_distributed


def leave_process_group() -> None:
    """Destroy the process group once all ranks are done.

    gloo can abort a rank if another one leaves before it.
    """
    if is_distributed():
        barrier()
        torch.distributed.destroy_process_group()
