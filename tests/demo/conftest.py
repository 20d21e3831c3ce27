"""A tiny model as a file, photographs, and a server on loopback."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'tests/data/configs/tiny_zeroshot.py'


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory):
    """Random weights with their config, which need no other file."""
    cfg = Config.fromfile(CONFIG)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        weights = MODELS.build(cfg.model).state_dict()
    path = tmp_path_factory.mktemp('model') / 'tiny.pth'
    torch.save(dict(meta=dict(cfg=cfg.pretty_text), state_dict=weights), path)
    return path


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """Two photographs of different sizes."""
    folder = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for name, (height, width) in {'a': (40, 64), 'b': (48, 36)}.items():
        small = rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
        Image.fromarray(small).resize((width, height), Image.BICUBIC).save(folder / f'{name}.png')
    return folder


class Files(BaseHTTPRequestHandler):
    """Serves files of a folder; keeps the headers of the requests; redirects where told."""

    def do_GET(self):
        self.server.requests.append((self.path, dict(self.headers)))
        path = self.path.partition('?')[0]
        if path in self.server.redirects:
            self.send_response(302)
            self.send_header('Location', self.server.redirects[path])
            self.end_headers()
            return
        file = self.server.folder / path.rpartition('/')[2]
        if not file.is_file():
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(file.read_bytes())

    def log_message(self, *_):
        pass


@pytest.fixture
def serve_files(photos):
    """Starts servers of the photographs on loopback; gives each with its ``address``."""
    servers = []

    def start(folder=photos):
        server = ThreadingHTTPServer(('127.0.0.1', 0), Files)
        server.folder, server.requests, server.redirects = folder, [], {}
        server.address = f'http://127.0.0.1:{server.server_port}'
        threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01}).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
