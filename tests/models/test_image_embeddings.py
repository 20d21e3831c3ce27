"""The embedding of an image as the mean of its patches' projections."""

import pytest
import torch
from mmseg.registry import MODELS

from groupvit_mmseg.models.image_embeddings import (
    embed_images,
    embed_segments,
    mean_over_patches,
)
from groupvit_mmseg.models.outputs import GroupViTOutput
from groupvit_mmseg.text import tokenize

# Three patches: two in the first segment, one in the second.
SEGMENTS = torch.tensor([[[4.0, 0.0], [0.0, 2.0]]])
OUTPUT = GroupViTOutput(
    segments=SEGMENTS,
    pooled=SEGMENTS.mean(1),
    hard_assignments=(torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]),),
    soft_assignments=(),
    patch_shape=(1, 3),
    image_shape=(8, 24),
)


def test_each_segment_counts_with_its_patches_and_its_length():
    embeds = embed_images(OUTPUT, torch.nn.Identity(), pool_projected=True)
    torch.testing.assert_close(embeds, torch.tensor([[8 / 3, 2 / 3]]))
    torch.testing.assert_close(embed_images(OUTPUT, torch.nn.Identity()), OUTPUT.pooled)


def test_the_segments_mean_is_the_image_of_length_one():
    embeds = embed_segments(OUTPUT, torch.nn.Identity(), pool_projected=True)
    image, segments = embeds[:, 0], embeds[:, 1:]
    torch.testing.assert_close(image.norm(dim=-1), torch.ones(1))
    torch.testing.assert_close(mean_over_patches(segments, OUTPUT.segment_shares()), image)
    # Twice as long before, twice as long after.
    torch.testing.assert_close(segments.norm(dim=-1)[0, 0], 2 * segments.norm(dim=-1)[0, 1])
    plain = embed_segments(OUTPUT, torch.nn.Identity())
    torch.testing.assert_close(plain.norm(dim=-1), torch.ones(1, 3))


def test_an_image_without_length_has_no_direction():
    silent = OUTPUT._replace(segments=torch.zeros_like(SEGMENTS))
    embeds = embed_segments(silent, torch.nn.Identity(), pool_projected=True)
    assert (embeds == 0).all()


BACKBONE = dict(
    type='GroupViT',
    img_size=32,
    patch_size=8,
    embed_dims=24,
    depths=(1,),
    num_heads=(2,),
    num_group_tokens=(6,),
    num_output_groups=(4,),
)
PROJECTOR = dict(type='GroupViTProjector', hidden_channels=16, out_channels=8)
TOWERS = dict(
    text_encoder=dict(type='GroupViTTextEncoder', embed_dims=16, num_layers=1),
    image_projector=dict(PROJECTOR, in_channels=24),
    text_projector=dict(PROJECTOR, in_channels=16),
)


def pretrainer(backbone=BACKBONE, **options):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='GroupViTPretrainer',
            backbone=backbone,
            loss_contrastive=dict(type='ImageTextContrastiveLoss'),
            loss_multi_label=dict(type='MultiLabelContrastiveLoss', **options),
            pool_projected=True,
            **TOWERS,
        )
    )


@pytest.mark.parametrize('groups', [(4,), ()])
def test_training_and_segmentation_have_the_same_embeddings(groups):
    """With groups, and for towers in which each patch is a segment."""
    backbone = dict(BACKBONE, num_output_groups=groups, num_group_tokens=(6,) if groups else (0,))
    model = pretrainer(backbone).eval()
    images, texts = torch.randn(2, 3, 32, 32), tokenize(['a cat', 'a dog']).unsqueeze(1)
    with torch.no_grad():
        trained = model(images, texts)
        output = model.backbone.encode(images)
        used = embed_images(output, model.image_projector, pool_projected=True)
        compared = embed_segments(output, model.image_projector, pool_projected=True)
    torch.testing.assert_close(trained.image_embeds, used)
    torch.testing.assert_close(
        trained.segment_embeds / used.norm(dim=-1)[:, None, None], compared[:, 1:]
    )


@pytest.mark.parametrize('level', ['pooled', 'patches'])
def test_micro_batches_give_the_same_gradients(level):
    """The projections of all micro-batches are pooled together."""
    images = torch.randn(4, 3, 32, 32)
    texts = tokenize(['a cat', 'a dog', 'a bus', 'a tree']).view(4, 1, -1).repeat(1, 2, 1)
    gradients = []
    for size in (None, 2):
        model = pretrainer(level=level).double()
        model.backbone.eval()  # no noise
        model.micro_batch_size = size
        losses = model(images.double(), texts, mode='loss')
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        gradients.append(
            {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def segment(scale):
    """Return affinities of two segments, the first ``scale`` times as long as the second."""
    torch.manual_seed(0)
    head = MODELS.build(
        dict(
            type='GroupViTZeroShotHead',
            class_names=['cat', 'dog'],
            affinity='cosine',
            pool_projected=True,
            **TOWERS,
        )
    ).eval()
    head.image_projector = torch.nn.Identity()
    (cat,) = torch.nn.functional.normalize(head.embed_names(['cat']), dim=-1)
    output = OUTPUT._replace(segments=torch.stack([cat * scale, cat])[None])
    return head.segment_affinity(output)[0, :, 0]


def test_a_short_segment_is_nearly_undecided():
    long, short = segment(scale=100.0)
    assert long == 1.0  # one and a half times the image's length, and cut
    # The image has (100 + 100 + 1) / 3 patches' length.
    torch.testing.assert_close(short, torch.tensor(0.5 + 0.5 * 3 / 201))
    torch.testing.assert_close(segment(scale=1.0), torch.ones(2))
