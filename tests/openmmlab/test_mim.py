"""OpenMMLab's installer mim: search, download, train and test of the installed plugin.

It needs a plugin that is installed as a wheel: ``make test-integrations``.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

pytestmark = pytest.mark.slow

CONFIG = 'groupvit_vit-small-p16_zeroshot_voc12-448'
FILE = 'group_vit_gcc_yfcc_30e-879422e0.pth'
RELEASE = 'https://github.com/xvjiarui/GroupViT-1/releases/download/v1.0.0'


def installed_wheel():
    """Folder of an installed wheel of the plugin, which has ``.mim``; None if there is none."""
    for distribution in importlib.metadata.distributions(name='groupvit-mmseg'):
        folder = Path(distribution.locate_file(''))
        if (folder / 'groupvit_mmseg/.mim/model-index.yml').is_file():
            return folder
    return None


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path):
    """A server of released files on loopback: its address and its folder."""
    folder = tmp_path / 'mirror'
    folder.mkdir()
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01}).start()
    yield f'http://127.0.0.1:{server.server_port}', folder
    server.shutdown()
    server.server_close()


@pytest.fixture
def mim(tmp_path, mirror):
    """Runs mim with a copy of the installed plugin, whose metafile names the mirror."""
    if importlib.util.find_spec('mim') is None:
        pytest.skip('openmim is not installed: make test-integrations')
    folder = installed_wheel()
    if folder is None:
        pytest.skip('the plugin is not installed as a wheel: make test-integrations')
    site = tmp_path / 'site'
    for path in [
        folder / 'groupvit_mmseg',
        folder / 'groupvit_cli',
        *folder.glob('groupvit_mmseg-*'),
    ]:
        shutil.copytree(path, site / path.name)
    metafile = site / 'groupvit_mmseg/.mim/configs/groupvit/metafile.yaml'
    text = metafile.read_text('utf-8')
    assert RELEASE in text
    metafile.write_text(text.replace(RELEASE, mirror[0]), 'utf-8')

    def run(*words):
        environment = {**os.environ, 'PYTHONPATH': str(site), 'HOME': str(tmp_path / 'home')}
        command = [sys.executable, '-m', 'mim', *map(str, words)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300
        )

    return run


def test_search_finds_configs_and_weights(mim):
    done = mim('search', 'groupvit-mmseg', '--config', CONFIG)
    assert done.returncode == 0, done.stderr
    assert f'config id: {CONFIG}' in done.stdout
    assert '52.3' in done.stdout
    done = mim('search', 'groupvit_mmseg', '--valid-config')
    assert CONFIG in done.stdout


def test_search_knows_no_alias(mim):
    """As the guide says: mim takes names of configs; the aliases are for MMSegInferencer."""
    done = mim('search', 'groupvit-mmseg', '--config', 'groupvit-gcc-yfcc')
    assert done.returncode != 0
    assert 'Expected configs' in done.stderr


def test_download_fetches_weights_and_config(mim, mirror, tmp_path):
    (mirror[1] / FILE).write_bytes(b'weights' * 1000)
    done = mim('download', 'groupvit-mmseg', '--config', CONFIG, '--dest', tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [FILE, f'{CONFIG}.py']
    digest = hashlib.sha256((tmp_path / 'out' / FILE).read_bytes()).hexdigest()
    assert digest == hashlib.sha256(b'weights' * 1000).hexdigest()
    config = Config.fromfile(tmp_path / 'out' / f'{CONFIG}.py')
    assert config.model.type == 'GroupViTSegmentor'


def test_train_then_test(mim, tiny_config, tmp_path):
    cfg = tiny_config.copy()
    cfg.train_cfg.max_epochs = 1
    cfg.log_level = 'INFO'
    cfg.dump(tmp_path / 'tiny.py')
    done = mim('train', 'groupvit-mmseg', 'tiny.py', '--gpus', 0, '--work-dir', 'run')
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'Training finished successfully' in done.stdout
    weights = torch.load(tmp_path / 'run/epoch_1.pth', weights_only=True)['state_dict']
    assert any(key.startswith('backbone.') for key in weights)
    arguments = ['--checkpoint', 'run/epoch_1.pth', '--gpus', 0, '--work-dir', 'tested']
    done = mim('test', 'groupvit-mmseg', 'tiny.py', *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'mIoU' in done.stdout + done.stderr
    assert 'Testing finished successfully' in done.stdout
