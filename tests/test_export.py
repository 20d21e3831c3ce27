"""Exports: the graph gives PyTorch's maps at every size, on generated and on real pictures."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from PIL import Image

from groupvit_mmseg.atomic_files import save_checkpoint
from groupvit_mmseg.export import (
    CARRIED,
    EXPORTS_FROM,
    FrozenSegmentor,
    difference,
    export_program,
    margins,
    onnx_maps,
)
from groupvit_mmseg.models import checked_segmentor as segmentor_module
from groupvit_mmseg.models.inference_options import InferenceOptions
from groupvit_mmseg.torch_versions import VERSION

from loading import load_file

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'tests/data/configs/tiny_zeroshot.py'
PHOTOGRAPHS = sorted((ROOT.parent / 'shared/data/VOCdevkit/VOC2012/JPEGImages').glob('*.jpg'))
CLASSES = 'a cat, a dog, grass, sky, a train'

if VERSION < EXPORTS_FROM:
    pytest.skip('an export needs a newer torch', allow_module_level=True)
onnxruntime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
onnx = pytest.importorskip('onnx', reason='onnx is not installed')
pytest.importorskip('onnxscript', reason='onnxscript is not installed')


@pytest.fixture(scope='module')
def segmentor():
    """A tiny segmentor that sees several classes in a picture."""
    torch.manual_seed(3)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(Config.fromfile(CONFIG).model).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(12 if '.assign.' in name else 3)
    names = ('background', *(name.split()[-1] for name in CLASSES.split(',')))
    model.set_classes(names, with_background=True, bg_thresh=0.35)
    model.test_cfg = dict(mode='whole')
    return model


@pytest.fixture(scope='module')
def exported(segmentor, tmp_path_factory):
    """The tool's ONNX file of that segmentor."""
    folder = tmp_path_factory.mktemp('exported')
    save_checkpoint({'state_dict': segmentor.state_dict()}, folder / 'tiny.pth')
    argv = [CONFIG, folder / 'tiny.pth', '--whole', '--classes', CLASSES]
    argv += ['--bg-thresh', '0.35']
    assert export(*argv, '--out', folder / 'tiny.onnx') == 0
    return folder


def export(*argv):
    """Runs the tool in this process: its exit status."""
    tool = load_file('tools/model_converters/export_onnx.py')
    return tool.main([str(part) for part in argv])


def picture(height, width, seed=0):
    """Rectangles in random colours."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.uint8)
    for _ in range(15):
        top, left = rng.integers(0, height), rng.integers(0, width)
        image[top : top + height // 2, left : left + width // 3] = rng.integers(0, 256, 3)
    return image


@pytest.mark.parametrize('size', [(32, 32), (16, 40), (45, 83), (120, 64)])
def test_onnx_gives_the_maps_of_pytorch_at_any_size(segmentor, exported, size):
    model, content = FrozenSegmentor(segmentor), (exported / 'tiny.onnx').read_bytes()
    image = picture(*size)
    maps = onnx_maps(content, image)
    assert [m.shape for m in maps] == [(1, *size)] * 2
    found = difference(model, image, maps)
    assert found.unexplained == 0
    assert found.pixels < 0.01 * image.size / 3
    if min(size) > 16:  # a constant map would agree with anything
        assert len(np.unique(maps[0])) > 1
        assert len(np.unique(maps[1])) > 1


def test_real_photographs(segmentor, exported):
    if not PHOTOGRAPHS:
        pytest.skip('no VOC photographs beside the project')
    model, content = FrozenSegmentor(segmentor), (exported / 'tiny.onnx').read_bytes()
    classes = set()
    for path in PHOTOGRAPHS[:6]:
        image = np.asarray(Image.open(path).convert('RGB').resize((180, 132)))
        maps = onnx_maps(content, image)
        found = difference(model, image, maps)
        assert found.unexplained == 0, path.name
        assert found.pixels < 200, path.name
        classes |= set(np.unique(maps[0]))
    assert len(classes) > 2


@pytest.mark.slow
def test_full_size_on_real_photographs(tmp_path, capsys):
    if not PHOTOGRAPHS:
        pytest.skip('no VOC photographs beside the project')
    config = ROOT / 'configs/groupvit/groupvit_vit-small-p16_zeroshot_voc12-448.py'
    model = MODELS.build(Config.fromfile(config).model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(3 if '.assign.' in name else 1.5)
    save_checkpoint({'state_dict': model.state_dict()}, tmp_path / 'full.pth')
    argv = [config, tmp_path / 'full.pth', '--whole', '--classes', CLASSES]
    argv += ['--out', tmp_path / 'full.onnx']
    assert export(*argv, '--check', *PHOTOGRAPHS[:3]) == 0
    assert capsys.readouterr().out.count(' 0 of them with a margin of 1e-4 or more') == 3


def test_frozen_segmentor_gives_the_segmentors_labels(segmentor):
    image = picture(48, 72)
    inputs = torch.from_numpy(image.copy()).permute(2, 0, 1)[[2, 1, 0]]  # pipelines read BGR
    batch = segmentor.data_preprocessor(dict(inputs=[inputs]), False)
    with torch.no_grad():
        logits = segmentor.encode_decode(batch['inputs'], [{}])
        class_map, group_map = FrozenSegmentor(segmentor)(torch.from_numpy(image)[None])
        output = segmentor.extract_feat(batch['inputs'])
    assert torch.equal(class_map, logits.argmax(dim=1))
    assert torch.equal(group_map, output.group_map())


def test_a_wrong_pixel_with_a_margin_is_found(segmentor):
    model, image = FrozenSegmentor(segmentor), picture(48, 72)
    batch = torch.from_numpy(image)[None]
    class_map, group_map = (m.numpy().copy() for m in model(batch))
    decided = np.argwhere((margins(model, batch) > 0.05).numpy())[0]
    class_map[tuple(decided)] += 1
    assert difference(model, image, (class_map, group_map)) == (1, 1)
    close = difference(model, image, (class_map, group_map), tolerance=2.0)
    assert close == (1, 0)


@pytest.mark.slow
def test_pictures_are_resized_as_the_backbone_learnt_where_the_config_resizes_none(
    segmentor, exported, tmp_path
):
    cfg = Config.fromfile(CONFIG)
    pipeline = cfg.test_dataloader.dataset.pipeline
    cfg.test_dataloader.dataset.pipeline = [s for s in pipeline if s['type'] != 'Resize']
    cfg.dump(tmp_path / 'unresized.py')
    out = tmp_path / 'unresized.onnx'
    assert export(tmp_path / 'unresized.py', exported / 'tiny.pth', '--whole', '--out', out) == 0
    backbone = segmentor.backbone
    metadata = onnxruntime.InferenceSession(str(out)).get_modelmeta().custom_metadata_map
    side = min(backbone.grid_shape) * backbone.patch_size
    assert json.loads(metadata['short_side']) == side


def test_metadata_tells_how_to_use_the_file(exported):
    session = onnxruntime.InferenceSession(exported / 'tiny.onnx')
    metadata = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    assert metadata == dict(
        class_names=['background', 'cat', 'dog', 'grass', 'sky', 'train'],
        with_background=True,
        bg_thresh=0.35,
        background_words=[],
        templates=['a photo of a {}.'],
        aliases={},
        class_templates={},
        alias_pooling='max',
        class_thresholds={},
        short_side=40,
        smallest_side=16,
    )
    assert session.get_inputs()[0].shape == [1, 'height', 'width', 3]
    assert [value.shape for value in session.get_outputs()] == [[1, 'height', 'width']] * 2
    names = {tensor.name for tensor in onnx.load(exported / 'tiny.onnx').graph.initializer}
    assert names
    assert not any('text_encoder' in name for name in names)


@pytest.mark.slow
def test_without_a_config_the_structure_is_read_off_the_weights(exported, tmp_path, capsys):
    content = torch.load(exported / 'tiny.pth')
    content['meta'] = {'cfg': Config.fromfile(CONFIG).pretty_text}
    torch.save(content, tmp_path / 'own.pth')
    argv = [tmp_path / 'own.pth', '--classes', CLASSES, '--bg-thresh', '0.35', '--no-check']
    assert export(*argv, '--out', tmp_path / 'own.onnx') == 2
    assert 'The default protocol slides windows' in capsys.readouterr().err
    assert export(*argv, '--whole', '--out', tmp_path / 'own.onnx') == 0
    image = picture(60, 90, seed=4)
    files = (exported / 'tiny.onnx', tmp_path / 'own.onnx')
    maps = [onnx_maps(file.read_bytes(), image) for file in files]
    assert all(np.array_equal(*pair) for pair in zip(*maps, strict=True))


@pytest.mark.slow
def test_torch_export_program(segmentor, exported):
    argv = [CONFIG, exported / 'tiny.pth', '--whole', '--classes', CLASSES]
    argv += ['--bg-thresh', '0.35']
    assert export(*argv, '--out', exported / 'tiny.pt2') == 0
    extra = {'class_names': ''}
    program = torch.export.load(exported / 'tiny.pt2', extra_files=extra).module()
    assert json.loads(extra['class_names'])[1:3] == ['cat', 'dog']
    image = picture(50, 33)
    with torch.no_grad():
        maps = tuple(m.numpy() for m in program(torch.from_numpy(image)[None]))
    assert difference(FrozenSegmentor(segmentor), image, maps).unexplained == 0


def test_aliases_background_words_and_thresholds_are_exported(segmentor):
    other = copy.deepcopy(segmentor)
    aliases = {'cat': ['kitten', 'tabby'], 'sky': ['cloud']}
    other.set_classes(
        segmentor.decode_head.class_names,
        with_background=True,
        background_words=['wall', 'floor', 'a long and empty road', 'water'],
        aliases=aliases,
        class_thresholds={'grass': 0.73},
    )
    model, image = FrozenSegmentor(other), picture(60, 90, seed=4)
    program = export_program(model).module()
    with torch.no_grad():
        maps = tuple(m.numpy() for m in program(torch.from_numpy(image)[None]))
    assert difference(model, image, maps).unexplained == 0
    plain = difference(FrozenSegmentor(segmentor), image, maps, tolerance=0.0)
    assert plain.pixels > 0  # the words matter


@pytest.mark.slow
def test_thresholds_of_classes_are_exported(segmentor, exported, tmp_path):
    out, image = tmp_path / 'thresholds.onnx', picture(60, 90, seed=4)
    argv = [CONFIG, exported / 'tiny.pth', '--whole', '--classes', CLASSES, '--bg-thresh', '0.005']
    assert export(*argv, '--thresholds', 'a cat=.77, grass=.73', '--out', out) == 0
    thresholds = {'cat': 0.77, 'grass': 0.73}
    other = copy.deepcopy(segmentor)
    other.set_classes(segmentor.decode_head.classes, bg_thresh=0.005, class_thresholds=thresholds)
    maps = onnx_maps(out.read_bytes(), image)
    assert difference(FrozenSegmentor(other), image, maps).unexplained == 0
    # Of the two segments, that of grass becomes sky, that of cat background.
    before = FrozenSegmentor(segmentor)(batch_of(image))[0].numpy()
    assert np.array_equal(maps[0], np.where(before == 3, 4, 0))
    assert set(np.unique(before)) == {1, 3}
    metadata = onnxruntime.InferenceSession(str(out)).get_modelmeta().custom_metadata_map
    assert json.loads(metadata['class_thresholds']) == thresholds


def test_the_share_of_the_image_is_exported(segmentor):
    """``image_weight`` is a part of the graph: its maps are not those without it."""
    other, image = copy.deepcopy(segmentor), picture(60, 90, seed=4)
    other.set_classes(segmentor.decode_head.classes, bg_thresh=0.0)
    other.decode_head.affinity, other.decode_head.image_weight = 'cosine', 0.9
    model = FrozenSegmentor(other)
    program = export_program(model).module()
    with torch.no_grad():
        maps = tuple(m.numpy() for m in program(batch_of(image)))
    assert difference(model, image, maps).unexplained == 0
    other.decode_head.image_weight = 0.0
    assert difference(FrozenSegmentor(other), image, maps).unexplained > 0


def batch_of(image):
    """An image as a batch of one."""
    return torch.from_numpy(image.copy())[None]


def test_a_segment_near_the_threshold_of_a_class_is_not_decided(segmentor):
    model, image = FrozenSegmentor(segmentor), picture(60, 90, seed=4)
    output = model.backbone.encode(model.normalised(batch_of(image)))
    affinity = model.head.foreground_affinity(model.head.segment_affinity(output))[0]  # (S, K)
    group_map = output.group_map()
    segment, label = int(group_map.unique()[0]), 1
    threshold = affinity[segment, label].item() + 1e-5
    other = copy.deepcopy(segmentor)
    other.set_classes(
        segmentor.decode_head.classes, bg_thresh=None, class_thresholds={'dog': threshold}
    )
    near = margins(FrozenSegmentor(other), batch_of(image))[group_map == segment]
    assert 0 < near.max() < 2e-5 < margins(model, batch_of(image))[group_map == segment].max()


NOT_CARRIED = dict(
    mode=dict(mode='slide', crop_size=(32, 32), stride=(16, 16)),
    crop_size=dict(mode='slide', crop_size=(32, 32), stride=(16, 16)),
    stride=dict(mode='slide', crop_size=(32, 32), stride=(16, 16)),
    pamr_steps=dict(pamr_steps=10),
    crf_steps=dict(crf_steps=10),
    precision=dict(precision='bf16'),
    tta_scales=dict(tta_scales=(0.5, 1.0)),
    tta_flip=dict(tta_flip=True),
)


@pytest.mark.parametrize('precision', ['auto', 'fp32-plain'])
def test_other_ways_to_compute_float32_are_exported(segmentor, precision):
    other = copy.deepcopy(segmentor)
    other.test_cfg = dict(mode='whole', precision=precision)
    image = batch_of(picture(60, 90, seed=4))
    for ours, expected in zip(FrozenSegmentor(other)(image), FrozenSegmentor(segmentor)(image)):
        assert torch.equal(ours, expected)


def test_every_option_is_carried_or_known_not_to_be():
    assert set(NOT_CARRIED) | set(CARRIED) == set(InferenceOptions._fields)
    assert not set(NOT_CARRIED) & set(CARRIED)


@pytest.mark.parametrize('test_cfg', NOT_CARRIED.values(), ids=NOT_CARRIED)
def test_what_the_graph_does_not_do_is_refused(segmentor, monkeypatch, test_cfg):
    monkeypatch.setattr(segmentor_module, 'load_library', lambda: None)
    other = copy.deepcopy(segmentor)
    other.test_cfg = test_cfg
    name = next(iter(test_cfg))
    with pytest.raises(
        ValueError, match=f'without {name}, but model.test_cfg has {name}='
    ) as error:
        FrozenSegmentor(other)
    assert '\n' not in str(error.value)


def test_options_that_change_no_map_do_not_stop_an_export(segmentor):
    other = copy.deepcopy(segmentor)
    other.test_cfg = dict(
        mode='whole',
        crop_size=(32, 32),  # left over from sliding windows
        with_confidence=True,
        stride=(16, 16),
        window_batch_size=2,
        with_scores=False,
        with_group_map=True,
    )
    image = torch.from_numpy(picture(40, 48))[None]
    maps = [FrozenSegmentor(model)(image) for model in (segmentor, other)]
    assert all(torch.equal(one, two) for one, two in zip(*maps, strict=True))


def test_padding_is_refused(segmentor):
    other = copy.deepcopy(segmentor)
    other.data_preprocessor.test_cfg = dict(size_divisor=32)
    with pytest.raises(ValueError, match='do not pad'):
        FrozenSegmentor(other)


def test_a_segment_near_the_threshold_is_not_decided(segmentor):
    image = torch.from_numpy(picture(60, 90, seed=4))[None]
    with torch.no_grad():
        output = segmentor.backbone.encode(FrozenSegmentor(segmentor).normalised(image))
        head = segmentor.decode_head
        best = head.foreground_affinity(head.segment_affinity(output))[0].amax(dim=-1)
        group_map = output.group_map()
    shown = group_map.unique()
    near = shown[best[shown].argmin()]  # below the image's best, which is the least threshold
    assert best[near] < best.max() - 1e-3
    decided, close = (copy.deepcopy(segmentor) for _ in range(2))
    decided.set_classes(head.classes, bg_thresh=1.0)
    close.set_classes(head.classes, bg_thresh=best[near].item() + 1e-5)
    pixels = group_map == near
    widths = [margins(FrozenSegmentor(model), image)[pixels].max() for model in (decided, close)]
    assert widths[0] > 1e-3
    assert 0 < widths[1] < 2e-5


@pytest.mark.parametrize(
    'change, options, message',
    [
        ({}, [], 'slides windows over images.*give --whole'),
        ({'model.test_cfg.pamr_steps': 4}, ['--whole'], 'without pamr_steps'),
        ({'model.test_cfg.refine_step': 4}, ['--whole'], 'no option refine_step'),
        ({'test_dataloader.dataset.pipeline.1.keep_ratio': False}, ['--whole'], 'has a Resize'),
        ({}, ['--whole', '--no-check', '--check', 'a.jpg'], 'exclude each other'),
    ],
)
def test_what_an_export_passes_over_is_one_sentence(
    exported, tmp_path, capsys, change, options, message
):
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(change)
    cfg.dump(tmp_path / 'changed.py')
    argv = [tmp_path / 'changed.py', exported / 'tiny.pth', '--out', tmp_path / 'a.onnx']
    assert export(*argv, *options) == 2
    errors = capsys.readouterr().err
    assert errors.count('\n') == 1
    assert re.search(message, errors)
    assert not (tmp_path / 'a.onnx').exists()


def test_demo_needs_no_torch(exported, tmp_path):
    image = picture(60, 90)
    program = (
        'import sys, runpy\n'
        "for name in ('torch', 'mmengine', 'cv2'): sys.modules[name] = None\n"
        "runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    outputs = []
    for suffix in ('ppm', 'png'):
        path, out = tmp_path / f'image.{suffix}', tmp_path / f'{suffix}-labels.png'
        Image.fromarray(image).save(path)
        argv = [ROOT / 'demo/onnx_demo.py', path, exported / 'tiny.onnx', '--out', out]
        command = [sys.executable, '-c', program, *map(str, argv)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        outputs.append(np.asarray(Image.open(out)))
        assert '%' in done.stdout
    assert outputs[0].shape == image.shape
    assert np.array_equal(*outputs)
    assert len(np.unique(outputs[0].reshape(-1, 3), axis=0)) > 1


def test_demo_shows_the_class_map(exported, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'demo')
    import onnx_demo

    image = picture(40, 56)  # the short side of the export: nothing is resized
    class_map, group_map, names = onnx_demo.segment(image, exported / 'tiny.onnx')
    expected = onnx_maps((exported / 'tiny.onnx').read_bytes(), image)
    assert np.array_equal(class_map, expected[0][0])
    assert np.array_equal(group_map, expected[1][0])
    assert names[0] == 'background'
    ramp = np.arange(8, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(3, 2) * 30
    assert onnx_demo.resize(ramp, 16)[:, 0, 0].tolist()[:5] == [0, 8, 22, 38, 52]
    for side in (0, 15):
        with pytest.raises(ValueError, match=f'--short-side {side} is below the 16 pixels'):
            onnx_demo.segment(image, exported / 'tiny.onnx', side)


@pytest.mark.parametrize('name', ['nothing.onnx', 'bad.onnx'])
def test_wrong_files_are_one_sentence(tmp_path, name):
    (tmp_path / 'bad.onnx').write_bytes(b'no model')
    Image.fromarray(picture(20, 20)).save(tmp_path / 'a.png')
    command = [
        ROOT / 'demo/onnx_demo.py',
        tmp_path / 'a.png',
        tmp_path / name,
        '--out',
        tmp_path / 'o',
    ]
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith('error: ')
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / 'o').exists()


def test_failed_export_leaves_nothing(exported, tmp_path, capsys):
    assert export(CONFIG, exported / 'tiny.pth', '--out', tmp_path / 'a.txt') == 2
    errors = capsys.readouterr().err
    assert errors.count('\n') == 1
    assert 'must end in .onnx or .pt2' in errors
    assert list(tmp_path.iterdir()) == []
