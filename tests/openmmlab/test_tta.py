"""Test-time augmentation: the mean over sizes and flips, in our tool and in MMSegmentation's."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmseg.registry import MODELS
from PIL import Image

from groupvit_mmseg.checkpoints.loading import load_weights, read_checkpoint
from groupvit_mmseg.inference import segmentation_config
from groupvit_mmseg.openmmlab_entries import describe_tta, tta_pipeline

# What MMSegmentation's SegTTAModel leaves to mmengine.
pytestmark = pytest.mark.filterwarnings('ignore:The shape of value:UserWarning')
SCALES = [[128, 32], [192, 48]]


@pytest.fixture
def segmentor(zero_shot, pretrained):
    model = MODELS.build(Config.fromfile(zero_shot).model)
    load_weights(model, read_checkpoint(pretrained)['state_dict'], source='test')
    return model.eval()


def batch_of(steps, voc, names):
    """A batch of images and masks of a loader."""
    run = Compose(steps)
    folder = {'img_path': ('JPEGImages', 'jpg'), 'seg_map_path': ('SegmentationClass', 'png')}
    return pseudo_collate(
        [
            run(
                {k: str(voc / place / f'{name}.{end}') for k, (place, end) in folder.items()}
                | dict(seg_fields=[], reduce_zero_label=False)
            )
            for name in names
        ]
    )


def passes_by_hand(segmentor, image):
    """Scores of each size and flip at the size of the image, without any pipeline."""
    for long, short in SCALES:
        ratio = min(long / max(image.size), short / min(image.size))
        size = [int(side * ratio + 0.5) for side in image.size]
        small = np.asarray(image)[..., ::-1]  # BGR, as OpenMMLab loads
        small = cv2.resize(small, tuple(size))
        for flipped in (False, True):
            pixels = small[:, ::-1] if flipped else small
            pixels = torch.from_numpy(pixels[..., ::-1].transpose(2, 0, 1).copy()).float()
            prepared = segmentor.data_preprocessor
            (scores,) = segmentor.slide_inference(
                ((pixels - prepared.mean) / prepared.std)[None], None
            )
            scores = scores.flip(-1) if flipped else scores
            yield torch.nn.functional.interpolate(
                scores[None], size=image.size[::-1], mode='bilinear', align_corners=False
            )[0]


@torch.no_grad()
def test_labels_are_those_of_the_mean_by_hand(segmentor, zero_shot, voc):
    cfg = Config.fromfile(zero_shot)
    model = MODELS.build(dict(cfg.tta_model, module=segmentor))
    names = ['p0', 'p2', 'p1']  # of two sizes, in one batch
    segmentor.set_classes(['cat', 'dog', 'sky', 'grass', 'car'])  # no background: scores differ
    segmentor.eval()
    batch = batch_of(cfg.tta_pipeline, voc, names)
    for sample in (sample for samples in batch['data_samples'] for sample in samples):
        sample.gt_sem_seg.data.clamp_(max=4)
    results = model.test_step(batch)
    for name, result in zip(names, results, strict=True):
        image = Image.open(voc / f'JPEGImages/{name}.jpg')
        passes = list(passes_by_hand(segmentor, image))
        assert len(passes) == 4
        mean = torch.stack([scores.softmax(dim=0) for scores in passes]).mean(dim=0)
        first, second = mean.topk(2, dim=0).values
        clear = first - second > 1e-4
        assert clear.float().mean() > 0.5
        assert (result.pred_sem_seg.data[0] == mean.argmax(dim=0))[clear].all()
        mask = torch.from_numpy(np.array(Image.open(voc / f'SegmentationClass/{name}.png')))
        assert (result.gt_sem_seg.data[0] == mask.clamp(max=4)).all()


@torch.no_grad()
def test_a_flip_is_undone(segmentor, voc):
    """The result for a flipped image is flipped back."""
    load, resize, pack = (
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(128, 32), keep_ratio=True),
        dict(type='PackSegInputs'),
    )
    flip = dict(type='RandomFlip', prob=1.0, direction='horizontal')
    batch = batch_of([load, resize, flip, pack], voc, ['p2'])
    pixels = segmentor.data_preprocessor(batch, False)['inputs']
    (scores,) = segmentor.slide_inference(pixels, None)
    (result,) = segmentor.test_step(batch)
    size = result.ori_shape
    expected = torch.nn.functional.interpolate(
        scores.flip(-1)[None], size=size, mode='bilinear', align_corners=False
    )[0]
    torch.testing.assert_close(result.seg_logits.data, expected)
    assert not torch.allclose(result.seg_logits.data, expected.flip(-1))


def test_our_tool_has_the_numbers_of_mmsegs(
    zero_shot, pretrained, mmseg_tool, plugin_tool, tmp_path
):
    out = tmp_path / 'result.json'
    options = ('--work-dir', tmp_path / 'ours', '--tta', '--out', out)
    assert plugin_tool('tools/test.py', zero_shot, pretrained, *options) == 0
    report = json.loads(out.read_text())
    assert report['protocol']['tta'] == dict(scales=SCALES, flips=['none', 'horizontal'])
    assert report['protocol']['inference'] == dict(
        mode='slide', crop_size=[32, 32], stride=[16, 16]
    )
    assert len(report['class_iou']['IoU']) == 21
    options = ('--cfg-options', f'experiment_name={tmp_path.name}')
    mmseg_tool('test.py', zero_shot, pretrained, '--tta', '--work-dir', tmp_path / 'mm', *options)
    (log,) = (tmp_path / 'mm').glob('*/*.json')
    theirs = json.loads(log.read_text())
    for name in ('aAcc', 'mIoU', 'mAcc'):
        assert report['metrics'][name] == theirs[name]


def test_groups_of_several_passes_are_refused(zero_shot, pretrained, plugin_tool, capsys):
    options = ('--tta', '--metrics', 'probing', 'oracle')
    assert plugin_tool('tools/test.py', zero_shot, pretrained, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: --metrics oracle probing look at the segments of one pass')
    assert error.count('\n') == 1


def test_a_set_without_a_pipeline_is_refused(zero_shot, pretrained, plugin_tool, capsys):
    """A concatenated set in a config without ``tta_pipeline``."""
    text = zero_shot.read_text().replace('tta_pipeline', '_unused')
    text = text.replace('_unused = _base_._unused', '_unused = _base_.tta_pipeline')
    delete = "dataset=dict(_delete_=True, type='ConcatDataset', datasets=[])"
    zero_shot.write_text(f'{text}\ntest_dataloader = dict({delete})\ntta_pipeline = None\n')
    assert plugin_tool('tools/test.py', zero_shot, pretrained, '--tta') == 2
    error = capsys.readouterr().err
    assert error.startswith('error: --tta finds no tta_pipeline')
    assert error.count('\n') == 1


def test_a_config_without_the_entries_gets_them(zero_shot):
    cfg = Config.fromfile(zero_shot)
    for entry in ('test_pipeline', 'tta_pipeline', 'tta_model', 'visualizer', 'data_preprocessor'):
        cfg.pop(entry)
    cfg.default_hooks.pop('visualization')
    full = segmentation_config(cfg)
    assert full.test_pipeline == cfg.test_dataloader.dataset.pipeline
    assert full.tta_pipeline == tta_pipeline(full.test_pipeline)
    assert full.tta_model == dict(type='SegTTAModel')
    assert full.visualizer.type == 'SegLocalVisualizer'
    assert full.default_hooks.visualization == dict(type='SegVisualizationHook')
    assert full.data_preprocessor == cfg.model.data_preprocessor


@pytest.mark.parametrize(
    'resize, scales',
    [
        (dict(type='Resize', scale=(2048, 448), keep_ratio=True), [(1024, 224), (3072, 672)]),
        (dict(type='Resize', scale=100), [(50, 50), (150, 150)]),
        (dict(type='Resize', scale_factor=2.0), [1.0, 3.0]),
        (None, [0.5, 1.5]),
    ],
)
@pytest.mark.parametrize('scope', ['', 'mmseg.'])
def test_sizes_are_relative_to_the_pipelines(resize, scales, scope):
    load, masks, pack = (
        dict(type=f'{scope}{name}')
        for name in ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')
    )
    resize = resize and {**resize, 'type': f'{scope}Resize'}
    steps = [load, masks, *([resize] if resize else []), pack]
    augmented = tta_pipeline(steps, (0.5, 1.5))
    assert describe_tta(augmented) == dict(scales=scales, flips=['none', 'horizontal'])
    # Masks are read last, so that none is resized or flipped.
    assert augmented[1]['transforms'][2:] == [[masks], [pack]]
    assert augmented[0] == load
    assert describe_tta(steps) is None
