"""Markup in words, files, folders, sets and logs: the page sends it as text."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('gradio', reason='the page needs Gradio')

from .conftest import opened_page, png
from .http_visitor import Visitor

MARKS = [
    '<img src=x onerror=alert(1)>',
    'x"><svg onload=alert(1)>',
    "'><script>alert(1)</script>",
    '</pre></table><iframe src=javascript:alert(1)>',
    '<a href="javascript:alert(1)">x</a>',
    '${alert(1)}{{alert(1)}}<!--',
    '&lt;script&gt;',
]
# Of the page, and of matplotlib's drawings.
TAGS = {
    *('button', 'caption', 'details', 'div', 'figcaption', 'figure', 'h3', 'header', 'img', 'p'),
    *('pre', 'progress', 'small', 'span', 'style', 'summary', 'table', 'tbody', 'td', 'th'),
    *('thead', 'tr'),
    *('svg', 'clippath', 'defs', 'desc', 'g', 'line', 'path', 'rect', 'text', 'title', 'use'),
}
IMAGES = ('#', 'data:image/webp;base64,', 'data:image/jpeg;base64,')
LINKS = ('href', 'src', 'action', 'formaction', 'xlink:href', 'data')


class Markup(HTMLParser):
    """Refuses what the page does not make itself, and elements that are left open."""

    def __init__(self, text):
        super().__init__()
        self.texts, self.open = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag in TAGS, tag
        for name, value in attrs:
            assert not name.startswith('on'), name
            assert name not in LINKS or (value or '').startswith(IMAGES), value
            self.texts.append(value or '')
        if tag not in ('img', 'input', 'br'):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_comment(self, data):
        raise AssertionError(f'a comment: {data}')

    def handle_data(self, data):
        self.texts.append(data)


def texts_of(visitor, answer):
    """The texts of everything in an answer that a browser takes for markup."""
    texts = []
    for part, value in answer.items():
        value = value.get('value') if isinstance(value, dict) else value
        if visitor.kinds[visitor.id_of(part)] in ('html', 'markdown') and isinstance(value, str):
            texts += Markup(value).texts
    return ' '.join(texts)


def as_words(marks):
    """Chips whose words, other names and colours carry marks."""
    return [
        dict(word=mark, aliases=[f'also {mark}'], colour='#123456')
        for mark in marks
        if not set(mark) & set(',;|')
    ]


def test_words_are_text(server):
    visitor = Visitor(server.url)
    visitor.send('begin')
    words = as_words(MARKS)
    assert len(words) > 4
    visitor.set('words', words)
    visitor.set('background', [dict(word='<b>sky</b>', aliases=[], colour='#123456')])
    answer = visitor.send('everything')
    texts = texts_of(visitor, answer)
    for word in words:
        assert word['word'] in texts
    # Drawn by scripts, which make texts of them.
    assert [view['title'] for view in answer['maps']['others']][1:] == [
        word['word'] for word in words
    ]
    assert MARKS[0] in texts_of(visitor, visitor.send('labels'))
    assert MARKS[0] in texts_of(visitor, visitor.send('look'))


@pytest.mark.parametrize('mark', MARKS)
def test_sentences_about_wrong_values_are_text(server, mark):
    visitor = Visitor(server.url)
    visitor.send('begin')
    visitor.set('words', [dict(word='cat', aliases=[], colour=mark)])
    assert 'is-error' in visitor.send('everything')['message']
    for words in (
        [dict(word=f'{mark},', aliases=[], colour='#123456')],
        [mark],
        mark,
        {mark: mark},
    ):
        visitor.set('words', words)
        answer = visitor.send('everything')
        assert answer['message'].startswith('<p class="is-error">')
        texts_of(visitor, answer)


@pytest.mark.parametrize('mark', MARKS)
@pytest.mark.parametrize('content', [b'no picture', png(20, 30)], ids=['text', 'picture'])
def test_names_of_files_are_text(server, mark, content):
    visitor = Visitor(server.url)
    name = f'{mark.replace("/", "")}.png'
    answer = visitor.show(visitor.upload(content, name), name)
    texts_of(visitor, answer)
    assert ('is-error' in answer['message']) == (content == b'no picture')


def damaging_folders(root):
    """A work directory and results with marks in every name and text."""
    for number, mark in enumerate(MARKS):
        mark = mark.replace('/', '\u2215')
        images = root / 'runs' / f'{number}{mark}' / '20260101_000000/vis_data/vis_image'
        images.mkdir(parents=True)
        lines = [
            {'loss': 9.0 - i, mark: 1.0, f'loss_{mark}': 2.0, 'iter': i, 'step': i, 'epoch': 1}
            for i in range(1, 30)
        ]
        lines += [{'mIoU': 12.5, mark: 50.0, 'step': 1}, {'loss': float('nan'), 'step': 31}]
        text = ''.join(json.dumps(line) + '\n' for line in lines) + f'{mark}\n'
        (images.parent / 'scalars.json').write_text(text)
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(images / f'group_map_0_{number}.png')
        (images / f'group_map_1_{number}.png').write_text(mark)
        folder = root / 'results' / f'{number}{mark}'
        (folder / 'pictures').mkdir(parents=True)
        (folder / 'table.csv').write_text(f'set,{_quoted(mark)}\n{_quoted(mark)},50\n')
        (folder / 'table.md').write_text(f'| set |\n\n{mark}\n')
        content = dict(
            set=mark,
            metrics={mark: 50.0},
            class_iou={mark: 70.0, 'cat': 30.0},
            precision=mark,
            protocol=dict(name=mark, fields={mark: mark}),
            checkpoint=dict(file=mark),
        )
        (folder / 'set.json').write_text(json.dumps(content))
        (folder / f'{mark}.json').write_text(mark)
        (folder / 'pictures' / f'{mark}_best.jpg').write_text(mark)


def _quoted(mark):
    """A cell of a CSV file."""
    doubled = mark.replace('"', '""')
    return f'"{doubled}"'


@pytest.fixture(scope='module')
def tabs(model, tmp_path_factory):
    """A page that watches folders full of marks."""
    root = tmp_path_factory.mktemp('folders')
    damaging_folders(root)
    with opened_page(model, work_dir=root / 'runs', results=root / 'results') as opened:
        yield opened


def handlers(visitor, *labels):
    """The events that take the controls of some labels."""
    ids = {visitor.id_of(label) for label in labels}
    return [each for each in visitor.config['dependencies'] if ids <= set(each['inputs'])]


@pytest.mark.parametrize('number', range(len(MARKS)))
@pytest.mark.parametrize('label', ['Work directory', 'Results'])
def test_folders_and_their_content_are_text(tabs, label, number):
    visitor = Visitor(tabs.url)
    folder = f'{number}{MARKS[number]}'.replace('/', '\u2215')
    visitor.set(label, folder)
    shown, count = '', 0
    for event in handlers(visitor, label):
        shown += texts_of(visitor, visitor.send(event['id']))
        count += 1
    assert count >= 2
    assert MARKS[number].replace('/', '\u2215') in shown


@pytest.mark.parametrize('label', ['Work directory', 'Results'])
@pytest.mark.parametrize(
    'name', [*MARKS, '../..', '/etc', '~', 'a\0b', 'x' * 5000, '../results', 3]
)
def test_folders_that_are_none_are_text(tabs, label, name):
    visitor = Visitor(tabs.url)
    visitor.set(label, name)
    shown = ' '.join(
        texts_of(visitor, visitor.send(event['id'])) for event in handlers(visitor, label)
    )
    assert 'passwd' not in shown
    assert shown.strip()
