"""Runs the jobs of ``test_sharding.py`` in sequence on two ranks, forked after one import.

python sharded_ranks.py FOLDER PORT, with ``config.py`` and ``jobs.pt`` there; writes ``out.pt``.
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import runner as runners
from mmseg.registry import HOOKS, OPTIM_WRAPPERS
from torch.multiprocessing import start_processes

from groupvit_mmseg.engine import GroupViTRunner, MixedPrecisionOptimWrapper

WORLD_SIZE = 2


@HOOKS.register_module()
class PoisonHook(Hook):
    """Makes the texts' embeddings of rank 1 nan from step ``begin`` on, ``count`` times."""

    def __init__(self, begin, count):
        self.bad = range(begin, begin + count)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.bad.start:
            encoder = runner.unwrapped_model.text_encoder

            def poison(module, inputs, output):
                return output * float('nan') if runner.iter in self.bad and runner.rank else output

            encoder.register_forward_hook(poison)


@OPTIM_WRAPPERS.register_module()
class Float16OnCPU(MixedPrecisionOptimWrapper):
    """Mixed precision as on GPUs without bfloat16; the scale is too high at first."""

    def __init__(self, optimizer, **kwargs):
        super().__init__(optimizer, dtype='bfloat16', **kwargs)
        self.dtype = torch.float16
        self.scaler = torch.amp.GradScaler('cpu', init_scale=2.0**8, growth_interval=2)


def run_job(name, changes, folder):
    """Logs of a run, and the number of values that this rank holds."""
    cfg = Config.fromfile(folder / 'config.py')
    cfg.merge_from_dict(dict(work_dir=str(folder / name), launcher='pytorch', **changes))
    cfg.experiment_name = name
    cfg.visualizer.name = name
    runner = GroupViTRunner.from_cfg(cfg)
    try:
        runner.train()
    except (ValueError, FloatingPointError) as error:
        return dict(error=str(error))
    scalars = runner.message_hub.log_scalars
    local = [getattr(p, 'to_local', lambda p=p: p)() for p in runner.model.parameters()]
    return dict(
        losses=scalars['train/loss'].data[0].tolist(),
        norms=scalars['train/grad_norm'].data[0].tolist(),
        score=scalars['val/mIoU'].data[0].tolist(),
        skipped=runner.message_hub.runtime_info.get('skipped_steps'),
        usage=[k for k in scalars if 'group_entropy' in k],
        scale=runner.optim_wrapper.state_dict().get('scaler'),
        held=sum(part.numel() for part in local),
    )


def run(rank, folder, port):
    """Run all jobs on one rank."""
    torch.set_num_threads(1)
    runners.collect_env = dict  # asks compilers for their versions, seconds in every run
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(WORLD_SIZE))
    meeting = f'tcp://127.0.0.1:{port}'
    dist.init_process_group('gloo', meeting, rank=rank, world_size=WORLD_SIZE)
    jobs = torch.load(folder / 'jobs.pt')
    out = {name: run_job(name, changes, folder) for name, changes in jobs.items()}
    if rank == 0:
        torch.save(out, folder / 'out.pt')
    dist.barrier()
    dist.destroy_process_group()


if __name__ == '__main__':
    arguments = (Path(sys.argv[1]), int(sys.argv[2]))
    start_processes(run, arguments, nprocs=WORLD_SIZE, start_method='fork')
