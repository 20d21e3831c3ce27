"""One row of the table, without a model: what it depends on, and what follows from a journal."""

import numpy as np
import pytest
from PIL import Image

from groupvit_mmseg.evaluation.benchmarks import BENCHMARKS, read_benchmark
from groupvit_mmseg.evaluation.pictures import chosen_images
from groupvit_mmseg.evaluation.task import EvaluationTask, Settings, make_tasks

CONFIG = """
test_dataloader = dict(
    dataset=dict(
        type='BaseSegDataset',
        metainfo=dict(classes=['background', 'cat', 'dog']),
        data_root={root!r},
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        img_suffix='.png',
        seg_map_suffix='.png',
    )
)
"""


@pytest.fixture
def settings(tmp_path):
    """A set of two images, and what an evaluation of it shares."""
    for folder in ('images', 'masks'):
        (tmp_path / folder).mkdir()
        for name in ('a', 'b'):
            pixels = np.zeros((4, 4) if folder == 'masks' else (4, 4, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f'{folder}/{name}.png')
    (tmp_path / 'pets.py').write_text(CONFIG.format(root=str(tmp_path)))
    return Settings(
        out=tmp_path / 'out',
        configs=tmp_path,
        weights=dict(file='x.pth', sha256='0' * 64),
        changes=dict(bg_thresh=0.5, short_side=32),
    )


@pytest.fixture
def task(settings):
    return EvaluationTask(read_benchmark(settings.configs / 'pets.py'), settings)


def write(task, **results):
    with task.journal.writer(0) as writer:
        for index, pairs in enumerate(results.values()):
            writer.add(index, image=f'{index}.png', pairs=pairs)


def test_result_follows_from_the_journal(task):
    write(task, a=[[0, 0, 12], [1, 1, 3], [1, 0, 1]], b=[[0, 0, 8], [1, 2, 8]])
    result = task.result()
    # background 20 of 21; cat 3 of 12; dog, never there, 0 of 8
    assert list(result['class_iou'].values()) == pytest.approx([100 * 20 / 21, 25, 0])
    assert result['metrics']['mIoU'] == pytest.approx((100 * 20 / 21 + 25) / 3)
    assert result['metrics']['aAcc'] == pytest.approx(100 * 23 / 32)
    assert result['images']['evaluated'] == 2
    # the set has no threshold of its own, so one that is given is no change
    assert result['protocol']['changes'] == dict(short_side=32)


def test_a_threshold_leaves_sets_without_a_background_alone(settings):
    path = settings.configs / 'pets.py'
    path.write_text(path.read_text().replace("'background', ", ''))
    task = EvaluationTask(read_benchmark(path), settings)
    assert task.protocol.bg_thresh is None
    assert task.protocol.short_side == 32


def test_options_that_no_set_uses_are_refused(settings):
    path = settings.configs / 'pets.py'
    pets = str(path)
    with pytest.raises(ValueError, match='A folder is given for voc21, which is not evaluated'):
        make_tasks([pets], Settings(**{**vars(settings), 'roots': dict(voc21='.')}))
    with pytest.raises(ValueError, match='A class file is given for dogs'):
        make_tasks([pets], Settings(**{**vars(settings), 'class_files': dict(dogs='d.txt')}))
    path.write_text(path.read_text().replace("'background'", "'wall'"))
    with pytest.raises(ValueError, match='bg_thresh would change nothing: no first class of pets'):
        make_tasks([pets], settings)


def test_no_pixel_that_counts_is_no_result(task):
    write(task, a=[], b=[])
    with pytest.raises(ValueError, match='No pixel of the 2 masks counts'):
        task.result()


@pytest.mark.parametrize('first', ['background', 'Background', '_background_', 'BG', 'BACKGROUND '])
def test_a_background_is_known_however_it_is_written(settings, first):
    path = settings.configs / 'pets.py'
    path.write_text(path.read_text().replace("'background'", repr(first)))
    task = EvaluationTask(read_benchmark(path), settings)
    assert task.protocol.bg_thresh == 0.5


def test_classes_may_be_a_file_as_mmengine_reads_it(settings):
    path, names = settings.configs / 'pets.py', settings.configs / 'names.txt'
    names.write_text('background\ncat\ndog\n')
    path.write_text(path.read_text().replace("['background', 'cat', 'dog']", repr(str(names))))
    assert read_benchmark(path).class_set == ('background', 'cat', 'dog')


def test_an_incomplete_journal_is_no_result(task):
    write(task, a=[[0, 0, 16]])
    with pytest.raises(RuntimeError, match='pets has 1 of 2 images'):
        task.result()


def test_a_journal_of_other_weights_is_refused(settings, task):
    write(task, a=[[0, 0, 16]])
    others = Settings(**{**vars(settings), 'weights': dict(file='y.pth', sha256='1' * 64)})
    with pytest.raises(ValueError, match='begun with another weights'):
        EvaluationTask(task.benchmark, others)


@pytest.mark.parametrize('option', ['ignore_index=2', 'reduce_zero_label=True'])
def test_a_journal_of_other_labels_is_refused(settings, task, option):
    write(task, a=[[0, 0, 16]])
    path = settings.configs / 'pets.py'
    path.write_text(path.read_text().replace('data_root', f'{option}, data_root'))
    for name in ('a', 'b'):
        Image.fromarray(np.ones((4, 4), np.uint8)).save(settings.configs / f'masks/{name}.png')
    with pytest.raises(ValueError, match='begun with another classes'):
        EvaluationTask(read_benchmark(path), settings)


def test_sets_of_all_that_are_not_there_are_left_out(settings):
    pets = str(settings.configs / 'pets.py')
    tasks, missing = make_tasks(['all', pets], settings)
    assert [task.name for task in tasks] == ['pets']
    assert len(missing) == len(BENCHMARKS)
    with pytest.raises(FileNotFoundError, match='holds none of the sets'):
        make_tasks(['all'], settings)


def test_best_and_worst_images_are_those_of_the_journal():
    right, half, wrong = [[1, 1, 4]], [[1, 1, 2], [1, 2, 2]], [[1, 2, 4]]
    images = {3: dict(pairs=half), 5: dict(pairs=wrong), 8: dict(pairs=right), 9: dict(pairs=[])}
    chosen = chosen_images(images, 3, 2)
    assert chosen['best'] == [8, 3]
    assert chosen['worst'] == [5, 3]
    assert set(chosen['random']) < {3, 5, 8}
