"""Requests that wait or work: a full queue, the time limit, dropped connections, unread answers."""

import threading
import time
from types import SimpleNamespace

import pytest

pytest.importorskip('gradio', reason='the page needs Gradio')

from groupvit_web.limits import Limits
from groupvit_web.listeners import Listeners
from groupvit_web.serve import CONCURRENCY, QUEUE_LENGTH

from .conftest import png
from .http_visitor import Visitor


def visitors(server, count, *, with_picture=False):
    """Several visitors, each with a connection of its own."""
    created = [Visitor(server.url, f'visitor-{number}') for number in range(count)]
    if with_picture:
        for visitor in created:
            visitor.send('begin')
    return created


def new_words(visitor):
    """Let the next request need the model: its words were never scored."""
    visitor.set('words', [dict(word=visitor.name, aliases=[], colour='#123456')])


class Connection:
    """A connection on which a visitor waits for answers, or shows that the page is open."""

    def __init__(self, visitor, route='queue/data'):
        query = {'session_hash': visitor.name}
        self.stream = visitor.client.stream('GET', route, params=query)
        self.lines = self.stream.__enter__().iter_lines()
        next(self.lines)

    def drop(self):
        """Close it."""
        self.stream.__exit__(None, None, None)


def answered(visitor, event, seconds):
    """Whether an answer arrives in time; it is left alone afterwards."""
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(visitor.send(event)), daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0] if outcome else None


def test_the_request_after_a_full_queue_is_one_sentence(server, model):
    busy = visitors(server, CONCURRENCY, with_picture=True)
    other = Visitor(server.url, 'other')
    with model._lock:
        for visitor in busy:
            new_words(visitor)
            assert visitor.post('everything').status_code == 200
        queue = server.page.blocks._queue
        other.wait_until(lambda: len(queue) == 0)
        for _ in range(QUEUE_LENGTH):
            assert other.post('everything').status_code == 200
        reply = other.post('everything')
        assert reply.status_code == 503
        assert reply.json() == {'detail': 'Queue is full. Max size is 100 and size is 100.'}
        assert other.post('example', index=0).status_code == 503
        assert other.post('labels').status_code == 200  # a threshold does not queue
    other.wait_until(lambda: len(queue) == 0)
    assert other.send('begin')['message'] == ''


def test_a_request_that_takes_too_long_is_one_sentence(open_server, model):
    visitor = Visitor(open_server(Limits(seconds=0.5)).url)
    with model._lock:
        begin = time.monotonic()
        message = visitor.send('begin')['message']
        seconds = time.monotonic() - begin
    assert message.startswith(
        '<p class="is-error">This took longer than 0.5 seconds: try a smaller'
    )
    assert 0.5 <= seconds < 5
    assert visitor.send('example', index=0)['message'] == ''


def test_a_dropped_connection_frees_the_place_of_a_request_that_waits(open_server, model):
    server = open_server()
    busy = visitors(server, CONCURRENCY, with_picture=True)
    other = Visitor(server.url, 'other')
    with model._lock:
        waiting = []
        for visitor in busy:
            new_words(visitor)
            visitor.post('everything')
            waiting.append(Connection(visitor))
        assert answered(other, 'everything', 1) is None  # all places are taken
        for each in waiting:
            each.drop()
        another = Visitor(server.url, 'another')
        answer = answered(another, 'everything', 5)
        assert answer is not None
        assert 'Choose a picture first.' in answer['message']


@pytest.fixture
def work(model):
    """A pass through the backbone that stops in its first layer until it may go on."""
    parts = list(model._inferencer.segmentor.encoder.children())
    work = SimpleNamespace(begun=threading.Event(), may_go_on=threading.Event(), finished=False)

    def begin(*_):
        work.begun.set()
        work.may_go_on.wait(20)

    def finish(*_):
        work.finished = True

    hooks = [parts[0].register_forward_pre_hook(begin), parts[-1].register_forward_hook(finish)]
    yield work
    work.may_go_on.set()
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize('route', ['queue/data', 'heartbeat/visitor'])
def test_a_dropped_connection_ends_the_work(open_server, model, work, route):
    server = open_server()
    visitor = Visitor(server.url)
    path = visitor.upload(png(33, 44, seed=5))
    visitor.set('picture-upload', {'path': path, 'meta': {'_type': 'gradio.FileData'}})
    if route == 'queue/data':
        visitor.post('upload')
        connection = Connection(visitor)
    else:
        connection = Connection(visitor, route)
        visitor.post('upload')
    assert work.begun.wait(10)
    assert is_waiting(server, 'visitor')
    connection.drop()
    assert visitor.wait_until(lambda: not is_waiting(server, 'visitor')) < 2
    work.may_go_on.set()
    assert visitor.wait_until(lambda: not model._lock.locked()) < 1
    assert not work.finished
    assert Visitor(server.url, 'next').send('begin')['message'] == ''


def is_waiting(server, name):
    """Whether a visitor has a request that is worked on."""
    visitor = server.page.visitors._visitors.get(name)
    return visitor is not None and bool(visitor.last)


def test_answers_that_nobody_fetches_are_dropped(open_server):
    seconds = 4  # more than twelve requests take on a busy machine
    server = open_server(Limits(seconds=seconds))
    queue = server.page.blocks._queue
    for visitor in visitors(server, 12):
        assert visitor.post('begin').status_code == 200
    reader = Visitor(server.url, 'reader')
    reader.wait_until(lambda: len(queue.pending_messages_per_session) == 12)
    time.sleep(seconds + 0.1)
    assert reader.send('begin')['message'] == ''
    assert set(queue.pending_messages_per_session) == {'reader'}
    assert set(queue.pending_event_ids_session) == {'reader'}


def test_a_visitor_who_waits_is_not_silent():
    listeners = Listeners()
    for name in 'abc':
        listeners.asked(name)
    for name in 'bbc':
        listeners.connected(name)
    listeners.disconnected('b')
    assert list(listeners.pop_silent(0)) == ['a']
    for name in 'bc':
        listeners.disconnected(name)
    assert list(listeners.pop_silent(60)) == []
    assert list(listeners.pop_silent(0)) == ['b', 'c']
    assert len(listeners) == 0
