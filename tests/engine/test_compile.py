"""``compile`` of a run: the same training, evaluation and checkpoints as without it."""

import copy
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from torch import nn
from torch._dynamo.utils import counters

from groupvit_mmseg.engine import GroupViTRunner
from groupvit_mmseg.engine.hooks.block_hook import COMPILES_FROM, blocks_of, compile_blocks
from groupvit_mmseg.inference import segmentation_config
from groupvit_mmseg.models.layers import TransformerBlock
from groupvit_mmseg.torch_versions import VERSION

pytestmark = pytest.mark.skipif(VERSION < COMPILES_FROM, reason='compile needs torch 2.5')
TINY = Path(__file__).parents[1] / 'data' / 'configs' / 'tiny_zeroshot.py'
EAGER = dict(backend='aot_eager')  # all of torch.compile but the compiler
FAST = dict(backend='eager')  # and without the backward pass's graph


@pytest.fixture(autouse=True)
def _counted():
    """Reset the compiler and its counters."""
    torch._dynamo.reset()
    counters.clear()


def graphs():
    """Number of graphs compiled since the test began."""
    return counters['stats']['unique_graphs']


def state_of(runner, epoch):
    path = Path(runner.work_dir) / f'epoch_{epoch}.pth'
    return torch.load(path, weights_only=True)


def test_a_compiled_run_trains_alike_and_keeps_its_keys(make_runner):
    changes = dict(
        custom_hooks=[
            dict(type='EMAHook', momentum=0.5),
            dict(type='TransformerBlocksHook', recompute=True),
            dict(type='GroupUsageHook', interval=2),
        ],
        train_cfg=dict(max_epochs=1),
    )
    plain = make_runner('plain', **changes)
    plain.train()
    assert graphs() == 0
    ours = make_runner('compiled', compile=FAST, **changes)
    ours.train()
    assert graphs() > 0
    states = [state_of(run, 1) for run in (plain, ours)]
    for part in ('state_dict', 'ema_state_dict'):
        theirs, found = (state[part] for state in states)
        assert found.keys() == theirs.keys()
        for name, value in theirs.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)
    scores = [run.message_hub.get_scalar('val/mIoU').current() for run in (plain, ours)]
    assert scores[0] == pytest.approx(scores[1])


@pytest.mark.slow
def test_a_compiled_run_resumes_bit_for_bit(make_runner):
    changes = dict(
        compile=FAST,
        model=dict(backbone=dict(drop_path_rate=0.5)),
        custom_hooks=[dict(type='EMAHook', momentum=0.5)],
        train_cfg=dict(max_epochs=2),
    )
    whole = make_runner('whole', **changes)
    whole.train()
    changes['train_cfg'] = dict(max_epochs=1)
    make_runner('parts', **changes).train()
    changes['train_cfg'] = dict(max_epochs=2)
    rest = make_runner('parts', resume=True, **changes)
    rest.train()
    one, two = (state_of(run, 2) for run in (whole, rest))
    for part in ('state_dict', 'ema_state_dict'):
        assert not [k for k, v in one[part].items() if not torch.equal(two[part][k], v)]
    losses = [state['message_hub']['log_scalars']['train/loss']['values'] for state in (one, two)]
    assert torch.equal(*losses)


def losses_and_gradients(model, images, token_ids):
    torch.manual_seed(3)  # drop path and Gumbel noise
    losses = model(images, token_ids, mode='loss')
    (losses['loss_contrastive'] + losses['loss_multi_label']).backward()
    return losses, {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize(
    'changes',
    [{}, pytest.param(dict(micro_batch_size=3, text_buckets=2), marks=pytest.mark.slow)],
)
def test_values_and_gradients_are_those_of_the_model_as_written(tiny_config, changes):
    # float64: where a norm cancels a bias, its gradient is rounding alone.
    plain = MODELS.build({**tiny_config.model, **changes}).double().train()
    ours = copy.deepcopy(plain)
    compile_blocks(ours, EAGER)
    for size in (4, 5):  # batches of changing sizes
        images = torch.randn(size, 3, 16, 16, dtype=torch.float64)
        token_ids = torch.randint(1, 400, (size, 3, 12))
        results = [losses_and_gradients(model, images, token_ids) for model in (plain, ours)]
        torch.testing.assert_close(results[1], results[0], rtol=1e-6, atol=1e-9)
        for model in (plain, ours):
            model.zero_grad()
    assert graphs() > 0


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('g++'), reason='inductor needs g++ on a CPU')
def test_the_compiler_itself_computes_the_same(tiny_config):
    plain = MODELS.build(tiny_config.model).train()
    ours = copy.deepcopy(plain)
    compile_blocks(ours, True)
    for size in (4, 5):
        images, token_ids = torch.randn(size, 3, 16, 16), torch.randint(1, 400, (size, 3, 12))
        losses, gradients = losses_and_gradients(plain, images, token_ids)
        our_losses, our_gradients = losses_and_gradients(ours, images, token_ids)
        torch.testing.assert_close(our_losses, losses, rtol=1e-5, atol=0)
        # float32 (inductor's attention has no float64): measured by the length of the gradient.
        length = torch.cat([value.flatten() for value in gradients.values()]).norm()
        for name, value in gradients.items():
            assert (our_gradients[name] - value).norm() < 1e-4 * length, name
        plain.zero_grad()
        ours.zero_grad()
    assert graphs() > 0


@pytest.mark.slow
def test_windows_of_changing_shapes_do_not_compile_forever():
    cfg = Config.fromfile(TINY).model
    cfg.test_cfg = dict(mode='slide', crop_size=(32, 32), stride=(16, 16), window_batch_size=3)
    plain = MODELS.build(cfg).eval()
    ours = copy.deepcopy(plain)
    compile_blocks(ours, FAST)
    made = []
    for sizes in ([(32, 32), (45, 61), (30, 20)], [(32, 70), (64, 41)]):
        for height, width in sizes:
            image = torch.randn(1, 3, height, width)
            meta = dict(ori_shape=(height, width), img_shape=(height, width))
            scores = [model.inference(image, [dict(meta)]) for model in (plain, ours)]
            torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-5)
        made.append(graphs())
    assert 0 < made[0] == made[1]


def test_rates_of_dropping_paths_share_a_graph():
    blocks = [TransformerBlock(8, 2, drop_path=rate / 12) for rate in range(1, 12)]
    whole = nn.Sequential(*blocks)
    ours = copy.deepcopy(whole)
    compile_blocks(ours, EAGER)
    results = []
    for model in (whole, ours):
        torch.manual_seed(3)
        results.append(model(torch.ones(6, 5, 8, requires_grad=True)))
    torch.testing.assert_close(*results)
    assert graphs() == 1


@pytest.mark.slow
def test_evaluation_compiles_too(make_runner, tiny_config, tmp_path):
    trained = make_runner(train_cfg=dict(max_epochs=1))
    trained.train()
    said = trained.message_hub.get_scalar('val/mIoU').current()
    cfg = segmentation_config(tiny_config)
    cfg.merge_from_dict(
        dict(
            compile=FAST,
            work_dir=str(tmp_path / 'test'),
            load_from=str(Path(trained.work_dir) / 'epoch_1.pth'),
            experiment_name=f'{tmp_path.name}-test',
            visualizer=dict(name=f'{tmp_path.name}-test'),
        )
    )
    assert graphs() == 0
    assert GroupViTRunner.from_cfg(cfg).test()['mIoU'] == pytest.approx(said)
    assert graphs() > 0


def test_a_model_without_blocks_is_left_to_mmengine(make_runner, monkeypatch):
    runner = make_runner(compile=FAST)
    runner._maybe_compile('train_step')
    assert 'train_step' not in vars(runner.model)
    monkeypatch.setattr(nn.Module, 'modules', lambda self, **_: iter([self]))
    runner._maybe_compile('train_step')
    assert 'train_step' in vars(runner.model)


def test_blocks_stay_as_written_without_the_switch(tiny_config):
    model = MODELS.build(tiny_config.model)
    for options in (None, False):
        compile_blocks(model, options)
    assert not [block for block in blocks_of(model) if block._compiled_call_impl]
    with pytest.raises(TypeError, match=r"True, False or a dict .* not 'inductor'"):
        compile_blocks(model, 'inductor')
