"""tools/analysis_tools/compare_results.py on two small evaluations."""

import json
import shutil
from pathlib import Path

import pytest

from loading import load_file


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/analysis_tools/compare_results.py')


def write_result(folder, right, *, name='pets', digest='d', classes=('cat', 'dog'), mask=5):
    """A result of 30 images of 10 pixels: cats, of which ``right`` are right, and dogs."""
    (folder / 'journal').mkdir(parents=True, exist_ok=True)
    lines = [dict(set=name)]
    for index in range(30):
        good = min(10, right + index % 3)
        pairs = [[0, 0, good], [0, 1, 10 - good], [1, 1, 10]]
        files = [100, mask if index == 3 else 5]
        lines.append(dict(index=index, image=f'p{index}.jpg', pairs=pairs, files=files))
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (folder / f'journal/{name}.0.jsonl').write_text(text)
    result = dict(
        set=name,
        metrics=dict(mIoU=50.0 + right),
        class_iou=dict(zip(classes, (10.0 * right, 70.0), strict=True)),
        images=dict(evaluated=30, files=30, digest=digest),
        classes=dict(count=2),
    )
    (folder / f'{name}.json').write_text(json.dumps(result))
    return folder


@pytest.fixture
def folders(tmp_path):
    return [str(write_result(tmp_path / name, right)) for name, right in (('a', 4), ('b', 7))]


def test_the_page_names_what_changed(tool, folders, tmp_path, capsys):
    out = tmp_path / 'page.md'
    assert tool.main([*folders, '--out', str(out), '--images=2']) == 0
    text = out.read_text()
    assert text in capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith('| pets |'))
    assert '54.00 (' in row
    assert '57.00 (' in row
    assert '| 0.0005 |' in row  # no random exchange of 2,000 differs as much
    assert '| cat | 40.00 | 70.00 | +30.00 |' in text
    listed = [line for line in text.splitlines() if line.startswith('| p')][1:]
    assert len(listed) == 2  # none became worse


@pytest.mark.parametrize(
    'change, sentence',
    [
        (lambda folder: shutil.rmtree(folder), 'There is no folder'),
        (lambda folder: (folder / 'pets.json').unlink(), 'no set in common'),
        (lambda folder: (folder / 'journal/pets.0.jsonl').unlink(), 'lacks some of the 30 images'),
        (
            lambda folder: write_result(folder, 7, digest='e'),
            'other images, masks or classes of',
        ),
        (
            lambda folder: write_result(folder, 7, classes=('dog', 'cat')),
            'masks or classes of pets',
        ),
        (lambda folder: write_result(folder, 7, classes=('Katze', 'Hund')), 'masks or classes of'),
        (lambda folder: write_result(folder, 7, mask=6), 'other images, masks or classes of'),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(tool, folders, capsys, change, sentence):
    change(Path(folders[1]))
    assert tool.main(folders) == 2
    assert sentence in capsys.readouterr().err
