"""Beginning and end of the processes of a run."""

import torch
from mmengine.dist import barrier, is_distributed


def leave_process_group() -> None:
    """Let the processes part together; gloo can abort those that a quicker one leaves alone."""
    if is_distributed():
        barrier()
        torch.distributed.destroy_process_group()
