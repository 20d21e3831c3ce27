"""GroupViT in MMSegmentation's own config files, taken as they are: two lines are changed."""

import re
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

ROOT = Path(__file__).resolve().parents[2]
STOCK = Path(mmseg.__path__[0], '.mim', 'configs')

# A config as a user would write it. What stock configs call pretrained is for other backbones.
CHILD = """_base_ = '{stock}'
custom_imports = dict(imports=['groupvit_mmseg'], allow_failed_imports=False)
model = dict(pretrained=None, backbone=dict(_delete_=True, type='GroupViT', {backbone}){neck})
"""
SHALLOW = 'img_size=64, depths=(1, 1, 1), num_group_tokens=(8, 4, 0), num_output_groups=(8, 4)'
FOUR = "out_indices=(0, 0, 1, 2), out_type=('raw', 'featmap', 'featmap', 'featmap')"
THREE = "out_indices=(0, 1, 2), out_type=('raw', 'featmap', 'featmap')"
ONE = 'out_indices=(2,)'


def pyramid(*widths, **options):
    """A neck of the widths and strides that a head was made for: a ResNet-50's without any."""
    if widths:
        options['out_channels'] = widths
    text = ''.join(f', {key}={value}' for key, value in options.items())
    return f"dict(type='SimpleFeaturePyramid', in_channels=384{text})"


def neck(text):
    return f', neck={text}'


RESNET = neck(pyramid(merge=True))
SETR = neck(pyramid(1024, 1024, 1024, 1024, scales=(1, 1, 1, 1)))
# Where the stock config has a neck: it goes on behind the pyramid, is replaced, or is adapted.
BEFORE_NECK = neck(f'[{pyramid()}, _base_.model.neck]')
JPU = neck(f'[{pyramid(512, 1024, 2048, scales=(2, 1, 0.5))}, _base_.model.neck]')
VIT = neck(pyramid(768, 768, 768, 768).replace('type', '_delete_=True, type'))
MLA = neck('dict(in_channels=[384] * 4)')

# One or more of each family: file, levels of the backbone, neck. The whole is seconds each.
TRIED = [
    ('ann/ann_r50-d8_4xb4-20k_voc12aug-512x512', FOUR, RESNET),
    ('apcnet/apcnet_r50-d8_4xb4-80k_ade20k-512x512', FOUR, RESNET),
    ('beit/beit-base_upernet_8xb2-160k_ade20k-640x640', FOUR, VIT),
    ('danet/danet_r50-d8_4xb4-20k_voc12aug-512x512', FOUR, RESNET),
    ('deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512', FOUR, RESNET),
    ('deeplabv3plus/deeplabv3plus_r50-d8_4xb4-20k_voc12aug-512x512', FOUR, RESNET),
    ('dmnet/dmnet_r50-d8_4xb4-80k_ade20k-512x512', FOUR, RESNET),
    ('dnlnet/dnl_r50-d8_4xb4-80k_ade20k-512x512', FOUR, RESNET),
    ('emanet/emanet_r50-d8_4xb2-80k_cityscapes-512x1024', FOUR, RESNET),
    ('encnet/encnet_r50-d8_4xb4-20k_voc12aug-512x512', FOUR, RESNET),
    ('fastfcn/fastfcn_r50-d32_jpu_psp_4xb4-80k_ade20k-512x512', THREE, JPU),
    ('fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512', FOUR, RESNET),
    ('gcnet/gcnet_r50-d8_4xb4-20k_voc12aug-512x512', FOUR, RESNET),
    ('hrnet/fcn_hr18_4xb4-20k_voc12aug-512x512', FOUR, neck(pyramid(18, 36, 72, 144))),
    ('isanet/isanet_r50-d8_4xb4-20k_voc12aug-512x512', FOUR, RESNET),
    ('knet/knet-s3_r50-d8_upernet_8xb2-adamw-80k_ade20k-512x512', FOUR, RESNET),
    (
        'mobilenet_v2/mobilenet-v2-d8_fcn_4xb4-160k_ade20k-512x512',
        FOUR,
        neck(pyramid(24, 32, 96, 320)),
    ),
    ('nonlocal_net/nonlocal_r50-d8_4xb4-20k_voc12aug-512x512', FOUR, RESNET),
    (
        'ocrnet/ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024',
        FOUR,
        neck(pyramid(scales=(4, 2, 2, 2))),
    ),
    ('pspnet/pspnet_r50-d8_4xb4-20k_voc12aug-512x512', FOUR, RESNET),
    ('resnest/resnest_s101-d8_fcn_4xb4-160k_ade20k-512x512', FOUR, RESNET),
    ('segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512', FOUR, neck(pyramid(32, 64, 160, 256))),
    ('segmenter/segmenter_vit-s_mask_8xb1-160k_ade20k-512x512', ONE, ''),
    (
        'segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512',
        FOUR,
        neck(pyramid(32, 64, 160, 256)),
    ),
    ('sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512', FOUR, BEFORE_NECK),
    ('setr/setr_vit-l_mla_8xb2-160k_ade20k-512x512', FOUR, MLA),
    ('setr/setr_vit-l_naive_8xb2-160k_ade20k-512x512', FOUR, SETR),
    ('setr/setr_vit-l_pup_8xb2-160k_ade20k-512x512', FOUR, SETR),
    (
        'swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512',
        FOUR,
        neck(pyramid(96, 192, 384, 768)),
    ),
    (
        'twins/twins_svt-s_uperhead_8xb2-160k_ade20k-512x512',
        FOUR,
        neck(pyramid(64, 128, 256, 512)),
    ),
    ('upernet/upernet_r50_4xb4-20k_voc12aug-512x512', FOUR, RESNET),
    ('vit/vit_vit-b16_mln_upernet_8xb2-80k_ade20k-512x512', FOUR, VIT),
]
# A third line, where the stock optimiser asks for layers by the name of another backbone.
THIRD = {
    'beit': (
        "optim_wrapper = dict(constructor='GroupViTOptimConstructor', "
        'paramwise_cfg=dict(_delete_=True, flat_decay_mult=0.0, layer_decay=0.9))\n'
    )
}
QUICK = {
    'emanet',
    'encnet',
    'gcnet',
    'hrnet',
    'isanet',
    'mobilenet_v2',
    'ocrnet',
    'segformer',
    'segmenter',
    'segnext',
    'sem_fpn',
    'setr',
}
EXCLUDED = {
    'bisenetv1': 'backbone and head are one network',
    'bisenetv2': 'backbone and head are one network',
    'ccnet': 'compiled op: criss-cross attention',
    'cgnet': 'backbone and head are one network',
    'convnext': 'stock optimiser in mixed precision needs a GPU; the head is UPerNet',
    'ddrnet': 'backbone and head are one network',
    'dpt': 'the head reads class tokens, which GroupViT has none of',
    'dsdl': 'shows a data format on other configs',
    'erfnet': 'backbone and head are one network',
    'fastscnn': 'backbone and head are one network',
    'icnet': 'backbone and head are one network',
    'mae': 'stock optimiser in mixed precision needs a GPU; the head is UPerNet',
    'mask2former': 'needs mmdetection',
    'maskformer': 'needs mmdetection',
    'mobilenet_v3': 'not tried: the head averages 49 x 49 cells, of images above 800 px',
    'pidnet': 'backbone and head are one network',
    'point_rend': 'compiled op: point sampling',
    'poolformer': 'stock optimiser in mixed precision needs a GPU; the head is sem_fpn',
    'psanet': 'compiled op: PSA mask',
    'san': 'segments with CLIP itself',
    'stdc': 'backbone and head are one network',
    'unet': 'backbone and head are one network',
    'vpd': 'segments with a diffusion model',
}


def family(stock):
    return stock.split('/')[0]


PARAMS = [
    pytest.param(*case, marks=[] if family(case[0]) in QUICK else pytest.mark.slow, id=case[0])
    for case in TRIED
]


def test_each_family_is_tried_or_excluded_for_a_reason():
    folders = {path.name for path in STOCK.iterdir() if list(path.glob('*.py'))}
    tried = {family(stock) for stock, *_ in TRIED}
    assert len(tried) >= 25
    assert folders - tried - {'_base_'} == set(EXCLUDED)
    assert tried >= QUICK


class CpuRunner(Runner):
    """mmengine's own; like every user without a GPU, without SyncBN."""

    def build_model(self, model):
        return revert_sync_batchnorm(super().build_model(model))


@pytest.mark.filterwarnings('ignore::UserWarning')
@pytest.mark.parametrize('stock,levels,neck', PARAMS)
def test_two_lines_in_a_stock_config(stock, levels, neck, tmp_path, shrunk, two_steps):
    path = tmp_path / 'child.py'
    text = CHILD.format(stock=STOCK / f'{stock}.py', backbone=f'{levels}, {SHALLOW}', neck=neck)
    path.write_text(text + THIRD.get(family(stock), ''))
    losses, score, model, moved, waiting = two_steps(shrunk(Config.fromfile(path)), CpuRunner)
    assert type(model.backbone).__name__ == 'GroupViT'
    assert losses.shape == (2,)
    assert np.isfinite(losses).all()
    assert 0 <= score <= 100
    assert 'backbone.patch_embed.proj.weight' in moved
    # Levels that no head reads; on several processes: find_unused_parameters = True.
    assert all(name.startswith('neck.') for name in waiting)


@pytest.mark.parametrize('page', ['docs/backbone.md'])
def test_the_documented_example_learns_everywhere(page, tmp_path):
    """As written, but shallow and without weights: every parameter that learns has a gradient."""
    text = (ROOT / page).read_text(encoding='utf-8')
    (code,) = re.findall(r"```python\n(_base_ = \['pspnet.*?)```", text, re.DOTALL)
    code = re.sub(r'init_cfg=dict\(.*?\),', '', code)
    code = code.replace("['pspnet", f"['{STOCK}/pspnet/pspnet")
    (tmp_path / 'child.py').write_text(code.replace("'GroupViT',", f"'GroupViT', {SHALLOW},"))
    cfg = Config.fromfile(tmp_path / 'child.py')
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).train()
    mask = PixelData(data=torch.randint(0, 19, (1, 64, 128)))
    sample = SegDataSample(metainfo=dict(img_shape=(64, 128)), gt_sem_seg=mask)
    losses = model.loss(torch.randn(2, 3, 64, 128), [sample, sample])
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert type(model.backbone).__name__ == 'GroupViT'
    learns = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert not [name for name, parameter in learns.items() if parameter.grad is None]
