"""One row of the table, without a model: what it depends on, and what follows from a journal."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from groupvit_mmseg.benchmark import run_set as running
from groupvit_mmseg.benchmark import task as task_module
from groupvit_mmseg.benchmark.figures import select_images
from groupvit_mmseg.benchmark.sets import BENCHMARKS, read_benchmark
from groupvit_mmseg.benchmark.task import EvaluationSettings, EvaluationTask, make_tasks
from groupvit_mmseg.text.class_list import ClassList

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
    return EvaluationSettings(
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
        make_tasks([pets], EvaluationSettings(**{**vars(settings), 'roots': dict(voc21='.')}))
    with pytest.raises(ValueError, match='A class file is given for dogs'):
        make_tasks(
            [pets], EvaluationSettings(**{**vars(settings), 'class_files': dict(dogs='d.txt')})
        )
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
    others = EvaluationSettings(
        **{**vars(settings), 'weights': dict(file='y.pth', sha256='1' * 64)}
    )
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


def test_sets_of_all_that_are_not_there_are_left_out(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # this repository's folder data may have some
    pets = str(settings.configs / 'pets.py')
    tasks, missing = make_tasks(['all', pets], settings)
    assert [task.name for task in tasks] == ['pets']
    assert len(missing) == len(BENCHMARKS)
    with pytest.raises(FileNotFoundError, match='holds none of the sets'):
        make_tasks(['all'], settings)


def test_best_and_worst_images_are_those_of_the_journal():
    right, half, wrong = [[1, 1, 4]], [[1, 1, 2], [1, 2, 2]], [[1, 2, 4]]
    images = {3: dict(pairs=half), 5: dict(pairs=wrong), 8: dict(pairs=right), 9: dict(pairs=[])}
    selection = select_images(images, 3, 2)
    assert selection['best'] == [8, 3]
    assert selection['worst'] == [5, 3]
    assert set(selection['random']) < {3, 5, 8}


PROTOCOL_CHANGES = dict(
    short_side=33,
    crop_size=0,
    stride=8,
    templates='subset',
    bg_thresh=0.25,
    background_words='sky',
    top_k=2,
    affinity='cosine',
    image_weight=0.5,
    logit_scale=7.0,
    pamr_steps=3,
    crf_steps=2,
    tta_scales=[0.5, 1.0],
    tta_flip=True,
    alias_pooling='mean',
)
SETTINGS_CHANGES = dict(
    weights=dict(file='y.pth', sha256='1' * 64),
    model='abc',
    precision='bf16',
    device='cuda:1',
    batch_size=2,
    measures=('boundary',),
)
# What images are of, and how many are looked at, is no setting of the results.
OF_NO_RESULT = {'out', 'configs', 'data_root', 'roots', 'limit', 'has_image_embeds', 'query_other'}
CLASS_FILES = dict(
    class_names='background:\ncat\ncow',
    background_words='background: sky\ncat\ndog',
    aliases='background:\ncat, kitten\ndog',
    class_templates='background:\ncat\ndog | a drawing of a {}.',
    class_thresholds='background:\ncat >= 0.6\ndog',
)
OF_THE_PROTOCOL = {'bg_thresh', 'templates', 'alias_pooling', 'with_background'}


def key(settings, **changes):
    """What a journal's results depend on."""
    benchmark = read_benchmark(settings.configs / 'pets.py')
    task = EvaluationTask(benchmark, dataclasses.replace(settings, **changes))
    return task.journal.settings


@pytest.mark.parametrize('name', PROTOCOL_CHANGES)
def test_every_field_of_a_protocol_is_in_the_key(settings, task, name):
    assert set(PROTOCOL_CHANGES) == set(task.protocol.fields())
    change = {name: PROTOCOL_CHANGES[name]}
    other = key(settings, changes={**settings.changes, **change})
    assert other != task.journal.settings
    expected = ['sky'] if name == 'background_words' else PROTOCOL_CHANGES[name]
    assert other['protocol'] == task.journal.settings['protocol'] | {name: expected}


@pytest.mark.parametrize('name', SETTINGS_CHANGES)
def test_every_setting_is_in_the_key(settings, task, name):
    fields = {field.name for field in dataclasses.fields(EvaluationSettings)}
    assert fields - OF_NO_RESULT == {*SETTINGS_CHANGES, 'protocol', 'changes', 'class_files'}
    assert key(settings, **{name: SETTINGS_CHANGES[name]}) != task.journal.settings


def test_the_key_knows_presets_that_differ(settings, task):
    assert key(settings, protocol='sclip')['protocol'] != task.journal.settings['protocol']


@pytest.mark.parametrize('name', CLASS_FILES)
def test_every_field_of_a_class_list_is_in_the_key_and_in_the_result(settings, tmp_path, name):
    assert set(CLASS_FILES) | OF_THE_PROTOCOL == set(ClassList._fields)
    keys, prompted = {}, {}
    for kind in ('plain', 'changed'):
        text = 'background:\ncat\ndog' if kind == 'plain' else CLASS_FILES[name]
        (tmp_path / 'classes.txt').write_text(text)
        changed = dataclasses.replace(
            settings, out=tmp_path / kind, class_files=dict(pets=str(tmp_path / 'classes.txt'))
        )
        task = EvaluationTask(read_benchmark(settings.configs / 'pets.py'), changed)
        keys[kind] = task.journal.settings
        write(task, a=[[0, 0, 16]], b=[[0, 0, 16]])
        prompted[kind] = json.loads(json.dumps(task.result()))['classes']['prompted']
    assert keys['plain'] != keys['changed']
    differing = {k for k in prompted['plain'] if prompted['plain'][k] != prompted['changed'][k]}
    assert differing == {name}


def test_how_images_are_read_and_by_which_versions_is_in_the_key(settings, task, monkeypatch):
    pipeline = running.segmentation_pipeline

    def reading(protocol):
        first, *others = pipeline(protocol)
        return [dict(first, imdecode_backend='pillow'), *others]

    with monkeypatch.context() as patch:
        patch.setattr(running, 'segmentation_pipeline', reading)
        assert key(settings) != task.journal.settings
    others = {**task_module.versions(), 'torch': '1.0'}
    monkeypatch.setattr(task_module, 'versions', lambda: others)
    assert key(settings) != task.journal.settings


def test_a_journal_of_another_precision_is_refused(settings, task):
    write(task, a=[[0, 0, 16]])
    with pytest.raises(ValueError, match='begun with another precision'):
        key(settings, precision='bf16')


def test_background_words_of_a_class_file_are_those_of_the_protocol(settings, tmp_path):
    (tmp_path / 'classes.txt').write_text('background: sky, wall\ncat\ndog')
    files = dict(class_files=dict(pets=str(tmp_path / 'classes.txt')))
    assert key(settings, **files)['protocol']['background_words'] == ['sky', 'wall']
    twice = dict(files, changes=dict(bg_thresh=0.5, background_words='grass'))
    with pytest.raises(ValueError, match='background words sky, wall, the protocol grass'):
        key(settings, **twice)
    (tmp_path / 'classes.txt').write_text('background:\ncat\ndog')
    assert key(settings, **twice)['protocol']['background_words'] == ['grass']


def test_a_class_file_in_yaml_names_classes_and_background_words(settings, tmp_path):
    (tmp_path / 'classes.yaml').write_text('classes: [background, cat, dog]\nbg_thresh: 0.5')
    files = dict(class_files=dict(pets=str(tmp_path / 'classes.yaml')))
    with pytest.raises(ValueError, match='has bg_thresh, which the protocol decides'):
        key(settings, **files)
    text = 'classes: [background, cat, dog]\nbackground_words: [sky]'
    (tmp_path / 'classes.yaml').write_text(text)
    assert key(settings, **files)['protocol']['background_words'] == ['sky']


@pytest.mark.parametrize(
    'text, message',
    [
        ('field\ncat\ndog', 'Label 0 of pets is the background: begin'),
        ('background:\ncat, dog\ndog', "Line 3 of .*'dog' is named already in line 2"),
    ],
)
def test_a_class_file_that_does_not_fit_is_refused_at_once(settings, tmp_path, text, message):
    (tmp_path / 'classes.txt').write_text(text)
    with pytest.raises(ValueError, match=message):
        key(settings, class_files=dict(pets=str(tmp_path / 'classes.txt')))


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(pamr_steps=-1), 'pamr_steps = -1'),
        (dict(crf_steps='many'), "crf_steps = 'many'"),
        (dict(crop_size=32, stride=64), 'larger than crop_size'),
        (dict(stride=0), 'needs stride='),
        (dict(short_side=0), 'short_side = 0'),
        (dict(top_k=0), 'top_k = 0'),
        (dict(logit_scale=0), 'logit_scale = 0 is not above 0'),
        (dict(logit_scale=200), 'at most 100'),
        (dict(bg_thresh=1.5), 'outside'),
        (dict(bg_thresh='high'), 'Unknown background threshold preset'),
        (dict(templates='all'), 'no template set'),
        (dict(alias_pooling='sum'), "neither 'max' nor 'mean'"),
    ],
)
def test_values_out_of_their_range_are_refused_before_any_model(settings, change, message):
    with pytest.raises(ValueError, match=message):
        key(settings, changes=dict(bg_thresh=0.5) | change)


@pytest.mark.parametrize('folder, shape', [('masks', (4, 4)), ('images', (40, 40, 3))])
def test_an_image_whose_files_were_replaced_is_done_again(settings, task, folder, shape):
    write(task, a=[[0, 0, 16]], b=[[0, 0, 16]])
    again = EvaluationTask(read_benchmark(settings.configs / 'pets.py'), settings)
    assert sorted(again.journal.results()) == [0, 1]
    pixels = np.ones(shape, np.uint8)
    Image.fromarray(pixels).save(settings.configs / folder / 'b.png')
    again = EvaluationTask(read_benchmark(settings.configs / 'pets.py'), settings)
    assert sorted(again.journal.results()) == [0]
    with again.journal.writer(1) as writer:
        writer.add(1, image='b.png', pairs=[[1, 1, 16]])
    assert again.journal.results()[1]['pairs'] == [[1, 1, 16]]
    assert again.result()['metrics']['aAcc'] == 100
