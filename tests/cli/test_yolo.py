"""``--format yolo``: what a trainer reads from the folder is what was segmented."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from groupvit_cli.outputs import Outputs
from groupvit_cli.sources import Source
from groupvit_cli.yolo import label_file
from groupvit_mmseg.results import InferenceResult

NAMES = ('background', 'cat: "old"', 'dog')


def segmented(labels):
    """The result of an image with these labels."""
    scores = np.stack([labels == index for index in range(3)]).astype(np.float32)
    image = np.random.default_rng(0).integers(0, 255, (*labels.shape, 3), dtype=np.uint8)
    return InferenceResult(labels, labels, scores, NAMES, image, with_background=True)


@pytest.fixture
def labels():
    """An L of cat, and two squares of dog that touch at a corner."""
    labels = np.zeros((30, 50), int)
    labels[5:25, 5:10] = labels[20:25, 5:30] = 1
    labels[0:8, 34:42] = labels[8:16, 42:50] = 2
    return labels


def read_as_trainers_do(image):
    """Image and label map of an image file: its label file is found by the path, as YOLO does."""
    before, _, after = str(image.with_suffix('.txt')).rpartition('/images/')
    pixels = np.asarray(Image.open(image).convert('RGB'))
    height, width = pixels.shape[:2]
    label_map = np.zeros((height, width), int)
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
    for line in Path(f'{before}/labels/{after}').read_text().splitlines():
        label, *values = line.split()
        points = np.array(values, float).reshape(-1, 2)
        assert points.min() >= 0
        assert points.max() <= 1
        outline = (points * (width, height)).astype(np.float32)
        for y, x in np.ndindex(height, width):
            point = tuple(map(float, centres[y, x]))
            if cv2.pointPolygonTest(outline, point, False) > 0:
                label_map[y, x] = int(label) + 1
    return pixels, label_map


@pytest.mark.parametrize('name', ['a', 'trip/b', 'images/c', 'images/images/d.png'])
def test_a_trainer_reads_image_and_masks(tmp_path, labels, name):
    result = segmented(labels)
    path = tmp_path / 'in.png'
    Image.fromarray(result.image).save(path)
    out = Outputs(tmp_path / 'out', formats=('yolo',), settings={})
    source = Source(str(path), name, 'image')
    out.write(source, result)
    assert out.finish([source], NAMES, 1) == ['yolo/data.yaml']
    data = yaml.safe_load((tmp_path / 'out/yolo/data.yaml').read_text())
    assert data == {'train': 'images', 'val': 'images', 'names': {0: NAMES[1], 1: NAMES[2]}}
    (image,) = (tmp_path / 'out/yolo' / data['train']).rglob('*.png')
    pixels, label_map = read_as_trainers_do(image)
    assert np.array_equal(pixels, result.image)
    assert np.array_equal(label_map, labels)
    assert out.is_done(source)
    image.unlink()
    assert not out.is_done(source)


def test_an_image_that_trainers_do_not_read_becomes_a_png(tmp_path, labels):
    result = segmented(labels)
    path = tmp_path / 'in.ppm'
    Image.fromarray(result.image).save(path)
    out = Outputs(tmp_path / 'out', formats=('yolo',), settings={})
    out.write(Source(str(path), 'in', 'image'), result)
    written = Image.open(tmp_path / 'out/yolo/images/in.png')
    assert written.format == 'PNG'
    assert np.array_equal(np.asarray(written), result.image)


def test_an_image_without_a_class_has_an_empty_label_file(tmp_path, labels):
    path = tmp_path / 'in.JPG'
    path.write_bytes(b'as it is')
    out = Outputs(tmp_path / 'out', formats=('yolo',), settings={})
    out.write(Source(str(path), 'in', 'image'), segmented(np.zeros_like(labels)))
    assert (tmp_path / 'out/yolo/labels/in.txt').read_text() == ''
    assert (tmp_path / 'out/yolo/images/in.JPG').read_bytes() == b'as it is'


def test_small_regions_are_left_out(labels):
    result = segmented(labels)
    lines = result.to_yolo(min_area=1).splitlines()
    assert [line.split()[0] for line in lines] == ['0', '1']
    assert len(result.to_yolo(min_area=150).splitlines()) == 1
    assert list(map(float, lines[0].split()))[:3] == pytest.approx([0, 5 / 50, 5 / 30], abs=1e-6)


def test_label_files_lie_where_trainers_look():
    assert label_file(Path('yolo/images/a.b.jpg')) == Path('yolo/labels/a.b.txt')
    assert label_file(Path('yolo/images/images/a.jpg')) == Path('yolo/images/labels/a.txt')
