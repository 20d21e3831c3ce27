"""tools/train.py and its launchers, as a person calls them."""

import importlib.util
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / 'tools'


def call(*command, **environment):
    """Output and exit status of a command run in the checkout."""
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, **environment}
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=ROOT, env=env
    )


@pytest.fixture
def train(capfd):
    """Calls the tool's ``main`` in this process; gives what it printed."""
    spec = importlib.util.spec_from_file_location('train_tool', TOOLS / 'train.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def main(*arguments):
        module.main([str(argument) for argument in arguments])
        return capfd.readouterr().out

    return main


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return str(sock.getsockname()[1])


@pytest.fixture(scope='module')
def config_file(tiny_config, tmp_path_factory):
    """The tiny config as a file, one epoch."""
    cfg = tiny_config.copy()
    cfg.merge_from_dict(dict(train_cfg=dict(max_epochs=1), log_level='INFO'))
    path = tmp_path_factory.mktemp('config') / 'tiny.py'
    cfg.dump(str(path))
    return path


def last_checkpoint(work_dir):
    return torch.load((work_dir / 'last_checkpoint').read_text(), weights_only=True)


@pytest.mark.parametrize(
    'arguments,sentence',
    [
        (['configs/none.py'], 'There is no config configs/none.py; configs/ holds those'),
        (
            ['configs/groupvit_pretrain.py', '--resume', 'none.pth'],
            'There is no checkpoint none.pth to resume from',
        ),
    ],
)
def test_wrong_path_is_one_sentence(train, arguments, sentence):
    with pytest.raises(SystemExit) as error:
        train(*arguments)
    assert str(error.value).startswith(sentence)
    assert '\n' not in str(error.value)


def test_options_reach_the_run_and_resume_goes_on(train, config_file, tmp_path):
    def options(name):
        names = [f'experiment_name={name}', f'visualizer.name={name}']
        return ['--work-dir', tmp_path, '--amp', '--cfg-options', 'randomness.seed=7', *names]

    printed = train(config_file, *options('first'))
    assert 'seed: 7' in printed
    assert 'precision: bfloat16' in printed or torch.cuda.is_available()
    content = last_checkpoint(tmp_path)
    assert (content['meta']['seed'], content['meta']['epoch']) == (7, 1)

    printed = train(config_file, *options('second'), 'train_cfg.max_epochs=2', '--resume')
    assert 'Epoch(train) [2][1/4]' in printed
    assert 'Epoch(train) [1][1/4]' not in printed
    assert last_checkpoint(tmp_path)['meta']['iter'] == 8


def test_run_says_nothing_that_could_be_prevented(config_file, tmp_path):
    done = call(sys.executable, TOOLS / 'train.py', config_file, '--work-dir', tmp_path)
    assert done.returncode == 0
    assert done.stderr == ''
    assert not re.findall(r'.*(?:WARNING|Warning|deprecated).*', done.stdout + done.stderr)


def test_two_processes_train_through_gloo(config_file, tmp_path):
    options = ['--work-dir', tmp_path, '--cfg-options', 'train_dataloader.batch_size=4']
    done = call(
        TOOLS / 'dist_train.sh', config_file, 2, *options, PORT=free_port(), CUDA_VISIBLE_DEVICES=''
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'ranks: 2' in done.stdout
    assert 'effective_batch: 8' in done.stdout
    assert 'Epoch(train) [1][4/4]' in done.stdout
    assert 'mIoU' in done.stdout
    content = last_checkpoint(tmp_path)
    assert content['meta']['iter'] == 4
    assert not [key for key in content['state_dict'] if key.startswith('module.')]
    assert content['message_hub']['runtime_info']['best_score'] >= 0


@pytest.mark.parametrize('name', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_launchers_are_executable_and_explain_themselves(name):
    script = TOOLS / f'{name}.sh'
    assert script.stat().st_mode & stat.S_IXUSR
    done = call(script)
    assert done.returncode == 2
    assert done.stderr.startswith('usage: ')


@pytest.mark.parametrize('name,given', [('train', ['cfg.py']), ('test', ['cfg.py', 'w.pth'])])
def test_slurm_asks_for_what_was_wished(name, given, tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    done = call(
        TOOLS / f'slurm_{name}.sh', 'part', 'job', *given, '--work-dir', 'a b', PATH=path, GPUS='16'
    )
    words = done.stdout.splitlines()
    assert words[:2] == ['-p', 'part']
    assert {'--ntasks=16', '--ntasks-per-node=8', '--gres=gpu:8', '--job-name=job'} <= set(words)
    tail = [sys.executable, '-u', str(TOOLS / f'{name}.py'), *given]
    assert words[-len(tail) - 4 :] == [*tail, '--launcher', 'slurm', '--work-dir', 'a b']


@pytest.mark.parametrize(
    'option, message',
    [
        ('train_dataloader.dataset.sources.0.shards=none.tar', 'lacks 1 of its 1 shards'),
        ('model.backbone.num_group_tokens=(0,4)', 'num_group_tokens'),
    ],
)
def test_what_is_wrong_before_the_first_step_is_one_sentence(
    config_file, tmp_path, train, option, message
):
    with pytest.raises(SystemExit) as stopped:
        train(config_file, '--work-dir', tmp_path, '--cfg-options', option)
    assert stopped.value.code.startswith('error: ')
    assert message in stopped.value.code
    assert '\n' not in stopped.value.code
