"""Downloads against a server on loopback that cuts connections, lies and runs out of space."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from groupvit_mmseg.checkpoints import downloads
from groupvit_mmseg.checkpoints.downloads import WrongHashError, download_file

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves one file as the server's plan says, and records the requests."""

    protocol_version = 'HTTP/1.0'

    def do_GET(self):
        plan = self.server.plan
        plan.requests.append(dict(self.headers))
        if plan.errors:
            self.send_error(plan.errors.pop(0))
            return
        start = 0
        wanted = self.headers.get('Range')
        same = not plan.etag or self.headers.get('If-Range') == plan.etag
        if wanted and same and plan.ranges:
            start = int(wanted.removeprefix('bytes=').rstrip('-'))
            self.send_response(206)
        else:
            self.send_response(200)
        body = plan.content[start:]
        if plan.with_length:
            self.send_header('Content-Length', str(len(body)))
        if plan.etag:
            self.send_header('ETag', plan.etag)
        self.end_headers()
        self.wfile.write(body[: plan.cuts.pop(0)] if plan.cuts else body)

    def log_message(self, *_):
        """Keep the tests quiet."""


@pytest.fixture
def server(monkeypatch):
    """A server, its plan and the address of its file."""
    monkeypatch.setattr(downloads.time, 'sleep', lambda _: None)
    httpd = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    httpd.plan = SimpleNamespace(
        content=CONTENT, requests=[], errors=[], cuts=[], etag='"1"', ranges=True, with_length=True
    )
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield SimpleNamespace(
        plan=httpd.plan, address=f'http://127.0.0.1:{httpd.server_port}/weights.pth'
    )
    httpd.shutdown()
    httpd.server_close()


def test_a_file_is_downloaded_once(server, tmp_path):
    path = tmp_path / 'deep/weights.pth'
    for _ in range(2):
        assert download_file(server.address, path, sha256=SHA256[:8]).read_bytes() == CONTENT
    assert len(server.plan.requests) == 1
    assert [p.name for p in path.parent.iterdir() if not p.name.endswith('.lock')] == [path.name]


def test_a_cut_connection_continues_where_it_was_cut(server, tmp_path):
    server.plan.cuts = [1_000_000, 500_000]
    path = download_file(server.address, tmp_path / 'weights.pth', sha256=SHA256)
    assert path.read_bytes() == CONTENT
    starts = [request.get('Range') for request in server.plan.requests]
    assert starts == [None, 'bytes=1000000-', 'bytes=1500000-']


def test_a_later_process_continues_the_download(server, tmp_path):
    server.plan.cuts = [1_000_000] + [0] * downloads.ATTEMPTS
    with pytest.raises(ConnectionError, match='continues where this one ended'):
        download_file(server.address, tmp_path / 'weights.pth')
    assert not (tmp_path / 'weights.pth').exists()
    server.plan.requests.clear()
    path = download_file(server.address, tmp_path / 'weights.pth', sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.plan.requests[0]['Range'] == 'bytes=1000000-'


def test_a_file_replaced_between_two_connections_is_not_mixed(server, tmp_path):
    server.plan.cuts = [1_000_000] + [0] * downloads.ATTEMPTS
    with pytest.raises(ConnectionError):
        download_file(server.address, tmp_path / 'weights.pth')
    server.plan.etag, server.plan.content = '"2"', CONTENT[::-1]
    assert download_file(server.address, tmp_path / 'weights.pth').read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize('change', [dict(etag=''), dict(ranges=False)])
def test_without_ranges_or_a_validator_it_begins_again(server, tmp_path, change):
    vars(server.plan).update(change, cuts=[1_000_000])
    path = download_file(server.address, tmp_path / 'weights.pth', sha256=SHA256)
    assert path.read_bytes() == CONTENT


def test_a_partial_file_of_another_address_is_not_continued(server, tmp_path):
    (tmp_path / '.weights.pth.part').write_bytes(b'other')
    record = dict(address='http://elsewhere/weights.pth', validator='"1"')
    (tmp_path / '.weights.pth.part.json').write_text(json.dumps(record))
    path = download_file(server.address, tmp_path / 'weights.pth')
    assert path.read_bytes() == CONTENT


def test_a_partial_file_longer_than_the_file_is_dropped(server, tmp_path):
    server.plan.errors = [416]
    (tmp_path / '.weights.pth.part').write_bytes(CONTENT + b'more')
    record = dict(address=server.address, validator='"1"')
    (tmp_path / '.weights.pth.part.json').write_text(json.dumps(record))
    path = download_file(server.address, tmp_path / 'weights.pth')
    assert path.read_bytes() == CONTENT


def test_a_wrong_hash_is_refused_and_removed(server, tmp_path):
    with pytest.raises(WrongHashError, match='does not begin with 00000000'):
        download_file(server.address, tmp_path / 'weights.pth', sha256='00000000')
    assert not [p for p in tmp_path.iterdir() if not p.name.endswith('.lock')]


def test_a_missing_file_is_one_sentence_and_not_asked_for_again(server, tmp_path):
    server.plan.errors = [404] * 9
    with pytest.raises(FileNotFoundError, match='the server answers 404'):
        download_file(server.address, tmp_path / 'weights.pth')
    assert len(server.plan.requests) == 1


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.plan.errors = [503, 429, 500]
    assert download_file(server.address, tmp_path / 'weights.pth').read_bytes() == CONTENT


def test_a_server_that_is_not_there_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads.time, 'sleep', lambda _: None)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ResourceWarning)  # urllib's, of a refused connection
        with pytest.raises(ConnectionError, match=r'cannot be downloaded \(.*refused'):
            download_file('http://127.0.0.1:9/weights.pth', tmp_path / 'weights.pth')


def test_a_full_disk_is_one_sentence_before_a_byte_is_written(server, tmp_path, monkeypatch):
    usage = SimpleNamespace(free=len(CONTENT) - 1)
    monkeypatch.setattr(downloads.shutil, 'disk_usage', lambda _: usage)
    with pytest.raises(OSError, match=r'no space for weights\.pth .*GROUPVIT_HOME') as caught:
        download_file(server.address, tmp_path / 'weights.pth')
    assert caught.value.errno == errno.ENOSPC
    assert not [p for p in tmp_path.iterdir() if not p.name.endswith('.lock')]


def test_a_folder_without_permission_is_one_sentence_at_once(server, tmp_path, monkeypatch):
    opened = type(tmp_path).open

    def refuse(self, mode='r', **how):
        if mode in ('ab', 'wb'):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return opened(self, mode, **how)

    monkeypatch.setattr(type(tmp_path), 'open', refuse)
    with pytest.raises(PermissionError, match=r'part cannot be written \(Permission denied\)'):
        download_file(server.address, tmp_path / 'weights.pth')
    assert len(server.plan.requests) == 1  # no other attempt


def test_a_disk_that_fills_on_the_way_leaves_no_part(server, tmp_path, monkeypatch):
    server.plan.with_length = False

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def write(self, _):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path_type = type(tmp_path)
    opened = path_type.open
    monkeypatch.setattr(
        path_type,
        'open',
        lambda self, mode='r', **how: Full() if mode in ('ab', 'wb') else opened(self, mode, **how),
    )
    with pytest.raises(OSError, match='no space'):
        download_file(server.address, tmp_path / 'weights.pth')
    assert not [p for p in tmp_path.iterdir() if not p.name.endswith('.lock')]


def test_two_processes_at_once_download_once(server, tmp_path):
    # The file alone: importing the package takes the processes seconds.
    script = (
        'import runpy, sys; names = runpy.run_path(sys.argv[4]); '
        'names["download_file"](sys.argv[1], sys.argv[2], sha256=sys.argv[3])'
    )
    command = [sys.executable, '-c', script, server.address, str(tmp_path / 'w.pth'), SHA256]
    command.append(downloads.__file__)
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert len(server.plan.requests) == 1
    assert sum('Downloading' in text for text in errors) == 1
    assert (tmp_path / 'w.pth').read_bytes() == CONTENT
