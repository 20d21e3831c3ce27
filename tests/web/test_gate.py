"""The served page: files of nobody else, requests of a bounded size and number, no addresses."""

import os
from pathlib import Path

import httpx
import pytest

pytest.importorskip('gradio', reason='the page needs Gradio')

from gradio.utils import get_upload_folder

from groupvit_web import counters
from groupvit_web.counters import Counters
from groupvit_web.limits import Limits

from .conftest import png
from .http_visitor import Visitor

SECRET = 'a secret of another folder'


@pytest.fixture
def secret(tmp_path):
    """A file that the page must not give to anyone, named like a picture."""
    path = tmp_path / 'secret.png'
    path.write_text(SECRET)
    return path


def climbing(path):
    """Names that lead to a file from any folder up to twelve levels below the root."""
    plain = str(path).lstrip('/')
    yield str(path)
    for up in ('../', '..%2f', '%2e%2e/', '....//', '..\\', '%252e%252e%252f', '..%c0%af'):
        yield up * 12 + plain
    yield f'//{plain}'
    yield f'/./{plain}'
    yield f'/proc/self/root/{plain}'
    yield f'file://{path}'
    yield f'file:{path}'
    yield f'{path}%00.png'
    yield os.path.relpath(path)


ROUTES = [
    'gradio_api/file={}',
    'gradio_api/file/{}',
    'file={}',
    'static/{}',
    'assets/{}',
    'svelte/{}',
    'gradio_api/custom_component/1/client/component/{}',
    'gradio_api/stream/a/b/1/{}',
    'gradio_api/proxy={}',
    '{}',
]


def test_no_route_gives_a_file_that_was_not_uploaded(server, secret):
    visitor = Visitor(server.url)
    folder = Path(visitor.upload(b'text', 'mine.txt')).parent
    names = [
        *climbing(secret),
        f'{folder}/../../..{secret}',
        f'{folder}/mine.txt/../../../..{secret}',
    ]
    for route in ROUTES:
        for name in names:
            reply = visitor.client.get(server.url + route.format(name))
            assert SECRET not in reply.text, (route, name)
            assert reply.status_code >= 400, (route, name)


def test_a_link_in_the_folder_of_uploads_is_not_followed(server, secret):
    visitor = Visitor(server.url)
    link = Path(visitor.upload(b'text', 'mine.txt')).with_name('link.png')
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    try:
        reply = visitor.client.get(f'file={link}')
        assert (reply.status_code, SECRET in reply.text) == (403, False)
    finally:
        link.unlink()


def test_a_picture_is_only_what_was_uploaded(server, secret):
    visitor = Visitor(server.url)
    visitor.send('begin')
    for name in (*climbing(secret), str(secret.parent), '/dev/zero', '/proc/self/environ', ''):
        with pytest.raises(AssertionError) as error:
            visitor.show(name)
        assert 'upload' in str(error.value) or 'not uploaded' in str(error.value)
        assert SECRET not in str(error.value)
    assert visitor.show(visitor.upload(png(20, 30)))['message'] == ''


@pytest.mark.parametrize(
    'name', ['../../../x.png', '/etc/x.png', '..\\..\\x.png', 'a/b/x.png', '~/x.png', 'C:\\x.png']
)
def test_an_upload_stays_in_its_folder(server, name):
    visitor = Visitor(server.url)
    path = Path(visitor.upload(png(20, 30), name))
    assert path.resolve().parents[1] == Path(get_upload_folder()).resolve()
    assert path.name.endswith('x.png')
    assert visitor.show(path)['message'] == ''


@pytest.mark.parametrize('kind', ['svg', 'html', 'xml', 'xhtml', 'js'])
def test_an_upload_that_could_run_is_no_page_for_a_browser(server, kind):
    content = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"></svg>'
    visitor = Visitor(server.url)
    path = visitor.upload(content, f'drawing.{kind}')
    reply = visitor.client.get(f'file={path}')
    assert reply.headers['content-disposition'].startswith('attachment')
    assert reply.headers['content-type'] == 'application/octet-stream'
    answer = visitor.show(path)
    assert answer['message'] == (
        f'<p class="is-error">drawing.{kind} is an SVG drawing, which has no pixels: save it as '
        'PNG or JPEG.</p>'
    )


@pytest.mark.parametrize('address', ['http://203.0.113.7/a.png', 'https://example.org/a.png'])
def test_the_page_fetches_no_address(server, address, monkeypatch):
    from gradio import processing_utils

    fetched = []
    monkeypatch.setattr(processing_utils, 'async_ssrf_protected_download', fetched.append)
    visitor = Visitor(server.url)
    with pytest.raises(AssertionError, match=r'400 .*The page fetches no addresses'):
        visitor.show(address)
    visitor.set('words', [{'path': address, 'meta': {'_type': 'gradio.FileData'}}])
    assert visitor.post('everything').status_code == 400
    hidden = '{"data": [{"p\\u0061th": "h\\u0074tp://a/b", "meta": {"_type": "gradio.FileData"}}]}'
    assert visitor.client.post('queue/join', content=hidden).status_code == 400
    assert visitor.client.get(f'file={address}').status_code == 404
    assert fetched == []


@pytest.mark.parametrize(
    'method,route',
    [
        ('GET', 'gradio_api/proxy=https://a.hf.space/x'),
        ('POST', 'gradio_api/process_recording'),
        ('POST', 'gradio_api/component_server'),
        ('GET', 'gradio_api/deep_link?session_hash=visitor'),
        ('POST', 'gradio_api/vibe-edit'),
        ('GET', 'gradio_api/vibe-code'),
        ('GET', 'monitoring/summary'),
        ('GET', 'monitoring/x'),
        ('POST', 'gradio_api/call/labels'),
        ('POST', 'gradio_api/call/v2/labels'),
        ('GET', 'gradio_api/file/http://203.0.113.7/a.png'),
    ],
)
def test_routes_that_the_page_does_not_need_are_closed(server, method, route):
    reply = Visitor(server.url).client.request(method, server.url + route)
    assert (reply.status_code, reply.json()) == (404, {'detail': 'The page has no such address.'})


def test_a_request_is_bounded(open_server):
    server = open_server(Limits(file_bytes=2**20, request_bytes=2**16))
    visitor = Visitor(server.url)
    assert visitor.client.post('upload', files={'files': ('a', bytes(2**20))}).status_code == 200
    for route, body in (
        ('upload', {'files': {'files': ('a', bytes(2**21))}}),
        ('queue/join', {'content': bytes(2**17)}),
        ('run/predict', {'content': bytes(2**17)}),
    ):
        reply = visitor.client.post(route, **body)
        assert reply.status_code == 413, route
        assert reply.json()['detail'].endswith(' is too large: send a smaller one.')
    several = [('files', (f'{number}', bytes(2**19))) for number in range(4)]
    assert visitor.client.post('upload', files=several).status_code == 413
    reply = visitor.client.post(
        'queue/join', content=iter([b'{}'])
    )  # in chunks of no stated length
    assert (reply.status_code, reply.json()['detail']) == (
        411,
        'The request does not state its length.',
    )


def test_the_disk_for_uploads_is_bounded(open_server):
    visitor = Visitor(open_server(Limits(disk_bytes=3 * 2**19)).url)
    statuses = [
        visitor.client.post('upload', files={'files': ('a', bytes(2**19))}).status_code
        for _ in range(4)
    ]
    assert statuses == [200, 200, 503, 503]


def test_a_download_may_have_the_name_of_a_closed_route(server):
    visitor = Visitor(server.url)
    for name in ('monitoring.png', 'vibe-check.png', 'deep_link.png'):
        path = visitor.upload(png(20, 30), name)
        assert visitor.client.get(f'file={path}').status_code == 200


def test_uploads_that_are_refused_take_no_room(open_server):
    server = open_server(Limits(disk_bytes=3 * 2**19), user=('ada', 'secret'))
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        file = {'files': ('a', bytes(2**19))}
        for route in ('gradio_api/upload', 'nowhere/upload'):
            for _ in range(5):
                assert client.post(route, files=file).status_code in (401, 404, 405)
        login = {'username': 'ada', 'password': 'secret'}
        assert client.post('login', data=login).status_code == 200
        assert client.post('gradio_api/upload', files=file).status_code == 200


def test_a_visitor_has_a_short_name(server):
    visitor = Visitor(server.url, name='x' * 65)
    assert visitor.post('everything').status_code == 400


def test_the_room_comes_back_with_the_time_of_files(monkeypatch):
    now = 0.0
    monkeypatch.setattr(counters.time, 'monotonic', lambda: now)
    counted = Counters(Limits(disk_bytes=10, seconds_of_files=100))
    assert [counted.has_room(6), counted.has_room(6), counted.has_room(4)] == [True, False, True]
    counted.give_back(4)
    assert counted.has_room(4)
    now = 151.0
    assert counted.has_room(10)
    counted.give_back(6)  # which the time has removed
    assert not counted.has_room(1)


def test_an_address_sends_a_bounded_number_of_requests(open_server):
    server = open_server(Limits(requests=30))
    first, second = (
        Visitor(server.url, headers={'X-Forwarded-For': f'203.0.113.{number}'}) for number in (7, 8)
    )
    first.send('begin')
    statuses = [first.post('labels').status_code for _ in range(40)]
    assert statuses == [200] * 29 + [429] * 11
    reply = first.post('labels')
    assert reply.json() == {'detail': 'These are too many requests: wait for a minute.'}
    assert second.send('begin')['message'] == ''
    here = Visitor(server.url)
    here.send('begin')
    assert {here.post('labels').status_code for _ in range(40)} == {200}


def test_passwords_are_tried_a_bounded_number_of_times(open_server):
    server = open_server(Limits(logins=5), user=('ada', 'secret'))
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        assert client.get('gradio_api/file=/etc/passwd').status_code == 401
        wrong = {'username': 'ada', 'password': 'guess'}
        statuses = [client.post('login', data=wrong).status_code for _ in range(7)]
    assert statuses == [400] * 5 + [429] * 2


def test_a_minute_later_the_address_may_send_again(monkeypatch):
    now = 0.0
    monkeypatch.setattr(counters.time, 'monotonic', lambda: now)
    counted = Counters(Limits(requests=2))
    assert [counted.admits('203.0.113.7') for _ in range(3)] == [True, True, False]
    now = 60.0
    assert counted.admits('203.0.113.7')


def test_a_bounded_number_of_addresses_is_counted(monkeypatch):
    monkeypatch.setattr(counters, 'MOST_ADDRESSES', 5)
    counted = Counters(Limits())
    for number in range(50):
        counted.admits(f'203.0.113.{number}')
    assert len(counted._counts) == 5
