"""Downloads: what they contain, and that the programs compute what is on the screen."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from groupvit_mmseg.export import FrozenSegmentor, difference
from groupvit_mmseg.inference import GroupViTInferencer
from groupvit_mmseg.text.class_file import read_class_file
from groupvit_mmseg.text.class_list import make_class_list
from groupvit_web import model_export
from groupvit_web import take_away as take_away_module
from groupvit_web.deadline import Deadline
from groupvit_web.errors import PageError, RequestCancelled
from groupvit_web.model import PageModel
from groupvit_web.reproduction import class_file, command, python_program
from groupvit_web.segmentation import PageSegmenter, SegmentationRequest
from groupvit_web.take_away import KINDS, plain_name, take_away, take_away_all
from groupvit_web.uploads import read_picture

from .conftest import WORDS, png

REQUEST = SegmentationRequest(WORDS)
ROOT = Path(__file__).resolve().parents[2]


def opened(download):
    return Image.open(io.BytesIO(download.content))


def test_the_label_map_and_its_palette(segmenter, picture):
    request = REQUEST._replace(bg_thresh=0.3, colours={'dog': (9, 8, 7)})
    download = take_away('labels', segmenter, picture, request)
    labels = opened(download)
    assert (download.name, download.media_type, labels.mode) == (
        'picture-labels.png',
        'image/png',
        'P',
    )
    expected = segmenter.result(picture, request)
    assert (np.asarray(labels) == expected.label_map).all()
    assert labels.getpalette()[: 3 * 3] == [0, 0, 0, 230, 25, 75, 9, 8, 7]


def test_the_overlay_has_the_colours_of_the_page(segmenter, picture):
    top = next(iter(segmenter.result(picture, REQUEST).shares))
    request = REQUEST._replace(colours={top: (10, 200, 90)}, opacity=1.0)
    overlay = np.asarray(opened(take_away('overlay', segmenter, picture, request)))
    assert overlay.shape[1] == 350 or overlay.shape[1] == 5 * 70
    assert (overlay == (10, 200, 90)).all(axis=-1).mean() > 0.2


def test_json_and_coco(segmenter, picture):
    request = REQUEST._replace(bg_thresh=0.3, mode='whole')
    result = segmenter.result(picture, request)
    content = json.loads(take_away('json', segmenter, picture, request).content)
    assert content['shares'] == result.shares
    assert (content['size'], content['mode'], content['pamr_steps']) == ([70, 50], 'whole', 0)
    assert content['classes']['bg_thresh'] == 0.3
    coco = json.loads(take_away('coco', segmenter, picture, request).content)
    assert [each['name'] for each in coco['categories']] == list(WORDS)
    assert coco['images'] == [dict(id=1, file_name='picture.png', width=70, height=50)]
    names = result.class_names
    areas = dict.fromkeys(WORDS, 0)
    for annotation in coco['annotations']:
        areas[names[annotation['category_id']]] += annotation['area']
    assert sum(areas.values()) > 100
    for name, area in areas.items():
        assert area <= (result.label_map == names.index(name)).sum() < area + 25 * 20


PROGRAMS = [
    dict(bg_thresh=0.3, aliases={'cat': ('kitten', "cat's eye")}, mode='slide', pamr_steps=1),
    dict(background_words=('snow', 'fog'), templates='subset', mode='whole'),
    dict(words=('cat',), colours={'cat': (1, 2, 3)}, mode='whole'),
    dict(mode='slide', bg_thresh=0.45),
]


@pytest.mark.parametrize('changes', PROGRAMS)
def test_the_python_program_computes_the_same_labels(
    segmenter, picture, changes, tmp_path, monkeypatch
):
    request = REQUEST._replace(**changes)
    program = take_away('python', segmenter, picture, request).content.decode()
    monkeypatch.chdir(tmp_path)  # where the picture is
    variables = {}
    exec(compile(program, 'segment.py', 'exec'), variables)
    expected = segmenter.result(picture, request)
    assert (variables['result'].scores == expected.scores).all()
    labels = take_away('labels', segmenter, picture, request._replace(colours={}))
    assert Path('labels.png').read_bytes() == labels.content
    overlay = take_away('overlay', segmenter, picture, request)
    assert (np.asarray(Image.open('overlay.png')) == np.asarray(opened(overlay))).all()


@pytest.mark.parametrize('changes', PROGRAMS)
def test_the_command_computes_the_same_labels(segmenter, picture, changes, tmp_path, monkeypatch):
    from groupvit_cli.app import app

    request = REQUEST._replace(**changes)
    monkeypatch.chdir(tmp_path)
    run_in_this_process(take_away('command', segmenter, picture, request).content.decode(), app)
    labels = np.asarray(Image.open('masks/labels/picture.png'))
    assert (labels == segmenter.result(picture, request).label_map).all()
    shares = json.loads(Path('masks/shares.json').read_text())
    assert shares['images'][0]['shares'] == segmenter.result(picture, request).shares


def run_in_this_process(text, app):
    """A shell writes the class file and prints the arguments; the command takes them."""
    printing = 'groupvit() { printf "%s\\0" "$@"; }\n'
    done = subprocess.run(['sh', '-c', printing + text], capture_output=True, text=True, check=True)
    arguments = done.stdout.split('\0')[:-1]
    assert arguments[0] == 'segment'
    app(arguments, standalone_mode=False)


@pytest.mark.slow
def test_the_command_runs_in_a_shell(segmenter, picture, tmp_path):
    text = command(segmenter.model, 'picture.png', REQUEST, segmenter.classes(REQUEST))
    folder = tmp_path / 'bin'
    folder.mkdir()
    script = folder / 'groupvit'
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m groupvit_cli "$@"\n')
    script.chmod(0o755)
    path = f'{folder}{os.pathsep}{os.environ["PATH"]}'
    env = {**os.environ, 'PATH': path, 'PYTHONPATH': str(ROOT)}
    subprocess.run(['sh', '-c', text], check=True, cwd=tmp_path, env=env)
    labels = np.asarray(Image.open(tmp_path / 'masks/labels/picture.png'))
    assert (labels == segmenter.result(picture, REQUEST).label_map).all()


def test_programs_of_a_model_with_a_config(weights, tmp_path, monkeypatch, picture):
    """The threshold and the templates of the config do not leak into the request."""
    from groupvit_cli.app import app

    cfg = Config.fromfile(ROOT / 'tests/data/configs/tiny_zeroshot.py')
    cfg.model.decode_head.templates = 'subset'
    cfg.model.decode_head.bg_thresh = 0.3
    cfg.model.test_cfg = dict(mode='whole')
    cfg.dump(tmp_path / 'config.py')
    segmenter = PageSegmenter(PageModel.open(weights, config=tmp_path / 'config.py'))
    monkeypatch.chdir(tmp_path)
    for number, changes in enumerate((dict(background_words=('fog',)), dict(templates='simple'))):
        request = REQUEST._replace(**changes)
        expected = segmenter.result(picture, request)
        text = take_away('command', segmenter, picture, request).content.decode()
        run_in_this_process(text.replace('--out masks', f'--out masks{number}'), app)
        labels = np.asarray(Image.open(f'masks{number}/labels/picture.png'))
        assert (labels == expected.label_map).all()
        variables = {}
        exec(take_away('python', segmenter, picture, request).content.decode(), variables)
        assert (variables['result'].scores == expected.scores).all()


def test_the_class_file_says_everything(model, tmp_path):
    request = REQUEST._replace(
        aliases={'cat': ('kitten',)}, bg_thresh=0.3, background_words=('snow',), templates='full'
    )
    classes = PageSegmenter(model).classes(request)
    path = tmp_path / 'classes.json'
    path.write_text(class_file(model, classes))
    assert make_class_list(**read_class_file(path)) == classes


def test_texts_that_a_shell_or_python_could_misread(model):
    request = SegmentationRequest(('$(rm x)', "it's `a`", '-x', 'über "y"'))
    classes = PageSegmenter(model).classes(request)
    text = command(model, 'a b;c.png', request, classes)
    done = subprocess.run(
        ['sh', '-c', 'groupvit() { printf "%s\\0" "$@"; }\n' + text], capture_output=True, text=True
    )
    arguments = done.stdout.split('\0')
    assert '--words=$(rm x), it\'s `a`, -x, über "y"' in arguments
    assert 'a b;c.png' in arguments
    program = python_program(model, "a'b\\c.png", request, classes)
    assert compile(program, 'segment.py', 'exec')
    assert 'inferencer("a\'b\\\\c.png")' in program
    # A single word that is the name of a known set would be read as that set.
    request = SegmentationRequest(('ade20k',), bg_thresh=0.5)
    assert '--classes' in command(model, 'a.png', request, PageSegmenter(model).classes(request))


@pytest.fixture(scope='module')
def exported(model, tmp_path_factory):
    """The model with frozen words, exported once: a process of its own takes seconds."""
    pytest.importorskip('onnx', reason='onnx is not installed')
    pytest.importorskip('onnxscript', reason='onnxscript is not installed')
    segmenter = PageSegmenter(model)
    path = tmp_path_factory.mktemp('exported') / 'picture.png'
    path.write_bytes(png(50, 70))
    request = REQUEST._replace(bg_thresh=0.3, mode='slide', pamr_steps=2)
    picture = read_picture(path)
    return segmenter, picture, request, take_away('onnx', segmenter, picture, request)


def frozen(segmenter, request):
    model = segmenter.model
    with model.turn(Deadline(60)) as inferencer:
        whole = inferencer.options_with(mode='whole', pamr_steps=0)
        with model.configured(inferencer, segmenter.classes(request), whole):
            return FrozenSegmentor(inferencer.segmentor)


@pytest.mark.slow
def test_onnx_and_openvino_give_the_maps_of_pytorch(exported, tmp_path):
    openvino = pytest.importorskip('openvino', reason='openvino is not installed')
    from groupvit_mmseg.export import onnx_maps

    segmenter, picture, request, download = exported
    assert download.name == 'tiny.onnx'
    assert 'without windows and PAMR' in download.notes[1]
    assert 'shorter side has 64 pixels' in download.notes[0]
    torch_model = frozen(segmenter, request)
    converted = take_away('openvino', segmenter, picture, request)
    assert 'INFERENCE_PRECISION_HINT' in converted.notes[-1]
    zipfile.ZipFile(io.BytesIO(converted.content)).extractall(tmp_path)
    # Some processors compute in 16 bits unless they are told otherwise.
    precision = {'INFERENCE_PRECISION_HINT': 'f32'}
    compiled = openvino.Core().compile_model(tmp_path / 'model.xml', 'CPU', precision)
    for height, width in ((50, 70), (33, 90)):
        pixels = read_picture(png(height, width, seed=height)).pixels()
        answer = compiled([pixels[None]])
        of_openvino = (answer['class_map'], answer['group_map'])
        for maps in (onnx_maps(download.content, pixels), of_openvino):
            assert len(np.unique(maps[0])) > 1
            found = difference(torch_model, pixels, maps)
            assert (found.unexplained, found.pixels < 20) == (0, True)


@pytest.mark.slow
def test_everything_in_a_zip(exported):
    segmenter, picture, request, onnx = exported
    download = take_away('zip', segmenter, picture, request)
    archive = zipfile.ZipFile(io.BytesIO(download.content))
    names = set(archive.namelist())
    assert {'picture.png', 'segment.py', 'segment.sh', 'tiny.onnx', 'README.txt'} <= names
    assert len(names) == len(KINDS) + 1  # without itself, with the picture and the text
    assert archive.read('picture.png') == picture.source.read_bytes()
    assert archive.read('tiny.onnx') == onnx.content
    assert segmenter.model.license_line in archive.read('README.txt').decode()


def test_the_zip_names_what_it_leaves_out(segmenter, picture, monkeypatch):
    def missing(*args):
        raise PageError('Exporting to ONNX needs onnx.')

    monkeypatch.setattr(take_away_module, 'export_onnx', missing)
    download = take_away('zip', segmenter, picture, REQUEST)
    archive = zipfile.ZipFile(io.BytesIO(download.content))
    assert 'tiny.onnx' not in archive.namelist()
    note = 'Not included: Model with these words (ONNX). Exporting to ONNX needs onnx.'
    assert note in download.notes
    assert note in archive.read('README.txt').decode()


def test_several_files_are_of_one_segmentation(segmenter, picture, monkeypatch):
    """An export, which may take minutes, ends the time of no other file."""
    calls, predict = [], segmenter.result
    over = Deadline(60)

    def result(*args, **options):
        calls.append(args)
        return predict(*args, **options)

    def export(*args):
        over._end = 0.0
        return model_export.ExportedModel(b'onnx', ())

    monkeypatch.setattr(segmenter, 'result', result)
    monkeypatch.setattr(take_away_module, 'export_onnx', export)
    monkeypatch.setattr(take_away_module, 'to_openvino', lambda content: content)
    kinds = ['onnx', 'openvino', 'overlay', 'labels', 'json', 'coco', 'zip']
    files = take_away_all(kinds, segmenter, picture, REQUEST, deadline=over)
    assert len(calls) == 1
    assert [file.name for file in files[-2:]] == ['tiny.onnx', 'tiny-openvino.zip']
    assert len(files) == 7
    assert not any('Not included' in note for note in files[4].notes)


def test_files_of_models_from_addresses_have_plain_names():
    assert plain_name('hf://nvidia/groupvit-gcc-yfcc') == 'groupvit-gcc-yfcc'
    assert plain_name('https://host/a%20b/w?download=1') == 'w-download-1'
    assert plain_name('a/epoch_30') == 'epoch_30'


def test_an_export_ends_with_its_request(segmenter, monkeypatch):
    started = []
    popen = subprocess.Popen

    def sleeper(command, **options):
        started.append(popen([sys.executable, '-c', 'import time; time.sleep(60)'], **options))
        return started[-1]

    monkeypatch.setattr(model_export.subprocess, 'Popen', sleeper)
    deadline = Deadline(60, lambda: bool(started))
    with pytest.raises(RequestCancelled):
        model_export.export_onnx(segmenter, segmenter.classes(REQUEST), {}, deadline)
    assert started[0].wait(10) != 0
    assert len(segmenter.exports) == 0


def test_a_failed_export_is_one_sentence(segmenter, monkeypatch):
    popen = subprocess.Popen
    failing = "import sys; print('a\\nerror: no onnx.', file=sys.stderr); sys.exit(2)"
    monkeypatch.setattr(
        model_export.subprocess,
        'Popen',
        lambda command, **options: popen([sys.executable, '-c', failing], **options),
    )
    with pytest.raises(PageError, match=r'^The export failed: no onnx\.$'):
        model_export.export_onnx(segmenter, segmenter.classes(REQUEST), {}, Deadline(60))


def test_openvino_missing_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, 'openvino', None)
    with pytest.raises(PageError, match=r'pip install "groupvit-mmseg\[openvino\]"'):
        model_export.to_openvino(b'')


def test_an_unknown_kind(segmenter, picture):
    with pytest.raises(PageError, match="There is no download 'pdf': choose overlay, labels"):
        take_away('pdf', segmenter, picture, REQUEST)


@pytest.mark.parametrize(
    'name,expected',
    [
        ('photo.jpg', 'photo.jpg'),
        ('my photo (1).jpg', 'my-photo-1-.jpg'),
        ('../../etc/passwd', 'passwd.png'),
        ('C:\\pictures\\a.png', 'a.png'),
        ('...', 'picture.png'),
        ('-x.png', 'x.png'),
        ('Bäume.png', 'Bäume.png'),
    ],
)
def test_names_of_files(picture, name, expected):
    assert take_away_module.file_name(picture._replace(name=name)) == expected


def test_the_license_of_released_weights(monkeypatch):
    inferencer = GroupViTInferencer.untrained(class_names='cat, dog')
    model = PageModel(inferencer, 'groupvit-gcc-yfcc')
    assert model.is_released
    assert 'non-commercial' in model.license_line
    inferencer.segmentor._test_cfg['crf_steps'] = 3
    with pytest.raises(ValueError, match='The page has no CRF'):
        PageModel(inferencer, 'x')


@pytest.mark.parametrize('precision', ['bf16', 'int8', 'fp32-plain'])
def test_programs_name_the_precision_of_the_page(weights, picture, precision):
    segmenter = PageSegmenter(PageModel.open(weights, precision=precision))
    assert segmenter.model.precision == precision
    text = take_away('command', segmenter, picture, REQUEST).content.decode()
    assert f'--precision {precision} ' in text
    program = take_away('python', segmenter, picture, REQUEST).content.decode()
    assert f'precision={precision!r}' in program
    assert segmenter.result(picture, REQUEST).label_map.shape == picture.size


def test_a_page_in_float32_by_default(model):
    """What 'auto' stands for in all tests; programs then name it."""
    assert model.options.precision == 'auto'
    assert model.test_cfg('whole')['precision'] == model.precision == 'fp32'
