"""The embedding of an image as the mean of its patches' projections."""

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from groupvit_mmseg.checkpoints.loading import load_weights
from groupvit_mmseg.inference import load_segmentor
from groupvit_mmseg.models.image_embeddings import (
    embed_images,
    embed_segments,
    mean_over_patches,
)
from groupvit_mmseg.models.outputs import GroupViTOutput
from groupvit_mmseg.models.projector import GroupViTProjector
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


PLAIN = GroupViTProjector(2, num_layers=0)  # an identity
POOLING = GroupViTProjector(2, num_layers=0, pool_projected=True)


def test_each_segment_counts_with_its_patches_and_its_length():
    embeds = embed_images(OUTPUT, POOLING)
    torch.testing.assert_close(embeds, torch.tensor([[8 / 3, 2 / 3]]))
    torch.testing.assert_close(embed_images(OUTPUT, PLAIN), OUTPUT.pooled)


def test_the_segments_mean_is_the_image_of_length_one():
    embeds = embed_segments(OUTPUT, POOLING)
    image, segments = embeds[:, 0], embeds[:, 1:]
    torch.testing.assert_close(image.norm(dim=-1), torch.ones(1))
    torch.testing.assert_close(mean_over_patches(segments, OUTPUT.segment_shares()), image)
    # Twice as long before, twice as long after.
    torch.testing.assert_close(segments.norm(dim=-1)[0, 0], 2 * segments.norm(dim=-1)[0, 1])
    plain = embed_segments(OUTPUT, PLAIN)
    torch.testing.assert_close(plain.norm(dim=-1), torch.ones(1, 3))


def test_an_image_without_length_has_no_direction():
    silent = OUTPUT._replace(segments=torch.zeros_like(SEGMENTS))
    embeds = embed_segments(silent, POOLING)
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
    image_projector=dict(PROJECTOR, in_channels=24, pool_projected=True),
    text_projector=dict(PROJECTOR, in_channels=16),
)


def pretrainer(backbone=BACKBONE, loss_grouping=None, **options):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='GroupViTPretrainer',
            backbone=backbone,
            loss_contrastive=dict(type='ImageTextContrastiveLoss'),
            loss_multi_label=dict(type='MultiLabelContrastiveLoss', **options),
            loss_grouping=loss_grouping,
            **TOWERS,
        )
    )


MEANS = dict(assignment=dict(mean_of_tokens=True))
CLUSTERS = dict(type='GroupClusteringLoss')


@pytest.mark.parametrize('changes', [{}, dict(num_output_groups=(), num_group_tokens=(0,)), MEANS])
def test_training_and_segmentation_have_the_same_embeddings(changes):
    """With groups, for towers in which each patch is a segment, and for means of patches."""
    backbone = dict(BACKBONE, **changes)
    model = pretrainer(backbone, CLUSTERS if 'assignment' in changes else None).eval()
    images, texts = torch.randn(2, 3, 32, 32), tokenize(['a cat', 'a dog']).unsqueeze(1)
    with torch.no_grad():
        trained = model(images, texts)
        output = model.backbone.encode(images)
        used = embed_images(output, model.image_projector)
        compared = embed_segments(output, model.image_projector)
    torch.testing.assert_close(trained.image_embeds, used)
    torch.testing.assert_close(
        trained.segment_embeds / used.norm(dim=-1)[:, None, None], compared[:, 1:]
    )


def test_patches_are_projected_before_their_mean():
    """The image embedding does not depend on the assignment, and a segment's is its patches'."""
    tokens = torch.tensor([[[2.0, 0.0], [0.0, 2.0], [-4.0, 0.0]]])
    output = OUTPUT._replace(tokens=tokens)
    squared = GroupViTProjector(2, num_layers=0, pool_projected=True)
    squared.forward = torch.square
    patches = tokens.square()
    torch.testing.assert_close(embed_images(output, squared), patches.mean(1))
    length = patches.mean(1).norm()
    found = embed_segments(output, squared)[0] * length
    expected = torch.stack([patches[0].mean(0), patches[0, :2].mean(0), patches[0, 2]])
    torch.testing.assert_close(found, expected)
    moved = output._replace(hard_assignments=(output.hard_assignments[0].flip(1).roll(1, 2),))
    torch.testing.assert_close(embed_images(moved, squared), patches.mean(1))


def test_the_loss_of_groups_teaches_the_assignment():
    """It moves what assigns, and neither the projector nor the text tower."""
    torch.manual_seed(0)
    model = pretrainer(dict(BACKBONE, **MEANS), CLUSTERS)
    texts = tokenize(['a cat', 'a dog', 'a bus', 'a tree']).view(4, 1, -1).repeat(1, 2, 1)
    model(torch.randn(4, 3, 32, 32), texts, mode='loss')['loss_grouping'].backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert not any(name.startswith(('image_projector', 'text')) for name in moved)
    assert 'backbone.stages.0.grouping.assign.q_proj.weight' in moved
    assert 'backbone.stages.0.group_tokens' in moved


def test_without_a_loss_nothing_trains_the_assignment(monkeypatch):
    message = r"set loss_grouping=dict\(type='GroupClusteringLoss'\) and image_projector"
    with pytest.raises(ValueError, match=message):
        pretrainer(dict(BACKBONE, **MEANS))
    monkeypatch.setitem(TOWERS['image_projector'], 'pool_projected', False)
    with pytest.raises(ValueError, match=message):
        pretrainer(dict(BACKBONE, **MEANS))
    pretrainer(dict(BACKBONE, **MEANS), level='segments')  # they are compared with words


def test_a_loss_of_groups_needs_means_of_tokens():
    with pytest.raises(ValueError, match=r'set image_projector\.pool_projected and backbone'):
        pretrainer(loss_grouping=CLUSTERS)


@pytest.mark.parametrize(
    'level, means', [('pooled', {}), ('patches', {}), ('pooled', MEANS), ('segments', MEANS)]
)
def test_micro_batches_give_the_same_gradients(level, means):
    """The projections of all micro-batches are pooled together."""
    images = torch.randn(4, 3, 32, 32)
    texts = tokenize(['a cat', 'a dog', 'a bus', 'a tree']).view(4, 1, -1).repeat(1, 2, 1)
    gradients = []
    for size in (None, 2):
        loss = CLUSTERS if means else None
        model = pretrainer(dict(BACKBONE, **means), loss, level=level).double()
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


def affinities(segments, affinity):
    """Return those of two segments, of two patches and of one, to the words cat and dog."""
    torch.manual_seed(0)
    head = MODELS.build(
        dict(type='GroupViTZeroShotHead', class_names=['cat', 'dog'], affinity=affinity, **TOWERS)
    ).eval()
    head.image_projector = POOLING
    words = torch.nn.functional.normalize(torch.tensor([[1.0, 0.9], [0.9, 1.0]]), dim=-1)
    output = OUTPUT._replace(
        segments=torch.stack([scale * words[i] for scale, i in segments])[None]
    )
    return head.segment_affinity(output, words)[0]


@pytest.mark.parametrize('affinity', ['cosine', 'contrast', 'softmax'])
def test_a_long_segment_keeps_the_order_of_its_words(affinity):
    """The segment of one patch is longer than the image, so that both similarities exceed 1."""
    both = affinities([(0.1, 0), (50.0, 1)], affinity)
    assert both.argmax(dim=1).tolist() == [0, 1]
    assert ((both >= 0) & (both <= 1)).all()


def test_a_short_segment_is_nearly_undecided():
    long, short = affinities([(100.0, 0), (1.0, 0)], 'cosine')[:, 0]
    # The image has (100 + 100 + 1) / 3 patches' length.
    torch.testing.assert_close(long, torch.tensor(0.5 + 0.5 * (300 / 201) / (1 + 300 / 201)))
    torch.testing.assert_close(short, torch.tensor(0.5 + 0.5 * (3 / 201) / (1 + 3 / 201)))


def test_weights_of_one_kind_are_not_loaded_into_the_other():
    """Shapes are equal, and scores would be wrong without a word."""
    plain = dict(TOWERS, image_projector=dict(PROJECTOR, in_channels=24))
    head = dict(type='GroupViTZeroShotHead', class_names=['cat', 'dog'])
    segmentors = [
        MODELS.build(
            dict(type='GroupViTSegmentor', backbone=BACKBONE, decode_head=dict(head, **towers))
        )
        for towers in (TOWERS, plain)
    ]
    weights = pretrainer().state_dict()
    load_weights(segmentors[0], weights, source='The checkpoint')
    with pytest.raises(RuntimeError, match=r'image_projector\.pools'):
        load_weights(segmentors[1], weights, source='The checkpoint')


def test_such_weights_say_so_without_a_config(tmp_path):
    """By a buffer, which the plain segmentor and other programs do not have."""
    file = tmp_path / 'pooling.pth'
    config = Config(dict(model=dict(type='GroupViTPretrainer', backbone=BACKBONE, **TOWERS)))
    weights = dict(state_dict=pretrainer().state_dict(), meta=dict(cfg=config.pretty_text))
    torch.save(weights, file)
    segmentor = load_segmentor(None, file)
    assert segmentor.decode_head.image_projector.pool_projected
    assert not segmentor.decode_head.text_projector.pool_projected
