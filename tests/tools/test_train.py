"""tools/train.py and its launchers, as a person calls them."""

import itertools
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

from groupvit_mmseg.engine import GroupViTRunner

from loading import load_file

COUNTER = itertools.count()
ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / 'tools'


def call(*command, **environment):
    """Output and exit status of a command run in the checkout."""
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, **environment}
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=ROOT, env=env
    )


@pytest.fixture(scope='module')
def train_tool():
    """tools/train.py as a module."""
    return load_file(TOOLS / 'train.py')


@pytest.fixture
def train(train_tool, capfd):
    """Calls the tool's ``main`` in this process; gives what it printed."""

    def main(*arguments):
        assert train_tool.main([str(argument) for argument in arguments]) == 0
        return capfd.readouterr().out

    return main


@pytest.fixture
def refused(train_tool, capfd, tmp_path):
    """Calls the tool, which must refuse with status 2 and one line; gives the line."""

    def main(*arguments):
        options = [str(argument) for argument in arguments]
        if '--cfg-options' not in options:
            options.append('--cfg-options')
        assert train_tool.main([*options, *unique(tmp_path)[1:]]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith('error: ')
        return line

    return main


def unique(tmp_path):
    """Options with names of a run's own: mmengine keeps loggers for the life of the process."""
    name = f'{tmp_path.name}-{next(COUNTER)}'
    return ['--cfg-options', f'experiment_name={name}', f'visualizer.name={name}']


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


@pytest.fixture(scope='module')
def finished(tiny_config, tmp_path_factory):
    """Work dir of a run of one epoch."""
    cfg = tiny_config.copy()
    folder = tmp_path_factory.mktemp('finished')
    cfg.merge_from_dict(dict(train_cfg=dict(max_epochs=1), work_dir=str(folder), launcher='none'))
    cfg.experiment_name = cfg.visualizer.name = folder.name
    with DefaultScope.overwrite_default_scope('mmseg'):
        GroupViTRunner.from_cfg(cfg).train()
    return folder


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
        (['torn.py'], 'SyntaxError: '),
        (['orphan.py'], 'nobody.py'),
    ],
)
def test_wrong_path_is_one_sentence(refused, tmp_path, monkeypatch, arguments, sentence):
    (tmp_path / 'torn.py').write_text('model = dict(\n')
    (tmp_path / 'orphan.py').write_text("_base_ = ['nobody.py']\n")
    name, *rest = arguments
    path = tmp_path / name if (tmp_path / name).is_file() else name
    monkeypatch.chdir(ROOT)
    assert sentence in refused(path, *rest)


@pytest.mark.parametrize('value', ['{"type":"SGD"}', '{"type":"SGD","lr":0.1}', "{'lr':0.1}"])
def test_a_dict_among_the_options_is_refused(refused, config_file, tmp_path, value):
    options = ['--work-dir', tmp_path, '--cfg-options', f'optim_wrapper.optimizer={value}']
    sentence = 'optim_wrapper.optimizer is a dict: give its values one by one'
    assert sentence in refused(config_file, *options)


def test_braces_of_shards_are_no_dict(train_tool):
    options = ['--cfg-options', 'shards={000..331}.tar', 'more={0..1}.tar,{4..5}.tar']
    train_tool.check_options(train_tool.parse_args(['x.py', *options]).cfg_options)


def test_mixed_precision_chooses_its_type_unless_it_is_named(train_tool):
    assert train_tool.parse_args(['x.py', '--amp']).amp == 'auto'
    assert train_tool.parse_args(['x.py', '--amp', 'float16']).amp == 'float16'


def test_options_reach_the_run_and_resume_goes_on(train, config_file, tmp_path):
    def options(name):
        names = [f'experiment_name={name}', f'visualizer.name={name}']
        return [
            '--work-dir',
            tmp_path,
            '--amp',
            'bfloat16',
            '--cfg-options',
            'randomness.seed=7',
            *names,
        ]

    printed = train(config_file, *options('first'))
    assert 'seed: 7' in printed
    assert 'precision: bfloat16' in printed
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


@pytest.mark.slow
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
    'options, message',
    [
        (['train_dataloader.dataset.sources.0.shards=none.tar'], 'lacks 1 of its 1 shards'),
        (['model.backbone.num_group_tokens=(0,4)'], 'num_group_tokens'),
        (['model.backbone.num_grouptokens=(0,4)'], 'num_grouptokens'),
        (['model.type=GroupWit'], 'GroupWit is not in'),
        (['default_hooks.checkpoint.rule=higher'], 'rule must be greater, less or None'),
    ],
)
def test_what_is_wrong_before_the_first_step_is_one_sentence(
    config_file, tmp_path, refused, options, message
):
    assert message in refused(config_file, '--work-dir', tmp_path, '--cfg-options', *options)


def test_a_best_checkpoint_is_not_resumed_from(config_file, finished, tmp_path, refused):
    best = finished / 'best_mIoU_epoch_1.pth'
    before = best.read_bytes()
    line = refused(config_file, '--work-dir', tmp_path, '--resume', best)
    assert f'{best} cannot be resumed from: it holds no optimiser state' in line
    assert line.endswith(f'give --cfg-options load_from={best} without --resume.')
    assert best.read_bytes() == before


def test_weights_alone_are_not_resumed_from_and_misfits_are_listed(
    config_file, finished, tmp_path, refused
):
    weights = torch.load(finished / 'epoch_1.pth', weights_only=True)['state_dict']
    torch.save(weights, tmp_path / 'weights.pth')
    where = ['--work-dir', tmp_path / 'run']
    line = refused(config_file, *where, '--resume', tmp_path / 'weights.pth')
    assert 'it holds no optimiser state and no epoch and iteration' in line
    weights.pop('backbone.norm.weight')
    torch.save(weights, tmp_path / 'weights.pth')
    options = ['--cfg-options', f'load_from={tmp_path / "weights.pth"}']
    assert '1 missing: backbone.norm.weight' in refused(config_file, *where, *options)


def test_resume_prefers_the_work_dir_to_the_weights_of_the_config(
    train_tool, config_file, tmp_path
):
    """A restarted fine-tuning goes on; one that has not begun starts from its weights."""
    names = [str(config_file), '--work-dir', str(tmp_path), '--cfg-options', 'load_from=a.pth']

    def load(*options):
        cfg = train_tool.load_config(train_tool.parse_args([*names, *options]))
        return cfg.resume, cfg.load_from

    assert load() == (False, 'a.pth')
    assert load('--resume') == ('auto', 'a.pth')
    assert load('--resume', str(config_file)) == (True, str(config_file))


def test_errors_behind_the_first_step_keep_their_traceback(
    train_tool, config_file, tmp_path, monkeypatch
):
    def fails(self, *args, **kwargs):
        raise RuntimeError('in the middle of a step')

    monkeypatch.setattr('groupvit_mmseg.models.pretrainer.GroupViTPretrainer.forward', fails)
    with pytest.raises(RuntimeError, match='in the middle of a step'):
        train_tool.main([str(config_file), '--work-dir', str(tmp_path), *unique(tmp_path)])


@pytest.mark.parametrize('wish', ['load_from', 'resume'])
def test_weights_of_other_heads_are_refused(refused, config_file, finished, tmp_path, wish):
    checkpoint = finished / 'epoch_1.pth'
    heads = 'model.backbone.num_heads=[1,1]'
    given = [] if wish == 'load_from' else ['--resume', checkpoint]
    changes = [heads] if given else [heads, f'load_from={checkpoint}']
    line = refused(config_file, f'--work-dir={tmp_path}', *given, '--cfg-options', *changes)
    assert 'disagree on num_heads, [2, 2] and [1, 1]: change the config' in line


def test_the_environment_goes_to_the_log_file_alone(train, config_file, tmp_path):
    printed = train(config_file, '--work-dir', tmp_path)
    (log,) = tmp_path.glob('*/*.log')
    written = log.read_text()
    for text in ('System environment:', 'Runtime environment:', 'Config:\n', 'Hooks will be'):
        assert text in written
        assert text not in printed
    assert f'Environment, config and hooks: {log}' in printed
    assert len(printed.splitlines()) < 60
