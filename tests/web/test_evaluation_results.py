"""Results of ``groupvit evaluate`` read back, and a sentence for each file that is bad."""

import json

import numpy as np
import pytest
from PIL import Image

from groupvit_mmseg.benchmark.report import write_json
from groupvit_mmseg.benchmark.tables import csv_table, markdown_table, result_notes, table_rows
from groupvit_web.evaluation_results import has_results, read_results, sorted_classes
from groupvit_web.folders import folder_choices, list_folders, resolve_below

RESULT = {
    'metrics': {'mIoU': 50.0, 'aAcc': 80.25, 'mAcc': 60.0},
    'class_iou': {'wall': 75.0, 'cat': 25.0, 'dog': None},
    'set': 'my_set',
    'protocol': {
        'name': 'official',
        'source': 'x',
        'caveat': '',
        'changes': {'bg_thresh': 0.5},
        'fields': {'bg_thresh': 0.5, 'templates': 'simple', 'short_side': 448},
    },
    'images': {'evaluated': 3, 'files': 3, 'digest': 'abc'},
    'classes': {'count': 3, 'digest': 'abc', 'changed': None, 'prompted': {}},
    'checkpoint': {'file': 'w.pth', 'sha256': '0123456789abcdef'},
    'precision': 'fp32',
    'batch_size': 1,
    'versions': {'torch': '2.0'},
}


@pytest.fixture
def folder(tmp_path):
    """What ``groupvit evaluate`` writes for one set, by its own functions."""
    rows = table_rows([RESULT])
    (tmp_path / 'table.csv').write_text(csv_table(rows))
    (tmp_path / 'table.md').write_text(markdown_table(rows, [*result_notes([RESULT]), 'no voc21']))
    write_json(RESULT, tmp_path / 'my_set.json')
    (tmp_path / 'pictures').mkdir()
    for name in ('best.jpg', 'confusion.png'):
        image = Image.fromarray(np.full((30, 50, 3), 200, np.uint8))
        image.save(tmp_path / f'pictures/my_set_{name}')
    return tmp_path


def test_what_was_written_is_read(folder):
    table, sets, problems = read_results(folder)
    assert problems == []
    assert table.columns == ['set', 'ours', 'images', 'protocol', 'threshold', 'templates'] + [
        'precision',
        'weights',
    ]  # without the empty columns of published scores
    assert table.rows == [
        ['my_set', '50.00', '3', 'official*', '0.5', 'simple', 'fp32', '0123456789ab']
    ]
    assert table.notes == ['my_set: protocol changed: bg_thresh=0.5.', 'no voc21']
    scores = sets['my_set']
    assert scores.metrics == RESULT['metrics']
    assert scores.class_iou == RESULT['class_iou']
    assert scores.settings['protocol, short_side'] == '448'
    assert scores.settings['checkpoint'] == 'w.pth'
    assert [path.name for path in scores.pictures.values()] == [
        'my_set_best.jpg',
        'my_set_confusion.png',
    ]


def test_columns_of_published_scores_stay_where_there_are_some(folder):
    result = {**RESULT, 'set': 'voc21'}
    (folder / 'table.csv').write_text(csv_table(table_rows([RESULT, result])))
    assert 'SCLIP' in read_results(folder).table.columns


@pytest.mark.parametrize(
    'name,text,reason',
    [
        ('table.csv', '', 'is no table'),
        ('table.csv', 'a,b\n1\n', 'is no table, or not a whole one'),
        ('table.csv', 'a,"b\n', 'is no table'),
        ('my_set.json', '{"set": "my_set", "me', 'is no JSON file, or not a whole one'),
        ('my_set.json', '[' * 100_000, 'is no JSON file'),
        ('my_set.json', '[]', 'is no result of groupvit evaluate'),
        ('my_set.json', '{"set": 3}', 'is no result of groupvit evaluate'),
        ('my_set.json', '{"set": "my_set"}', 'has no percentages under "metrics"'),
        (
            'my_set.json',
            '{"set": "a", "metrics": {"mIoU": "x"}}',
            'has no percentages under "metrics"',
        ),
        ('my_set.json', f'{{"set": "a", "metrics": {{"m": {10**400}}}}}', 'under "metrics"'),
        ('my_set.json', '{"set": "a", "metrics": {"mIoU": NaN}}', 'under "metrics"'),
        ('my_set.json', '{"set": "a", "metrics": {}, "class_iou": 1}', 'under "class_iou"'),
        ('other.json', '{}', 'is no result of groupvit evaluate'),
    ],
)
def test_a_bad_file_is_one_sentence_and_the_rest_is_shown(folder, name, text, reason):
    (folder / name).write_text(text)
    results = read_results(folder)
    (problem,) = results.problems
    assert problem.startswith(f'{name} ')
    assert reason in problem
    assert problem.count('. ') == 0
    assert (results.table is None) == (name == 'table.csv')
    assert (results.sets == {}) == (name == 'my_set.json')


def test_bytes_that_are_no_text_are_one_sentence(folder):
    (folder / 'table.csv').write_bytes(b'\xff\xfe\x00set')
    (folder / 'my_set.json').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ValueError, match='has no results'):
        read_results(folder)


def test_a_missing_table_is_said_and_sets_are_shown(folder):
    (folder / 'table.csv').unlink()
    results = read_results(folder)
    assert results.problems == ['There is no table.csv: repeat the evaluation, which continues.']
    assert list(results.sets) == ['my_set']
    assert not has_results(folder)


def test_a_huge_file_is_not_read(folder, monkeypatch):
    monkeypatch.setattr('groupvit_web.evaluation_results.LARGEST_FILE', 4000)
    path = folder / 'my_set.json'
    path.write_text(path.read_text() + 4000 * ' ')
    (problem,) = read_results(folder).problems
    assert problem == 'my_set.json is too large to be a result.'


def test_a_folder_without_results_is_one_error(tmp_path):
    with pytest.raises(ValueError, match=r'has no results: .*There is no table\.csv'):
        read_results(tmp_path)


def test_a_set_name_does_not_lead_to_other_pictures(folder):
    (folder.parent / 'secret_best.jpg').write_bytes(b'x')
    content = {**RESULT, 'set': '../../secret'}
    write_json(content, folder / 'my_set.json')
    assert read_results(folder).sets['../../secret'].pictures == {}


def test_settings_that_are_missing_are_left_out(folder):
    content = {'set': 'a', 'metrics': {'mIoU': None}, 'class_iou': {}, 'images': 3}
    (folder / 'my_set.json').write_text(json.dumps(content))
    scores = read_results(folder).sets['a']
    assert scores.settings == {}
    assert scores.metrics == {'mIoU': None}


IOU = {'wall': 75.0, 'cat': 0.0, 'Dog': None, 'bus': 75.0}


@pytest.mark.parametrize(
    'order,names',
    [
        ('lowest first', ['cat', 'bus', 'wall', 'Dog']),
        ('highest first', ['bus', 'wall', 'cat', 'Dog']),
        ('by name', ['bus', 'cat', 'Dog', 'wall']),
        ('as in the class list', ['wall', 'cat', 'Dog', 'bus']),
    ],
)
def test_orders_of_classes(order, names):
    assert [name for name, _ in sorted_classes(IOU, order)] == names
    with pytest.raises(ValueError, match='There is no order "x"'):
        sorted_classes(IOU, 'x')


@pytest.mark.parametrize(
    'name', ['..', '../x', 'a/../..', '/', '/etc', 'out', 'a/link', '../root2', '\0', 'x' * 5000]
)
def test_nothing_outside_of_the_root_is_a_folder(tmp_path, name):
    root = tmp_path / 'root'
    (root / 'a').mkdir(parents=True)
    (tmp_path / 'root2').mkdir()
    (root / 'out').symlink_to(tmp_path)
    (root / 'a/link').symlink_to(tmp_path / 'root2')
    with pytest.raises(
        ValueError, match=r'is not below the folder|no name of a folder|There is no'
    ):
        resolve_below(root, name)


def test_folders_below_the_root(tmp_path):
    for name in ('a', 'a/b', 'a/b/c', 'a/b/c/d', '.hidden', 'empty'):
        (tmp_path / name).mkdir()
        if name != 'empty':
            (tmp_path / name / 'table.csv').write_text('')
    (tmp_path / 'table.csv').write_text('')
    (tmp_path / 'link').symlink_to(tmp_path / 'a')
    names = list_folders(tmp_path, has_results)
    assert sorted(names) == ['.', 'a', 'a/b', 'a/b/c']
    for name in names:
        assert resolve_below(tmp_path, name) == (tmp_path / name).resolve()
    assert (tmp_path.name, '.') in folder_choices(tmp_path, names)
    assert list_folders(tmp_path / 'absent', has_results) == []


def test_a_symbolic_link_as_root_is_followed(tmp_path):
    (tmp_path / 'real/run').mkdir(parents=True)
    (tmp_path / 'root').symlink_to(tmp_path / 'real')
    assert resolve_below(tmp_path / 'root', 'run') == (tmp_path / 'real/run').resolve()
