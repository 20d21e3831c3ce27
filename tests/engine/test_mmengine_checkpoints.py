"""Checkpoints of mmengine's own Runner, which MMSegmentation's tools write."""

import pickle

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from groupvit_mmseg.engine import GroupViTRunner
from groupvit_mmseg.engine.runner.find_checkpoint import latest_complete_checkpoint
from groupvit_mmseg.engine.runner.train_loop import ResumableTrainLoop

HEAD = dict(
    type='FCNHead', in_channels=16, in_index=0, channels=16, num_convs=0, concat_input=False
)
HEAD |= dict(num_classes=3, norm_cfg=dict(type='BN'))


@pytest.fixture(scope='module')
def settings(tiny_config):
    """A config like MMSegmentation's: a head on the backbone, masks, a loop by iterations."""

    def make(steps, folder):
        cfg = Config(tiny_config.copy().to_dict())
        backbone = cfg.model.backbone
        cfg.model = dict(type='EncoderDecoder', backbone=backbone, decode_head=HEAD)
        cfg.model.update(
            data_preprocessor=dict(type='SegDataPreProcessor', size=(16, 16)),
            test_cfg=dict(mode='whole'),
        )
        cfg.train_dataloader = {**cfg.val_dataloader, 'sampler': dict(type='InfiniteSampler')}
        cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=steps, val_interval=2)
        cfg.val_cfg, cfg.val_evaluator = dict(type='ValLoop'), dict(type='IoUMetric')
        cfg.param_scheduler = [dict(type='PolyLR', power=0.9, end=4, by_epoch=False)]
        kept = dict(type='CheckpointHook', by_epoch=False, interval=2, save_best='mIoU')
        cfg.default_hooks = dict(step_seed=dict(type='StepSeedHook'), checkpoint=kept)
        cfg.log_processor = dict(by_epoch=False)
        cfg.work_dir, cfg.launcher = str(folder), 'none'
        cfg.experiment_name = cfg.visualizer.name = f'{folder.parent.name}-{folder.name}'
        return cfg

    return make


@pytest.fixture(scope='module')
def theirs(settings, tmp_path_factory):
    """Work dir of two steps under mmengine's Runner, with its CheckpointHook."""
    folder = tmp_path_factory.mktemp('theirs')
    cfg = settings(2, folder)
    cfg.sync_bn = None
    with DefaultScope.overwrite_default_scope('mmseg'):
        Runner.from_cfg(cfg).train()
    with pytest.raises(pickle.UnpicklingError):  # what the tests here are about
        torch.load(folder / 'iter_2.pth', weights_only=True)
    return folder


def test_a_run_resumes_from_one_as_from_its_own(theirs, settings, tmp_path):
    whole = GroupViTRunner.from_cfg(settings(4, tmp_path / 'whole'))
    whole.train()
    cfg = settings(4, tmp_path / 'rest')
    cfg.resume, cfg.load_from = True, str(theirs / 'iter_2.pth')
    rest = GroupViTRunner.from_cfg(cfg)
    rest.train()
    losses = [r.message_hub.get_scalar('train/loss').data[0].tolist() for r in (whole, rest)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4
    for key, value in whole.unwrapped_model.state_dict().items():
        assert torch.equal(value, rest.unwrapped_model.state_dict()[key]), key
    scores = [r.message_hub.get_info('best_score') for r in (whole, rest)]
    assert scores[0] == scores[1]


def test_its_weights_load_and_its_newest_file_is_the_latest(theirs, settings, tmp_path):
    assert latest_complete_checkpoint(theirs) == str(theirs / 'iter_2.pth')
    (best,) = theirs.glob('best_*.pth')
    cfg = settings(4, tmp_path / 'new')
    cfg.load_from = str(best)
    runner = GroupViTRunner.from_cfg(cfg)
    runner.load_or_resume()
    expected = torch.load(best, weights_only=False)['state_dict']
    assert torch.equal(runner.unwrapped_model.backbone.pos_embed, expected['backbone.pos_embed'])


class Loop(ResumableTrainLoop):
    """The loop's arithmetic, with a loader of five steps."""

    def __init__(self):
        self.dataloader = range(5)
        self._epoch = self._iter = 0


@pytest.mark.parametrize(
    'epoch, iteration, expected',
    [(2, 10, (2, 0)), (2, 13, (2, 3)), (0, 13, (2, 3)), (0, 3, (0, 3))],
)
def test_the_place_follows_from_epoch_and_iteration(epoch, iteration, expected):
    loop = Loop()
    loop._epoch, loop._iter = epoch, iteration
    assert (loop._steps_of_epoch(), loop._epoch) == expected[::-1]


def test_a_place_that_does_not_fit_the_data_is_refused():
    loop = Loop()
    loop._epoch, loop._iter = 2, 20  # ten steps per epoch then
    with pytest.raises(ValueError, match='impossible with 5 steps per epoch: keep the data'):
        loop._steps_of_epoch()
