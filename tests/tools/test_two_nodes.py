"""Two machines, played by two launches over loopback: one process is killed, the run goes on."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / 'tools' / 'dist_train.sh'
# Kills rank 1 at its seventh step, in the middle of the second epoch, the first time.
KILLER = """
import os, signal
from pathlib import Path
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

@HOOKS.register_module()
class KillOnceHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        marker = Path(os.environ['KILLED_MARKER'])
        if runner.iter == 6 and runner.rank == 1 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return str(listener.getsockname()[1])


def train_on_two_nodes(config, work_dir, marker, folder):
    """Start both launches and wait; gives what they printed."""
    env = dict(
        os.environ,
        OMP_NUM_THREADS='1',
        PYTHON=sys.executable,
        PYTHONPATH=str(folder),
        KILLED_MARKER=str(marker),
        NNODES='2',
        PORT=free_port(),
        MAX_RESTARTS='2',
        CUDA_VISIBLE_DEVICES='',
    )
    command = [LAUNCHER, config, '1', '--work-dir', work_dir, '--resume']
    nodes = [
        subprocess.Popen(
            command, env=env, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(2)
    ]
    try:
        printed = [node.communicate(timeout=240)[0] for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert [node.returncode for node in nodes] == [0, 0], '\n'.join(printed)[-5000:]
    return printed


@pytest.mark.slow
def test_a_killed_process_costs_nothing_but_time(tiny_config, tmp_path):
    cfg = tiny_config.copy()
    cfg.merge_from_dict(
        dict(
            train_dataloader=dict(batch_size=4),
            default_hooks=dict(checkpoint=dict(by_epoch=False, interval=2)),
            custom_hooks=[dict(type='KillOnceHook')],
            custom_imports=dict(imports=['groupvit_mmseg', 'killer'], allow_failed_imports=False),
            log_level='INFO',
        )
    )
    (tmp_path / 'killer.py').write_text(KILLER)
    cfg.dump(tmp_path / 'config.py')
    never, once = tmp_path / 'never', tmp_path / 'once'
    never.touch()  # as if it had been killed already
    train_on_two_nodes(tmp_path / 'config.py', tmp_path / 'whole', never, tmp_path)
    printed = train_on_two_nodes(tmp_path / 'config.py', tmp_path / 'parts', once, tmp_path)
    assert once.exists()
    assert any('Resuming from ' in text and 'iter_6.pth' in text for text in printed)
    whole, parts = (
        torch.load(tmp_path / name / 'iter_12.pth', weights_only=True)
        for name in ('whole', 'parts')
    )
    for key, value in whole['state_dict'].items():
        assert torch.equal(parts['state_dict'][key], value), key
    curves = [c['message_hub']['log_scalars']['train/loss']['values'] for c in (whole, parts)]
    assert torch.equal(*curves)
