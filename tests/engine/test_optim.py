"""Parameter groups, schedule and precision against the recipe of the specification."""

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmseg.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from groupvit_mmseg.engine import MixedPrecisionOptimWrapper
from groupvit_mmseg.engine.optimizers import optim_wrapper
from groupvit_mmseg.engine.optimizers.optim_wrapper import best_dtype


def build(model, **paramwise):
    return OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type='GroupViTOptimConstructor',
            optim_wrapper_cfg=dict(
                type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.5, weight_decay=0.1)
            ),
            paramwise_cfg=paramwise,
        )
    )(model)


def settings(model, wrapper):
    """Return (lr, weight decay) by the name of each parameter."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }


def test_every_parameter_of_the_pretrainer_is_in_the_group_of_the_recipe(tiny_config):
    model = MODELS.build(tiny_config.model)
    found = settings(model, build(model, flat_decay_mult=0.0))
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        decays = parameter.ndim > 1 and not name.endswith('bias')
        assert found[name] == (0.5, 0.1 if decays else 0.0), name


@pytest.mark.parametrize(
    'name,decay',
    [
        ('loss_contrastive.logit_scale', 0.0),
        ('loss_multi_label.logit_scale', 0.0),
        ('backbone.pos_embed', 0.1),
    ],
)
def test_named_parameters_of_the_recipe(tiny_config, name, decay):
    model = MODELS.build(tiny_config.model)
    assert settings(model, build(model, flat_decay_mult=0.0))[name] == (0.5, decay)


def test_two_groups_instead_of_one_per_parameter(tiny_config):
    model = MODELS.build(tiny_config.model)
    assert len(build(model, flat_decay_mult=0.0).optimizer.param_groups) == 2


def test_longest_custom_key_decides_and_frozen_parameters_stay_out():
    model = nn.ModuleDict(dict(tower=nn.Linear(2, 2), tower_head=nn.Linear(2, 2)))
    model['tower'].bias.requires_grad_(False)
    wrapper = build(
        model,
        flat_decay_mult=0.0,
        custom_keys={'tower': dict(lr_mult=0.1), 'tower_head': dict(decay_mult=2.0)},
    )
    assert settings(model, wrapper) == {
        'tower.weight': (0.05, 0.1),
        'tower_head.weight': (0.5, 0.2),
        'tower_head.bias': (0.5, 0.2),
    }


def test_key_that_matches_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"'img_encoder' .* is part of no trainable parameter"):
        build(nn.Linear(2, 2), custom_keys={'img_encoder': dict(lr_mult=0.1)})


def test_unknown_option_is_an_error():
    with pytest.raises(ValueError, match='norm_decay_mult'):
        build(nn.Linear(2, 2), norm_decay_mult=0.0)


# Four blocks in two stages. From the heads, which are at 0: the last block at 1, the patches at 5.
TWO_STAGES = dict(
    type='GroupViT',
    img_size=8,
    patch_size=4,
    embed_dims=8,
    depths=(2, 2),
    num_heads=(2, 2),
    num_group_tokens=(3, 2),
    num_output_groups=(3, 2),
)
DISTANCES = {
    'patch_embed.proj.weight': 5,
    'patch_embed.norm.bias': 5,
    'pos_embed': 5,
    'stages.0.group_tokens': 4,
    'stages.0.blocks.0.attn.qkv.weight': 4,
    'stages.0.blocks.1.mlp.fc2.weight': 3,
    'stages.0.grouping.assign.q_proj.weight': 3,
    'stages.1.group_tokens': 2,
    'stages.1.group_projector.mlp.fc1.weight': 2,
    'stages.1.blocks.0.norm1.weight': 2,
    'stages.1.blocks.1.norm1.weight': 1,
    'stages.1.grouping.mlp_out.fc1.bias': 1,
    'norm.weight': 0,
}


def place(name):
    """Part of a name that the depth depends on: ``norm``, or ``stages`` and ``blocks``."""
    first, *rest = name.split('.')
    return (first, rest[1]) if first == 'stages' else first


def test_the_depths_above_are_of_all_there_is_in_a_backbone():
    names = dict(MODELS.build(TWO_STAGES).named_parameters())
    assert {place(name) for name in names} == {place(name) for name in DISTANCES}


def with_layer_decay(model):
    """Rates and decays at lr .5, weight decay .1; a quarter of the rate per layer."""
    wrapper = build(
        model,
        flat_decay_mult=0.0,
        layer_decay=0.25,
        custom_keys={'head': dict(lr_mult=10.0), 'pos_embed': dict(decay_mult=0.0)},
    )
    return settings(model, wrapper), wrapper.optimizer.param_groups


@pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
def test_layer_decay_of_a_segmentor():
    head = dict(type='FCNHead', in_channels=8, channels=4, num_classes=3)
    model = MODELS.build(dict(type='EncoderDecoder', backbone=TWO_STAGES, decode_head=head))
    found, groups = with_layer_decay(model)
    for name, distance in DISTANCES.items():
        assert found[f'backbone.{name}'][0] == 0.5 * 0.25**distance, name
    assert found['backbone.patch_embed.proj.weight'] == (0.5 / 1024, 0.1)
    assert found['backbone.pos_embed'] == (0.5 / 1024, 0.0)
    assert found['backbone.stages.1.blocks.1.norm1.weight'] == (0.125, 0.0)
    assert found['decode_head.conv_seg.weight'] == (5.0, 0.1)
    assert found.keys() == dict(model.named_parameters()).keys()
    # Heads, the last norm, and two groups for each of the five distances below.
    assert [group['lr'] for group in groups][:4] == [5.0, 0.5, 0.125, 0.125]
    assert len(groups) == 1 + 1 + 2 * 5


def test_layer_decay_of_a_classifier():
    from mmengine.registry import DefaultScope
    from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS

    classifier = dict(
        type='ImageClassifier',
        backbone=dict(TWO_STAGES, type='mmseg.GroupViT', out_type='pooled'),
        head=dict(type='LinearClsHead', num_classes=4, in_channels=8),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MMPRETRAIN_MODELS.build(classifier)
    found, _ = with_layer_decay(model)
    for name, distance in DISTANCES.items():
        assert found[f'backbone.{name}'][0] == 0.5 * 0.25**distance, name
    assert found['head.fc.weight'] == (5.0, 0.1)


def test_layer_decay_of_a_vision_transformer():
    vit = dict(type='mmpretrain.VisionTransformer', arch='deit-tiny', img_size=32, patch_size=16)
    model = nn.ModuleDict(dict(tower=MODELS.build(vit), head=nn.Linear(2, 2)))
    found = settings(model, build(model, layer_decay=0.5))
    assert found['tower.patch_embed.projection.weight'][0] == 0.5 * 0.5**13  # 12 blocks above
    assert found['tower.layers.11.ffn.layers.1.weight'][0] == 0.25
    assert found['head.weight'][0] == 0.5


def test_text_encoder_of_a_pretrainer_learns_at_the_full_rate(tiny_config):
    model = MODELS.build(tiny_config.model)
    found = settings(model, build(model, layer_decay=0.5))
    assert found['backbone.stages.0.blocks.0.attn.qkv.weight'][0] == 0.125  # two blocks in all
    assert {lr for name, (lr, _) in found.items() if not name.startswith('backbone.')} == {0.5}


@pytest.mark.parametrize('layer_decay', [0.0, 1.5])
def test_impossible_layer_decay_is_an_error(layer_decay):
    with pytest.raises(ValueError, match='must be above 0 and at most 1'):
        build(nn.Linear(2, 2), layer_decay=layer_decay)


def test_layer_decay_without_layers_is_an_error():
    with pytest.raises(ValueError, match='but Linear has none; remove layer_decay'):
        build(nn.Linear(2, 2), layer_decay=0.5)


def expected_lr(step, steps_per_epoch, batch):
    """SPEC section 4: warm-up over 2 epochs from 4e-6, cosine to 4e-5, all scaled like lr."""
    scale = batch / 4096
    low, peak, end = 4e-6 * scale, 1.6e-3 * scale, 4e-5 * scale
    warm, total = 2 * steps_per_epoch, 30 * steps_per_epoch
    if step < warm:
        return low + (peak - low) * step / (warm - 1)
    return end + (peak - end) * (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2


@pytest.mark.parametrize('batch_size', [4, 8])
def test_learning_rate_of_every_step(make_runner, tiny_config, batch_size):
    schedule = Config.fromfile('configs/_base_/schedules/adamw-coslr-30e.py')
    runner = make_runner(
        param_scheduler=schedule.param_scheduler,
        auto_scale_lr=schedule.auto_scale_lr,
        train_cfg=schedule.train_cfg,
        train_dataloader=dict(batch_size=batch_size),
    )
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    steps = len(runner.train_dataloader)
    assert (steps, runner.max_epochs) == (32 // batch_size, 30)
    runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    for step in range(30 * steps):
        rates = [group['lr'] for group in runner.optim_wrapper.optimizer.param_groups]
        logged = runner.optim_wrapper.get_lr()['base_lr'][0]
        assert rates == pytest.approx([expected_lr(step, steps, batch_size)] * 2, rel=1e-9)
        assert logged == pytest.approx(rates[0])
        runner.optim_wrapper.step()  # no gradients: nothing moves
        for scheduler in runner.param_schedulers:
            scheduler.step()


class Probe(nn.Module):
    """Records in which type its layer computes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        y = self.layer(x)
        self.dtype = y.dtype
        return y.float().square().mean()


@pytest.fixture
def bfloat16_products(monkeypatch):
    """Return a function that says whether this CPU has instructions for bfloat16."""

    def set_to(value):
        monkeypatch.setattr(optim_wrapper, 'has_bfloat16_products', lambda _: value)

    return set_to


def probe_wrapper(**options):
    model = Probe()
    return model, MixedPrecisionOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason='mmengine takes the GPU')
def test_a_cpu_that_emulates_bfloat16_computes_in_float32(bfloat16_products):
    bfloat16_products(False)
    model, wrapper = probe_wrapper()
    with wrapper.optim_context(model):
        loss = model(torch.randn(4, 8))
    wrapper.update_params(loss)
    assert model.dtype is torch.float32
    assert wrapper.dtype is torch.float32
    assert not wrapper.scaler.is_enabled()


@pytest.mark.skipif(torch.cuda.is_available(), reason='mmengine takes the GPU')
@pytest.mark.parametrize('hardware', [False, True])
def test_bfloat16_that_is_asked_for_is_taken_and_told_of(bfloat16_products, hardware, caplog):
    bfloat16_products(hardware)
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        model, wrapper = probe_wrapper(dtype='bfloat16')
    finally:
        logger.removeHandler(caplog.handler)
    with wrapper.optim_context(model):
        model(torch.randn(4, 8))
    assert model.dtype is torch.bfloat16
    assert ('this CPU has no instructions for it' in caplog.text) is not hardware


@pytest.mark.parametrize('dtype', ['auto', 'bfloat16'])
def test_cpu_computes_in_bfloat16_and_learns_in_float32(dtype, bfloat16_products):
    bfloat16_products(True)
    model = Probe()
    wrapper = MixedPrecisionOptimWrapper(
        torch.optim.SGD(model.parameters(), lr=0.1), dtype=dtype, clip_grad=dict(max_norm=5.0)
    )
    x = torch.randn(4, 8)
    losses = []
    for _ in range(3):
        with wrapper.optim_context(model):
            loss = model(x)
        wrapper.update_params(loss)
        losses.append(loss.item())
    assert model.dtype is torch.bfloat16
    assert model.layer.weight.dtype is torch.float32
    assert losses[2] < losses[1] < losses[0]


def test_mixed_precision_state_goes_to_and_from_full_precision():
    def wrapper():
        layer = nn.Linear(2, 2)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
        return MixedPrecisionOptimWrapper(optimizer), layer

    def momentum(wrapper):
        return [state['momentum_buffer'] for state in wrapper.optimizer.state.values()]

    trained, layer = wrapper()
    layer(torch.ones(1, 2)).sum().backward()
    trained.step()
    state = trained.state_dict()
    for saved in (state, {k: v for k, v in state.items() if k != 'scaler'}):
        other, _ = wrapper()
        other.load_state_dict(saved)
        pairs = list(zip(momentum(other), momentum(trained), strict=True))
        assert len(pairs) == 2
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_impossible_precision_is_one_sentence():
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='float16 training needs a GPU'):
            MixedPrecisionOptimWrapper(optimizer, dtype='float16')
    with pytest.raises(ValueError, match="not 'int8'"):
        MixedPrecisionOptimWrapper(optimizer, dtype='int8')


@pytest.mark.parametrize('major,expected', [(7, torch.float16), (8, torch.bfloat16)])
def test_bfloat16_only_where_a_gpu_has_hardware(monkeypatch, major, expected):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _: (major, 0))
    monkeypatch.setattr(torch.version, 'hip', None)
    assert best_dtype('cuda') is expected


@pytest.mark.parametrize('hardware,expected', [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_only_where_a_cpu_has_instructions(bfloat16_products, hardware, expected):
    bfloat16_products(hardware)
    assert best_dtype('cpu') is expected


def test_apples_gpus_train_in_float32():
    assert best_dtype('mps') is torch.float32
