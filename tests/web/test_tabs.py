"""Both tabs built in a page, and the answers of their handlers."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

gr = pytest.importorskip('gradio')

from groupvit_web.evaluation_results import ORDERS  # noqa: E402
from groupvit_web.evaluation_tab import EvaluationPage, build_evaluation_tab  # noqa: E402
from groupvit_web.fragments import bar_table, message, picture, table  # noqa: E402
from groupvit_web.training_tab import Seen, TrainingWatch, build_training_tab  # noqa: E402
from groupvit_web.training_view import duration, nearest_step, status_html  # noqa: E402

RUN = '20260101_000000'
LOWEST = next(iter(ORDERS))
SKIPPED = gr.skip()


class Balanced(HTMLParser):
    """Checks that every element that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.images = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == 'img':
            self.images.append(dict(attrs))
        else:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def value(update):
    """The value that an output gets."""
    if hasattr(update, 'value'):
        return update.value
    return update


@pytest.fixture
def work_dir(tmp_path):
    """A folder with a run of three entries, and pictures after two steps."""
    images = tmp_path / 'runs/small' / RUN / 'vis_data/vis_image'
    images.mkdir(parents=True)
    for step in (50, 100):
        for index in range(2):
            figure = Image.fromarray(np.full((40, 40, 3), step, np.uint8))
            figure.save(images / f'group_map_{index}_{step}.png')
    lines = [
        dict(loss=9.0 - i, lr=0.1, group_entropy_1=0.05, epoch=1, iter=10 * i, step=10 * i)
        for i in (1, 2, 3)
    ]
    lines.append(dict(mIoU=12.5, step=1))
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (images.parent / 'scalars.json').write_text(text)
    return tmp_path / 'runs'


def append(work_dir, **values):
    path = work_dir / 'small' / RUN / 'vis_data/scalars.json'
    with path.open('a') as stream:
        stream.write(json.dumps(values) + '\n')


def test_the_training_is_shown(work_dir):
    watch = TrainingWatch(work_dir)
    assert watch.choices() == [('small', 'small')]
    outputs = watch.refresh('small', None, Seen())
    status, alerts, charts, tables, slider, pictures, result, seen = map(value, outputs)
    assert 'Step 30.' in status
    assert 'group_entropy_1 is 0.05' in alerts
    labels = re.findall('aria-label="(.*?):', charts)
    assert labels == ['Losses', 'Validations', 'Use of the groups', 'Learning rate']
    assert tables.count('<caption>') == 4
    assert (outputs[4].minimum, outputs[4].maximum, slider) == (50, 100, 100)
    assert outputs[4].step == 50
    assert [image['alt'] for image in Balanced(pictures).images] == [
        f'Groups of validation image {i} after step 100, each in its colour' for i in (1, 2)
    ]
    assert result == ''
    for text in (status, alerts, charts, tables):
        Balanced(text)
    assert seen.folder == 'small'


def test_only_what_changed_is_sent(work_dir):
    watch = TrainingWatch(work_dir)
    first = watch.refresh('small', 100, Seen())
    again = watch.refresh('small', 100, first[-1])
    assert again[1:-1] == (SKIPPED,) * 6
    assert 'Step 30' in again[0]
    append(work_dir, loss=5.0, epoch=1, iter=40, step=40)
    third = watch.refresh('small', 100, again[-1])
    assert 'to 5 at step 40' in value(third[2])
    assert third[-1] != first[-1]


@pytest.mark.parametrize('step,shown', [(100, 150), (50, 50), (None, 150)])
def test_the_slider_follows_until_it_is_moved(work_dir, step, shown):
    watch = TrainingWatch(work_dir)
    seen = watch.refresh('small', None, Seen())[-1]
    folder = work_dir / 'small' / RUN / 'vis_data/vis_image'
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / 'group_map_0_150.png')
    outputs = watch.refresh('small', step, seen)
    assert (outputs[4].value, outputs[4].maximum) == (shown, 150)
    assert f'after step {shown}' in outputs[5]


def test_pictures_of_the_nearest_step(work_dir):
    watch = TrainingWatch(work_dir)
    watch.refresh('small', None, Seen())
    assert 'after step 50' in watch.pictures('small', 60)
    assert 'after step 100' in watch.pictures('small', 90)
    assert nearest_step([], 3) is None
    (work_dir / 'small' / RUN / 'vis_data/vis_image/group_map_0_50.png').write_bytes(b'\x89PNG')
    text = watch.pictures('small', 50)
    assert 'group_map_0_50.png is no picture' in text
    assert text.count('<img') == 1


@pytest.mark.parametrize('name', ['../..', '/etc', 'absent', '', None, '\0', 'small/../../..'])
def test_other_folders_are_one_sentence(work_dir, name):
    watch = TrainingWatch(work_dir)
    shown = watch.refresh('small', None, Seen())[-1]
    for seen in (Seen(), shown):
        status, *rest, now = watch.refresh(name, 5, seen)
        assert status.count('role="alert"') == 1
        assert str(work_dir) not in status
        assert now == Seen()
        assert not any(isinstance(each, str) and each for each in map(value, rest))
    assert 'role="alert"' in watch.pictures(name, 5)


def test_a_result_beside_the_run_is_shown(work_dir):
    part = {'things_and_grounds': {'mIoU': 2.5}}
    (work_dir / 'small/result.json').write_text(json.dumps({'untrained': part, 'trained': part}))
    watch = TrainingWatch(work_dir)
    assert '<td class="gv-num">2.5</td>' in value(watch.refresh('small', None, Seen())[6])
    (work_dir / 'small/result.json').write_text('{')
    outputs = TrainingWatch(work_dir).refresh('small', None, Seen())
    assert 'result.json is no JSON file' in value(outputs[6])


def test_few_logs_stay_in_memory(work_dir):
    watch = TrainingWatch(work_dir)
    for index in range(20):
        (work_dir / f'run{index}').mkdir()
        watch.refresh(f'run{index}', None, Seen())
    assert len(watch._logs) == 8


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / 'evaluations/first'
    (folder / 'pictures').mkdir(parents=True)
    (folder / 'table.csv').write_text('set,ours,SCLIP\none,50.00,-\ntwo,60.00,-\n')
    for name in ('one', 'two'):
        content = dict(set=name, metrics={'mIoU': 50.0}, class_iou={'cat': 70.0, 'b<r': 30.0})
        (folder / f'{name}.json').write_text(json.dumps({**content, 'precision': 'fp32'}))
    Image.new('RGB', (300, 200)).save(folder / 'pictures/one_best.jpg')
    (folder / 'pictures/one_worst.jpg').write_bytes(b'')
    return tmp_path / 'evaluations'


def test_the_evaluation_is_shown(results):
    page = EvaluationPage(results)
    assert page.choices() == [('first', 'first')]
    outputs = page.show_folder('first', None, LOWEST)
    table_html, chosen, classes, settings, pictures = map(value, outputs)
    assert '<td class="gv-num">60.00</td>' in table_html
    assert 'SCLIP' not in table_html
    assert chosen == 'one'
    assert [choice for choice, _ in outputs[1].choices] == ['one', 'two']
    assert classes.index('b&lt;r') < classes.index('cat')
    assert 'fp32' in settings
    assert [image['alt'] for image in Balanced(pictures).images] == ['The best images of one']
    assert 'one_worst.jpg is no picture that can be read' in pictures
    for text in (table_html, classes, settings):
        Balanced(text)


def test_a_set_and_an_order_are_chosen(results):
    page = EvaluationPage(results)
    classes, _, pictures = map(value, page.show_set('first', 'two', 'highest first'))
    assert classes.index('cat') < classes.index('b&lt;r')
    assert 'IoU of the 2 classes of two' in classes
    assert 'No pictures' in pictures
    assert value(page.show_folder('first', 'two', LOWEST)[1]) == 'two'


@pytest.mark.parametrize('name', ['../..', '/etc', 'absent', '', None])
def test_other_results_are_one_sentence(results, name):
    page = EvaluationPage(results)
    first, choice, *rest = page.show_folder(name, 'one', LOWEST)
    assert first.count('role="alert"') == 1
    assert choice.visible is False
    assert not any(map(value, rest))
    assert 'role="alert"' in value(page.show_set(name, 'one', LOWEST)[0])
    assert 'There is no order' in value(page.show_set('first', 'one', 'x')[0])
    assert not any(map(value, page.show_set('first', 'absent', LOWEST)))


@pytest.mark.parametrize('in_tabs', [True, False])
def test_both_tabs_are_built(work_dir, results, in_tabs):
    with gr.Blocks() as page:
        if in_tabs:
            with gr.Tabs():
                with gr.Tab('Segment'):
                    gr.Markdown('')
                with gr.Tab('Training'):
                    build_training_tab(work_dir)
                with gr.Tab('Evaluation'):
                    build_evaluation_tab(results)
        else:
            build_training_tab(work_dir)
            build_evaluation_tab(results)
    config = page.get_config_file()
    (timer,) = [c for c in config['components'] if c['type'] == 'timer']
    assert timer['props']['active'] is False
    assert all(each['api_visibility'] == 'private' for each in config['dependencies'])
    labels = [c['props'].get('label') for c in config['components']]
    assert {'Work directory', 'Results', 'Set', 'Order of the classes'} <= set(labels)
    events = {trigger for each in config['dependencies'] for _, trigger in each['targets']}
    assert ('load' in events) is not in_tabs
    assert {'tick', 'change', 'input'} <= events


def test_the_timer_runs_while_its_tab_is_open(work_dir):
    with gr.Blocks() as page, gr.Tabs() as tabs:
        with gr.Tab('Segment'):
            gr.Markdown('')
        with gr.Tab('Training'):
            build_training_tab(work_dir)
    (event,) = [f for f in page.fns.values() if (tabs._id, 'select') in f.targets]
    for label, is_open in (('Training', True), ('Segment', False)):
        data = gr.SelectData(tabs, {'index': 0, 'value': label})
        assert event.fn(data).active is is_open


def test_without_folders_a_sentence_says_how_to_name_one():
    with gr.Blocks() as page:
        build_training_tab(None)
        build_evaluation_tab(None)
    texts = [c['props']['value'] for c in page.get_config_file()['components']]
    assert any('--work-dir FOLDER' in text for text in texts)
    assert any('--results FOLDER' in text for text in texts)


@pytest.mark.parametrize('kind', ['training', 'evaluation'])
def test_folders_are_listed_again(tmp_path, kind):
    page = TrainingWatch(tmp_path) if kind == 'training' else EvaluationPage(tmp_path)
    assert page.list_again(None).value is None
    run = tmp_path / 'one' / RUN / 'vis_data'
    run.mkdir(parents=True)
    (run / 'scalars.json').write_text('')
    (tmp_path / 'one/table.csv').write_text('')
    assert page.list_again(None).value == 'one'
    assert page.list_again('mine').value == 'mine'
    assert page.list_again('').choices == [('one', 'one')]


def test_an_empty_folder_is_shown(tmp_path):
    with gr.Blocks():
        build_training_tab(tmp_path)
        build_evaluation_tab(tmp_path)
    assert 'There is no log of a training' in TrainingWatch(tmp_path).refresh(None, None, Seen())[0]


@pytest.mark.parametrize(
    'seconds,text',
    [(0, '0 s'), (59.4, '59 s'), (60, '1 min 0 s'), (3599, '59 min 59 s'), (7200, '2 h 0 min')],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_quiet_run_may_have_ended():
    from groupvit_web.training_log import Progress

    progress = Progress(10, 100, 90, 400.0, False)
    assert 'Step 10 of 100 (10%). 1 min 30 s left. Last entry 6 min 40 s ago.' in status_html(
        progress
    )
    assert 'may have ended' in status_html(progress)
    assert 'may have ended' not in status_html(progress, seconds_per_entry=100)
    assert '<progress max="100" value="10"' in status_html(progress)
    assert 's left.' not in status_html(progress._replace(is_finished=True))
    assert '<progress' not in status_html(progress._replace(total_steps=None))
    assert 'Reading the log: 64 MB are left.' in status_html(None, unread=64_000_000)


def test_texts_are_escaped():
    bad = '<script>"&'
    for text in (
        message(bad),
        table([bad], [[bad]], caption=bad),
        bar_table(('', ''), [(bad, 1)], caption=''),
    ):
        assert '<script>' not in text
        Balanced(text)
    assert 'absent' in bar_table(('a', 'b'), [('cat', None)], caption='')
    assert 'width:100.0%' in bar_table(('a', 'b'), [('cat', 300.0)], caption='')


def test_pictures_are_bounded(tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    Image.new('RGBA', (300, 100)).save(path)
    small = picture(path, alt='"x"', longest_side=60)
    assert 'alt="&quot;x&quot;"' in small
    assert len(small) < len(picture(path, alt='x', caption='c'))
    monkeypatch.setattr('groupvit_web.fragments.LARGEST_PIXELS', 1000)
    with pytest.raises(ValueError, match=r'a\.png has more than 1,000 pixels'):
        picture(path, alt='')
    path.write_text('text')
    with pytest.raises(ValueError, match=r'a\.png is no picture'):
        picture(path, alt='')
    with pytest.raises(FileNotFoundError):
        picture(tmp_path / 'b.png', alt='')
