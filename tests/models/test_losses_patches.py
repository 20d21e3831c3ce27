"""``MultiLabelContrastiveLoss(level='patches')`` against the obvious loops over patches."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS

import groupvit_mmseg  # noqa: F401

B, S, N, P, D = 4, 5, 9, 3, 8
BETA = 10.0


def naive_similarity(segments, owners, prompt):
    """The definition: a smooth maximum over patches, each answering with its segment."""
    cosines = [F.cosine_similarity(segments[owner], prompt, dim=0) for owner in owners]
    return torch.stack([(BETA * cosine).exp() for cosine in cosines]).mean().log() / BETA


@pytest.fixture
def drawn():
    segments = torch.randn(B, S, D, dtype=torch.float64, requires_grad=True)
    prompts = torch.randn(B, P, D, dtype=torch.float64, requires_grad=True)
    owners = torch.randint(0, S - 1, (B, N))  # the last segment owns nothing
    shares = F.one_hot(owners, S).double().mean(1)
    return segments, prompts, owners, shares


def build():
    return MODELS.build(dict(type='MultiLabelContrastiveLoss', level='patches')).double()


def test_against_loops_over_patches(drawn):
    segments, prompts, owners, shares = drawn
    loss = build()
    value = loss(segments, prompts, segment_shares=shares)
    logits = (
        torch.stack(
            [
                torch.stack([naive_similarity(s, o, p) for p in prompts.flatten(0, 1)])
                for s, o in zip(segments, owners, strict=True)
            ]
        )
        / 0.07
    )
    own = torch.arange(B * P).view(B, P)
    of_images = -logits.log_softmax(1).gather(1, own).mean()
    of_prompts = -logits.log_softmax(0).T.gather(1, (own // P).view(-1, 1)).mean()
    expected = (of_images + of_prompts) / 2
    torch.testing.assert_close(value, expected)
    for mine, theirs in zip(
        torch.autograd.grad(value, (segments, prompts)),
        torch.autograd.grad(expected, (segments, prompts)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_a_segment_without_patches_has_no_say(drawn):
    segments, prompts, _, shares = drawn
    other = segments.detach().clone()
    other[:, -1] = prompts[:, 0]  # would match perfectly
    loss = build()
    torch.testing.assert_close(
        loss(other, prompts, segment_shares=shares), loss(segments, prompts, segment_shares=shares)
    )


def test_patches_are_drawn_to_the_segment_that_answers(drawn):
    segments, prompts, _, shares = drawn
    answering, prompts = segments.detach().clone(), prompts.detach().clone()
    prompts[0] = answering[0, 0] = prompts[0, 0]
    shares = shares.roll(1, 1).requires_grad_()  # now the first segment owns nothing
    build()(answering, prompts, segment_shares=shares).backward()
    assert shares.grad[0].argmin() == 0  # more of it lowers the loss most


def test_shares_are_asked_for(drawn):
    with pytest.raises(ValueError, match='segment_shares'):
        build()(drawn[0], drawn[1])


def test_shares_of_a_backbone_count_patches():
    backbone = MODELS.build(
        dict(
            type='GroupViT',
            img_size=16,
            patch_size=4,
            embed_dims=16,
            depths=(1, 1),
            num_heads=(2, 2),
            num_group_tokens=(6, 3),
            num_output_groups=(6, 3),
            group_token_std=1.0,
        )
    ).eval()
    output = backbone.encode(torch.randn(2, 3, 16, 24))
    first, second = output.hard_assignments
    owners = second.argmax(1).gather(1, first.argmax(1))  # (B, 24): segment of every patch
    expected = F.one_hot(owners, 3).float().mean(1)
    torch.testing.assert_close(output.segment_shares(), expected)
