"""The notebook: readable as it is committed, and every cell computes what the text says."""

import ast
import base64
import io
import itertools
import json
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image, ImageSequence

from loading import load_file

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'demo/execute_notebook.py'
MACHINE = ['/home/', '/Users/', '/root', '/tmp/', 'site-packages', '\\Users\\', '\x1b[']
# Appended to the notebook that is executed: everything that the checks below look at.
COLLECT = """
Path('collected.json').write_text(json.dumps(dict(
    label_maps=[list(r.label_map.shape) for r in results],
    scores=[list(r.scores.shape) for r in results],
    mious=[zero_shot_miou, before['mIoU'], choice.miou, *fcn_miou['random'].values()],
    steps=runner.iter,
    losses=history['loss_contrastive'].tolist() + history['loss_multi_label'].tolist(),
    unexplained=[d.unexplained for d in differences],
    label_map=label_map.tolist(),
    mask=int(mask.sum()),
    words=words,
)))
"""


@pytest.fixture(scope='module')
def script():
    """The script that executes the notebook."""
    return load_file(SCRIPT)


@pytest.fixture
def notebook():
    """The notebook as it is committed."""
    return nbformat.read(ROOT / 'demo/groupvit.ipynb', as_version=4)


def code_cells(notebook):
    """The cells that are executed."""
    return [cell for cell in notebook.cells if cell.cell_type == 'code']


def text_of(cell):
    """Everything that a cell printed."""
    return ''.join(output.get('text', '') for output in cell.outputs)


def kinds(cell):
    """Names of streams and types of data that a cell gave."""
    return {
        kind for output in cell.outputs for kind in [output.get('name'), *output.get('data', {})]
    }


def animation_of(notebook):
    """Frames of the animation in the outputs."""
    (cell,) = (cell for cell in code_cells(notebook) if 'animated_png(' in cell.source)
    (output,) = cell.outputs
    content = base64.b64decode(output.data['image/png'])
    image = Image.open(io.BytesIO(content))
    return [np.asarray(frame.convert('RGB')) for frame in ImageSequence.Iterator(image)]


def test_it_is_a_valid_notebook_executed_in_order(notebook, script):
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert dict(notebook.metadata) == script.METADATA


def test_every_cell_shows_something_and_nothing_of_the_machine(notebook, script):
    for cell in code_cells(notebook):
        assert bool(cell.outputs) != ('silent' in cell.metadata.get('tags', [])), cell.source
    assert list(script.problems(notebook, MACHINE)) == []
    assert (ROOT / 'demo/groupvit.ipynb').stat().st_size < script.LARGEST


def test_every_cell_is_short_and_parses_on_every_python(notebook):
    for cell in code_cells(notebook):
        ast.parse(cell.source, feature_version=(3, 10))
        assert len(cell.source.splitlines()) <= 40, cell.source


def test_links_lead_somewhere(notebook):
    text = '\n'.join(cell.source for cell in notebook.cells if cell.cell_type == 'markdown')
    headings = {heading.replace(' ', '-') for heading in re.findall('^#+ (.*)', text, re.M)}
    links = re.findall(r'\]\(([^)]+)\)', text)
    sections = [link[1:] for link in links if link.startswith('#')]
    assert len(sections) == len(headings) - 1
    assert set(sections) <= headings
    files = [link for link in links if not link.startswith('#')]
    assert len(files) >= 6
    for link in files:
        file, _, section = link.partition('#')
        page = (ROOT / 'demo' / file).read_text(encoding='utf-8')
        titles = re.findall('^#+ (.*)', page, re.M)
        assert not section or section in {title.lower().replace(' ', '-') for title in titles}, link


def test_the_committed_numbers_are_in_the_range_that_the_text_gives(notebook):
    text = '\n'.join(cell.source for cell in notebook.cells if cell.cell_type == 'markdown')
    low, high = map(float, re.search(r'Expect (\d+) to (\d+) mIoU', text).groups())
    printed = ''.join(map(text_of, code_cells(notebook)))
    assert low <= float(re.search(r'mIoU: first .*, last ([\d.]+)', printed)[1]) <= high
    assert low <= float(re.search(r', trained ([\d.]+), oracle', printed)[1]) <= high


def test_the_committed_animation_moves(notebook):
    frames = animation_of(notebook)
    assert len(frames) >= 25
    assert all((a != b).any() for a, b in itertools.pairwise(frames))


@pytest.mark.parametrize(
    'output, sentence',
    [
        (dict(output_type='stream', name='stderr', text='Warning: x'), 'a warning: Warning: x'),
        (dict(output_type='error', ename='E', evalue='no', traceback=[]), 'an error'),
        (dict(output_type='stream', name='stdout', text='in /home/me'), 'printed /home/.'),
        (
            dict(output_type='display_data', metadata={}, data={'text/plain': '/home/me'}),
            'printed /home/.',
        ),
    ],
)
def test_outputs_of_the_machine_are_refused(script, output, sentence):
    cell = nbformat.v4.new_code_cell('1', outputs=[nbformat.from_dict(output)])
    (problem,) = script.problems(nbformat.v4.new_notebook(cells=[cell]), MACHINE)
    assert sentence in problem


def test_pictures_may_hold_any_letters_and_are_bounded(script):
    data = {'image/png': '/home/' + 'a' * script.LARGEST}
    output = nbformat.v4.new_output('display_data', data=data)
    cell = nbformat.v4.new_code_cell('1', outputs=[output])
    (problem,) = script.problems(nbformat.v4.new_notebook(cells=[cell]), MACHINE)
    assert 'draw smaller figures' in problem


@pytest.fixture(scope='module')
def executed(script, tmp_path_factory):
    """The notebook executed with few scenes and steps, the folder, and its variables."""
    folder = tmp_path_factory.mktemp('notebook')
    notebook = nbformat.read(ROOT / 'demo/groupvit.ipynb', as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(COLLECT))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('GROUPVIT_NOTEBOOK_FAST', '1')
        patch.setenv('PYTHONPATH', str(ROOT))
        script.execute(notebook, folder, seconds=300)
    notebook.cells.pop()
    return (
        notebook,
        folder / 'work_dirs/notebook',
        json.loads((folder / 'collected.json').read_text()),
    )


@pytest.mark.slow
def test_every_cell_gives_what_the_committed_one_gives(executed, notebook, script):
    assert list(map(kinds, code_cells(executed[0]))) == list(map(kinds, code_cells(notebook)))
    sources = [[cell.source for cell in one.cells] for one in (executed[0], notebook)]
    assert sources[0] == sources[1]
    assert list(script.problems(executed[0], [str(ROOT), sys.prefix])) == []


@pytest.mark.slow
def test_maps_scores_and_losses(executed):
    values = executed[2]
    assert values['steps'] == 15
    assert np.isfinite(values['losses']).all()
    assert len(values['losses']) == 2 * values['steps']
    assert values['label_maps'] == [[40, 40]] * 4
    assert values['scores'] == [[12, 40, 40]] * 4
    assert len(values['mious']) == 6
    assert all(0 < miou < 100 for miou in values['mious'])


@pytest.mark.slow
def test_the_animation_moves(executed):
    frames = animation_of(executed[0])
    assert len(frames) > 2
    assert all((a != b).any() for a, b in itertools.pairwise(frames))


@pytest.mark.slow
def test_onnx_gives_the_same_maps(executed):
    assert executed[2]['unexplained'] == [0] * 20
    assert (executed[1] / 'scenes.onnx').stat().st_size > 10_000


@pytest.mark.slow
def test_the_folder_became_data_sets(executed):
    _, folder, values = executed
    coco = json.loads((folder / 'masks/coco.json').read_text())
    assert [image['width'] for image in coco['images']] == [40] * 12
    assert [category['name'] for category in coco['categories']] == values['words']
    assert values['mask'] == coco['annotations'][0]['area']
    for annotation in coco['annotations']:
        runs = annotation['segmentation']['counts']
        assert (sum(runs), sum(runs[1::2])) == (1600, annotation['area'])
    labels = sorted((folder / 'masks/labels').iterdir())
    assert len(labels) == 12
    assert np.array_equal(np.asarray(Image.open(labels[0])), values['label_map'])
    polygons = sorted((folder / 'masks/yolo/labels').iterdir())
    assert [file.stem for file in polygons] == [file.stem for file in labels]
    lines = sum(len(file.read_text().splitlines()) for file in polygons)
    assert lines == len(coco['annotations'])
