"""tools/test.py and the demo, run as a user runs them, on a small made VOC."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from PIL import Image

from groupvit_mmseg.conversion.open_model import open_model
from groupvit_mmseg.models import checked_segmentor as segmentor_module
from groupvit_mmseg.text.class_list import ClassList
from groupvit_mmseg.text.vocabulary import class_names

from loading import load_file

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'tests' / 'data' / 'configs'


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with a VOC of three pictures and the checkpoint of a random pretrainer."""
    place = tmp_path_factory.mktemp('tool')
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (place / 'voc' / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(3):
        pixels = rng.integers(0, 256, (48, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f'voc/JPEGImages/p{index}.jpg')
        mask = np.full((48, 60), 8 + 4 * index, np.uint8)
        mask[:20] = 0
        mask[20:22] = 255
        Image.fromarray(mask).save(place / f'voc/SegmentationClass/p{index}.png')
    (place / 'voc/ImageSets/Segmentation/val.txt').write_text('p0\np1\np2\n')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIGS / 'tiny_pretrain.py').model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), place / 'epoch_1.pth')
    return place


def run(script, *arguments, cwd):
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def test_result_file_says_everything_the_number_depends_on(place):
    done = run(
        'tools/test.py',
        CONFIGS / 'tiny_pretrain.py',
        place / 'epoch_1.pth',
        '--out',
        place / 'deep/result.json',
        '--cfg-options',
        f'val_dataloader.dataset.data_root={place / "voc"}',
        f'test_dataloader.dataset.data_root={place / "voc"}',
        'log_level=INFO',
        cwd=place,
    )
    assert done.returncode == 0, done.stderr
    output = done.stdout + done.stderr
    assert '| motorbike' in output.replace('|  ', '| ').replace('|  ', '| ')
    assert 'background threshold 0.95 (official)' in output
    assert 'Warning' not in output

    report = json.loads((place / 'deep/result.json').read_text())
    iou = report['class_iou']['IoU']
    assert list(iou)[11] == 'diningtable'
    known = [value for value in iou.values() if value is not None]
    assert report['metrics']['mIoU'] == pytest.approx(np.mean(known), abs=0.006)
    assert report['classes'] == list(class_names('pascal_voc'))
    assert report['background'] == dict(
        with_background=True, threshold=0.95, preset='official', words=[]
    )
    assert report['templates'] == ['a photo of a {}.']
    assert report['protocol'] == dict(
        resize=[dict(type='Resize', scale=[2048, 40], keep_ratio=True)],
        inference=dict(mode='slide', crop_size=[32, 32], stride=[16, 16]),
        top_k=5,
        affinity='softmax',
        image_weight=0.0,
        tta=None,
    )
    digest = hashlib.sha256((place / 'epoch_1.pth').read_bytes()).hexdigest()
    assert report['checkpoint'] == dict(file='epoch_1.pth', sha256=digest)
    assert report['data']['dataset'] == 'PascalVOCDataset'
    assert report['versions']['torch'] == torch.__version__


def arguments_of(place, out, *options):
    """A test that measures everything, with a foreground in three of five images."""
    data = place / 'five'
    if not data.exists():
        shutil.copytree(place / 'voc', data)
        for index in (3, 4):
            shutil.copy(data / 'JPEGImages/p0.jpg', data / f'JPEGImages/p{index}.jpg')
            shutil.copy(data / 'SegmentationClass/p0.png', data / f'SegmentationClass/p{index}.png')
        for index in (2, 4):
            empty = np.zeros((48, 60), np.uint8)
            Image.fromarray(empty).save(data / f'SegmentationClass/p{index}.png')
        names = ''.join(f'p{index}\n' for index in range(5))
        (data / 'ImageSets/Segmentation/val.txt').write_text(names)
    return [
        *(str(CONFIGS / 'tiny_zeroshot.py'), str(place / 'epoch_1.pth'), *options),
        *(f'--out={out}', f'--work-dir={out.parent}', '--metrics'),
        *('foreground', 'boundary', 'oracle', 'probing', '--cfg-options'),
        *(f'test_dataloader.dataset.data_root={data}', 'test_dataloader.num_workers=0'),
        'env_cfg.dist_cfg.backend=gloo',
    ]


def test_metrics_may_be_added_on_the_command_line(place, tmp_path):
    command = arguments_of(place, tmp_path / 'result.json')
    command.insert(command.index('--metrics') + 1, 'foreground')  # twice is once
    assert in_process('tools/test.py')(command) == 0
    report = json.loads((tmp_path / 'result.json').read_text())
    assert report['protocol']['inference'] == dict(mode='whole', with_group_map=True)
    metrics = report['metrics']
    assert set(report['class_iou']) == {'IoU', 'foreground', 'boundary', 'oracle'}
    assert metrics['oracle/mIoU'] >= metrics['mIoU']
    assert metrics['probing/images'] == 3
    assert 0 < metrics['probing/jaccard'] <= 100


def test_metrics_of_segments_keep_every_option_of_the_segmentation(place, tmp_path, monkeypatch):
    refined = []
    refine = segmentor_module.refine
    monkeypatch.setattr(
        segmentor_module, 'refine', lambda *rest: refined.append(rest[2]) or refine(*rest)
    )
    options = ['model.test_cfg.pamr_steps=3', 'model.test_cfg.window_batch_size=2']
    command = [*arguments_of(place, tmp_path / 'result.json'), *options]
    assert in_process('tools/test.py')(command) == 0
    report = json.loads((tmp_path / 'result.json').read_text())
    expected = dict(mode='whole', with_group_map=True, pamr_steps=3, window_batch_size=2)
    assert report['protocol']['inference'] == expected
    assert refined == [3] * 5
    assert report['metrics']['oracle/mIoU'] > 0


def test_the_result_names_everything_that_was_prompted(place, tmp_path):
    command = arguments_of(place, tmp_path / 'result.json')
    options = ['model.decode_head.alias_pooling=mean', 'model.decode_head.aliases.cat=kitten']
    assert in_process('tools/test.py')([*command, *options]) == 0
    prompted = json.loads((tmp_path / 'result.json').read_text())['prompted']
    assert set(prompted) == set(ClassList._fields)
    assert prompted['aliases'] == dict(cat=['kitten'])
    assert prompted['alias_pooling'] == 'mean'


def test_a_crf_without_its_package_is_told_before_the_first_image(
    place, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, 'pydensecrf', None)
    command = arguments_of(place, tmp_path / 'result.json')
    assert in_process('tools/test.py')([*command, 'model.test_cfg.crf_steps=2']) == 2
    error = capsys.readouterr().err
    assert 'pip install "groupvit-mmseg[crf]"' in error
    assert error.count('\n') == 1


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(place, tmp_path):
    command = arguments_of(place, tmp_path / 'one/result.json')
    assert in_process('tools/test.py')(command) == 0
    config, checkpoint, *options = arguments_of(place, tmp_path / 'two/result.json')
    done = subprocess.run(
        ['bash', str(ROOT / 'tools/dist_test.sh'), config, checkpoint, '2', *options],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, 'PYTHON': sys.executable, 'PORT': str(free_port())},
    )
    assert done.returncode == 0, done.stderr
    one, two = (
        json.loads((tmp_path / name / 'result.json').read_text()) for name in ('one', 'two')
    )
    assert one['metrics'] == pytest.approx(two['metrics'], abs=1e-6)
    assert len(one['metrics']) >= 14
    for name, values in one['class_iou'].items():
        assert values == pytest.approx(two['class_iou'][name], abs=1e-6, nan_ok=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def in_process(script):
    """The tool's ``main``, to try messages without a new process for each."""
    return load_file(script).main


def test_demo_draws_and_prints_shares(place, capsys):
    arguments = ['--classes', 'a cat, a dog', '--bg-thresh', '0.1']
    code = in_process('demo/image_demo.py')(
        [
            str(place / 'voc/JPEGImages/p0.jpg'),
            str(CONFIGS / 'tiny_zeroshot.py'),
            str(place / 'epoch_1.pth'),
            f'--out={place / "drawn/demo.png"}',
            *arguments,
        ]
    )
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    shares = [float(line.split()[-1].rstrip('%')) for line in lines[:-1]]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    width, height = Image.open(place / 'drawn/demo.png').size
    assert width > 3 * 240
    assert height > 240


def test_demo_without_its_picture_says_so(place, capsys):
    paths = [str(place / 'none.jpg'), str(CONFIGS / 'tiny_zeroshot.py'), str(place / 'epoch_1.pth')]
    assert in_process('demo/image_demo.py')([*paths, f'--out={place / "x.png"}']) == 2
    assert capsys.readouterr().err.startswith('error: There is no image at')


@pytest.mark.parametrize(
    'options, message',
    [
        (['--out=x.nothing'], 'nothing'),
        (['--out=x.png', '--device=gpu'], "cannot use the device 'gpu'"),
        (['--out=x.png', '--bg-thresh=1.5'], 'bg_thresh = 1.5 is outside'),
        (['--out=x.png', '--classes=cat,,dog'], 'empty name'),
    ],
)
def test_what_the_demo_cannot_do_is_one_sentence(place, tmp_path, capsys, options, message):
    paths = [place / 'voc/JPEGImages/p0.jpg', CONFIGS / 'tiny_zeroshot.py', place / 'epoch_1.pth']
    options[0] = options[0].replace('x.', f'{tmp_path}/x.')
    assert in_process('demo/image_demo.py')([*map(str, paths), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert message in error
    assert error.count('\n') == 1


@pytest.mark.parametrize(
    'spoil, reason',
    [
        (lambda path: path.write_bytes(b'hello'), 'cannot be read as an image'),
        (lambda path: Image.new('RGB', (1, 1)).save(path), 'has 1 x 1 pixels'),
        (lambda path: Image.new('RGB', (30_000, 8)).save(path), 'resized, has 2048 x 1 pixels'),
    ],
)
def test_demo_with_a_bad_picture_says_so(place, tmp_path, capsys, spoil, reason):
    picture = tmp_path / 'bad.png'
    spoil(picture)
    paths = [str(picture), str(CONFIGS / 'tiny_zeroshot.py'), str(place / 'epoch_1.pth')]
    assert in_process('demo/image_demo.py')([*paths, f'--out={tmp_path / "x.png"}']) == 2
    said = capsys.readouterr().err
    assert said.startswith('error: ')
    assert f'{picture}' in said
    assert reason in said


def test_demo_with_an_output_that_is_no_image_says_so_before_it_segments(place, capsys):
    paths = [place / 'voc/JPEGImages/p0.jpg', CONFIGS / 'tiny_zeroshot.py', place / 'epoch_1.pth']
    out = place / 'x.txt'
    assert in_process('demo/image_demo.py')([*map(str, paths), '--out', str(out)]) == 2
    errors = capsys.readouterr().err
    assert errors == f'error: --out {out} has no suffix of an image format: let it end in .png.\n'
    assert not out.exists()


@pytest.fixture
def self_describing(place):
    """A checkpoint with the config of its training, as training writes it."""
    content = torch.load(place / 'epoch_1.pth')
    content['meta'] = {'cfg': Config.fromfile(CONFIGS / 'tiny_pretrain.py').pretty_text}
    torch.save(content, place / 'with_config.pth')
    return place / 'with_config.pth'


def test_without_a_config_the_structure_is_read_off_the_weights(place, self_describing, tmp_path):
    open_model(self_describing).config.dump(tmp_path / 'same.py')
    data = ['--cfg-options', f'test_dataloader.dataset.data_root={place / "voc"}']
    results = []
    for number, weights in enumerate(([], [str(tmp_path / 'same.py')])):
        out = tmp_path / f'{number}.json'
        argv = ['--out', str(out), '--work-dir', str(tmp_path / 'work'), *data]
        assert in_process('tools/test.py')([*weights, str(self_describing), *argv]) == 0
        results.append(json.loads(out.read_text()))
    assert results[0]['config'] is None
    assert results[0]['background']['preset'] == 'official'
    assert results[0]['data']['dataset'] == 'PascalVOCDataset'
    assert results[0] == results[1] | {'config': None}


def test_a_config_alone_is_one_sentence(capsys):
    for tool in ('tools/test.py', 'tools/model_converters/export_onnx.py'):
        options = ['--out', 'a.onnx'] if 'export' in tool else []
        assert in_process(tool)([str(CONFIGS / 'tiny_zeroshot.py'), *options]) == 2
        errors = capsys.readouterr().err
        assert 'tiny_zeroshot.py is a config: give a checkpoint after it' in errors
        assert errors.count('\n') == 1


def test_options_are_written_out(place, capsys):
    with pytest.raises(SystemExit) as stop:
        in_process('tools/test.py')(
            [str(CONFIGS / 'tiny_zeroshot.py'), 'a.pth', '--metric', 'oracle']
        )
    assert stop.value.code == 2
    assert 'unrecognized arguments: --metric' in capsys.readouterr().err


@pytest.mark.parametrize(
    'config, checkpoint, options, message',
    [
        ('none.py', 'epoch_1.pth', [], 'There is no config at'),
        ('tiny_zeroshot.py', 'none.pth', [], 'There is no checkpoint at'),
        ('tiny_zeroshot.py', 'epoch_1.pth', [], 'finds no nowhere/JPEGImages: prepare the data'),
    ],
)
def test_missing_things_are_said_in_one_sentence(
    place, capsys, config, checkpoint, options, message
):
    code = in_process('tools/test.py')([str(CONFIGS / config), str(place / checkpoint), *options])
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith('error: ')
    assert message in error
    assert error.count('\n') == 1


def test_the_config_of_a_set_is_no_config_to_test(place, tmp_path, capsys):
    (tmp_path / 'set.py').write_text('test_dataloader = dict(dataset=dict())')
    assert in_process('tools/test.py')([str(tmp_path / 'set.py'), str(place / 'epoch_1.pth')]) == 2
    assert 'set.py has no model: a set of your own is named by --sets' in capsys.readouterr().err


@pytest.mark.parametrize(
    'option, message',
    [
        ('model.decode_head.bg_thresh=mine', "Unknown background threshold preset 'mine'"),
        ('model.decode_head.bg_thresh=1.5', 'bg_thresh = 1.5 is outside [0, 1]'),
        ('model.decode_head.templates=imagenet', 'imagenet'),
        ('model.decode_head.bg_treshold=0.5', 'no option bg_treshold'),
        ('model.decode_head.top_k=0', 'top_k = 0'),
        ('model.test_cfg.refine_step=10', 'no option refine_step'),
        ('model.test_cfg.pamr_steps=-1', 'pamr_steps = -1'),
        ('model.test_cfg.crop_sizes=(32,32)', 'no option crop_sizes'),
        ('model.backbone.embed_dims=20', 'of another shape'),
        ('model.backbone.num_group_tokens=(6,4)', 'num_group_tokens'),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(place, tmp_path, capsys, option, message):
    code = in_process('tools/test.py')(
        [
            str(CONFIGS / 'tiny_zeroshot.py'),
            str(place / 'epoch_1.pth'),
            f'--work-dir={tmp_path}',
            '--cfg-options',
            f'experiment_name={tmp_path.name}',
            f'test_dataloader.dataset.data_root={place / "voc"}',
            option,
        ]
    )
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert 'Traceback' not in error


def test_results_do_not_replace_what_is_read_nor_go_nowhere(place, capsys):
    tool = load_file('tools/test.py')
    listing = place / 'voc/ImageSets/Segmentation/val.txt'
    checkpoint = place / 'epoch_1.pth'
    before = listing.read_bytes(), checkpoint.read_bytes()
    roots = [f'{part}_dataloader.dataset.data_root={place / "voc"}' for part in ('val', 'test')]
    for option, path, sentence in [
        ('--out', checkpoint, f'--out {checkpoint} would replace'),
        ('--out', listing, 'val.txt, which this command reads'),
        ('--out', place, 'is a folder: name a file'),
        ('--show-dir', checkpoint, 'is a file, not a folder'),
    ]:
        given = [CONFIGS / 'tiny_pretrain.py', checkpoint, option, path, '--cfg-options', *roots]
        assert tool.main([str(argument) for argument in given]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith('error: ')
        assert sentence in line
    assert (listing.read_bytes(), checkpoint.read_bytes()) == before


def small_set(place, tmp_path):
    """A copy of the made VOC, to spoil, and the arguments that test on it."""
    shutil.copytree(place / 'voc', tmp_path / 'voc')
    return tmp_path / 'voc', [
        *(str(CONFIGS / 'tiny_zeroshot.py'), str(place / 'epoch_1.pth')),
        *(f'--work-dir={tmp_path / "run"}', '--cfg-options', f'experiment_name={tmp_path.name}'),
        f'test_dataloader.dataset.data_root={tmp_path / "voc"}',
    ]


def capitals(root):
    for path in (root / 'JPEGImages').iterdir():
        path.rename(path.with_suffix('.PNG'))
    (root / 'ImageSets/Segmentation/val.txt').write_text('p0.PNG\n')


def replace_mask(mask, name='p1'):
    return lambda root: Image.fromarray(mask).save(root / f'SegmentationClass/{name}.png')


@pytest.mark.parametrize(
    'damage, message',
    [
        (capitals, "val.txt is 'p0.PNG': leave out .PNG"),
        (lambda root: (root / 'SegmentationClass/p1.png').unlink(), 'There is no mask'),
        (lambda root: (root / 'JPEGImages/p1.jpg').write_bytes(b'x'), 'JPEGImages/p1.jpg'),
        (replace_mask(np.full((48, 60), 30, np.uint8)), 'p1.png has label 30, but there are only'),
        (replace_mask(np.full((48, 60), 258, np.uint16)), 'p1.png (uint16) has label 258'),
        (replace_mask(np.full((60, 48), 8, np.uint8)), 'p1.png has 48 x 60 pixels, but its image'),
        (replace_mask(np.full((48, 60, 3), 8, np.uint8)), 'p1.png has colours instead of labels'),
    ],
)
def test_bad_data_is_one_sentence_with_the_files_name(place, tmp_path, capsys, damage, message):
    root, arguments = small_set(place, tmp_path)
    damage(root)
    workers = ['test_dataloader.num_workers=1'] if 'uint16' in message else []
    assert in_process('tools/test.py')([*arguments, *workers]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if 'error: ' in line]
    assert len(error) == 1
    assert message in error[0]


def test_windows_and_metrics_of_whole_images_are_not_asked_for_together(place, tmp_path, capsys):
    _, arguments = small_set(place, tmp_path)
    windows = ['model.test_cfg.mode=slide', '--metrics', 'oracle']
    assert in_process('tools/test.py')([*arguments, *windows]) == 2
    assert 'oracle take whole images, so model.test_cfg.mode would' in capsys.readouterr().err


def test_a_metric_of_the_foreground_of_a_set_without_background_is_refused(place, tmp_path, capsys):
    _, arguments = small_set(place, tmp_path)
    voc20 = [
        'test_dataloader.dataset.type=PascalVOC20Dataset',
        'model.decode_head.class_names=pascal_voc20',
        *('model.decode_head.with_background=False', 'model.decode_head.bg_thresh=None'),
    ]
    assert in_process('tools/test.py')([*arguments, *voc20, '--metrics', 'foreground']) == 2
    assert "leaves out label 0, which is 'aeroplane' here" in capsys.readouterr().err


def test_a_set_of_other_classes_than_the_head_is_refused(place, tmp_path, capsys):
    _, arguments = small_set(place, tmp_path)
    voc20 = 'test_dataloader.dataset.type=PascalVOC20Dataset'
    assert in_process('tools/test.py')([*arguments, voc20]) == 2
    assert 'has 20 classes, but the class list has 21' in capsys.readouterr().err


@pytest.mark.parametrize(
    'setting, reason',
    [
        (
            'val_cfg.segmentor.backbone.embed_dims.x=2',
            r'embed_dims\.x does not fit the config: .* base config\.$',
        ),
        ('val_cfg.segmentor.backbone.nothere=2', "TypeError: .*argument 'nothere'"),
        ('model.decode_head.bg_thresh=.5', 'change val_cfg.segmentor.decode_head'),
    ],
)
def test_settings_that_fit_no_config_are_told_in_one_line(place, capsys, setting, reason):
    root = f'test_dataloader.dataset.data_root={place / "voc"}'
    options = ['--work-dir', str(place / 'logs'), '--cfg-options', root, setting]
    status = in_process('tools/test.py')(
        [str(CONFIGS / 'tiny_pretrain.py'), str(place / 'epoch_1.pth'), *options]
    )
    (line,) = [line for line in capsys.readouterr().err.splitlines() if 'error: ' in line]
    assert (status, bool(re.search(reason, line))) == (2, True), line


def test_a_file_that_is_no_config_or_no_checkpoint_is_told_in_one_line(place, capsys):
    config, text = str(CONFIGS / 'tiny_pretrain.py'), place / 'README.md'
    text.write_text('# Read me\n')
    assert in_process('tools/test.py')([str(text), str(place / 'epoch_1.pth')]) == 2
    assert 'error: Only py/yml/yaml/json type' in capsys.readouterr().err
    root = f'test_dataloader.dataset.data_root={place / "voc"}'
    options = ['--work-dir', str(place / 'logs'), '--cfg-options', root]
    assert in_process('tools/test.py')([config, str(text), *options]) == 2
    assert 'it has another format; use a complete file' in capsys.readouterr().err
