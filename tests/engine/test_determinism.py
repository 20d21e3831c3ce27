"""The same seed on the same machine: the same bits, at any number of loader workers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from .test_resume import assert_same

ROOT = Path(__file__).resolve().parents[2]
PRECISIONS = {
    'fp32': dict(type='OptimWrapper'),
    'bf16': dict(type='MixedPrecisionOptimWrapper', dtype='bfloat16'),
}
WORKERS = (0, 1, 2, 3)
QUICK = {('fp32', 0), ('bf16', 2)}
CASES = [
    pytest.param(
        precision, workers, marks=[] if (precision, workers) in QUICK else pytest.mark.slow
    )
    for precision in PRECISIONS
    for workers in WORKERS
]
# With dropped paths and averages: everything that draws random numbers, or adds up.
CHANGES = dict(
    custom_hooks=[dict(type='EMAHook', momentum=0.3)],
    default_hooks=dict(checkpoint=dict(by_epoch=False, interval=8)),
    model=dict(backbone=dict(drop_path_rate=0.3)),
    train_cfg=dict(max_epochs=2),
)


class Record(Hook):
    """Notes the pairs and the losses of every step, and what each sample is made of."""

    def __init__(self):
        self.steps = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        losses = {name: value.clone() for name, value in outputs.items()}
        self.steps.append((list(data_batch['keys']), data_batch['inputs'], losses))


def train(make_runner, name, precision='fp32', workers=0, **changes):
    """Train; return everything that the run has computed."""
    loader = dict(num_workers=workers, persistent_workers=workers > 0)
    wrapper = PRECISIONS[precision]
    runner = make_runner(name, **CHANGES, optim_wrapper=wrapper, train_dataloader=loader, **changes)
    record = Record()
    runner.register_hook(record)
    runner.train()
    checkpoint = torch.load(Path(runner.work_dir, 'iter_8.pth'), weights_only=True)
    parts = ('state_dict', 'ema_state_dict', 'optimizer')
    scores = checkpoint['message_hub']['log_scalars']
    curves = {name: scores[name] for name in ('train/loss', 'train/grad_norm', 'val/mIoU')}
    return dict(steps=record.steps, curves=curves, **{part: checkpoint[part] for part in parts})


@pytest.mark.parametrize('precision, workers', CASES)
def test_a_training_has_the_same_bits_each_time(make_runner, precision, workers):
    first = train(make_runner, 'first', precision, workers)
    torch.manual_seed(1234)  # what happened before does not matter
    second = train(make_runner, 'second', precision, workers)
    assert len(first['steps']) == 8
    assert_same(first, second)


def test_another_seed_has_other_bits(make_runner):
    """The comparison sees a difference."""
    first = train(make_runner, 'first')
    second = train(make_runner, 'second', randomness=dict(seed=1))
    assert [keys for keys, *_ in first['steps']] != [keys for keys, *_ in second['steps']]
    with pytest.raises(AssertionError):
        assert_same(first['state_dict'], second['state_dict'])


@pytest.mark.parametrize('workers', WORKERS[1:])
def test_any_number_of_workers_reads_each_pair_once(make_runner, workers):
    orders = []
    for count in (0, workers):
        loader = dict(num_workers=count, persistent_workers=count > 0)
        runner = make_runner(f'run-{count}', train_dataloader=loader)
        batches = list(iter(runner.build_dataloader(runner._train_dataloader, seed=0)))
        orders.append([key for batch in batches for key in batch['keys']])
    assert sorted(orders[0]) == sorted(orders[1])
    assert len(set(orders[0])) == 32


class Predictions(Hook):
    """Notes the labels of every image."""

    def __init__(self):
        self.labels = []

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.labels += [sample.pred_sem_seg.data.clone() for sample in outputs]


def evaluate(make_runner, name, precision, workers):
    """Evaluate a model of random weights; return labels and scores."""
    hooks = dict(checkpoint=None)  # it keeps the best of a training
    options = dict(mode='slide', crop_size=(12, 12), stride=(6, 6), precision=precision)
    runner = make_runner(
        name,
        default_hooks=hooks,
        val_cfg=dict(segmentor=dict(test_cfg=options)),
        val_dataloader=dict(num_workers=workers, persistent_workers=workers > 0),
    )
    record = Predictions()
    runner.register_hook(record)
    scores = runner.val()
    return dict(labels=record.labels, scores={key: float(value) for key, value in scores.items()})


@pytest.mark.parametrize('precision', PRECISIONS)
def test_an_evaluation_has_the_same_bits_at_any_number_of_workers(make_runner, precision):
    first = evaluate(make_runner, 'first', precision, 0)
    assert len(first['labels']) == 4
    for workers in (0, 2):
        assert_same(first, evaluate(make_runner, f'again-{workers}', precision, workers))


@pytest.mark.slow
@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('workers', [1, 3])
def test_an_evaluation_has_the_same_bits_at_other_numbers(make_runner, precision, workers):
    first = evaluate(make_runner, 'first', precision, 0)
    assert_same(first, evaluate(make_runner, 'again', precision, workers))


@pytest.fixture
def switches(monkeypatch):
    """What a deterministic run changes in the process is put back."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, before[1]
    os.environ.pop('CUBLAS_WORKSPACE_CONFIG', None)


@pytest.mark.parametrize('precision', PRECISIONS)
def test_a_deterministic_training_runs_and_has_the_same_bits(make_runner, switches, precision):
    env = dict(cudnn_benchmark=True)  # as in the configs of the paper
    runs = [
        train(
            make_runner,
            name,
            precision,
            randomness=dict(seed=0, deterministic=True),
            env_cfg=env,
        )
        for name in ('first', 'second')
    ]
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
    assert_same(*runs)


def test_the_environment_s_own_workspace_stays(make_runner, switches, monkeypatch):
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':16:8')
    make_runner(randomness=dict(seed=0, deterministic=True))
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':16:8'


def test_without_the_switch_nothing_changes(make_runner, switches):
    make_runner()
    assert not torch.are_deterministic_algorithms_enabled()
    assert 'CUBLAS_WORKSPACE_CONFIG' not in os.environ


SPY = """
import json, os, torch
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

@HOOKS.register_module()
class SpyHook(Hook):
    def before_train(self, runner):
        seen = dict(
            is_on=torch.are_deterministic_algorithms_enabled(),
            benchmark=torch.backends.cudnn.benchmark,
            workspace=os.environ.get('CUBLAS_WORKSPACE_CONFIG'),
        )
        with open(f"{os.environ['SPY']}.{runner.rank}.json", 'w') as file:
            json.dump(seen, file)
"""


@pytest.mark.slow
@pytest.mark.parametrize('arguments', [[], ['--deterministic']])
def test_the_switch_of_the_command_reaches_every_rank(tiny_config, tmp_path, arguments):
    cfg = tiny_config.copy()
    imports = dict(imports=['groupvit_mmseg', 'spy'], allow_failed_imports=False)
    cfg.merge_from_dict(
        dict(
            train_cfg=dict(max_epochs=1),
            train_dataloader=dict(batch_size=4),
            custom_hooks=[dict(type='SpyHook')],
            custom_imports=imports,
        )
    )
    (tmp_path / 'spy.py').write_text(SPY)
    cfg.dump(tmp_path / 'config.py')
    env = {name: value for name, value in os.environ.items() if name != 'CUBLAS_WORKSPACE_CONFIG'}
    env.update(PYTHON=sys.executable, PYTHONPATH=f'{tmp_path}:{ROOT}', SPY=str(tmp_path / 'seen'))
    subprocess.run(
        [ROOT / 'tools/dist_train.sh', tmp_path / 'config.py', '2']
        + ['--work-dir', str(tmp_path / 'run'), *arguments],
        env=env,
        check=True,
        timeout=240,
        capture_output=True,
    )
    seen = [json.loads((tmp_path / f'seen.{rank}.json').read_text()) for rank in range(2)]
    expected = dict(is_on=True, benchmark=False, workspace=':4096:8')
    if not arguments:
        expected = dict(is_on=False, benchmark=seen[0]['benchmark'], workspace=None)
    assert seen == [expected] * 2
