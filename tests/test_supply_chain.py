"""No network unless asked, no telemetry, licences that fit."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from loading import load_file

ROOT = Path(__file__).resolve().parents[1]
# Runs before everything else in a child process: every address outside of this machine is refused,
# and written down even where the caller catches the error.
BLOCKED = """
import os, socket, sys
def _refuse(what):
    with open(os.environ['ATTEMPTS'], 'a') as file:
        print(what, file=file)
    raise OSError(f'no network in this test: {what}')
def _watch(event, args):
    if event == 'socket.connect' and isinstance(args[1], tuple):
        if str(args[1][0]) not in ('127.0.0.1', '::1', 'localhost', '0.0.0.0'):
            _refuse(f'connect {args[1]}')
    if event == 'socket.getaddrinfo' and args[0] not in (None, '127.0.0.1', 'localhost', '::1', ''):
        if args[0] not in (socket.gethostname(), '0.0.0.0'):
            _refuse(f'look up {args[0]}')
sys.addaudithook(_watch)
"""


def attempts(code, tmp_path):
    """Run code in a process without network; return what it tried to reach."""
    (tmp_path / 'sitecustomize.py').write_text(BLOCKED)
    record = tmp_path / 'attempts'
    env = {k: v for k, v in os.environ.items() if k not in ('HF_HUB_OFFLINE', 'GROUPVIT_OFFLINE')}
    env.update(PYTHONPATH=f'{tmp_path}:{ROOT}', ATTEMPTS=str(record), HOME=str(tmp_path))
    done = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return record.read_text().splitlines() if record.exists() else []


def test_the_block_notices(tmp_path):
    code = 'import urllib.request as r\ntry: r.urlopen("http://example.org")\nexcept OSError: pass'
    assert attempts(code, tmp_path) == ['look up example.org']


EVERYTHING = """
import pkgutil, importlib
import groupvit_mmseg, groupvit_cli, groupvit_web
for package in (groupvit_mmseg, groupvit_cli):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):
        if not module.name.endswith('__main__'):
            importlib.import_module(module.name)
"""
PAGE = """
from groupvit_web.offline import switch_telemetry_off
switch_telemetry_off()
import os, pkgutil, importlib, groupvit_web
for module in pkgutil.walk_packages(groupvit_web.__path__, 'groupvit_web.'):
    importlib.import_module(module.name)
import gradio, huggingface_hub.constants as hub
assert hub.HF_HUB_DISABLE_TELEMETRY
assert not gradio.analytics.analytics_enabled()
import time
time.sleep(1)  # Gradio asks for its version in a thread
"""
SEGMENT = """
import numpy as np
from mmengine.config import Config
from mmseg.registry import MODELS
from mmengine.registry import init_default_scope
import groupvit_mmseg, torch
init_default_scope('mmseg')
model = MODELS.build(Config.fromfile('tests/data/configs/tiny_zeroshot.py').model).eval()
with torch.inference_mode():
    model.encode_decode(torch.zeros(1, 3, 32, 32), [dict(ori_shape=(32, 32), img_shape=(32, 32))])
"""


@pytest.mark.slow
@pytest.mark.parametrize('code', [EVERYTHING, PAGE, SEGMENT], ids=['import', 'page', 'segment'])
def test_nothing_is_reached_without_being_asked(code, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert attempts(code, tmp_path) == []


@pytest.fixture
def licences():
    return load_file('tools/licences.py')


def test_licences_of_all_packages_fit(licences, capsys):
    assert licences.main([]) == 0, capsys.readouterr().err
    table = capsys.readouterr().out
    assert table.count('\n') > 100
    assert '| torch |' in table


@pytest.mark.parametrize(
    'licence,expected',
    [
        ('MIT', 'fits'),
        ('Apache Software License', 'fits'),
        ('BSD-3-Clause AND MIT', 'fits'),
        ('MPL-2.0', 'fits, used unchanged'),
        ('GNU Lesser General Public License v3', 'fits, used unchanged'),
        ('GNU General Public License v3 (GPLv3)', 'does not fit'),
        ('AGPL-3.0', 'does not fit'),
        ('GPL-2.0 OR MIT', 'fits'),
        ('GPL-3.0 AND MIT', 'does not fit'),
        ('MIT, with a non-commercial clause', 'does not fit'),
        ('not stated', 'does not fit'),
        ('CC-BY-NC: Non-Commercial', 'does not fit'),
    ],
)
def test_licences_are_judged_by_their_name(licences, licence, expected):
    assert licences.verdict(licence) == expected


def test_every_package_of_the_lock_has_an_exact_version(licences):
    text = (ROOT / 'requirements/lock.txt').read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith(('#', '-', ' '))]
    assert len(lines) > 100
    assert [line for line in lines if not re.match(r'[\w.-]+==\S', line)] == []
    assert len(licences.locked_names(text)) > 100
