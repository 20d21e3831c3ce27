"""What makes GroupViT an ordinary backbone: levels, freezing, recomputing, depths of parameters."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import HOOKS, MODELS
from mmseg.structures import SegDataSample

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.engine.hooks.block_hook import COMPILES_FROM
from groupvit_mmseg.models.outputs import OUT_TYPES
from groupvit_mmseg.torch_versions import VERSION

WIDTHS = (24, 36, 48)  # after the grouping block of a stage: the next one's
TINY = dict(
    type='GroupViT',
    img_size=32,
    patch_size=8,
    embed_dims=24,
    embed_factors=(1, 1.5, 2),
    depths=(2, 1, 1),
    num_heads=(2, 2, 2),
    num_group_tokens=(6, 3, 0),
    num_output_groups=(5, 3),
)


def build(**changes):
    torch.manual_seed(0)
    return MODELS.build({**TINY, **changes})


def image(*size, count=2):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('size', [(32, 32), (41, 71), (8, 24)])
@torch.no_grad()
def test_a_level_gives_each_patch_its_segment_of_that_stage(size):
    model = build(out_indices=(0, 1, 2)).eval()
    output = model.encode(image(*size))
    h, w = output.patch_shape
    # Patch by patch: follow the assignments and take the token where they lead.
    segments = build(out_indices=(0, 1, 2), out_type='segments').eval()(image(*size))
    first, second = (assignment.argmax(1) for assignment in output.hard_assignments)
    for level, tokens in enumerate(segments):
        found = model(image(*size))[level]
        assert found.shape == (2, (36, 48, 48)[level], h, w)
        for b, y, x in itertools.product(range(2), range(h), range(w)):
            segment = first[b, y * w + x]
            segment = segment if level == 0 else second[b, segment]
            assert torch.equal(found[b, :, y, x], tokens[b, segment])


@torch.no_grad()
def test_raw_levels_are_the_tokens_before_grouping():
    model = build(out_indices=(0, 1), out_type='raw').eval()
    seen = []
    for stage in model.stages[:2]:
        stage.grouping.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    raw, later = model(image(32, 40))
    assert torch.equal(raw.flatten(2).transpose(1, 2), seen[0])
    first = model.encode(image(32, 40)).hard_assignments[0]
    assert torch.allclose(later.flatten(2), seen[1].transpose(1, 2) @ first)
    assert len({tuple(column) for column in raw[0].flatten(1).T.tolist()}) == 20  # patch by patch


@torch.no_grad()
def test_tokens_and_embeddings_without_a_grid():
    model = build(out_indices=(0, 2, 2), out_type=('segments', 'segments', 'pooled')).eval()
    first, last, pooled = model(image(32, 32))
    output = model.encode(image(32, 32))
    assert first.shape == (2, 5, 36)
    assert torch.equal(last, output.segments)
    assert torch.equal(pooled, output.pooled)


def test_by_default_one_level_of_the_last_stage():
    (level,) = build().eval()(image(33, 47))
    assert torch.equal(level, build().eval().encode(image(33, 47)).feature_map())


@pytest.mark.parametrize('out_type', OUT_TYPES)
@pytest.mark.parametrize('out_indices', [(0,), (1,), (2,), (0, 2)], ids=str)
def test_all_that_learns_gets_a_gradient_and_the_rest_is_frozen(out_indices, out_type):
    # DistributedDataParallel waits for the gradient of whatever requires one.
    model = build(out_indices=out_indices, out_type=out_type, drop_path_rate=0.0).train()
    sum((level * torch.randn_like(level)).sum() for level in model(image(32, 32))).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == {name for name, p in model.named_parameters() if not p.requires_grad}
    assert len(without) < len(list(model.parameters()))
    if out_indices == (0,) and out_type == 'raw':
        assert any(name.startswith('stages.0.grouping') for name in without)
    if 2 in out_indices:
        assert not without


def test_frozen_stages_stay_as_they_are_and_draw_no_noise():
    model = build(frozen_stages=1, drop_path_rate=0.5, out_indices=(0, 2)).train()
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    frozen = {name for name, _ in model.named_parameters()} - learns
    assert frozen == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(('patch_embed', 'pos_embed', 'stages.0.'))
    }
    (one, _), (two, _) = model(image(32, 32)), model(image(32, 32))
    assert torch.equal(one, two)
    assert model.stages[1].grouping.assign.training
    assert not model.eval().stages[1].training
    assert model.train().stages[1].training


@pytest.mark.parametrize('frozen_stages, learns', [(-1, True), (0, False), (3, False)])
def test_how_much_is_frozen(frozen_stages, learns):
    model = build(frozen_stages=frozen_stages)
    assert model.pos_embed.requires_grad is learns
    assert model.stages[0].blocks[0].mlp.fc1.weight.requires_grad is (frozen_stages < 1)
    assert model.norm.weight.requires_grad is (frozen_stages < 3)


def recompute(model):
    """Let the blocks of a model be computed again in the backward pass, as a training does."""
    runner = SimpleNamespace(model=model, val_loop=None)
    HOOKS.build(dict(type='TransformerBlocksHook', recompute=True)).before_train(runner)


def segmentor(**changes):
    """MMSegmentation's own segmentor with a GroupViT as its backbone."""
    head = dict(
        type='FCNHead',
        in_channels=[24, 48],
        in_index=[0, 1],
        input_transform='resize_concat',
        channels=8,
        num_classes=3,
        norm_cfg=dict(type='BN'),
    )
    levels = dict(out_indices=(0, 2), out_type=('raw', 'featmap'))
    backbone = {**TINY, **levels, 'drop_path_rate': 0.5, **changes}
    torch.manual_seed(0)
    return MODELS.build(dict(type='EncoderDecoder', backbone=backbone, decode_head=head)).train()


def fine_tuned(model):
    """Loss, gradients and numbers kept for them of a step that learns from masks."""
    labels = torch.randint(3, (2, 1, 32, 32), generator=torch.Generator().manual_seed(2))
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
    sizes = []
    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: sizes.append(x.numel()) or x, lambda x: x
    ):
        loss = model.loss(image(32, 32), samples)['decode.loss_ce']
    loss.backward()
    return loss, {name: p.grad for name, p in model.named_parameters()}, sum(sizes)


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1])
def test_recomputed_activations_change_nothing(frozen_stages):
    plain, ours = (segmentor(frozen_stages=frozen_stages) for _ in range(2))
    recompute(ours)
    loss, gradients, size = fine_tuned(plain)
    our_loss, our_gradients, our_size = fine_tuned(ours)
    assert torch.equal(our_loss, loss)
    for name, gradient in gradients.items():
        assert gradient is None or torch.equal(our_gradients[name], gradient), name
        assert (gradient is None) == (our_gradients[name] is None)
    frozen = {name for name, gradient in gradients.items() if gradient is None}
    assert any('blocks' in name for name in frozen) == (frozen_stages == 1)
    assert our_size < 0.7 * size
    # The noise was drawn: with other random numbers the loss is another.
    torch.manual_seed(3)
    assert not torch.equal(ours.backbone(image(32, 32))[1], ours.backbone(image(32, 32))[1])


@torch.no_grad()
@pytest.mark.skipif(VERSION < COMPILES_FROM, reason='compile needs torch 2.5')
def test_compiled_whole_it_gives_the_same():
    levels = dict(out_indices=(0, 0, 1), out_type=('raw', 'featmap', 'featmap'))
    model = build(depths=(1, 0, 0), **levels).eval()
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    expected, found = model(image(32, 40)), compiled(image(32, 40))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_depths_of_parameters():
    model = build()
    depth = {
        name: model.get_layer_depth(f'backbone.{name}', 'backbone.')[0]
        for name, _ in model.named_parameters()
    }
    expected = {
        'pos_embed': 0,
        'patch_embed.proj.weight': 0,
        'stages.0.group_tokens': 1,
        'stages.0.blocks.0.mlp.fc1.bias': 1,
        'stages.0.blocks.1.attn.qkv.weight': 2,
        'stages.0.grouping.assign.q_proj.weight': 2,
        'stages.1.group_projector.norm.weight': 3,
        'stages.1.blocks.0.norm1.weight': 3,
        'stages.1.grouping.reduce.1.weight': 3,
        'stages.2.blocks.0.norm1.weight': 4,
        'norm.weight': 5,
    }
    assert {name: depth[name] for name in expected} == expected
    assert model.get_layer_depth('decode_head.conv_seg.weight', 'backbone.') == (5, 6)


@pytest.mark.parametrize(
    'changes, sentence',
    [
        (dict(out_indices=(0, 3)), r'out_indices = \(0, 3\) must name .* 3 stages'),
        (dict(out_indices=()), 'must name at least one'),
        (dict(out_type='cls_token'), "out_type = 'cls_token' must be one of"),
        (dict(out_indices=(0, 1), out_type=('raw',)), 'for each of the 2 out_indices'),
        (dict(frozen_stages=4), 'frozen_stages = 4 must be .* stages, 3'),
    ],
)
def test_options_that_cannot_be(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(**changes)


def test_a_head_that_wants_more_levels_is_told():
    head = MODELS.build(
        dict(
            type='FCNHead',
            in_channels=[24, 24],
            in_index=[0, 1],
            input_transform='resize_concat',
            channels=8,
            num_classes=2,
        )
    )
    with pytest.raises(IndexError, match=r'GroupViT gives 1 level\(s\).* level 1 was asked for'):
        head(build()(image(32, 32)))


def test_an_image_smaller_than_a_patch_is_told():
    with pytest.raises(ValueError, match=r'at least one patch of 8 px a side, but got shape'):
        build()(image(7, 32))


def test_a_checkpoint_of_another_width_is_told(tmp_path):
    torch.save(build(embed_dims=48).state_dict(), tmp_path / 'wide.pth')
    model = build(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'wide.pth')))
    with pytest.raises(RuntimeError) as told:
        model.init_weights()
    message = str(told.value)
    assert 'wide.pth does not fit GroupViT; give a checkpoint of this configuration' in message
    assert 'of another shape: pos_embed (1, 16, 48) instead of (1, 16, 24), ' in message
    assert len(message) < 600
