"""Backbones of MMPretrain and MMSegmentation in the place of a GroupViT."""

import math

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from groupvit_mmseg.models.image_tower import ImageTower

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
VIT = dict(
    type='mmpretrain.VisionTransformer', arch=ARCH, img_size=32, patch_size=8, out_type='featmap'
)
MMSEG_VIT = dict(
    type='mmseg.VisionTransformer',
    img_size=(32, 32),
    patch_size=8,
    embed_dims=16,
    num_layers=2,
    num_heads=2,
    final_norm=True,
)
RESNET = dict(type='mmseg.ResNet', depth=18, base_channels=4, out_indices=(3,))


def tower(backbone, embed_dims=16, patch_size=8, **kwargs):
    config = dict(type='ImageTower', backbone=backbone, embed_dims=embed_dims)
    return config | dict(patch_size=patch_size) | kwargs


TOWERS = {
    'ViT': tower(VIT),
    'ViT without class token': tower(VIT | dict(with_cls_token=False)),
    'ViT, class token': tower(VIT | dict(out_type='raw'), pooling='class_token'),
    'ViT, tokens without class token': tower(VIT | dict(out_type='raw', with_cls_token=False)),
    'CLIP': tower(VIT | dict(pre_norm=True, out_type='raw'), pooling='class_token'),
    'DeiT': tower(
        VIT | dict(type='mmpretrain.DistilledVisionTransformer', out_type='raw'),
        pooling='class_token',
    ),
    'BEiT': tower(VIT | dict(type='mmpretrain.BEiTViT', use_rel_pos_bias=False)),
    "MMSegmentation's ViT": tower(MMSEG_VIT),
    "MMSegmentation's ViT, class token": tower(
        MMSEG_VIT | dict(output_cls_token=True), pooling='class_token'
    ),
    'Swin': tower(
        dict(
            type='mmpretrain.SwinTransformer',
            arch=dict(embed_dims=4, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]),
            img_size=32,
            window_size=2,
            pad_small_map=True,
        ),
        embed_dims=32,
        patch_size=32,
    ),
    'ConvNeXt': tower(
        dict(
            type='mmpretrain.ConvNeXt',
            arch=dict(depths=[1, 1, 1, 1], channels=[4, 8, 8, 16]),
            gap_before_final_norm=False,
        ),
        patch_size=32,
    ),
    "MMSegmentation's ResNet": tower(RESNET, embed_dims=32, patch_size=32),
    "MMPretrain's ResNet": tower(
        dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=4),
        embed_dims=32,
        patch_size=32,
    ),
}


@pytest.fixture(params=TOWERS.values(), ids=TOWERS)
def config(request):
    return request.param


def build(backbone, *, level='patches', **kwargs):
    torch.manual_seed(0)
    projector = dict(type='GroupViTProjector', hidden_channels=16, out_channels=8)
    text_encoder = dict(
        type='GroupViTTextEncoder', context_length=8, embed_dims=16, num_layers=1, vocab_size=50
    )
    return MODELS.build(
        dict(
            type='GroupViTPretrainer',
            backbone=backbone,
            text_encoder=text_encoder,
            image_projector=dict(projector, in_channels=backbone['embed_dims']),
            text_projector=dict(projector, in_channels=16),
            loss_contrastive=dict(type='ImageTextContrastiveLoss'),
            loss_multi_label=level and dict(type='MultiLabelContrastiveLoss', level=level),
            **kwargs,
        )
    )


def build_segmentor(backbone):
    projector = dict(type='GroupViTProjector', hidden_channels=16, out_channels=8)
    return MODELS.build(
        dict(
            type='GroupViTSegmentor',
            backbone=backbone,
            decode_head=dict(
                type='GroupViTZeroShotHead',
                text_encoder=dict(
                    type='GroupViTTextEncoder',
                    context_length=8,
                    embed_dims=16,
                    num_layers=1,
                ),
                image_projector=dict(projector, in_channels=backbone['embed_dims']),
                text_projector=dict(projector, in_channels=16),
                class_names=['cat', 'dog', 'cow'],
            ),
            test_cfg=dict(mode='whole'),
        )
    ).eval()


def batch(size=(64, 64)):
    generator = torch.Generator().manual_seed(0)
    token_ids = torch.randint(1, 49, (4, 3, 8), generator=generator)
    token_ids[..., 5], token_ids[..., 6:] = 49, 0
    return torch.randn(4, 3, *size, generator=generator), token_ids


@torch.no_grad()
@pytest.mark.parametrize('size', [(96, 64), (70, 101)])
def test_tokens_are_the_pixels_of_the_feature_map(config, size):
    model = MODELS.build(config).eval()
    images = torch.randn(2, 3, *size)
    output = model.encode(images)
    (feature_map,) = model(images)
    assert output.image_shape == size
    # Backbones pad what is left of a patch, ConvNeXt drops it.
    whole = math.floor if model.name == 'mmpretrain.ConvNeXt' else math.ceil
    assert output.patch_shape == tuple(whole(side / model.patch_size) for side in size)
    assert output.segments.shape == (2, math.prod(output.patch_shape), model.embed_dims)
    for row in range(output.patch_shape[0]):
        for column in range(output.patch_shape[1]):
            token = output.segments[:, row * output.patch_shape[1] + column]
            assert torch.equal(token, feature_map[:, :, row, column])
    if model.pooling == 'mean':
        torch.testing.assert_close(output.pooled, feature_map.mean(dim=(2, 3)))
    assert torch.equal(output.feature_map(), feature_map)
    shares = output.segment_shares()
    torch.testing.assert_close(shares, torch.full_like(shares, 1 / shares.shape[1]))
    # What the backbone says by itself.
    (own,) = model.network(images)
    if isinstance(own, torch.Tensor) and own.dim() == 4:
        assert torch.equal(own, feature_map)
    elif isinstance(own, torch.Tensor):
        num_extra = own.shape[1] - output.segments.shape[1]
        assert torch.equal(own[:, num_extra:], output.segments)
        assert model.pooling == 'mean' or torch.equal(own[:, 0], output.pooled)
    else:
        assert torch.equal(own[0], feature_map)
        assert torch.equal(own[1], output.pooled)


@pytest.mark.parametrize('level', ['pooled', 'patches'])
def test_a_step_reaches_every_parameter(config, level):
    model = build(config, level=level)
    model.init_weights()
    total, _ = model.parse_losses(model(*batch(), mode='loss'))
    total.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_a_tower_is_an_mmsegmentation_backbone(config):
    model = MODELS.build(
        dict(
            type='EncoderDecoder',
            backbone=config,
            decode_head=dict(
                type='FCNHead',
                in_channels=config['embed_dims'],
                in_index=0,
                channels=8,
                num_classes=3,
                loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
            ),
            test_cfg=dict(mode='whole'),
        )
    )
    sample = SegDataSample(metainfo=dict(ori_shape=(64, 72), img_shape=(64, 72)))
    sample.gt_sem_seg = PixelData(data=torch.randint(0, 3, (1, 64, 72)))
    losses = model.loss(torch.randn(2, 3, 64, 72), [sample, sample])
    losses['decode.loss_ce'].backward()
    assert next(model.backbone.parameters()).grad.abs().max() > 0


def test_a_batch_is_learned_by_heart():
    model, (images, token_ids) = build(TOWERS['ViT']), batch((32, 32))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for _ in range(60):
        loss, _ = model.parse_losses(model(images, token_ids, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert sum(history[-5:]) / 5 < 0.5 * history[0]


@pytest.mark.parametrize('name', ['ViT, class token', "MMSegmentation's ResNet"])
def test_micro_batches_give_the_gradients_of_the_whole_batch(name):
    config = dict(TOWERS[name])
    if 'ResNet' in name:
        config['backbone'] = dict(config['backbone'], norm_eval=True)
    gradients = []
    for size in (None, 3):
        model = build(config, micro_batch_size=size).double().train()
        images, token_ids = batch()
        losses = model(images.double(), token_ids, mode='loss')
        model.parse_losses(losses)[0].backward()
        gradients.append([p.grad for p in model.parameters()])
    for whole, parts in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-6)


def test_micro_batches_refuse_batch_norm_in_the_tower():
    model = build(TOWERS["MMSegmentation's ResNet"], micro_batch_size=2)
    with pytest.raises(ValueError, match='norm_eval=True'):
        model(*batch(), mode='loss')
    model.eval()
    model(*batch(), mode='loss')  # its statistics are fixed


def test_bf16_is_near_float32(config):
    model = MODELS.build(config).eval()
    model.init_weights()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        exact = model.encode(images)
        with torch.autocast('cpu', torch.bfloat16):
            found = model.encode(images)
    for name in ('segments', 'pooled'):
        expected, value = getattr(exact, name), getattr(found, name).float()
        cosine = torch.nn.functional.cosine_similarity(expected, value, dim=-1)
        assert cosine.min() > 0.99
    model = build(config).train()
    with torch.autocast('cpu', torch.bfloat16):
        total, _ = model.parse_losses(model(*batch(), mode='loss'))
    total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_segmentor_loads_a_pretrainers_weights(config):
    pretrainer = build(config, level='pooled')
    segmentor = build_segmentor(config)
    weights = pretrainer.state_dict()
    # The pretrainer of these tests knows 50 words, the head needs the tokeniser's.
    words = segmentor.decode_head.text_encoder.token_embedding.weight
    weights['text_encoder.token_embedding.weight'] = words
    segmentor.load_state_dict(weights)
    images = torch.randn(2, 3, 64, 72)
    with torch.no_grad():
        expected = pretrainer.eval().backbone.encode(images).segments
        assert torch.equal(segmentor.backbone.encode(images).segments, expected)
        results = segmentor.predict(images)
    assert [tuple(r.pred_sem_seg.data.shape) for r in results] == [(1, 64, 72)] * 2


def test_a_tower_starts_from_a_pretrainers_checkpoint_and_from_its_own(tmp_path):
    config = TOWERS['ViT']
    pretrainer = build(config)
    expected = pretrainer.backbone.state_dict()
    torch.save(dict(state_dict=pretrainer.state_dict()), tmp_path / 'pretrainer.pth')
    torch.save(dict(state_dict=expected), tmp_path / 'tower.pth')
    for name in ('pretrainer', 'tower'):
        torch.manual_seed(7)
        init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / f'{name}.pth'))
        model = MODELS.build(dict(config, init_cfg=init_cfg))
        model.init_weights()
        for key, value in model.state_dict().items():
            assert torch.equal(value, expected[key]), (name, key)


def test_a_backbone_starts_from_its_own_checkpoint(tmp_path):
    classifier = torch.nn.ModuleDict(dict(backbone=MODELS.build(VIT), head=torch.nn.Linear(16, 3)))
    torch.save(dict(state_dict=classifier.state_dict()), tmp_path / 'classifier.pth')
    init_cfg = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'classifier.pth'), prefix='backbone'
    )
    # Another size: MMPretrain brings the position embedding to it.
    model = build(tower(VIT | dict(init_cfg=init_cfg, img_size=48)))
    model.init_weights()
    network, expected = model.backbone.network.state_dict(), classifier['backbone'].state_dict()
    assert set(network) == set(expected)
    assert network['pos_embed'].shape == (1, 37, 16)
    for key in set(expected) - {'pos_embed'}:
        assert torch.equal(network[key], expected[key]), key


def test_a_tower_trains_in_a_runner(make_runner):
    backbone = tower(VIT | dict(img_size=16, patch_size=4), patch_size=4)
    changes = dict(
        model=dict(backbone=dict(backbone, _delete_=True)),
        val_cfg=dict(segmentor=dict(backbone=dict(backbone, _delete_=True))),
        train_cfg=dict(max_epochs=1),
    )
    runner = make_runner('tower', **changes)
    before = runner.model.backbone.network.patch_embed.projection.weight.clone()
    runner.train()
    assert isinstance(runner.model.backbone, ImageTower)
    assert not torch.equal(before, runner.model.backbone.network.patch_embed.projection.weight)
    assert 0 <= runner.message_hub.get_scalar('val/mIoU').current() <= 100


@pytest.mark.parametrize(
    'config,message',
    [
        (tower(RESNET | dict(out_indices=(0, 1, 2, 3)), 32, 32), 'gives 4: name the last stage'),
        (tower(VIT | dict(out_type='cls_token')), r"gives \(2, 16\): set its out_type='featmap'"),
        (tower(VIT | dict(out_type='avg_featmap')), "out_type='featmap'"),
        (tower(VIT, embed_dims=24), 'embed_dims = 24, but .* gives 16 channels'),
        (tower(VIT, patch_size=16), 'patch_size = 16, but .* set patch_size to about 8'),
        (
            tower(VIT | dict(out_type='raw'), patch_size=16),
            r'64 tokens of \(64, 64\) px, not 4 x 4',
        ),
        (tower(VIT, pooling='class_token'), "pooling='class_token' needs one"),
        (tower(VIT, patch_size=128), 'at least one patch of 128 px'),
    ],
)
def test_a_backbone_that_does_not_fit_is_one_sentence(config, message):
    model = MODELS.build(config)
    with pytest.raises(ValueError, match=message) as caught:
        model.encode(torch.randn(2, 3, 64, 64))
    assert config['backbone']['type'] in str(caught.value)
    assert str(caught.value).count('\n') == 0


def test_an_unknown_pooling_is_one_sentence():
    with pytest.raises(ValueError, match="'mean' or 'class_token'"):
        MODELS.build(tower(VIT, pooling='max'))
