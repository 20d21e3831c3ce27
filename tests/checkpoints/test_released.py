"""Names of released weights: caches, mirror, hash, licence, offline."""

import hashlib
import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from groupvit_mmseg.checkpoints import downloads, released
from groupvit_mmseg.checkpoints.released import RELEASED, fetch_released, find_released
from groupvit_mmseg.checkpoints.weight_files import read_weights

NAME = 'groupvit-gcc-yfcc'


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and counts what was asked for."""

    def do_GET(self):
        self.server.requests.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        """Keep the tests quiet."""


@pytest.fixture
def mirror(tmp_path, monkeypatch, write_official):
    """A mirror with a small official file under the released name, and empty caches."""
    folder = tmp_path / 'mirror'
    folder.mkdir()
    path = write_official(folder)
    path = path.rename(folder / RELEASED[NAME].file)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(released.RELEASED, NAME, RELEASED[NAME]._replace(sha256=digest[:8]))
    monkeypatch.setattr(downloads.time, 'sleep', lambda _: None)
    for variable in ('HF_HUB_OFFLINE', 'GROUPVIT_OFFLINE', 'HF_HOME'):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(released, 'cached_file', lambda _: None)
    monkeypatch.setattr(released, 'fetch', no_hub)
    monkeypatch.setenv('GROUPVIT_HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path / 'mmengine'))
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(folder)))
    server.requests, server.folder = [], folder
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv('GROUPVIT_MIRROR', f'http://127.0.0.1:{server.server_port}/')
    yield server
    server.shutdown()
    server.server_close()


def no_hub(name):
    """The hub, when it does not answer."""
    raise FileNotFoundError(f'{name} cannot be fetched from the hub')


def test_a_name_downloads_once_says_the_licence_once_and_then_works_offline(
    mirror, tmp_path, capsys, monkeypatch
):
    path = fetch_released(RELEASED[NAME])
    assert path == tmp_path / 'home' / RELEASED[NAME].file
    assert capsys.readouterr().err.count('non-commercial') == 1
    monkeypatch.setenv('GROUPVIT_OFFLINE', '1')
    assert fetch_released(RELEASED[NAME]) == path
    assert capsys.readouterr().err == ''
    assert len(mirror.requests) == 1


@pytest.mark.parametrize('name', [NAME, 'nvidia/groupvit-gcc-yfcc'])
def test_weights_are_read_by_name(mirror, name, official):
    weights = read_weights(name)
    assert weights.tensors.keys() == official['two_stage'].keys()


def test_the_names_of_the_hub_are_known():
    assert find_released('groupvit-gcc-redcaps').name == 'groupvit-gcc-redcap'


def test_a_file_of_that_name_comes_first(mirror, tmp_path, monkeypatch, official_file):
    monkeypatch.chdir(tmp_path)
    official_file().rename(tmp_path / NAME)
    read_weights(NAME)
    assert mirror.requests == []


def test_an_unknown_name_lists_similar_ones():
    with pytest.raises(FileNotFoundError, match='did you mean groupvit-gcc-yfcc'):
        read_weights('groupvit-gcc-yfc')
    with pytest.raises(FileNotFoundError, match='known: groupvit-gcc-yfcc, groupvit-gcc-redcap'):
        read_weights('dog')
    with pytest.raises(FileNotFoundError, match=r'no checkpoint at work_dirs/last\.pth; check'):
        read_weights('work_dirs/last.pth')


@pytest.mark.parametrize(
    'variable,folder', [('TORCH_HOME', 'hub/checkpoints'), ('MMENGINE_HOME', 'checkpoints')]
)
def test_the_usual_caches_are_used_where_they_lie(mirror, tmp_path, monkeypatch, variable, folder):
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    place = tmp_path / 'usual' / folder
    place.mkdir(parents=True)
    (mirror.folder / RELEASED[NAME].file).rename(place / RELEASED[NAME].file)
    monkeypatch.setenv(variable, str(tmp_path / 'usual'))
    assert fetch_released(RELEASED[NAME]) == place / RELEASED[NAME].file
    assert mirror.requests == []


def test_another_file_in_a_usual_cache_is_passed_over(mirror, tmp_path, monkeypatch):
    place = tmp_path / 'mmengine/checkpoints'
    place.mkdir(parents=True)
    (place / RELEASED[NAME].file).write_bytes(b'torn')
    assert fetch_released(RELEASED[NAME]).parent == tmp_path / 'home'


def test_a_file_brought_by_hand_is_checked(mirror, tmp_path):
    target = tmp_path / 'home' / RELEASED[NAME].file
    target.parent.mkdir()
    target.write_bytes(b'another')
    with pytest.raises(downloads.WrongHashError, match=r'is not the released file .* Delete it'):
        fetch_released(RELEASED[NAME])


def test_a_wrong_file_on_the_mirror_is_refused_and_removed(mirror, tmp_path):
    (mirror.folder / RELEASED[NAME].file).write_bytes(b'a proxy says hello')
    with pytest.raises(downloads.WrongHashError, match='is not the expected file'):
        fetch_released(RELEASED[NAME])
    assert not (tmp_path / 'home' / RELEASED[NAME].file).exists()


def test_without_a_server_the_hub_is_asked(mirror, tmp_path, monkeypatch):
    (mirror.folder / RELEASED[NAME].file).unlink()
    monkeypatch.setattr(released, 'fetch', lambda name: tmp_path / name)
    assert fetch_released(RELEASED[NAME]) == tmp_path / 'nvidia/groupvit-gcc-yfcc'


def test_without_any_server_the_sentence_says_what_to_bring_where(mirror, tmp_path):
    (mirror.folder / RELEASED[NAME].file).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        fetch_released(RELEASED[NAME])
    assert f'to {tmp_path / "home" / RELEASED[NAME].file}' in str(caught.value)


@pytest.mark.parametrize('variable', ['HF_HUB_OFFLINE', 'GROUPVIT_OFFLINE'])
def test_offline_asks_no_server(mirror, monkeypatch, variable):
    monkeypatch.setenv(variable, '1')
    with pytest.raises(FileNotFoundError, match='downloads are switched off: copy http'):
        fetch_released(RELEASED[NAME])
    assert mirror.requests == []


def test_a_home_that_cannot_be_written_is_one_sentence(mirror, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('no folder')
    monkeypatch.setenv('GROUPVIT_HOME', str(tmp_path / 'file/home'))
    with pytest.raises(PermissionError, match='name another folder with GROUPVIT_HOME'):
        fetch_released(RELEASED[NAME])


def test_a_cache_that_is_only_read_serves(mirror, tmp_path, monkeypatch):
    path = fetch_released(RELEASED[NAME])
    marker = path.with_name(f'.{path.name}.checked')
    marker.unlink()
    write_text = type(path).write_text

    def refuse(self, *args, **options):
        if self == marker:
            raise OSError(30, os.strerror(30))
        return write_text(self, *args, **options)

    monkeypatch.setattr(type(path), 'write_text', refuse)
    assert fetch_released(RELEASED[NAME]) == path
