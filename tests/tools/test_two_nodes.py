"""Two machines, played by two launches over loopback: one is killed, the run goes on exactly."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / 'tools' / 'dist_train.sh'
# Kills rank 1, or all processes of its machine, at its seventh step, in the middle of the second
# epoch, the first time.
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
            if os.environ['KILL'] == 'machine':
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
"""
SECONDS = 400  # about 25 on an idle machine


def free_port():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def wait_for_listener(port):
    """Wait until someone accepts connections at the port."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with socket.socket() as caller:
            if caller.connect_ex(('127.0.0.1', port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f'Nobody listens at port {port}.')


class Machines:
    """Launches of one run; what each prints goes to a file."""

    def __init__(self, folder, name, kill):
        self.port, self.folder, self.name, self.nodes = free_port(), folder, name, []
        marker = folder / f'{name}.killed'
        if kill is None:
            marker.touch()  # as if it had happened already
        self.env = dict(
            os.environ,
            OMP_NUM_THREADS='1',
            PYTHON=sys.executable,
            PYTHONPATH=str(folder),
            KILLED_MARKER=str(marker),
            KILL=str(kill),
            NNODES='2',
            PORT=str(self.port),
            MAX_RESTARTS='2',
            CUDA_VISIBLE_DEVICES='',
        )

    def start(self):
        """One more machine."""
        command = [LAUNCHER, self.folder / 'config.py', '1', '--resume']
        with (self.folder / f'{self.name}.{len(self.nodes)}.log').open('w') as log:
            node = subprocess.Popen(
                [*command, '--work-dir', self.folder / self.name],
                env=self.env,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.nodes.append(node)
        return node

    def printed(self):
        """What all have printed."""
        return '\n'.join(path.read_text() for path in self.folder.glob(f'{self.name}.*.log'))

    def run(self, kill):
        """Start two, replace the one that is killed, and wait for the end."""
        try:
            first = self.start()  # it keeps the meeting point, so it is not the one to be killed
            wait_for_listener(self.port)
            second = self.start()
            if kill == 'machine':
                assert second.wait(SECONDS) == -signal.SIGKILL, self.printed()[-5000:]
                second = self.start()
            for node in (first, second):
                assert node.wait(SECONDS) == 0, self.printed()[-5000:]
        finally:
            for node in self.nodes:
                node.terminate()  # torchrun ends its processes before it ends
                node.wait()


@pytest.fixture(scope='module')
def folder(tiny_config, tmp_path_factory):
    """A folder with the config and a module that the config imports."""
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
    folder = tmp_path_factory.mktemp('two_nodes')
    (folder / 'killer.py').write_text(KILLER)
    cfg.dump(folder / 'config.py')
    return folder


@pytest.fixture(scope='module')
def undisturbed(folder):
    """Last checkpoint of a run in which nothing is killed."""
    Machines(folder, 'whole', None).run(None)
    return torch.load(folder / 'whole' / 'iter_12.pth', weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize('kill', ['process', 'machine'])
def test_a_kill_costs_nothing_but_time(folder, undisturbed, kill):
    machines = Machines(folder, kill, kill)
    machines.run(kill)
    assert (folder / f'{kill}.killed').exists()
    assert f'Resuming from {folder / kill / "iter_6.pth"}' in machines.printed()
    resumed = torch.load(folder / kill / 'iter_12.pth', weights_only=True)
    for key, value in undisturbed['state_dict'].items():
        assert torch.equal(resumed['state_dict'][key], value), key
    curves = [c['message_hub']['log_scalars']['train/loss'] for c in (undisturbed, resumed)]
    assert torch.equal(*(curve['values'] for curve in curves))
