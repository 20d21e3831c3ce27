"""Shards that are no local files: commands, a web server, an object store's own tool."""

import functools
import http.server
import os
import threading

import pytest

from groupvit_mmseg.datasets import remote_shards
from groupvit_mmseg.datasets.resumed_streams import Retries
from groupvit_mmseg.datasets.shards import open_source


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Tries again at once."""
    monkeypatch.setattr(remote_shards, 'RETRIES', Retries(4, first_wait=0.01, longest_wait=0.02))
    monkeypatch.setattr(remote_shards, 'COMMAND_RETRIES', Retries(2, first_wait=0.01))
    monkeypatch.setattr(remote_shards, 'SILENCE', 0.5)


@pytest.fixture
def remote(make_source, tmp_path):
    """Gives three shards of 4 samples as addresses made of their paths; and the keys."""
    keys = make_source('far', [4, 4, 4], with_sizes=False)[1]

    def at(address):
        paths = [tmp_path / 'far' / f'far-{i:03d}.tar' for i in range(3)]
        return dict(name='far', shards=[address.format(path) for path in paths], length=12)

    return at, sorted(keys)


@pytest.fixture
def address(tmp_path):
    """A web server over the same folder."""
    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Logs nothing."""

    def log_message(self, *arguments):
        pass


@pytest.fixture
def read(make_dataset, read_epoch, monkeypatch):
    """Keys of an epoch."""

    def epoch(source):
        dataset = make_dataset(source, pipeline=[dict(type='LoadImageText')])
        (batches,) = read_epoch(dataset, monkeypatch, grid=(1, 1), batch_size=4)
        return sorted(sample['key'] for batch in batches for sample in batch)

    return epoch


@pytest.mark.parametrize('command', ['pipe:cat {}', 'pipe:gzip -c {} | gzip -dc'])
def test_commands_that_print_a_shard(remote, read, command):
    at, keys = remote
    assert read(at(command)) == keys


def test_a_web_server(remote, read, address):
    _, keys = remote
    shards = f'{address}/far/far-{{000..002}}.tar'
    assert read(dict(name='far', shards=shards, length=12)) == keys


def test_an_object_store_through_its_tool(remote, read, tmp_path, monkeypatch):
    at, keys = remote
    tool = tmp_path / 'gsutil'
    tool.write_text('#!/bin/sh\n[ "$1" = cat ] && exec cat "${2#gs:/}"\n')
    tool.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}{os.pathsep}{os.environ["PATH"]}')
    assert read(at('gs:/{}')) == keys


def test_a_shard_that_is_not_there_is_named_with_its_command(remote, read):
    source = remote[0]('pipe:cat {} 2>&-')
    source['shards'][1] = source['shards'][1].replace('001', '009')
    with pytest.raises(RuntimeError, match=r'far-009.tar .* the shard is damaged .*exit 1'):
        read(source)


def test_an_unknown_address_is_one_sentence():
    with pytest.raises(ValueError, match=r'such as "pipe:cat ftp://b/a-0.tar"'):
        open_source('ftp://b/a-{0..1}.tar', name='far', length=9)


def test_an_object_store_without_its_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(remote_shards.OBJECT_STORES, 's3', 'no_such_package')
    with pytest.raises(ImportError, match=r'pip install no_such_package; .*pipe:aws s3 cp s3://b'):
        open_source('s3://b/a-{0..1}.tar', name='far', length=9)
