"""The FiftyOne demo: labels, the data set with its database, the evaluation, the App."""

import importlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from groupvit_cli.sources import find_sources
from groupvit_mmseg.inference import GroupViTInferencer
from groupvit_mmseg.results import InferenceResult

ROOT = Path(__file__).resolve().parents[2]
NAMES = ('background', 'cat', 'dog')


@pytest.fixture(autouse=True)
def _folder(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / 'demo')
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope='module')
def fiftyone(tmp_path_factory):
    """FiftyOne with a home of its own, which it reads when it is imported."""
    if importlib.util.find_spec('fiftyone') is None:
        pytest.skip('FiftyOne is not installed: make test-integrations')
    home = tmp_path_factory.mktemp('fiftyone')
    os.environ.update(
        FIFTYONE_DATABASE_DIR=str(home / 'database'),
        FIFTYONE_CONFIG_PATH=str(home / 'config.json'),
        FIFTYONE_DEFAULT_DATASET_DIR=str(home / 'data'),
        FIFTYONE_DATABASE_VALIDATION='false',
        FIFTYONE_DO_NOT_TRACK='1',
    )
    return importlib.import_module('fiftyone')


@pytest.fixture(scope='module')
def database(fiftyone):
    """The same, whose database has started."""
    try:
        fiftyone.list_datasets()
    except fiftyone.core.config.FiftyOneConfigError as error:
        pytest.skip(f'the database of FiftyOne does not start: {error}')
    return fiftyone


def demo():
    return importlib.import_module('fiftyone_demo')


def result(with_background=True):
    """Three classes in columns; the last is nearly certain."""
    labels = np.repeat([[0, 1, 2, 2]], 3, axis=0)
    scores = np.zeros((3, 3, 4), np.float32)
    for label, score in enumerate((0.5, 0.6, 0.9)):
        scores[label][labels == label] = score
    image = np.zeros((3, 4, 3), np.uint8)
    return InferenceResult(labels, labels, scores, NAMES, image, with_background=with_background)


def test_zero_is_the_background_and_nothing_else(fiftyone):
    with_background = demo().to_segmentation(result())
    assert isinstance(with_background, fiftyone.Segmentation)
    assert with_background.mask.dtype == np.uint8
    np.testing.assert_array_equal(with_background.mask[0], [0, 1, 2, 2])
    np.testing.assert_array_equal(demo().to_segmentation(result(False)).mask[0], [1, 2, 3, 3])


def test_values_beyond_a_byte_keep_their_class(fiftyone):
    labels = np.arange(300).reshape(1, 300)
    scores = np.zeros((300, 1, 300), np.float32)
    many = InferenceResult(labels, labels, scores, NAMES * 100, np.zeros((1, 300, 3), np.uint8))
    np.testing.assert_array_equal(demo().to_segmentation(many).mask[0], np.arange(1, 301))


def test_a_sample_has_classes_confidence_and_score(fiftyone):
    sample = demo().to_sample('a.png', result(False), None)
    classes = sample['groupvit_classes'].classifications
    assert [each.label for each in classes] == ['dog', 'background', 'cat']
    assert [each.share for each in classes] == [0.5, 0.25, 0.25]
    assert [each.confidence for each in classes] == pytest.approx([0.9, 0.5, 0.6])
    assert sample['groupvit_score'] == pytest.approx((0.5 + 0.6 + 0.9 * 2) / 4)
    np.testing.assert_array_equal(sample['groupvit_confidence'].map, result(False).confidence)
    assert sample.filepath == str(Path('a.png').absolute())


def test_a_mask_of_another_size_is_refused(fiftyone, tmp_path):
    Image.fromarray(np.zeros((2, 4), np.uint8)).save(tmp_path / 'a.png')
    with pytest.raises(ValueError, match=r'a\.png has 4 x 2 pixels, its image 4 x 3'):
        demo().to_sample('a.png', result(), tmp_path / 'a.png')


def test_masks_that_are_missing_are_counted(tmp_path):
    for name in ('a', 'trip/a'):
        path = tmp_path / f'photos/{name}.jpg'
        path.parent.mkdir(exist_ok=True)
        path.touch()
    masks = [tmp_path / 'masks/a.png', tmp_path / 'masks/trip/a.png']
    masks[1].parent.mkdir(parents=True)
    masks[1].touch()
    images = find_sources([str(tmp_path / 'photos')])
    with pytest.raises(FileNotFoundError, match=r'no mask .*masks/a\.png: --truth needs one'):
        demo().truth_files(tmp_path / 'masks', images)
    masks[0].touch()
    assert demo().truth_files(tmp_path / 'masks', images) == masks
    masks[0].unlink()
    masks[1].unlink()
    with pytest.raises(FileNotFoundError, match=r'no mask .*a\.png and 1 more'):
        demo().truth_files(tmp_path / 'masks', images)


def test_a_missing_package_is_named(monkeypatch, photos, checkpoint, capsys):
    monkeypatch.setitem(sys.modules, 'fiftyone', None)
    assert demo().main([str(photos), '--words', 'cat, dog', '--model', str(checkpoint)]) == 2
    assert 'pip install -r demo/fiftyone_requirements.txt' in capsys.readouterr().err


@pytest.fixture
def folder(photos, checkpoint, tmp_path):
    """Photographs, one file that is none, and masks that are right in the left half."""
    images, masks = tmp_path / 'images', tmp_path / 'masks'
    shutil.copytree(photos, images)
    (images / 'broken.png').write_bytes(b'no image')
    masks.mkdir()
    inferencer = GroupViTInferencer.from_pretrained(
        checkpoint, class_names=['cat', 'dog'], background_words=['sky']
    )
    for path in images.glob('*.png'):
        if path.stem != 'broken':
            mask = inferencer(path).label_map.astype(np.uint8)
            mask[:, mask.shape[1] // 2 :] = 255
            Image.fromarray(mask).save(masks / path.name)
    Image.fromarray(mask).save(masks / 'broken.png')
    return images


@pytest.mark.slow
def test_a_folder_becomes_a_data_set(database, folder, checkpoint, capsys):
    arguments = [str(folder), '--words', 'cat, dog', '--background', 'sky', '--model']
    arguments += [str(checkpoint), '--truth', 'masks', '--name', 'trial', '--device', 'cpu']
    assert demo().main(arguments) == 1
    printed = capsys.readouterr()
    assert '2 of 3 images are in the data set trial' in printed.out
    assert 'broken.png cannot be read' in printed.err
    # Pixels of 255 do not count, and all others are right.
    assert 'mIoU 100.00, pixel accuracy 100.00' in printed.out
    dataset = database.load_dataset('trial')
    assert dataset.default_mask_targets == dict(enumerate(('background', 'cat', 'dog')))
    inferencer = GroupViTInferencer.from_pretrained(
        checkpoint, class_names=['cat', 'dog'], background_words=['sky']
    )
    for sample in dataset:
        expected = inferencer(sample.filepath)
        np.testing.assert_array_equal(sample['groupvit'].mask, expected.label_map)
        assert sample['groupvit_eval_accuracy'] == 1.0
    assert demo().main(arguments) == 2
    assert 'has a data set trial: name another, or --overwrite' in capsys.readouterr().err
    # Masks that are wrong everywhere.
    for path in Path('masks').glob('*.png'):
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.where(mask == 255, 255, (mask + 1) % 3).astype(np.uint8)).save(path)
    assert demo().main([*arguments, '--overwrite']) == 1
    assert 'mIoU 0.00, pixel accuracy 0.00' in capsys.readouterr().out


@pytest.mark.slow
def test_the_app_opens(database, photos, checkpoint):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    arguments = [photos, '--words', 'cat, dog', '--model', checkpoint, '--name', 'app']
    process = subprocess.Popen(
        [sys.executable, ROOT / 'demo/fiftyone_demo.py', *arguments, '--app', '--port', str(port)],
        stdout=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        text=True,
    )
    try:
        lines = iter(process.stdout.readline, '')
        assert any(f'The App is at http://127.0.0.1:{port}' in line for line in lines)
        with urllib.request.urlopen(f'http://127.0.0.1:{port}/', timeout=300) as response:
            assert b'<html' in response.read()
    finally:
        process.terminate()  # SIGINT is ignored below a shell's background job
        process.wait(timeout=60)
