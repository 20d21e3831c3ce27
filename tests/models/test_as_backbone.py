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


@pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
def test_the_readme_example_trains_and_predicts():
    # The README's config at a tiny size: a plain EncoderDecoder and FCNHead.
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=dict(type='GroupViT', **TINY),
            decode_head=dict(
                type='FCNHead', in_channels=24, in_index=0, channels=16, num_classes=3
            ),
            test_cfg=ConfigDict(mode='whole'),
        )
    )
    sample = SegDataSample(metainfo=dict(ori_shape=(40, 33), img_shape=(40, 33)))
    sample.gt_sem_seg = PixelData(data=torch.randint(0, 3, (1, 40, 33)))
    losses = model.loss(torch.randn(2, 3, 40, 33), [sample, sample])
    losses['decode.loss_ce'].backward()
    assert model.backbone.patch_embed.proj.weight.grad.abs().max() > 0
    assert model.backbone.stages[0].grouping.assign.q_proj.weight.grad.abs().max() > 0
    (result,) = model.eval().predict(torch.randn(1, 3, 40, 33), [sample])
    assert result.pred_sem_seg.data.shape == (1, 40, 33)


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
