"""The zero-shot baselines of a tower that does not group."""

import sys

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from groupvit_mmseg.export import FrozenSegmentor
from groupvit_mmseg.models.groupvit import GroupViTOutput
from groupvit_mmseg.models.outputs import nearest_patches
from groupvit_mmseg.models.patch_clustering import (
    METHODS,
    PatchClustering,
    colours_and_positions,
    keep_largest,
)

NAMES = ['cat', 'dog', 'bird', 'horse', 'cow', 'sheep']
TOWER = dict(
    type='ImageTower',
    backbone=dict(
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32),
        img_size=32,
        patch_size=8,
        out_type='featmap',
    ),
    embed_dims=16,
    patch_size=8,
)


def output_of(segments, patch_shape):
    return GroupViTOutput(
        segments=segments,
        pooled=segments.mean(1),
        hard_assignments=(),
        soft_assignments=(),
        patch_shape=patch_shape,
        image_shape=(patch_shape[0] * 4, patch_shape[1] * 4),
    )


def blobs(sizes=(20, 14, 7, 22), channels=12, noise=0.03, num_crops=2):
    """Tokens around as many directions, of random lengths and in random order, and of which."""
    generator = torch.Generator().manual_seed(3)
    directions = torch.linalg.qr(torch.randn(channels, channels, generator=generator))[0]
    labels = torch.cat([torch.full((size,), i) for i, size in enumerate(sizes)])
    crops, truths = [], []
    for _ in range(num_crops):
        truths.append(labels[torch.randperm(len(labels), generator=generator)])
        tokens = directions[truths[-1]] + noise * torch.randn(
            len(labels), channels, generator=generator
        )
        crops.append(tokens * (0.5 + torch.rand(len(labels), 1, generator=generator)))
    return torch.stack(crops), torch.stack(truths)


def make_segmentor(neck=None, **test_cfg):
    torch.manual_seed(0)
    projector = dict(type='GroupViTProjector', hidden_channels=24, out_channels=8)
    segmentor = MODELS.build(
        dict(
            type='GroupViTSegmentor',
            backbone=TOWER,
            neck=neck,
            decode_head=dict(
                type='GroupViTZeroShotHead',
                text_encoder=dict(type='GroupViTTextEncoder', embed_dims=16, num_layers=1),
                image_projector=dict(projector, in_channels=16),
                text_projector=dict(projector, in_channels=16),
                class_names=NAMES,
                top_k=3,
            ),
            test_cfg=dict(mode='whole') | test_cfg,
        )
    ).eval()
    for parameter in segmentor.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return segmentor


def images(*sizes):
    generator = torch.Generator().manual_seed(1)
    for height, width in sizes:
        coarse = torch.randn(1, 3, height // 4 + 1, width // 4 + 1, generator=generator)
        yield F.interpolate(coarse, (height, width))[0]


@pytest.mark.parametrize('method', METHODS)
def test_known_clusters_are_recovered(method):
    tokens, truths = blobs()
    # Mean shift must find by itself that there are four; the others are told.
    count = 8 if method == 'mean_shift' else 4
    clustered = PatchClustering(method, num_clusters=count)(output_of(tokens, (7, 9)))
    (membership,) = clustered.hard_assignments
    assert clustered.soft_assignments == (membership,)
    assert membership.shape == (2, count, 63)
    assert torch.equal(membership.sum(1), torch.ones(2, 63))
    for crop, truth, rows, segments in zip(tokens, truths, membership, clustered.segments):
        found = {tuple(row.bool().tolist()) for row in rows if row.any()}
        assert found == {tuple((truth == label).tolist()) for label in range(4)}
        for row, segment in zip(rows, segments):
            expected = crop[row.bool()] if row.any() else crop[rows[0].bool()]
            torch.testing.assert_close(segment, expected.mean(0))
    torch.testing.assert_close(clustered.pooled, tokens.mean(1))


@pytest.mark.parametrize('method', METHODS)
def test_what_permutes_patches_permutes_assignments(method):
    tokens, _ = blobs()
    neck = PatchClustering(method, num_clusters=4)
    order = torch.randperm(63)
    before, after = (neck(output_of(t, (7, 9))) for t in (tokens, tokens[:, order]))
    for expected, found in zip(before.hard_assignments[0], after.hard_assignments[0]):
        # Clusters have no order of their own.
        assert {tuple(row) for row in expected[:, order].tolist()} == {
            tuple(row) for row in found.tolist()
        }


@pytest.mark.parametrize('method', METHODS)
def test_a_crop_does_not_see_its_batch_nor_the_runs_seed(method):
    tokens = torch.randn(3, 40, 6)
    neck = PatchClustering(method, num_clusters=5)
    together = neck(output_of(tokens, (5, 8)))
    torch.manual_seed(123)
    for index, crop in enumerate(tokens):
        alone = neck(output_of(crop[None], (5, 8)))
        assert torch.equal(alone.hard_assignments[0][0], together.hard_assignments[0][index])
        torch.testing.assert_close(alone.segments[0], together.segments[index])


@pytest.mark.parametrize('method', METHODS)
def test_fewer_distinct_tokens_than_clusters(method):
    tokens = torch.eye(3)[[0, 1, 1, 2, 0, 1]][None]
    clustered = PatchClustering(method, num_clusters=8)(output_of(tokens, (2, 3)))
    owned = clustered.hard_assignments[0][0].sum(-1)
    assert sorted(owned.tolist()) == [0] * 5 + [1, 2, 3]
    # Those without a patch are copies of the first, and so change no maximum over segments.
    assert torch.equal(clustered.segments[0][owned == 0], clustered.segments[0][:1].expand(5, -1))


def test_a_constant_crop_is_one_segment():
    clustered = PatchClustering('kmeans')(output_of(torch.ones(1, 6, 4), (2, 3)))
    assert clustered.segment_shares()[0].tolist() == [1.0] + [0.0] * 7


def test_small_clusters_join_the_nearest_large_one():
    points = torch.tensor([[0.0], [0.1], [1.0], [1.1], [1.2], [0.4], [0.9]]).numpy()
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 3]).numpy()
    assert keep_largest(points, labels, 2).tolist() == [0, 0, 1, 1, 1, 0, 1]
    assert keep_largest(points, labels, 9).tolist() == labels.tolist()
    # The smallest is the last label: were it kept, the first two would be numbered otherwise.
    points = torch.tensor([[0.0], [0.1], [0.2], [10.0], [10.1], [4.0]]).numpy()
    labels = torch.tensor([0, 0, 0, 1, 1, 2]).numpy()
    assert keep_largest(points, labels, 2).tolist() == [0, 0, 0, 1, 1, 0]


@pytest.mark.parametrize(
    'patch_shape,image_shape', [((3, 5), (24, 40)), ((4, 3), (35, 29)), ((2, 2), (3, 2))]
)
def test_the_patch_of_a_pixel_is_where_its_resized_map_is_highest(patch_shape, image_shape):
    count = patch_shape[0] * patch_shape[1]
    maps = torch.eye(count).view(1, count, *patch_shape)
    slow = F.interpolate(maps, size=image_shape, mode='bilinear', align_corners=False)
    found = nearest_patches(patch_shape, image_shape, torch.zeros(2, count, 1))
    top, second = slow.topk(2, dim=1).values.unbind(1)
    apart = (top - second > 1e-6).expand(2, -1, -1)  # else the pixel lies between two patches
    assert apart.any()
    assert torch.equal(found[apart], slow.argmax(1).expand(2, -1, -1)[apart])


@torch.no_grad()
def test_without_clustering_every_patch_is_named_by_itself():
    segmentor = make_segmentor()
    (image,) = images((32, 40))
    (result,) = segmentor.predict(image[None])
    # By hand: cosines of each projected patch, the image's three best classes, softmax twice.
    head = segmentor.decode_head
    tokens = segmentor.backbone(image[None])[0][0].flatten(1).T  # (20, C)
    embeds = F.normalize(head.image_projector(torch.cat([tokens.mean(0)[None], tokens])), dim=-1)
    logits = head.logit_scale.exp() * embeds @ head.encode_classes().T
    hidden = torch.ones(len(NAMES), dtype=torch.bool)
    hidden[logits[0].topk(3).indices] = False
    let_through = logits[1:].masked_fill(hidden, float('-inf')).softmax(-1)
    labels = (let_through * logits[1:].softmax(-1)).argmax(-1).view(4, 5)
    expected = labels.repeat_interleave(8, 0).repeat_interleave(8, 1)
    assert torch.equal(result.pred_sem_seg.data[0], expected)
    assert len(labels.unique()) > 1


@torch.no_grad()
@pytest.mark.parametrize('method', [None, *METHODS])
def test_one_window_is_the_whole_image_and_batches_change_nothing(method):
    neck = method and dict(type='PatchClustering', method=method, num_clusters=4)
    pictures = list(images((48, 56), (40, 32)))
    whole, slide = make_segmentor(neck), make_segmentor(neck)
    slide.test_cfg = dict(mode='slide', crop_size=(64, 64), stride=(32, 32))
    for expected, found in zip(whole.predict(pictures), slide.predict(pictures)):
        assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)
        torch.testing.assert_close(found.seg_logits.data, expected.seg_logits.data)
    small = dict(mode='slide', crop_size=(32, 32), stride=(16, 16))
    batched, single = (make_segmentor(neck, **small, window_batch_size=n) for n in (5, 1))
    for expected, found in zip(single.predict(pictures), batched.predict(pictures)):
        torch.testing.assert_close(found.seg_logits.data, expected.seg_logits.data)


@torch.no_grad()
def test_the_group_map_shows_the_clusters():
    segmentor = make_segmentor(
        dict(type='PatchClustering', method='kmeans', num_clusters=3), with_group_map=True
    )
    (image,) = images((32, 32))
    sample = SegDataSample(metainfo=dict(ori_shape=(32, 32)))
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, 32, 32, dtype=torch.long))
    (result,) = segmentor.predict(image[None], [sample])
    (membership,) = segmentor.extract_feat(image[None]).hard_assignments
    centres = result.pred_group_map.data[0, 3::8, 3::8]
    assert torch.equal(centres, membership[0].argmax(0).view(4, 4))


@pytest.mark.parametrize('neck', [None, dict(type='PatchClustering', method='kmeans')])
def test_no_graph_of_one_size_is_exported(neck):
    with pytest.raises(ValueError, match='take a GroupViT without a neck'):
        FrozenSegmentor(make_segmentor(neck))


def test_a_tower_that_groups_is_refused():
    tokens, _ = blobs()
    neck = PatchClustering('kmeans', num_clusters=4)
    with pytest.raises(ValueError, match='without groups'):
        neck(neck(output_of(tokens, (7, 9)))._replace(tokens=None))


def test_wrong_options_are_one_sentence(monkeypatch):
    with pytest.raises(ValueError, match=r"one of \['kmeans', 'mean_shift', 'spectral'\]"):
        PatchClustering('argmax')
    with pytest.raises(ValueError, match='must be positive'):
        PatchClustering('kmeans', num_clusters=0)
    monkeypatch.setitem(sys.modules, 'sklearn', None)
    with pytest.raises(ImportError, match=r'groupvit-mmseg\[clustering\]'):
        PatchClustering('kmeans')


@pytest.mark.parametrize('method', ['kmeans', 'mean_shift'])
def test_colours_are_clustered_whatever_the_tokens(method):
    neck = PatchClustering(method, num_clusters=2, features='colours')
    pictures = torch.full((1, 3, 16, 24), -2.0)
    pictures[:, :, :, 12:] = 2.0  # the right half of 4 x 6 patches
    tokens = torch.randn(1, 24, 5)
    output = neck(output_of(tokens, (4, 6)), pictures)
    left = torch.tensor([1.0, 1, 1, 0, 0, 0]).repeat(4)
    (membership,) = output.hard_assignments
    assert {tuple(row.tolist()) for row in membership[0]} == {
        tuple(left.tolist()),
        tuple((1 - left).tolist()),
    }
    for row, segment in zip(membership[0], output.segments[0]):
        torch.testing.assert_close(segment, tokens[0][row.bool()].mean(0))


def test_positions_alone_divide_one_colour():
    points = colours_and_positions(torch.zeros(2, 3, 8, 8), (2, 2))
    assert points.shape == (2, 4, 5)
    assert points[0, :, 3:].tolist() == [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]


def test_a_segmentor_clusters_the_colours_of_its_images():
    neck = dict(type='PatchClustering', method='kmeans', num_clusters=3, features='colours')
    segmentor = make_segmentor(neck)
    (image,) = images((32, 40))
    (membership,) = segmentor.extract_feat(image[None]).hard_assignments
    alone = PatchClustering('kmeans', num_clusters=3, features='colours')
    expected = alone(output_of(torch.randn(1, 20, 4), (4, 5)), image[None])
    assert torch.equal(membership, expected.hard_assignments[0])


def test_colours_need_images_and_a_method():
    with pytest.raises(ValueError, match="features='colours' needs the images"):
        PatchClustering('kmeans', features='colours')(output_of(torch.randn(1, 4, 3), (2, 2)))
    for method, features in (('spectral', 'colours'), ('kmeans', 'shapes')):
        with pytest.raises(ValueError, match=f"not '{features}' with '{method}'"):
            PatchClustering(method, features=features)


def test_groups_that_are_means_of_patches_are_replaced():
    tokens, _ = blobs()
    wrong = F.one_hot(torch.arange(63) % 3).T[None].expand(2, -1, -1).float()
    output = output_of(tokens[:, :3], (7, 9))._replace(
        hard_assignments=(wrong,), soft_assignments=(wrong,), tokens=tokens
    )
    clustered = PatchClustering('kmeans', num_clusters=4)(output)
    expected = PatchClustering('kmeans', num_clusters=4)(output_of(tokens, (7, 9)))
    assert torch.equal(clustered.hard_assignments[0], expected.hard_assignments[0])
    torch.testing.assert_close(clustered.segments, expected.segments)
    assert torch.equal(clustered.tokens, tokens)  # projected before their mean
    twice = output._replace(hard_assignments=(wrong, wrong[:, :2, :3]))
    with pytest.raises(ValueError, match='leave the neck out'):
        PatchClustering('kmeans')(twice)
