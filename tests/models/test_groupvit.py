import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import bricks as mmcv_layers
from mmseg.registry import MODELS

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.checkpoints.position_grid import interpolate_positions
from groupvit_mmseg.models.assignment import Assignment, AssignmentOptions, compose
from groupvit_mmseg.models.grouping import AssignAttention, GroupingBlock
from groupvit_mmseg.models.layers import DropPath, TransformerBlock
from groupvit_mmseg.models.outputs import GroupViTOutput

TINY = dict(
    type='GroupViT',
    img_size=32,
    patch_size=8,
    embed_dims=24,
    depths=(1, 1, 1),
    num_heads=(2, 3, 4),
    num_group_tokens=(6, 3, 0),
    num_output_groups=(5, 3),
)


def build(**changes):
    torch.manual_seed(0)
    return MODELS.build({**TINY, **changes}).eval()


def test_paper_size():
    model = MODELS.build(dict(type='GroupViT'))
    count = sum(p.numel() for p in model.parameters())
    assert count == 28_837_136  # about 30 M; with the projector's 2.6 M, 31.5 M
    assert model.pos_embed.shape == (1, 196, 384)
    assert [stage.group_tokens is not None for stage in model.stages] == [True, True, False]
    assert model.stages[1].group_tokens.abs().max() == 0
    assert 0.015 < model.stages[0].group_tokens.std() < 0.025


@pytest.mark.parametrize(
    'stages, num_segments',
    [
        (dict(depths=(2,), num_heads=(2,), num_group_tokens=(6,), num_output_groups=(4,)), 4),
        (dict(depths=(2,), num_heads=(2,), num_group_tokens=(0,), num_output_groups=()), 16),
        (dict(depths=(1, 0), num_heads=(2, 2), num_group_tokens=(6, 0), num_output_groups=(7,)), 7),
        (
            dict(
                depths=(1, 1, 1, 1),
                num_heads=(2, 2, 2, 2),
                num_group_tokens=(8, 6, 4, 0),
                num_output_groups=(7, 5, 2),
                embed_factors=(1, 1.5, 2, 2),
            ),
            2,
        ),
    ],
    ids=['one stage', 'no grouping', 'none after', 'four stages'],
)
def test_any_number_of_stages(stages, num_segments):
    model = build(**stages)
    output = model.encode(torch.randn(2, 3, 32, 32))
    assert output.segments.shape == (2, num_segments, model.embed_dims)
    assert output.group_probs().shape == (2, num_segments, 4, 4)
    assert torch.allclose(output.group_probs().sum(1), torch.ones(2, 4, 4), atol=1e-5)
    assert len(output.soft_assignments) == len(stages['num_output_groups'])
    (feature_map,) = model(torch.randn(2, 3, 32, 32))
    assert feature_map.shape == (2, model.embed_dims, 4, 4)


@pytest.mark.parametrize('size', [(8, 8), (32, 40), (47, 33), (64, 24)])
@pytest.mark.parametrize('patch_size', [4, 8])
def test_any_size_and_patch(size, patch_size):
    output = build(patch_size=patch_size).encode(torch.randn(1, 3, *size))
    grid = (size[0] // patch_size, size[1] // patch_size)
    assert output.patch_shape == grid
    assert output.image_shape == size
    assert output.soft_assignments[0].shape == (1, 5, grid[0] * grid[1])


@pytest.mark.parametrize('size', [(16, 56), (47, 33), (64, 24)])
def test_positions_are_resized_channel_by_channel(size):
    model = build(patch_size=8)
    shape = (size[0] // 8, size[1] // 8)
    maps = [
        F.interpolate(channel.view(1, 1, 4, 4), size=shape, mode='bicubic', align_corners=False)
        for channel in model.pos_embed[0].T
    ]
    expected = torch.cat(maps).flatten(1).T[None]
    assert torch.equal(interpolate_positions(model.pos_embed, (4, 4), shape), expected)
    tokens, patch_shape = model.patch_embed(torch.zeros(1, 3, *size))
    seen = []
    model.stages[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model.encode(torch.zeros(1, 3, *size))
    assert patch_shape == shape
    assert torch.equal(seen[0], tokens + expected)


def test_pixels_beyond_the_last_whole_patch_do_not_matter():
    model, image = build(), torch.randn(1, 3, 36, 39)
    cut = model.encode(image[:, :, :32, :32]).segments
    assert torch.equal(model.encode(image).segments, cut)


def test_segments_do_not_depend_on_the_rest_of_the_batch():
    model, images = build(), torch.randn(3, 3, 32, 32)
    together = model.encode(images).segments
    alone = torch.cat([model.encode(image[None]).segments for image in images])
    assert torch.allclose(together, alone, atol=1e-5)


def test_feature_map_shows_each_patch_its_segment():
    model = build()
    output = model.encode(torch.randn(2, 3, 32, 32))
    first, second = output.hard_assignments
    segment = second.argmax(1).gather(1, first.argmax(1)).view(2, 4, 4)
    feature_map = output.feature_map()
    for b in range(2):
        expected = output.segments[b][segment[b]].permute(2, 0, 1)
        assert torch.allclose(feature_map[b], expected, atol=1e-5)


def test_gradients_flow_through_hard_assignments():
    model = build().train()
    model(torch.randn(2, 3, 32, 32))[0].square().mean().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert all(g is not None and torch.isfinite(g).all() for g in gradients.values())
    assert gradients['stages.0.grouping.assign.q_proj.weight'].abs().max() > 0


def test_training_draws_noise_and_evaluation_does_not():
    model, images = build(drop_path_rate=0.0), torch.randn(2, 3, 32, 32)
    assert torch.equal(model.encode(images).segments, model.encode(images).segments)
    model.train()
    assert not torch.equal(model.encode(images).segments, model.encode(images).segments)


def test_assignment_rows_are_normalised_by_their_sum_plus_one():
    torch.manual_seed(0)
    block, query, x = AssignAttention(8).eval(), torch.randn(1, 3, 8), torch.randn(1, 10, 8)
    out, assignment = block(query, x)
    value = block.v_proj(x)[0]
    for s, row in enumerate(assignment.hard[0]):
        members = value[row > 0.5]
        expected = block.proj(members.sum(0) / (len(members) + 1))
        assert torch.allclose(out[0, s], expected, atol=1e-5)


def test_compose_is_the_matrix_product_in_the_order_of_the_stages():
    first, second = torch.rand(1, 4, 9), torch.rand(1, 2, 4)
    assert torch.allclose(compose((first, second))[0], second[0] @ first[0])


def test_assign_scale_sharpens():
    soft = [build(assign_scale=s).encode(torch.ones(1, 3, 32, 32)) for s in (1.0, 16.0)]
    peak = [output.soft_assignments[0].amax(1).mean() for output in soft]
    assert peak[1] > peak[0]


def test_drop_path_leaves_out_what_mmcv_leaves_out():
    x, outputs = torch.rand(50, 2, 3) + 0.1, []
    for layer in (mmcv_layers.DropPath(0.3), DropPath(0.3)):
        torch.manual_seed(5)
        outputs.append(layer.train()(x))
        assert torch.equal(layer.eval()(x), x)
    torch.testing.assert_close(*outputs)
    assert 5 < (outputs[1] == 0).flatten(1).all(dim=1).sum() < 25
    half = DropPath(0.3).train()(x.bfloat16())
    assert half.dtype is torch.bfloat16


def test_drop_path_grows_linearly_over_all_blocks():
    model = MODELS.build(dict(type='GroupViT'))
    for branch in ('drop_path', 'attn_drop_path'):
        assert rates(model, branch) == pytest.approx([0.1 * i / 11 for i in range(12)])


def rates(model, branch):
    blocks = [block for stage in model.stages for block in stage.blocks]
    return [getattr(getattr(block, branch), 'drop_prob', 0.0) for block in blocks]


def test_attention_has_a_rate_of_its_own():
    model = build(drop_path_rate=0.2, attn_drop_path=0.5)
    assert rates(model, 'attn_drop_path') == [0.5] * 3
    assert rates(model, 'drop_path') == pytest.approx([0.0, 0.1, 0.2])
    assert rates(build(drop_path_rate=0.2, attn_drop_path=0.0), 'attn_drop_path') == [0.0] * 3


def test_some_images_skip_the_attention_and_keep_the_mlp():
    torch.manual_seed(0)
    block, x = TransformerBlock(8, 2, attn_drop_path=0.5).train(), torch.randn(40, 5, 8)
    attended = [x, x + 2 * block.attn(block.norm1(x))]  # kept ones are scaled up
    without, with_attention = (each + block.mlp(block.norm2(each)) for each in attended)
    output = block(x)
    skips = [torch.allclose(a, b, atol=1e-5) for a, b in zip(output, without)]
    keeps = [torch.allclose(a, b, atol=1e-5) for a, b in zip(output, with_attention)]
    assert [a != b for a, b in zip(skips, keeps)] == [True] * 40
    assert 10 < sum(skips) < 30
    once = x + block.attn(block.norm1(x))
    torch.testing.assert_close(block.eval()(x), once + block.mlp(block.norm2(once)))


@pytest.mark.parametrize('rate', [-0.1, 1.0, float('nan')])
@pytest.mark.parametrize('name', ['drop_path', 'attn_drop_path'])
def test_a_block_that_drops_everything_is_one_sentence(name, rate):
    with pytest.raises(ValueError, match=f'^{name} must be at least 0 and below 1, not {rate}\\.$'):
        TransformerBlock(8, 2, **{name: rate})


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(depths=()), 'at least one stage'),
        (dict(drop_path_rate=1.0), 'drop_path_rate must be at least 0 and below 1, not 1.0'),
        (dict(attn_drop_path=-0.1), 'attn_drop_path must be at least 0 and below 1, not -0.1'),
        (dict(num_heads=(2, 2)), 'num_heads'),
        (dict(num_group_tokens=(6, 3)), 'num_group_tokens'),
        (dict(num_group_tokens=(6, 0, 3)), 'num_group_tokens'),
        (dict(num_output_groups=(5,)), 'num_output_groups'),
        (dict(num_output_groups=(5, 0)), 'num_output_groups'),
        (dict(num_heads=(2, 5, 4)), 'does not divide'),
        (dict(embed_factors=(1, 1)), 'embed_factors'),
    ],
)
def test_stages_that_do_not_fit_are_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        build(**changes)
    assert str(error.value).count('. ') == 0
    assert str(error.value).endswith('.')


def test_image_smaller_than_a_patch_is_one_sentence():
    with pytest.raises(ValueError, match='at least one patch of 8 px'):
        build().encode(torch.randn(1, 3, 7, 32))


def test_bf16_keeps_assignments_in_float32():
    model = build()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        output = model.encode(torch.randn(1, 3, 32, 32))
    assert output.soft_assignments[0].dtype == torch.float32
    assert torch.isfinite(output.segments).all()


def test_a_soft_segment_is_the_mean_weighted_by_the_probabilities():
    torch.manual_seed(0)
    layer = AssignAttention(4, options=AssignmentOptions('soft', eps=0.5)).eval()
    query, tokens = torch.randn(1, 3, 4), torch.randn(1, 6, 4)
    out, assignment = layer(query, tokens)
    assert torch.equal(assignment.hard, assignment.soft)
    values = layer.v_proj(tokens)[0]
    for s, row in enumerate(assignment.soft[0]):
        mean = sum(p * v for p, v in zip(row, values)) / (sum(row) + 0.5)
        assert torch.allclose(out[0, s], layer.proj(mean), atol=1e-6)


def test_a_mean_of_tokens_knows_its_own_tokens_alone():
    """Two images that differ in one half: segments of patches of the other half stay the same."""
    options = AssignmentOptions(mean_of_tokens=True)
    block = GroupingBlock(24, 2, num_group_tokens=6, num_output_groups=4, options=options).eval()
    block.assign.assign = lambda query, x: Assignment(halves, halves)
    halves = torch.zeros(1, 4, 8)
    halves[0, 0, :4] = halves[0, 1, 4:] = 1.0
    groups, tokens = torch.randn(1, 6, 24), torch.randn(1, 8, 24)
    segments = block(tokens, groups)[0][0]
    torch.testing.assert_close(segments[0], tokens[0, :4].mean(0))
    torch.testing.assert_close(segments[1], tokens[0, 4:].mean(0))
    assert (segments[2:] == 0).all()  # no token


ONE_STAGE = dict(depths=(1,), num_heads=(2,), num_group_tokens=(6,), num_output_groups=(5,))
MEANS = dict(assignment=dict(mean_of_tokens=True))


def test_the_output_keeps_the_tokens_that_segments_are_means_of():
    images = torch.randn(2, 3, 32, 32)
    model = build(**MEANS, **ONE_STAGE)
    output = model.encode(images)
    (members,) = output.hard_assignments
    for image in range(2):
        for segment, row in zip(output.segments[image], members[image] > 0, strict=True):
            expected = output.tokens[image, row].mean(0) if row.any() else torch.zeros_like(segment)
            torch.testing.assert_close(segment, expected)
    torch.testing.assert_close(output.pooled, output.tokens.mean(1))
    # Normalised, and not what the level of raw tokens is.
    torch.testing.assert_close(output.tokens.mean(-1), torch.zeros(2, members.shape[-1]))
    raw = build(**MEANS, **ONE_STAGE, out_type='raw')(images)[0].flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.norm(raw), output.tokens)
    assert build(**ONE_STAGE).encode(images).tokens is None


@pytest.mark.parametrize(
    'stages', [{}, dict(depths=(1, 1), num_heads=(2, 3), num_group_tokens=(6, 3))]
)
def test_means_of_patches_need_one_stage(stages):
    with pytest.raises(ValueError, match='needs one stage, which groups, not num_group_tokens'):
        build(**MEANS, **stages)


def test_an_option_of_later_stages_needs_one():
    with pytest.raises(ValueError, match=r'after the first that groups: num_group_tokens = \(6,\)'):
        build(assignment=dict(later_query_weight=0.01), **ONE_STAGE)


def test_no_pixel_belongs_to_a_segment_without_patches():
    """Between two patches the segment of neither may be the most probable one."""
    soft = torch.tensor([[[0.5, 0.05], [0.45, 0.45], [0.05, 0.5]]])
    hard = torch.nn.functional.one_hot(soft.argmax(1), 3).transpose(1, 2).float()
    tokens = torch.randn(1, 2, 4)
    output = GroupViTOutput(
        tokens, tokens.mean(1), (hard,), (soft,), (1, 2), (8, 16), tokens=tokens
    )
    assert output.group_map().unique().tolist() == [0, 2]
    assert output._replace(tokens=None).group_map().unique().tolist() == [0, 1, 2]


def test_a_mean_of_tokens_has_their_width():
    options = AssignmentOptions(mean_of_tokens=True)
    with pytest.raises(ValueError, match='keeps their width 24: it cannot become 48'):
        GroupingBlock(
            24, 2, num_group_tokens=6, num_output_groups=4, out_channels=48, options=options
        )


def test_segments_of_later_stages_contain_their_query_as_much_as_requested():
    images = torch.randn(2, 3, 32, 32)
    outputs = {}
    for weight in (1.0, 0.25, 0.0):
        model = build(assignment=dict(later_query_weight=weight))
        inputs = [{}, {}]  # of the norm before the last MLP: what segments are made of, and queries
        for stage, kept in zip(model.stages, inputs, strict=False):
            kept_by(stage.grouping.norm_out, kept, 'segments')
            kept_by(stage.grouping.assign, kept, 'query')
        model.encode(images)
        outputs[weight] = inputs
    first = [inputs[0]['segments'] for inputs in outputs.values()]
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[0], first[2])
    for weight, (_, second) in outputs.items():
        torch.testing.assert_close(
            second['segments'] - weight * second['query'], outputs[0.0][1]['segments']
        )
    assert not torch.allclose(outputs[0.0][1]['segments'], outputs[1.0][1]['segments'])


def kept_by(module, kept, name):
    """Keeps the first input of a module under a name."""
    module.register_forward_pre_hook(lambda _, inputs: kept.update({name: inputs[0]}))


def test_options_of_the_assignment_reach_every_stage():
    images = torch.randn(2, 3, 32, 32)
    paper, named = build(), build(assignment=dict(kind='hard', gumbel_noise=True, eps=1.0))
    assert torch.equal(paper.encode(images).segments, named.encode(images).segments)
    soft = build(assignment=dict(kind='soft')).encode(images)
    for used, probabilities in zip(soft.hard_assignments, soft.soft_assignments, strict=True):
        assert torch.equal(used, probabilities)
    shares = soft.segment_shares()
    assert torch.allclose(shares.sum(1), torch.ones(2))
    assert not torch.equal(
        build(assignment=dict(eps=1e-10)).encode(images).pooled, paper.encode(images).pooled
    )
    quiet = build(assignment=dict(gumbel_noise=False))
    still = quiet.encode(images).segments  # with gradients, as below: they may round otherwise
    quiet.train()
    for stage in quiet.stages:
        for block in stage.blocks:
            block.eval()
    assert torch.equal(quiet.encode(images).segments, still)
