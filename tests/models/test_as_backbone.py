"""GroupViT as the backbone of an ordinary MMSegmentation model, and of an MMPretrain one."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import groupvit_mmseg  # noqa: F401

TINY = dict(
    img_size=32,
    patch_size=8,
    embed_dims=24,
    depths=(1, 1),
    num_heads=(2, 2),
    num_group_tokens=(6, 0),
    num_output_groups=(5,),
)


def segmentor(**test_cfg):
    """The README's config at a tiny size: a plain EncoderDecoder and FCNHead."""
    head = dict(type='FCNHead', in_channels=24, in_index=0, channels=16, num_classes=3)
    return MODELS.build(
        dict(
            type='EncoderDecoder',
            data_preprocessor=dict(type='SegDataPreProcessor', size_divisor=16, seg_pad_val=255),
            backbone=dict(type='GroupViT', **TINY),
            decode_head=head,
            test_cfg=ConfigDict(test_cfg or dict(mode='whole')),
        )
    )


def sample(height, width):
    metainfo = dict(ori_shape=(height, width), img_shape=(height, width))
    mask = PixelData(data=torch.randint(0, 3, (1, height, width)))
    return SegDataSample(metainfo=metainfo, gt_sem_seg=mask)


def batch(*sizes):
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]
    return dict(inputs=images, data_samples=[sample(*size) for size in sizes])


@pytest.mark.parametrize(
    'sizes',
    [[(32, 32)] * 2, [(41, 33), (33, 41)], [(17, 90), (50, 8)], [(8, 8)]],
    ids=['square', 'odd, padded', 'rectangular, padded', 'one patch'],
)
def test_gradients_pass_the_assignments_whatever_the_sizes(sizes):
    model = segmentor()
    data = model.data_preprocessor(batch(*sizes), training=True)
    model.loss(**data)['decode.loss_ce'].backward()
    assert model.backbone.patch_embed.proj.weight.grad.abs().max() > 0
    assert model.backbone.stages[0].grouping.assign.q_proj.weight.grad.abs().max() > 0


@pytest.mark.parametrize('size', [(32, 32), (45, 61), (90, 17)])
@pytest.mark.parametrize(
    'test_cfg', [dict(mode='whole'), dict(mode='slide', crop_size=(32, 24), stride=(16, 16))]
)
def test_labels_have_the_size_of_the_picture(size, test_cfg):
    (result,) = segmentor(**test_cfg).eval().test_step(batch(size))
    assert result.pred_sem_seg.data.shape == (1, *size)
    assert result.pred_sem_seg.data.max() < 3


def test_from_an_mmpretrain_config():
    from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS

    classifier = dict(
        type='ImageClassifier',
        backbone=dict(type='mmseg.GroupViT', **TINY),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=4, in_channels=24),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MMPRETRAIN_MODELS.build(classifier)
    (features,) = model.extract_feat(torch.randn(2, 3, 32, 32))
    assert features.shape == (2, 24)
    assert model.head((features,)).shape == (2, 4)
