"""A run that is killed before any file that it replaces or removes can be resumed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

# Trains a config in forked processes: process k is killed before its k-th change of a file, and
# another one resumes what it has left. Prints what was about to change, one line for each k.
CONDUCTOR = """
import json, os, signal, sys, torch
from mmengine.config import Config
import groupvit_mmseg
from groupvit_mmseg.engine import GroupViTRunner
torch.set_num_threads(1)

def train(work_dir, resume):
    cfg = Config.fromfile(sys.argv[1])
    cfg.work_dir, cfg.resume = work_dir, resume
    cfg.experiment_name = work_dir.replace('/', '_')
    GroupViTRunner.from_cfg(cfg).train()

def forked(function, *args):
    child = os.fork()
    if child == 0:
        try:
            function(*args)
            os._exit(0)
        except BaseException as error:
            print(f'{error!r}', file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def train_until(work_dir, moment):
    count = 0
    def deadly(name, act):
        def wrapper(path, *args, **kwargs):
            nonlocal count
            ours = str(path).startswith(work_dir)
            if ours and count == moment:
                print(json.dumps([moment, name, str(path)]), flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            count += ours
            return act(path, *args, **kwargs)
        return wrapper
    for name in ('replace', 'unlink'):
        setattr(os, name, deadly(name, getattr(os, name)))
    train(work_dir, False)

moment, killed = 0, True
while killed:
    work_dir = f'{sys.argv[2]}/{moment}'
    status = forked(train_until, work_dir, moment)
    killed = status == -signal.SIGKILL
    assert killed or status == 0, status
    if killed:
        assert forked(train, work_dir, True) == 0, moment
    moment += 1
"""


@pytest.mark.slow
def test_killed_before_any_file_is_replaced_or_removed(tiny_config, tmp_path):
    cfg = tiny_config.copy()
    cfg.merge_from_dict(
        dict(
            train_cfg=dict(max_epochs=2),  # of two steps; the second validation is the best
            train_dataloader=dict(batch_size=16),
            default_hooks=dict(checkpoint=dict(by_epoch=False, interval=2, max_keep_ckpts=1)),
            custom_hooks=[dict(type='EMAHook', momentum=0.3)],
        )
    )
    cfg.dump(tmp_path / 'config.py')
    done = subprocess.run(
        [sys.executable, '-c', CONDUCTOR, tmp_path / 'config.py', tmp_path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    moments = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('[')]
    removed = [Path(path).name for _, name, path in moments if name == 'unlink']
    assert removed == ['iter_2.pth', 'best_mIoU_iter_2.pth']
    # The checkpoint, the best, and the checkpoint again, which now knows the best; twice.
    assert len(moments) - len(removed) == 10
    expected = files(tmp_path / str(len(moments)))  # nobody killed this one
    assert expected.keys() == {'best_mIoU_iter_4.pth', 'iter_4.pth', 'last_checkpoint'}
    written = next(moment for moment, _, path in moments if '.iter_4.pth' in path)
    for moment, name, path in moments:
        found = files(tmp_path / str(moment))
        if moment > written:  # nobody removes later what was about to go then
            found.pop('iter_2.pth', None)
            found.pop('best_mIoU_iter_2.pth', None)
        assert found == expected, (name, path)


def files(work_dir):
    """Names of a run's files, and a summary of each."""
    names = {path.name for path in work_dir.iterdir() if path.is_file()} - {'config.py'}
    return {name: summary(work_dir / name) for name in names}


def summary(path):
    """Numbers that are different for different runs."""
    if path.suffix != '.pth':
        return path.read_text().rpartition('/')[2]
    content = torch.load(path, weights_only=True)
    curves = content['message_hub']['log_scalars']
    return (
        [value.double().sum().item() for value in content['state_dict'].values()],
        {name: curves[name]['values'].tolist() for name in curves if 'loss' in name},
        content['message_hub']['runtime_info']['best_score'],
    )
