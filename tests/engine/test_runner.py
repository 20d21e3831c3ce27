"""Training through the runner: files, resuming, logs and scores."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmseg.evaluation import IoUMetric
from mmseg.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from groupvit_mmseg.engine import load_weights, read_checkpoint


def plain_load(path):
    """Read a checkpoint with torch alone."""
    return torch.load(path, weights_only=True)


def weights(path):
    return plain_load(path)['state_dict']


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


def logged_steps(work_dir):
    """The training records of a run."""
    (file,) = Path(work_dir).glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in file.read_text().splitlines()]
    return [record for record in records if 'loss' in record]


def test_a_run_writes_its_logs_and_checkpoints(make_runner):
    runner = make_runner()
    runner.train()
    work_dir = Path(runner.work_dir)
    last = Path((work_dir / 'last_checkpoint').read_text())
    assert last == work_dir / 'epoch_3.pth'
    kept = sorted(p.name for p in work_dir.glob('epoch_*.pth'))
    assert kept == ['epoch_2.pth', 'epoch_3.pth']  # max_keep_ckpts=2
    assert len(list(work_dir.glob('best_mIoU_*.pth'))) == 1
    assert not list(work_dir.glob('.*'))  # no litter of unfinished writes
    content = plain_load(last)
    assert content.keys() == {'meta', 'state_dict', 'message_hub', 'optimizer'}
    assert content['meta']['seed'] == 0
    assert (content['meta']['epoch'], content['meta']['iter']) == (3, 12)
    assert content['message_hub']['log_scalars']['train/loss']['values'].shape == (12,)


def test_every_step_logs_its_values(make_runner):
    runner = make_runner(train_cfg=dict(max_epochs=1))
    runner.train()
    steps = logged_steps(runner.work_dir)
    assert len(steps) == 4
    for record in steps:
        names = ('loss_contrastive', 'loss_multi_label', 'logit_scale', 'logit_scale_multi_label')
        more = ('grad_norm', 'samples_per_s', 'data_time', 'time', 'lr', 'host_memory')
        assert all(math.isfinite(record[name]) for name in names + more)
        assert record['loss'] == pytest.approx(
            sum(record[name] for name in names if 'loss' in name), rel=1e-5
        )
    assert steps[0]['logit_scale'] == pytest.approx(1 / 0.07, rel=1e-3)
    assert 1 < steps[-1]['host_memory'] < 10**6
    # The only step so far: its own time.
    assert steps[0]['samples_per_s'] == pytest.approx(8 / steps[0]['time'], rel=1e-3)


def test_summary_counts_samples_and_batches(make_runner):
    runner = make_runner(optim_wrapper=dict(accumulative_counts=2), train_cfg=dict(max_epochs=1))
    runner.train()
    summary = runner.message_hub.get_info('run_summary')
    assert summary == dict(
        seed=0,
        ranks=1,
        batch_per_rank=8,
        accumulated_steps=2,
        effective_batch=16,
        samples_per_epoch=32,
        steps_per_epoch=4,
        total_steps=4,
        total_samples=32,
        peak_lr=1.6e-3,
        precision='float32',
        parameters=sum(p.numel() for p in runner.model.parameters()),
    )


@pytest.mark.parametrize('amp', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_resumed_run_equals_the_uninterrupted_one(make_runner, amp):
    schedule = [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=4),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=4, end=12, T_max=8),
    ]
    changes = dict(param_scheduler=schedule)
    if amp:
        changes['optim_wrapper'] = dict(type='MixedPrecisionOptimWrapper', dtype='bfloat16')
    whole = make_runner('whole', **changes)
    whole.train()
    first = make_runner('parts', train_cfg=dict(max_epochs=2), **changes)
    first.train()
    rest = make_runner('parts', resume=True, **changes)
    rest.train()
    assert rest.iter == 12
    one, two = (plain_load(Path(run.work_dir) / 'epoch_3.pth') for run in (whole, rest))
    assert_equal(one['state_dict'], two['state_dict'])
    scores = [c['message_hub']['runtime_info']['best_score'] for c in (one, two)]
    assert scores[0] == scores[1]
    for key in ('train/loss', 'train/lr'):
        histories = [c['message_hub']['log_scalars'][key]['values'] for c in (one, two)]
        assert torch.equal(*histories), key


def test_ranks_and_steps_draw_different_numbers():
    from groupvit_mmseg.engine.hooks.run_hooks import step_seed

    seeds = {step_seed(s, r, i) for s in range(3) for r in range(4) for i in range(5)}
    assert len(seeds) == 60
    assert all(0 <= seed < 2**63 for seed in [*seeds, step_seed(2**40, 5, 10**7)])


def test_killed_while_saving_keeps_the_last_whole_checkpoint(make_runner, monkeypatch):
    make_runner(train_cfg=dict(max_epochs=1)).train()
    work_dir = Path(make_runner().work_dir)
    before = {p.name: p.read_bytes() for p in work_dir.glob('*.pth')}
    pointer = (work_dir / 'last_checkpoint').read_text()

    real_save = torch.save

    def torn_save(content, stream):
        stream.write(b'PK half a file')
        raise OSError('No space left on device')

    runner = make_runner(resume=True)
    monkeypatch.setattr(torch, 'save', torn_save)
    with pytest.raises(OSError, match='No space left'):
        runner.train()
    monkeypatch.setattr(torch, 'save', real_save)
    assert {p.name: p.read_bytes() for p in work_dir.glob('*.pth')} == before
    assert (work_dir / 'last_checkpoint').read_text() == pointer
    assert not [name for name in os.listdir(work_dir) if name.startswith('.')]
    resumed = make_runner(resume=True)
    resumed.train()
    assert resumed.epoch == 3


def test_previous_best_goes_only_when_the_new_one_is_written(make_runner, monkeypatch):
    scores = iter([10.0, 20.0, 15.0])
    monkeypatch.setattr(
        Evaluator, 'evaluate', lambda self, size: {'mIoU': np.float64(next(scores))}
    )
    runner = make_runner()
    seen = []
    save = runner.save_checkpoint

    def watched_save(out_dir, filename, **kwargs):
        seen.append((filename, sorted(p.name for p in Path(out_dir).glob('best_*.pth'))))
        save(out_dir, filename, **kwargs)

    monkeypatch.setattr(runner, 'save_checkpoint', watched_save)
    runner.train()
    assert ('best_mIoU_epoch_2.pth', ['best_mIoU_epoch_1.pth']) in seen
    assert [p.name for p in Path(runner.work_dir).glob('best_*.pth')] == ['best_mIoU_epoch_2.pth']
    hub = plain_load(Path(runner.work_dir) / 'epoch_3.pth')['message_hub']['runtime_info']
    assert hub['best_score'] == 20.0
    assert type(hub['best_score']) is float


def test_checkpoint_that_does_not_fit_lists_its_keys(make_runner, tmp_path):
    runner = make_runner()
    state = dict(runner.model.state_dict())
    state.pop('backbone.pos_embed')
    state['stranger'] = torch.zeros(1)
    torch.save({'state_dict': state}, tmp_path / 'other.pth')
    with pytest.raises(RuntimeError) as error:
        runner.load_checkpoint(str(tmp_path / 'other.pth'))
    assert '1 missing: backbone.pos_embed' in str(error.value)
    assert '1 unexpected: stranger' in str(error.value)


def score(segmentor, dataloader, classes):
    """mIoU without a loop and a runner."""
    metric = IoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = dict(classes=classes)
    with torch.no_grad():
        for batch in dataloader:
            samples = segmentor.test_step(batch)
            metric.process(batch, [sample.to_dict() for sample in samples])
    return metric.evaluate(size=4)['mIoU']


@pytest.mark.parametrize('hooks', [[], [dict(type='EMAHook', momentum=0.5)]], ids=['plain', 'ema'])
def test_best_checkpoint_has_the_score_of_its_validation(make_runner, tiny_config, hooks):
    runner = make_runner(custom_hooks=hooks)
    runner.train()
    (best,) = Path(runner.work_dir).glob('best_mIoU_*.pth')
    content = read_checkpoint(best)
    said = content['message_hub']['runtime_info']['best_score']
    segmentor = MODELS.build(tiny_config.val_cfg.segmentor).eval()
    load_weights(segmentor, content['state_dict'], source=str(best))
    segmentor.decode_head.encode_classes()
    classes = runner.val_dataloader.dataset.metainfo['classes']
    assert score(segmentor, runner.val_dataloader, classes) == pytest.approx(said)


def test_validation_measures_the_averaged_weights(make_runner):
    runner = make_runner(
        custom_hooks=[dict(type='EMAHook', momentum=0.5)], train_cfg=dict(max_epochs=1)
    )
    runner.train()
    (hook,) = [h for h in runner.hooks if type(h).__name__ == 'EMAHook']
    averaged = hook.ema_model.module.backbone.pos_embed
    trained = runner.model.backbone.pos_embed
    measured = runner.val_loop.segmentor.backbone.pos_embed
    assert torch.equal(measured, averaged)
    assert not torch.equal(measured, trained)
    saved = weights(Path(runner.work_dir) / 'epoch_1.pth')['backbone.pos_embed']
    assert torch.equal(saved, averaged)


def test_validation_works_in_an_iteration_loop(make_runner):
    runner = make_runner(
        train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=3, val_interval=2),
        default_hooks=dict(checkpoint=dict(by_epoch=False, interval=2)),
        log_processor=dict(by_epoch=False),
    )
    runner.train()
    hub = runner.message_hub
    assert len(hub.get_scalar('val/mIoU').data[0]) == 2  # after steps 2 and 3
    assert (Path(runner.work_dir) / 'iter_3.pth').exists()


def test_a_sync_batchnorm_is_a_batchnorm_without_gpus(make_runner, tiny_config, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    head = dict(type='FCNHead', in_channels=16, in_index=0, channels=8, num_classes=3)
    head['norm_cfg'] = dict(type='SyncBN', requires_grad=True)
    model = make_runner(
        model=dict(
            _delete_=True,
            type='EncoderDecoder',
            backbone=tiny_config.model.backbone,
            decode_head=head,
            test_cfg=dict(mode='whole'),
        ),
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
    ).model
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
    assert any(isinstance(module, _BatchNorm) for module in model.decode_head.modules())
    assert model.decode_head(model.backbone(torch.randn(2, 3, 16, 16))).shape == (2, 3, 4, 4)


def test_training_and_validation_pool_alike(make_runner):
    """The weights say so themselves, and a segmentor of the other kind does not load them."""
    changes = dict(default_hooks=dict(checkpoint=None))
    projector = dict(image_projector=dict(pool_projected=True))
    head = dict(segmentor=dict(decode_head=projector))
    assert 'mIoU' in make_runner(model=projector, val_cfg=head, **changes).val()
    with pytest.raises(RuntimeError, match=r'image_projector\.pools'):
        make_runner(model=projector, **changes).val()
    with pytest.raises(RuntimeError, match=r'image_projector\.pools'):
        make_runner(val_cfg=head, **changes).val()
