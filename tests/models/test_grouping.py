"""The grouping block against its equations, written out with its own layers."""

import pytest
import torch
import torch.nn.functional as F

from groupvit_mmseg.models.grouping import (
    AssignAttention,
    CrossAttentionBlock,
    GroupingBlock,
    reduction,
)

B, N, G, S, C = 2, 9, 6, 4, 8


def build(**changes):
    torch.manual_seed(0)
    block = GroupingBlock(C, 2, num_group_tokens=G, num_output_groups=S, **changes)
    return block.double().eval()


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def plain_cross_attention(block, query, x):
    query = query + block.attn(query, x)
    return block.norm_post(query + block.mlp(block.norm(query)))


def plain_assignment(block, query, x, scale):
    """Equations 3, 4 and 5, one segment at a time."""
    logits = torch.stack(
        [
            torch.stack([scale * (block.q_proj(q) * block.k_proj(token)).sum() for token in x])
            for q in query
        ]
    )  # (S, N)
    winner = logits.argmax(dim=0)
    values = block.v_proj(x)
    segments = []
    for s in range(len(query)):
        members = values[winner == s]
        segments.append(block.proj(members.sum(dim=0) / (len(members) + 1)))
    return torch.stack(segments), F.one_hot(winner, len(query)).T, logits.softmax(dim=0)


@pytest.mark.parametrize('out_channels', [None, 12])
@pytest.mark.parametrize('assign_scale', [1.0, 3.0])
def test_the_block_is_its_equations(out_channels, assign_scale):
    block = build(out_channels=out_channels, assign_scale=assign_scale)
    x, tokens = draw(B, N, C), draw(B, G, C)
    segments, assignment = block(x, tokens)
    normed = block.norm_tokens(x)
    query = block.norm_query(block.group_mlp(block.norm_groups(tokens)))
    query = plain_cross_attention(block.cross_attention, query, normed)
    for image in range(B):
        merged, hard, soft = plain_assignment(
            block.assign, query[image], normed[image], assign_scale / C**0.5
        )
        torch.testing.assert_close(assignment.hard[image], hard.double())
        torch.testing.assert_close(assignment.soft[image], soft)
        out = merged + query[image]
        expected = block.reduce(out) + block.mlp_out(block.norm_out(out))
        torch.testing.assert_close(segments[image], expected)


def test_a_half_precision_block_returns_half_precision():
    """The assignment is computed in float32; values and segments keep the type of the weights."""
    segments, assignment = build().bfloat16()(draw(B, N, C).bfloat16(), draw(B, G, C).bfloat16())
    assert segments.dtype == torch.bfloat16
    assert assignment.soft.dtype == torch.float32


def test_widths_and_defaults_are_the_documented_ones():
    block = build()
    assert block.cross_attention.mlp.fc1.out_features == block.mlp_out.fc1.out_features == 4 * C
    assert block.assign.scale == AssignAttention(C).scale == C**-0.5
    assert CrossAttentionBlock(C, 2).mlp.fc1.out_features == 4 * C
    assert AssignAttention(C, assign_scale=3.0).scale == 3 * C**-0.5
    narrow = build(mlp_ratio=2.0)
    assert narrow.cross_attention.mlp.fc1.out_features == narrow.mlp_out.fc1.out_features == 2 * C


def test_a_reduction_is_a_norm_and_a_linear_layer_without_bias():
    layers = reduction(C, 12)
    assert [type(layer) for layer in layers] == [torch.nn.LayerNorm, torch.nn.Linear]
    assert layers[1].bias is None
    assert isinstance(reduction(C, C), torch.nn.Identity)
