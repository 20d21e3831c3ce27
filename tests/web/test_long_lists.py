"""Lists of 10,000 words: one sentence, soon, and in little memory."""

import time
import tracemalloc

import pytest

pytest.importorskip('gradio', reason='the page needs Gradio')

from .http_visitor import Visitor

COUNT = 10_000
LISTS = {
    'words': [dict(word=f'word {i}', aliases=[], colour='#123456') for i in range(COUNT)],
    'long words': [dict(word='x' * 300, aliases=[], colour='#123456')] * COUNT,
    'other names': [
        dict(word='cat', aliases=[f'cat {i}' for i in range(COUNT)], colour='#123456'),
        dict(word='dog', aliases=[], colour='#123456'),
    ],
    'words in the background': [
        dict(word=f'word {i}', aliases=[], colour='') for i in range(COUNT)
    ],
}


@pytest.mark.parametrize('kind', LISTS)
def test_ten_thousand_words_are_one_sentence(server, kind):
    visitor = Visitor(server.url)
    before = visitor.send('begin')
    part = 'background' if 'background' in kind else 'words'
    colour = {'colour': '#123456'}
    visitor.set(part, [{**chip, **colour} for chip in LISTS[kind]])
    tracemalloc.start()
    begin = time.monotonic()
    try:
        answer = visitor.send('everything')
        seconds, (_, peak) = time.monotonic() - begin, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 'words are more than the limit of 100.</p>' in answer['message']
    assert answer['message'].count('<p') == 1
    assert before['shares']
    assert seconds < 10  # with the tracing of memory, which takes most of it
    assert peak < 128 * 2**20
    visitor.set('words', LISTS['words'][:100])
    visitor.set('background', [])
    assert visitor.send('everything')['message'] == ''


def test_nested_and_endless_lists_are_one_sentence(server):
    visitor = Visitor(server.url)
    visitor.send('begin')
    deep: list = []
    for _ in range(500):
        deep = [deep]
    for words in (deep, [deep] * 10, [dict(word=deep, aliases=deep, colour='#123456')]):
        visitor.set('words', words)
        assert visitor.send('everything')['message'].startswith('<p class="is-error">')
    text = '[' * 500_000
    assert visitor.client.post('queue/join', content=text).status_code >= 400
    visitor.set('words', LISTS['words'][:3])
    assert visitor.send('begin')['message'] == ''
