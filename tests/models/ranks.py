"""What a rank of ``test_ranks.py`` does; ranks are forked, so that nothing is imported again."""

import torch
import torch.distributed as dist
from mmseg.registry import MODELS
from torch.nn.parallel import DistributedDataParallel


def run_model(job, rank, world_size):
    """Losses and every gradient of a pretrainer, as data parallel training averages them."""
    model = MODELS.build(job['config']).double()
    model.load_state_dict(job['state_dict'])
    parallel = DistributedDataParallel(model.eval())
    images, token_ids = (job[key].chunk(world_size)[rank] for key in ('images', 'token_ids'))
    losses = parallel(images, token_ids, mode='loss')
    losses = {key: value for key, value in losses.items() if 'loss' in key}
    sum(losses.values()).backward()
    for value in losses.values():
        dist.all_reduce(value.detach())
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return {key: value.detach() / world_size for key, value in losses.items()}, gradients


def run_loss(job, rank, world_size):
    """Value of a loss and its gradients to all rows and to the scale, averaged over ranks."""
    loss = MODELS.build(job['config'])
    if job['inputs'][0].dtype == torch.float64:
        loss.double()
    rows = [tensor.chunk(world_size)[rank].clone() for tensor in job['inputs']]
    leaves = [row.requires_grad_() for row in rows if row.is_floating_point()]
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=job['autocast']):
        value = loss(*rows)
    gradients = torch.autograd.grad(value, [*leaves, loss.logit_scale])
    value, of_scale = value.detach(), gradients[-1]
    for scalar in (value, of_scale):
        dist.all_reduce(scalar)
    everyone = []
    for gradient in gradients[:-1]:
        gradient = gradient.double().contiguous()  # old versions of gloo gather no bfloat16
        parts = [torch.empty_like(gradient) for _ in range(world_size)]
        dist.all_gather(parts, gradient)
        everyone.append(torch.cat(parts) / world_size)
    return value / world_size, [*everyone, of_scale / world_size]


def run(rank, world_size, folder):
    """Run all jobs of ``jobs.pt`` for this number of ranks; rank 0 writes ``out-WORLD_SIZE.pt``."""
    torch.set_num_threads(1)
    store = f'file://{folder}/store-{world_size}'
    dist.init_process_group('gloo', store, rank=rank, world_size=world_size)
    out = {}
    for name, job in torch.load(folder / 'jobs.pt').items():
        if world_size in job['world_sizes']:
            out[name] = (run_loss if 'inputs' in job else run_model)(job, rank, world_size)
    if rank == 0:
        torch.save(out, folder / f'out-{world_size}.pt')
    dist.barrier()
    dist.destroy_process_group()
