"""``groupvit web``: the model it takes, and wrong input."""

import importlib.util
import sys
from pathlib import Path

import pytest

from groupvit_cli import app as command
from groupvit_cli import web


def call(monkeypatch, *args):
    """Exit status of a command line."""
    monkeypatch.setattr(sys, 'argv', ['groupvit', 'web', '--no-open', *map(str, args)])
    with pytest.raises(SystemExit) as stop:
        command.main()
    return stop.value.code or 0


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine with empty caches, in an empty folder."""
    for name in ('GROUPVIT_HOME', 'TORCH_HOME', 'MMENGINE_HOME', 'HF_HOME', 'XDG_CACHE_HOME'):
        monkeypatch.setenv(name, str(tmp_path / 'caches'))
    monkeypatch.setattr('groupvit_mmseg.checkpoints.released.cached_file', lambda name: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    'args,message',
    [
        ((), 'groupvit web --model groupvit-gcc-yfcc'),
        (('--model', 'groupvit-gcc-yfc'), 'did you mean groupvit-gcc-yfcc'),
        (('--port', 'first'), '--port first: give a number'),
        (('--port', '70000'), '--port 70000'),
        (('--auth', 'ada'), '--auth USER:PASSWORD'),
        (('--examples', 'none'), '--examples none: there is no such folder'),
        (('--work-dir', 'none'), '--work-dir none'),
        (('--results', 'none'), '--results none'),
    ],
)
def test_wrong_input_is_one_sentence_and_status_2(bare, monkeypatch, capsys, args, message):
    pytest.importorskip('gradio', reason='the extra is not installed')
    assert call(monkeypatch, *args) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert error[0].startswith('error: ')
    assert message in error[0]


def test_without_gradio_the_extra_is_named(bare, monkeypatch, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name: None if name == 'gradio' else find_spec(name)
    )
    assert call(monkeypatch) == 2
    assert 'pip install "groupvit-mmseg[web]"' in capsys.readouterr().err


def test_the_quickstart_is_taken_if_no_released_weights_are_cached(bare):
    folder = bare / 'work_dirs' / 'quickstart' / 'train'
    folder.mkdir(parents=True)
    (folder / 'best_mIoU_epoch_6.pth').touch()
    default = web.default_model()
    assert default.config is not None
    assert default.config.name == 'groupvit_tiny-p4_1xb64-coslr-6e_scenes-40px.py'
    assert Path(default.source) == web.QUICKSTART / 'best_mIoU_epoch_6.pth'
    assert 'groupvit web --model groupvit-gcc-yfcc' in default.notice
    caches = bare / 'caches'
    caches.mkdir()
    (caches / 'group_vit_gcc_yfcc_30e-879422e0.pth').touch()
    assert web.default_model().source == 'groupvit-gcc-yfcc'


@pytest.mark.parametrize('args,share,host', [((), False, '127.0.0.1'), (('--share',), True, None)])
def test_nothing_is_shared_unless_asked(monkeypatch, args, share, host):
    options = []
    monkeypatch.setattr(web, 'run', options.append)
    monkeypatch.setattr(sys, 'argv', ['groupvit', 'web', *args])
    with pytest.raises(SystemExit):
        command.main()
    assert options[0].share is share
    assert web.make_address(options[0]).host == (host or '127.0.0.1')
