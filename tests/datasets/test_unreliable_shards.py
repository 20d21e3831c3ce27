"""Shards on servers and behind commands that fail in between: the samples are those of files."""

import functools
import http.server
import importlib.util
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from groupvit_mmseg.datasets import remote_shards
from groupvit_mmseg.datasets.resumed_streams import Busy, ResumedStream, Retries, skip

SIZES = [5, 3, 4]
LOAD = (dict(type='LoadImageText'),)


class Store(http.server.SimpleHTTPRequestHandler):
    """A web server that fails as it is told: each request takes the next fault of its file.

    Faults: a status, ``('cut', n)`` closes the connection after n bytes, ``('hang', n)`` says
    nothing more after n bytes, ``'no ranges'`` sends all, ``'slow'`` sends little by little.
    """

    protocol_version = 'HTTP/1.1'
    faults, requests, headers_seen = {}, Counter(), []

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        name = self.path.rpartition('/')[2]
        turn = self.requests[name]
        self.requests[name] += 1
        self.headers_seen.append(dict(self.headers))
        waiting = self.faults.get(name, self.faults.get('*', []))
        self.answer(waiting[turn] if turn < len(waiting) else None)

    def answer(self, fault):
        if isinstance(fault, int):
            self.send_response(fault)
            if fault in (429, 503):
                self.send_header('Retry-After', '0')
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        if isinstance(fault, str) and fault.startswith('http'):
            self.send_response(302)
            self.send_header('Location', fault + self.path)
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        self.send_file(fault)

    def send_file(self, fault):
        path = re.sub(r'^/datasets/me/pairs/resolve/\w+', '/far', self.path)
        with open(self.translate_path(path), 'rb') as stream:
            data = stream.read()
        first = int((re.match(r'bytes=(\d+)-$', self.headers.get('Range', '')) or [0, 0])[1])
        if fault == 'no ranges':
            first = 0
        if first >= len(data):
            self.answer(416)
            return
        self.send_response(206 if first else 200)
        self.send_header('Content-Length', str(len(data) - first))
        self.end_headers()
        self.send_body(data[first:], fault)

    def send_body(self, data, fault):
        kind, count = fault if isinstance(fault, tuple) else (fault, len(data))
        try:
            for start in range(0, min(count, len(data)), 2000 if kind == 'slow' else len(data)):
                time.sleep(0.01 if kind == 'slow' else 0)
                stop = start + 2000 if kind == 'slow' else len(data)
                self.wfile.write(data[start : min(stop, count)])
                self.wfile.flush()
            if kind == 'hang':
                time.sleep(1.0)
        except OSError:  # the reader gave up
            pass
        self.close_connection = kind is not None


@pytest.fixture
def serve(tmp_path):
    """Starts servers over the folder; returns the address and the class with its counts."""
    servers = []

    def start(**faults):
        handler = type('Handler', (Store,), dict(faults=faults, requests=Counter()))
        handler.headers_seen = []
        server = http.server.ThreadingHTTPServer(
            ('127.0.0.1', 0), functools.partial(handler, directory=tmp_path)
        )
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f'http://127.0.0.1:{server.server_port}', handler

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Tries again at once; nothing of this machine's own settings is taken."""
    monkeypatch.setattr(remote_shards, 'RETRIES', Retries(4, first_wait=0.01, longest_wait=0.02))
    monkeypatch.setattr(remote_shards, 'COMMAND_RETRIES', Retries(2, first_wait=0.01))
    monkeypatch.setattr(remote_shards, 'SILENCE', 0.3)
    for name in ('HF_TOKEN', 'HF_ENDPOINT', 'GOPEN_REWRITE', 'http_proxy', 'HTTP_PROXY'):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def shards(make_source):
    """Three shards; their source as local files."""
    return make_source('far', SIZES)[0]


@pytest.fixture
def read(make_dataset, read_epoch, monkeypatch):
    """What an epoch gives: keys, captions, pixels and skipped samples of every rank's batches."""

    def epoch(source, *, grid=(2, 2), **options):
        dataset = make_dataset(source, pipeline=LOAD, max_failure_share=0.6)
        ranks = read_epoch(dataset, monkeypatch, grid=grid, **options)
        return [
            [
                [(s['key'], s['caption'], s['img'].tobytes(), s['skipped']) for s in batch]
                for batch in batches
            ]
            for batches in ranks
        ]

    return epoch


@pytest.fixture
def at(tmp_path):
    """The source at an address, with the sizes from a local file."""

    def source(address):
        sizes = str(tmp_path / 'far' / 'sizes.json')
        return dict(name='far', shards=f'{address}/far-{{000..002}}.tar', sizes=sizes)

    return source


FAULTS = {
    'none': [],
    'server errors': [500, 502, 503],
    'throttle': [429, 503, 429],
    'cut off': [('cut', 3000), ('cut', 700), ('cut', 0)],
    'cut off, then errors': [('cut', 5000), 503, 504],
    'hangs': [('hang', 4000)],
    'hangs at once': [('hang', 0)],
    'no ranges': [('cut', 3000), 'no ranges'],
    'slow': ['slow', 'slow'],
}


@pytest.mark.parametrize('faults', FAULTS.values(), ids=FAULTS)
def test_samples_and_order_are_those_of_local_files(shards, read, serve, at, faults):
    address, store = serve(**{'*': faults})
    assert read(at(f'{address}/far')) == read(shards)
    assert len(store.requests) == 3


def test_a_fault_in_every_request_that_brings_something_is_survived(shards, read, serve, at):
    address, store = serve(**{'*': [('cut', 1500)] * 40})
    assert read(at(f'{address}/far'), grid=(1, 1)) == read(shards, grid=(1, 1))
    assert min(store.requests.values()) > 5  # more than the tries: progress starts them anew


@pytest.mark.parametrize('steps', [1, 2])
def test_a_killed_run_reads_the_rest(shards, read, serve, at, steps):
    whole = read(shards)
    address, _ = serve(**{'*': [503, ('cut', 2500)]})
    rest = read(at(f'{address}/far'), start=3 * steps)
    assert rest == [batches[steps:] for batches in whole]


def test_an_outage_loses_a_shard_and_says_why(shards, read, serve, at):
    address, store = serve(**{'far-001.tar': [503] * 1000})
    (batches,) = read(at(f'{address}/far'), grid=(1, 1))
    skipped = [text for batch in batches for sample in batch for text in sample[3]]
    assert sorted(skipped) == [
        f'far/far-001.tar#{n}: the shard is damaged (the server answers 503 Service Unavailable)'
        for n in range(3)
    ]
    assert store.requests['far-001.tar'] % 5 == 0  # the first and four tries, each time


@pytest.mark.parametrize('status', [404, 403, 401])
def test_what_is_not_there_is_not_asked_for_again(shards, read, serve, at, status):
    address, store = serve(**{'far-001.tar': [status] * 1000})
    (batches,) = read(at(f'{address}/far'), grid=(1, 1), batch_size=12)
    skipped = [text for batch in batches for sample in batch for text in sample[3]]
    assert len(skipped) == 3
    assert f'the server answers {status}' in skipped[0]
    assert store.requests['far-001.tar'] <= 2  # in its turn, and for the reserve


def test_the_hub_is_asked_with_the_token_and_its_storage_without(
    shards, read, serve, at, monkeypatch
):
    storage, seen = serve(**{'*': [('cut', 3000)]})
    hub, asked = serve(**{'*': [503] + [storage] * 100})
    monkeypatch.setenv('HF_ENDPOINT', hub)
    monkeypatch.setenv('HF_TOKEN', 'secret')
    assert read(at('hf://datasets/me/pairs@v2')) == read(shards)
    assert {headers.get('Authorization') for headers in asked.headers_seen} == {'Bearer secret'}
    assert not any('Authorization' in headers for headers in seen.headers_seen)


COMMANDS = {
    'works': 'cat {}',
    'a pipeline': 'gzip -c {} | gzip -dc',
    'breaks off once': 'head -c 3000 {0}; test -e {0}.2 || {{ touch {0}.2; exit 3; }}; '
    'tail -c +3001 {0}',
    'hangs once': 'head -c 3000 {0}; test -e {0}.2 || {{ touch {0}.2; sleep 9; }}; '
    'tail -c +3001 {0}',
}


@pytest.mark.parametrize('command', COMMANDS.values(), ids=COMMANDS)
def test_commands_that_break_off_or_hang(shards, read, tmp_path, command):
    paths = [tmp_path / 'far' / f'far-{n:03d}.tar' for n in range(3)]
    table = json.loads((tmp_path / 'far/sizes.json').read_text())
    source = dict(
        name='far',
        shards=['pipe:' + command.format(path) for path in paths],
        sizes=str(tmp_path / 'far/sizes.json'),
    )
    assert sum(table.values()) == 12
    assert read(source, grid=(1, 2)) == read(shards, grid=(1, 2))


def test_a_size_that_is_missing_is_one_sentence(shards, read, tmp_path, at):
    (tmp_path / 'far/sizes.json').write_text('{"far-000.tar": 5}')
    with pytest.raises(ValueError, match=r'gives no size for "http://h/far-001.tar": add it'):
        read(at('http://h'))
    with pytest.raises(FileNotFoundError, match=r'there is no file "gone.json" of sizes'):
        read(dict(shards='http://h/a.tar', sizes='gone.json'))
    with pytest.raises(ValueError, match=r'another form than hf://datasets/OWNER/NAME/FILE'):
        read(dict(shards='hf://owner/a.tar', length=3))


def test_pauses_grow_and_a_server_may_ask_for_longer_ones():
    retries = Retries(tries=8, first_wait=1, longest_wait=60)
    pauses = [retries.pause(n, OSError()) for n in range(8)]
    assert all(2**n <= pause <= 1.5 * 2**n for n, pause in enumerate(pauses[:6]))
    assert 60 <= pauses[7] <= 90
    assert retries.pause(0, Busy('busy', wait=25)) == 25


def test_retry_after_is_seconds_or_a_date():
    assert remote_shards._seconds('7') == 7
    assert remote_shards._seconds('99999') == 300
    assert remote_shards._seconds('Wed, 21 Oct 2015 07:28:00 GMT') == 0
    assert remote_shards._seconds('soon') == remote_shards._seconds(None) == 0


def test_a_stream_that_got_shorter_is_an_error():
    class Short:
        def read(self, size):
            return b''

        def close(self):
            pass

    with pytest.raises(EOFError, match='ends before the position'):
        skip(Short(), 3)
    stream = ResumedStream(lambda position: Short(), 'x', Retries(0))
    assert stream.read() == b''


@pytest.mark.skipif(
    not (importlib.util.find_spec('moto') and importlib.util.find_spec('s3fs')),
    reason='needs pip install "moto[server,s3]" s3fs',
)
def test_an_object_store(shards, read, tmp_path, at, monkeypatch):
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer('127.0.0.1', port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in dict(
            AWS_ENDPOINT_URL=f'http://{host}:{port}',
            AWS_ACCESS_KEY_ID='key',
            AWS_SECRET_ACCESS_KEY='secret',
            AWS_DEFAULT_REGION='us-east-1',
        ).items():
            monkeypatch.setenv(name, value)
        client = boto3.client('s3')
        client.create_bucket(Bucket='pairs')
        for path in (tmp_path / 'far').glob('*.tar'):
            client.upload_file(str(path), 'pairs', f'far/{path.name}')
        assert read(at('s3://pairs/far')) == read(shards)
        assert read(at('s3://pairs/far'), start=3) == [part[1:] for part in read(shards)]
        client.delete_object(Bucket='pairs', Key='far/far-001.tar')
        (batches,) = read(at('s3://pairs/far'), grid=(1, 1))
        skipped = [text for batch in batches for sample in batch for text in sample[3]]
        assert len(skipped) == 3
        assert 'the shard is damaged' in skipped[0]
    finally:
        server.stop()


READER = """
import json, sys
from mmengine.runner import Runner
from mmengine.registry import init_default_scope
import groupvit_mmseg

if __name__ == '__main__':
    init_default_scope('mmseg')
    source, start = json.loads(sys.argv[1]), int(sys.argv[2])
    dataset = dict(
        type='ImageTextDataset',
        sources=[source],
        pipeline=[dict(type='LoadImageText'), dict(type='PackImageText', context_length=12)],
        shuffle_buffer=4,
    )
    loader = Runner.build_dataloader(
        dict(
            batch_size=2,
            num_workers=2,
            sampler=dict(type='ImageTextSampler'),
            collate_fn=dict(type='collate_image_text'),
            dataset=dataset,
        ),
        seed=0,
    )
    loader.sampler.set_epoch(0, start)
    for batch in loader:
        print(json.dumps(batch['keys']), flush=True)
        sys.stdin.readline()  # the next batch when it is asked for
"""


def read_in_a_process(source, start, count=None):
    """Batches of keys that another process reads; it is killed after ``count`` of them."""
    words = [sys.executable, '-c', READER, json.dumps(source), str(start)]
    batches = []
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        for line in process.stdout:
            if not line.startswith('['):  # the log
                continue
            batches.append(json.loads(line))
            if len(batches) == count:
                process.kill()
                break
            process.stdin.write('\n')
            process.stdin.flush()
    return batches, process.returncode


@pytest.mark.slow
def test_a_process_that_was_killed_goes_on_from_a_server(shards, serve, at):
    expected, status = read_in_a_process(shards, 0)
    assert (len(expected), status) == (6, 0)
    address, _ = serve(**{'*': [('cut', 8000)]})
    source = at(f'{address}/far')
    before, status = read_in_a_process(source, 0, count=2)
    assert status == -signal.SIGKILL
    after, status = read_in_a_process(source, 4)
    assert status == 0
    assert before + after == expected
