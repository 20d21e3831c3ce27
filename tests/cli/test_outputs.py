"""Files of ``groupvit segment``, and how a second call continues."""

import itertools
import json
import os

import numpy as np
import pytest

from groupvit_cli.outputs import Outputs, parse_formats
from groupvit_cli.record import RECORD
from groupvit_cli.sources import Source
from groupvit_mmseg.results import InferenceResult

ALL = ('png', 'groups', 'label', 'json', 'coco')


def result():
    """A cat over grass."""
    labels = np.zeros((20, 30), int)
    labels[5:15, 5:15] = 1
    scores = np.stack([labels == 0, labels == 1]).astype(np.float32) * 0.8
    return InferenceResult(
        labels, labels, scores, ('grass', 'cat'), np.zeros((20, 30, 3), np.uint8)
    )


@pytest.fixture
def sources(tmp_path):
    """Two image files."""
    found = []
    for name in ('a', 'trip/b'):
        path = tmp_path / 'in' / f'{name}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'x')
        found.append(Source(str(path), name, 'image'))
    return found


def outputs(tmp_path, **options):
    """The outputs of one call."""
    options = {'formats': ALL, 'settings': {'words': 'cat'}, **options}
    return Outputs(tmp_path / 'out', **options)


def test_every_format_is_written(tmp_path, sources):
    out = outputs(tmp_path)
    for source in sources:
        out.write(source, result())
    assert out.finish(sources, ('grass', 'cat'), 0) == ['shares.json', 'coco.json']
    files = sorted(
        p.relative_to(tmp_path / 'out').as_posix() for p in (tmp_path / 'out').rglob('*.png')
    )
    assert files == [
        f'{kind}/{name}.png' for kind in ('groups', 'labels', 'overlay') for name in ('a', 'trip/b')
    ]
    shares = json.loads((tmp_path / 'out/shares.json').read_text())
    assert shares['images'][0]['shares'] == {
        'grass': pytest.approx(5 / 6),
        'cat': pytest.approx(1 / 6),
    }
    coco = json.loads((tmp_path / 'out/coco.json').read_text())
    assert [image['id'] for image in coco['images']] == [1, 2]
    assert [a['id'] for a in coco['annotations']] == [1, 2, 3, 4]
    assert {a['image_id'] for a in coco['annotations']} == {1, 2}
    assert [c['name'] for c in coco['categories']] == ['grass', 'cat']


def test_a_second_call_continues(tmp_path, sources):
    outputs(tmp_path).write(sources[0], result())
    again = outputs(tmp_path)
    assert [again.is_done(source) for source in sources] == [True, False]
    again.write(sources[1], result())
    again.finish(sources, ('grass', 'cat'), 0)
    assert len(json.loads((tmp_path / 'out/coco.json').read_text())['images']) == 2


def test_a_changed_image_or_a_deleted_file_is_done_again(tmp_path, sources):
    out = outputs(tmp_path)
    for source in sources:
        out.write(source, result())
    os.utime(sources[0].path, (1, 1))
    (tmp_path / 'out/labels/trip/b.png').unlink()
    again = outputs(tmp_path)
    assert not any(map(again.is_done, sources))


def test_a_torn_last_line_is_left_out(tmp_path, sources):
    outputs(tmp_path).write(sources[0], result())
    with (tmp_path / 'out' / RECORD).open('a') as stream:
        stream.write('{"image": "tor')
    again = outputs(tmp_path)
    again.write(sources[1], result())
    assert all(map(outputs(tmp_path).is_done, sources))


def test_results_of_other_settings_are_not_mixed(tmp_path, sources):
    outputs(tmp_path).write(sources[0], result())
    with pytest.raises(ValueError, match='holds results of other words: name another --out'):
        outputs(tmp_path, settings={'words': 'dog'})
    outputs(tmp_path, settings={'words': 'cat', 'pamr_steps': None})
    for few, more in itertools.permutations([{'words': 'cat'}, {'words': 'cat', 'pamr_steps': 5}]):
        outputs(tmp_path, settings=few, overwrite=True)
        with pytest.raises(ValueError, match='holds results of other pamr_steps'):
            outputs(tmp_path, settings=more)
    outputs(tmp_path, overwrite=True)
    with pytest.raises(ValueError, match='other formats'):
        outputs(tmp_path, formats=('png',))
    assert not outputs(tmp_path, settings={'words': 'dog'}, overwrite=True).is_done(sources[0])


def test_a_foreign_record_is_left_alone(tmp_path, sources):
    path = tmp_path / 'out' / RECORD
    path.parent.mkdir()
    path.write_text('my diary\n')
    with pytest.raises(ValueError, match='is not a record of this command'):
        outputs(tmp_path)
    assert path.read_text() == 'my diary\n'


def test_formats_are_named():
    assert parse_formats('png, coco,png') == ('png', 'coco')
    for text in ('', 'png,gif'):
        with pytest.raises(ValueError, match='choose from png, groups, label, json, coco, yolo'):
            parse_formats(text)
