"""Parts of the page without a browser: chips, order of requests, downloads, addresses, controls."""

import os
import re
import socket
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('gradio', reason='the page needs Gradio')

from groupvit_web.backend import Backend, RequestValues, pixel_position
from groupvit_web.chips import COLOURS, Chip, chip_values, read_chips
from groupvit_web.download import Download
from groupvit_web.downloads import DownloadFolder
from groupvit_web.errors import PageError
from groupvit_web.example_pictures import example_pictures
from groupvit_web.limits import Limits
from groupvit_web.model import give_each_a_name
from groupvit_web.offline import switch_telemetry_off
from groupvit_web.serve import free_port
from groupvit_web.shares import Share
from groupvit_web.views import remarks, shares_table
from groupvit_web.visitors import Visitors


def test_chips_survive_the_way_to_the_browser_and_back():
    chips = read_chips(chip_values(['cat = kitten = tomcat', 'dog']))
    assert [chip.word for chip in chips] == ['cat', 'dog']
    assert chips[0] == Chip('cat', ('kitten', 'tomcat'), tuple(bytes.fromhex(COLOURS[0][1:])))
    assert chips[0].colour != chips[1].colour
    assert read_chips(None) == ()


@pytest.mark.parametrize(
    'value',
    [
        'cat',
        {'word': 'cat'},
        ['cat'],
        [{'word': 3, 'aliases': [], 'colour': '#000000'}],
        [{'word': 'cat', 'aliases': 'kitten', 'colour': '#000000'}],
        [{'word': 'cat', 'aliases': [3], 'colour': '#000000'}],
        [{'word': 'cat', 'aliases': [], 'colour': 'red;background:url(x)'}],
        [{'word': 'cat', 'aliases': []}],
    ],
)
def test_chips_that_a_program_made_up_are_refused(value):
    with pytest.raises(PageError):
        read_chips(value)


PICTURE = example_pictures()[0].open()


def values(**changes):
    """What the controls contain, with some of it changed."""
    usual = dict(
        model='tiny',
        words=chip_values(['cat']),
        background=[],
        templates='simple',
        threshold=0.5,
        opacity=0.6,
        windows='Whole picture',
        refine=False,
    )
    return RequestValues(**{**usual, **changes})


@pytest.fixture
def backend(monkeypatch):
    """A backend whose models are never called."""
    monkeypatch.setattr('groupvit_web.backend.PageSegmenter', lambda model, limits: model.name)
    models = [SimpleNamespace(name='tiny'), SimpleNamespace(name='other')]
    return Backend(models, example_pictures(), Limits())


def test_models_of_files_with_equal_names_are_told_apart():
    def model(source):
        is_released = source.startswith('groupvit-')
        name = source if is_released else source.rpartition('/')[2].removesuffix('.pth')
        return SimpleNamespace(source=source, name=name, is_released=is_released)

    class Named(SimpleNamespace):
        __hash__ = object.__hash__

    def names(*sources):
        models = [Named(**vars(model(source))) for source in sources]
        give_each_a_name(models)
        return [each.name for each in models]

    assert names('a/epoch_30.pth', 'b/epoch_30.pth') == ['a/epoch_30', 'b/epoch_30']
    assert names('x/a/w.pth', 'y/a/w.pth', 'z/b/w.pth') == ['x/a/w', 'y/a/w', 'b/w']
    assert names('w.pth', 'v.pth', 'groupvit-gcc-yfcc') == ['w', 'v', 'groupvit-gcc-yfcc']
    assert names() == []
    for sources in (['w.pth'] * 2, ['groupvit-gcc-yfcc'] * 2):
        with pytest.raises(ValueError, match=r'is named 2 times: name each once\.$'):
            names(*sources)


def test_words_lose_their_articles_as_everywhere(backend):
    chips = chip_values(['a cat = the kitten', 'an old dog'])
    request = backend.task(
        values(words=chips, background=chip_values(['the sky = a cloud'])), PICTURE
    ).request
    assert request.words == ('cat', 'old dog')
    assert request.aliases == {'cat': ('kitten',)}
    assert request.colours.keys() == {'cat', 'old dog'}
    assert request.background_words == ('sky', 'cloud')


@pytest.mark.parametrize(
    'word, message', [('"cat"', 'without marks'), ('{x', 'without marks'), ('a.txt', 'of a file')]
)
def test_words_that_commands_do_not_take_are_one_sentence(backend, word, message):
    for words in (dict(words=chip_values([word])), dict(background=chip_values(['sky', word]))):
        with pytest.raises(PageError, match=message):
            backend.task(values(**words), PICTURE)


def test_controls_become_a_request(backend):
    words = chip_values(['cat = kitten', 'dog'])
    changes = dict(background=chip_values(['sky']), windows='Sliding windows', refine=True)
    task = backend.task(values(words=words, **changes), PICTURE)
    request = task.request
    assert task.segmenter == 'tiny'
    assert request.words == ('cat', 'dog')
    assert request.aliases == {'cat': ('kitten',)}
    assert request.background_words == ('sky',)
    assert (request.mode, request.bg_thresh, request.opacity) == ('slide', 0.5, 0.6)
    assert request.pamr_steps == 10
    assert set(request.colours) == {'cat', 'dog'}
    assert backend.task(values(threshold=0), PICTURE).request.bg_thresh is None


@pytest.mark.parametrize(
    'changes,message',
    [
        (dict(model='none'), 'There is no model none: choose tiny, other'),
        (dict(threshold=2), 'threshold must be a number in \\[0, 1\\], not 2'),
        (dict(threshold=True), 'threshold must be a number'),
        (dict(opacity=float('nan')), 'opacity must be a number'),
        (dict(templates='poem'), 'no choice poem of templates'),
        (dict(windows=['Whole picture']), 'of passes'),
    ],
)
def test_wrong_values_are_one_sentence(backend, changes, message):
    with pytest.raises(PageError, match=message):
        backend.task(values(**changes), PICTURE)


def test_the_other_side_of_a_comparison(backend):
    task = backend.task(values(), PICTURE)
    assert backend.other_task(task, 'other', []).segmenter == 'other'
    other = backend.other_task(task, 'tiny', chip_values(['dog']))
    assert other.request.words == ('dog',)
    assert other.request.bg_thresh == 0.5
    with pytest.raises(PageError, match='Both sides would be the same'):
        backend.other_task(task, 'tiny', [])


@pytest.mark.parametrize('index', [None, -1, 99, '0', 0.5])
def test_examples_that_do_not_exist_are_refused(backend, index):
    with pytest.raises(PageError, match='no such example'):
        backend.example(index)


def test_positions_are_whole_numbers():
    assert pixel_position(3.0, 4) == (3, 4)
    with pytest.raises(PageError, match='whole numbers'):
        pixel_position(None, 4)


def test_a_later_request_replaces_earlier_ones_of_its_kind():
    visitors = Visitors()
    first = visitors.begin('a', 'everything')
    assert not visitors.is_replaced(first)
    labels = visitors.begin('a', 'labels')
    assert not visitors.is_replaced(first)
    assert not visitors.is_last(first)
    visitors.begin('b', 'everything')
    visitors.begin('a', 'pixel')  # shows no result
    assert visitors.is_last(labels)
    visitors.begin('a', 'everything')
    assert visitors.is_replaced(first)
    visitors.leave('a')
    assert visitors.is_replaced(labels)


def test_each_visitor_has_a_picture_and_points_at_it():
    visitors = Visitors()
    with pytest.raises(PageError, match='Choose a picture first'):
        visitors.picture('a')
    visitors.show('a', PICTURE)
    visitors.point_at('a', (3, 4))
    assert visitors.picture('a') is PICTURE
    assert visitors.point('a') == (3, 4)
    assert visitors.point('b') is None
    visitors.show('a', PICTURE)
    assert visitors.point('a') is None


def test_a_bounded_number_of_visitors_is_kept():
    visitors = Visitors(capacity=2)
    first, second, _ = (visitors.begin(name, 'labels') for name in 'abc')
    assert len(visitors) == 2
    assert visitors.is_replaced(first)
    assert not visitors.is_replaced(second)


def test_downloads_are_written_and_removed_with_age():
    folder = DownloadFolder(seconds_kept=100)
    (path,) = folder.write([Download('a.txt', b'text', 'text/plain')])
    with open(path, 'rb') as stream:
        assert stream.read() == b'text'
    (other,) = folder.write([Download('a.txt', b'other', 'text/plain')])
    assert other != path
    old = time.time() - 200
    os.utime(os.path.dirname(path), (old, old))
    folder.write([])
    assert not os.path.exists(path)
    assert os.path.exists(other)


def test_a_port_that_is_taken_is_one_sentence():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match=f'Port {port} of 127.0.0.1 cannot be used'):
            free_port('127.0.0.1', port)
    assert free_port('127.0.0.1', None) >= 7860
    with pytest.raises(OSError, match='choose another --port or --host'):
        free_port('203.0.113.1', 0)


def test_photographs_of_a_folder_come_before_the_scenes(tmp_path):
    from PIL import Image

    with pytest.raises(ValueError, match='no photograph'):
        example_pictures(tmp_path)
    with pytest.raises(NotADirectoryError, match='check --examples'):
        example_pictures(tmp_path / 'none')
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / 'dark.png')
    (tmp_path / 'broken.jpg').write_bytes(b'no picture')
    titles = [example.title for example in example_pictures(tmp_path)]
    assert titles[0] == 'Photograph: dark'
    assert len(titles) == 7
    assert example_pictures(tmp_path)[0].open().size == (40, 60)


def test_remarks_are_text_and_no_markup():
    assert '<script>' not in remarks(['<script>alert(1)</script>'], is_error=True)


def test_a_word_that_occurs_is_never_nothing():
    shares = [Share(f'{share}', share, None, None, ('cat',)) for share in (0.9996, 0.0004, 0.0)]
    table = shares_table(SimpleNamespace(shares=shares, was_encoded=True, seconds=0.1))
    numbers = re.findall(r'<td class="number">(.*?)</td>', table)
    assert numbers[::2] == ['100.0%', '&lt;0.1%', '0.0%']


def test_telemetry_is_off_and_loopback_passes_by_proxies(monkeypatch):
    monkeypatch.setenv('GRADIO_ANALYTICS_ENABLED', 'True')
    monkeypatch.setenv('NO_PROXY', 'example.org')
    monkeypatch.setenv('no_proxy', '')
    switch_telemetry_off()
    assert os.environ['GRADIO_ANALYTICS_ENABLED'] == 'False'
    assert os.environ['NO_PROXY'] == 'example.org,127.0.0.1,localhost'


@pytest.mark.parametrize('typed, value', [(None, 0.6), (99, 1), (-5, 0), (0.25, 0.25)])
def test_a_slider_takes_whatever_is_typed_into_its_field(typed, value):
    from groupvit_web.widgets import bounded_slider

    assert bounded_slider(0, 1, value=0.6, step=0.05, label='Share').preprocess(typed) == value
