"""One rank of ``test_ranks.py``: gradients of its share of a batch, averaged as DDP does.

python ranks.py RANK WORLD_SIZE PORT FOLDER, with ``job.pt`` there; rank 0 writes ``out.pt``.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmseg.registry import MODELS
from torch.nn.parallel import DistributedDataParallel

import groupvit_mmseg  # noqa: F401


def run(rank: int, world_size: int, port: str, folder: Path) -> None:
    """Load the job, compute this rank's losses and gradients, write those of rank 0."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'tcp://127.0.0.1:{port}', rank=rank, world_size=world_size)
    job = torch.load(folder / 'job.pt')
    model = MODELS.build(job['config']).double()
    model.load_state_dict(job['state_dict'])
    parallel = DistributedDataParallel(model.eval())
    images, token_ids = (job[key].chunk(world_size)[rank] for key in ('images', 'token_ids'))
    losses = parallel(images, token_ids, mode='loss')
    losses = {key: value for key, value in losses.items() if 'loss' in key}
    sum(losses.values()).backward()
    for value in losses.values():
        dist.all_reduce(value.detach())
    if rank == 0:
        gradients = {name: p.grad for name, p in model.named_parameters()}
        losses = {key: value.detach() / world_size for key, value in losses.items()}
        torch.save(dict(losses=losses, gradients=gradients), folder / 'out.pt')
    dist.barrier()  # rank 0 holds the store: it must not leave first
    dist.destroy_process_group()


if __name__ == '__main__':
    run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
