"""The convolutional stem in place of the patch embedding."""

import pytest
import torch
from mmseg.registry import MODELS

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.models.conv_stem import ConvStem

STEM = dict(channels=(8, 16, 16), num_blocks=(0, 1, 2))


def build_backbone(**changes):
    settings = dict(
        img_size=32, patch_size=8, embed_dims=24, depths=(1,), num_heads=(2,),
        num_group_tokens=(6,), num_output_groups=(4,), conv_stem=STEM,
    )  # fmt: skip
    torch.manual_seed(0)
    return MODELS.build(dict(type='GroupViT', **settings | changes))


def test_blocks_and_widths_are_those_asked_for():
    levels = ConvStem(3, 24, **STEM).levels
    assert [level.conv.out_channels for level in levels] == [8, 16, 16]
    assert [len(level.blocks) for level in levels] == [0, 1, 2]


def test_a_residual_block_begins_as_an_identity():
    x = torch.rand(2, 8, 5, 7)
    assert torch.equal(ConvStem(3, 8, channels=[8], num_blocks=[1]).levels[0].blocks(x), x)


def test_images_of_any_size_have_a_token_per_whole_patch():
    backbone = build_backbone().eval()
    output = backbone.encode(torch.randn(2, 3, 47, 33))
    assert output.patch_shape == (5, 4)
    assert output.group_map().shape == (2, 47, 33)


def test_pixels_beyond_the_last_patch_do_not_count():
    stem = ConvStem(3, 24, **STEM).eval()
    images = torch.randn(1, 3, 46, 32)
    assert torch.equal(stem(images)[0], stem(images[:, :, :40])[0])


def test_every_parameter_has_a_gradient():
    backbone = build_backbone()
    backbone(torch.randn(2, 3, 32, 32))[0].square().sum().backward()
    without = [n for n, p in backbone.patch_embed.named_parameters() if p.grad is None]
    assert not without


def test_frozen_embeddings_keep_their_statistics():
    backbone = build_backbone(frozen_stages=0).train()
    before = backbone.patch_embed.norm_proj.running_mean.clone()
    backbone(torch.randn(2, 3, 32, 32))
    assert torch.equal(backbone.patch_embed.norm_proj.running_mean, before)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(patch_size=16), r'3 levels, which make patches of 8 px, but patch_size = 16'),
        (dict(conv_stem=dict(channels=(8, 8, 8), num_blocks=(1,))), 'blocks for each level'),
        (dict(conv_stem=dict(channels=(), num_blocks=())), 'blocks for each level'),
    ],
)
def test_levels_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(**changes)
