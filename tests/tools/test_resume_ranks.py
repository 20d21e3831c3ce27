"""Killed within an epoch, a run goes on with other ranks: no sample is lost or read twice."""

import json
import math
import os
import socket
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
# Writes down who read what; kills rank 0 at the seventh step if it is told to.
RECORDER = """
import json, os, signal
from pathlib import Path
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

@HOOKS.register_module()
class RecorderHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 6 and runner.rank == 0 and 'KILL' in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        with open(f"{os.environ['RECORD']}.{runner.rank}.jsonl", 'a') as file:
            print(json.dumps([runner.iter, data_batch['keys']]), file=file)
"""


def train(config, work_dir, *, ranks, record, kill=False):
    """Train on some processes until the end or the kill; steps of eight pairs altogether."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port = listener.getsockname()[1]
    env = dict(os.environ, RECORD=str(record), PYTHONPATH=str(config.parent))
    env.update(PYTHON=sys.executable, PORT=str(port), CUDA_VISIBLE_DEVICES='')
    env.update(dict(KILL='yes') if kill else {})
    start = [ROOT / 'tools' / 'dist_train.sh', config, str(ranks)]
    options = ['--resume', '--work-dir', work_dir, '--cfg-options']
    done = subprocess.run(
        [*start, *options, f'train_dataloader.batch_size={8 // ranks}'],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode != 0) == kill, done.stderr[-5000:]


def read_by_step(record, ranks):
    """Keys that each rank read, by step."""
    read = {}
    for rank in range(ranks):
        for line in Path(f'{record}.{rank}.jsonl').read_text().splitlines():
            step, keys = json.loads(line)
            read.setdefault(step, []).extend(keys)
    return read


@pytest.mark.slow
@pytest.mark.parametrize('before, after', [(2, 1), (1, 2)])
def test_other_ranks_complete_the_epoch(tiny_config, tmp_path, before, after):
    cfg = tiny_config.copy()
    cfg.merge_from_dict(
        dict(
            default_hooks=dict(checkpoint=dict(by_epoch=False, interval=1, max_keep_ckpts=-1)),
            param_scheduler=[dict(type='CosineAnnealingLR', by_epoch=False, T_max=12)],
            custom_hooks=[dict(type='RecorderHook')],
            custom_imports=dict(imports=['groupvit_mmseg', 'recorder'], allow_failed_imports=False),
        )
    )
    (tmp_path / 'recorder.py').write_text(RECORDER)
    cfg.dump(tmp_path / 'config.py')
    run = tmp_path / 'run'
    train(tmp_path / 'config.py', run, ranks=before, record=tmp_path / 'first', kill=True)
    train(tmp_path / 'config.py', run, ranks=after, record=tmp_path / 'rest')

    first = read_by_step(tmp_path / 'first', before)
    rest = read_by_step(tmp_path / 'rest', after)
    assert sorted(first) == [0, 1, 2, 3, 4, 5]
    assert sorted(rest) == [6, 7, 8, 9, 10, 11]
    steps = [first.get(step) or rest[step] for step in range(12)]
    assert [len(set(keys)) for keys in steps] == [8] * 12
    for epoch in range(3):
        assert len(set(chain(*steps[4 * epoch : 4 * epoch + 4]))) == 32

    killed, ended = (torch.load(run / f'iter_{step}.pth', weights_only=True) for step in (6, 12))
    taken = [[before, 1, 8 // before, 2], [after, 1, 8 // after, 1]]
    assert torch.load(run / 'iter_7.pth', weights_only=True)['meta']['taken'] == taken
    curves = [checkpoint['message_hub']['log_scalars'] for checkpoint in (killed, ended)]
    assert torch.equal(curves[0]['train/loss']['values'], curves[1]['train/loss']['values'][:6])
    assert torch.isfinite(curves[1]['train/loss']['values']).all()
    peak = cfg.optim_wrapper.optimizer.lr
    rates = [peak * (1 + math.cos(math.pi * step / 12)) / 2 for step in range(12)]
    assert curves[1]['train/lr']['values'].tolist() == pytest.approx(rates)
