"""Sharded training (FSDP2) against data parallel training, two gloo processes each."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from groupvit_mmseg.engine import FullyShardedModel

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'groupvit'
SHARDED = dict(model_wrapper_cfg=dict(type='FullyShardedModel'))
FEW = dict(train_cfg=dict(max_epochs=1))
BAD = [dict(type='PoisonHook', begin=1, count=3)]
WATCHED = [dict(type='GroupUsageHook', interval=2), dict(type='GroupMapHook', interval=3)]
RECOMPUTED = [dict(type='TransformerBlocksHook', recompute=True)]
COMPILED = dict(compile=dict(backend='eager'), **FEW)
MICRO = dict(model=dict(micro_batch_size=2, text_buckets=4), **FEW)
MIXED = dict(optim_wrapper=dict(type='MixedPrecisionOptimWrapper', dtype='bfloat16'), **FEW)
HALF = dict(optim_wrapper=dict(type='Float16OnCPU'))
FROZEN = dict(custom_hooks=[dict(type='FreezeHook', patterns='text_encoder')], **FEW)
ADDED = dict(optim_wrapper=dict(accumulative_counts=2), **FEW)
JOBS = {
    'data_parallel': {},
    'sharded': dict(custom_hooks=WATCHED, **SHARDED),
    'sharded_goes_on': dict(resume=True, load_from='sharded/epoch_1.pth', **SHARDED),
    'data_parallel_goes_on': dict(resume=True, load_from='sharded/epoch_1.pth'),
    'sharded_stops': dict(custom_hooks=BAD, optim_wrapper=dict(max_skipped=3), **SHARDED),
    'sharded_averaged': dict(custom_hooks=[dict(type='EMAHook')], **SHARDED),
}
MORE_JOBS = {
    'plain': FEW,
    'micro': MICRO,
    'sharded_micro': {**MICRO, **SHARDED},
    'mixed': MIXED,
    'sharded_mixed': {**MIXED, **SHARDED},
    'half': HALF,
    'sharded_half': {**HALF, **SHARDED},
    'frozen': FROZEN,
    'sharded_frozen': {**FROZEN, **SHARDED},
    'added': ADDED,
    'sharded_added': {**ADDED, **SHARDED},
    'sharded_recomputed': dict(custom_hooks=RECOMPUTED, **FEW, **SHARDED),
    'sharded_compiled': {**COMPILED, **SHARDED},
    'sharded_poisoned': dict(custom_hooks=BAD, **FEW, **SHARDED),
}


def run_jobs(jobs, cfg, folder):
    """Work dirs of the jobs in a folder, and their results in its ``out.pt``."""
    cfg = cfg.copy()
    cfg.merge_from_dict(
        dict(
            train_dataloader=dict(batch_size=4),
            train_cfg=dict(max_epochs=2),
            default_hooks=dict(checkpoint=dict(max_keep_ckpts=-1)),
        )
    )
    cfg.dump(str(folder / 'config.py'))
    jobs = {name: dict(changes) for name, changes in jobs.items()}
    for changes in jobs.values():
        if 'load_from' in changes:
            changes['load_from'] = str(folder / changes['load_from'])
    torch.save(jobs, folder / 'jobs.pt')
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        port = sock.getsockname()[1]
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name('sharded_ranks.py'), folder, str(port)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, 'CUDA_VISIBLE_DEVICES': ''},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope='module')
def folder(tiny_config, tmp_path_factory):
    return run_jobs(JOBS, tiny_config, tmp_path_factory.mktemp('sharding'))


@pytest.fixture(scope='module')
def results(folder):
    return torch.load(folder / 'out.pt')


@pytest.fixture(scope='module')
def more_results(tiny_config, tmp_path_factory):
    folder = run_jobs(MORE_JOBS, tiny_config, tmp_path_factory.mktemp('more_sharding'))
    return torch.load(folder / 'out.pt')


def last(folder, name):
    return torch.load(folder / name / 'epoch_2.pth', weights_only=True)


def assert_close(ours, theirs, **tolerance):
    """Assert equal names and almost equal tensors."""
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, msg=lambda text, name=name: name, **tolerance)


@pytest.mark.slow
def test_losses_and_norms_are_those_of_data_parallel_training(results):
    ours, theirs = results['sharded'], results['data_parallel']
    assert len(theirs['losses']) == 8
    assert ours['losses'] == pytest.approx(theirs['losses'], rel=1e-4)
    assert ours['norms'] == pytest.approx(theirs['norms'], rel=1e-3)
    assert ours['score'] == pytest.approx(theirs['score'])
    assert ours['usage'] == ['train/group_entropy_1']


@pytest.mark.slow
def test_a_rank_holds_half(results):
    assert results['sharded']['held'] < 0.52 * results['data_parallel']['held']


@pytest.mark.slow
def test_checkpoints_are_whole_and_alike(folder):
    ours, theirs = last(folder, 'sharded'), last(folder, 'data_parallel')
    assert ours.keys() == theirs.keys()
    # Biases that a norm or softmax cancels have rounding as gradient, which AdamW makes large.
    weights, others = (
        {name: value for name, value in content['state_dict'].items() if value.ndim > 1}
        for content in (ours, theirs)
    )
    assert_close(weights, others, rtol=1e-3, atol=1e-5)
    assert ours['state_dict'].keys() == theirs['state_dict'].keys()
    assert ours['optimizer']['param_groups'] == theirs['optimizer']['param_groups']
    states, others = (content['optimizer']['state'] for content in (ours, theirs))
    assert states.keys() == others.keys()
    for index, state in others.items():
        assert_close(states[index], state, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_resumed_is_the_uninterrupted_run_bit_for_bit(folder, results):
    ours, theirs = last(folder, 'sharded_goes_on'), last(folder, 'sharded')
    assert_close(ours['state_dict'], theirs['state_dict'], rtol=0, atol=0)
    for index, state in theirs['optimizer']['state'].items():
        assert_close(ours['optimizer']['state'][index], state, rtol=0, atol=0)
    assert results['sharded_goes_on']['losses'] == results['sharded']['losses']


@pytest.mark.slow
def test_data_parallel_training_resumes_from_it(results):
    ours, theirs = results['data_parallel_goes_on'], results['sharded']
    assert ours['losses'] == pytest.approx(theirs['losses'], rel=1e-4)


@pytest.mark.slow
def test_one_process_resumes_from_it(folder, make_runner):
    runner = make_runner(
        resume=True, load_from=str(folder / 'sharded' / 'epoch_2.pth'), custom_hooks=[]
    )
    runner.train()
    assert (runner.epoch, runner.iter) == (3, 12)


@pytest.mark.slow
def test_bad_steps_in_a_row_name_module_and_rank(results):
    error = results['sharded_stops']['error']
    assert error.startswith('3 steps in a row had a loss or gradient that is not finite')
    assert 'in the output of text_encoder (' in error
    assert 'on rank 1' in error


@pytest.mark.slow
def test_averaging_is_refused_in_one_sentence(results):
    assert results['sharded_averaged']['error'].startswith('A FullyShardedModel cannot be copied')


def test_the_config_differs_in_the_wrapper_only():
    path = next(CONFIGS.glob('*_fsdp.py'))
    ours, theirs = (Config.fromfile(p).to_dict() for p in (path, Path(str(path)[:-8] + '.py')))
    assert ours.pop('model_wrapper_cfg') == SHARDED['model_wrapper_cfg']
    assert ours == theirs


def test_older_torch_is_refused(monkeypatch):
    monkeypatch.delattr(torch.distributed.fsdp, 'fully_shard', raising=False)
    with pytest.raises(ImportError, match=r'needs torch 2.7 or newer, this is'):
        FullyShardedModel(torch.nn.Linear(2, 2))


@pytest.mark.slow
@pytest.mark.parametrize('name', ['micro', 'mixed', 'half', 'frozen', 'added'])
def test_other_switches_agree(more_results, name):
    ours, theirs = more_results[f'sharded_{name}'], more_results[name]
    assert ours['losses'] == pytest.approx(theirs['losses'], rel=1e-4)
    assert ours['norms'] == pytest.approx(theirs['norms'], rel=1e-3)
    assert (ours['skipped'], ours['scale']) == (theirs['skipped'], theirs['scale'])


@pytest.mark.slow
def test_the_scale_of_float16_is_the_same_on_all_ranks(more_results):
    assert more_results['sharded_half']['skipped'] >= 1


@pytest.mark.slow
@pytest.mark.parametrize('name', ['sharded_recomputed', 'sharded_compiled'])
def test_changed_blocks_agree(more_results, name):
    ours, theirs = more_results[name], more_results['plain']
    assert ours['losses'] == pytest.approx(theirs['losses'], rel=1e-4)


@pytest.mark.slow
def test_bad_steps_are_skipped_on_all_ranks(more_results):
    ours, theirs = more_results['sharded_poisoned'], more_results['plain']
    assert ours['skipped'] == 3
    assert len(ours['norms']) == 1
    assert ours['norms'] == pytest.approx(theirs['norms'][:1], rel=1e-3)
