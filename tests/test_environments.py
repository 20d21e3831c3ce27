"""Machines as people have them: odd paths, no home directory, no network, workers by spawn."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from groupvit_mmseg.inference import GroupViTInferencer

ROOT = Path(__file__).resolve().parents[1]
ODD = 'Étude à la mer, 海 (2)'


@pytest.fixture
def odd_folder(tmp_path):
    """A folder whose name has spaces, accents, brackets and Chinese."""
    folder = tmp_path / ODD
    folder.mkdir()
    return folder


@pytest.fixture
def bare_environment():
    """No home directory that could be written, not even by root; a proxy that is not there."""
    dead = {f'{kind}_proxy': 'http://127.0.0.1:9' for kind in ('http', 'https', 'HTTP', 'HTTPS')}
    kept = {name: os.environ[name] for name in ('PATH', 'PYTHONPATH') if name in os.environ}
    home = dict(HOME='/dev/null/home', LANG='C', OMP_NUM_THREADS='1', HF_HUB_OFFLINE='1')
    return {**kept, **dead, **home}


def run(arguments, folder, environment):
    """Run Python in a folder; warnings about encodings that depend on the system are printed."""
    arguments = [sys.executable, '-X', 'warn_default_encoding', *map(str, arguments)]
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, encoding='utf-8', timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    careless = [
        line
        for line in (done.stdout + done.stderr).splitlines()
        if 'EncodingWarning' in line and str(ROOT) in line and 'site-packages' not in line
    ]
    assert careless == []
    return done.stdout + done.stderr


def losses(work_dir):
    (path,) = work_dir.glob('epoch_*.pth')
    hub = torch.load(path, weights_only=True)['message_hub']
    return hub['log_scalars']['train/loss']['values'].tolist()


def write_config(config, path, data, **changes):
    """Write a copy with the data at another place, its lines ended as on Windows."""
    config = config.copy()
    config.merge_from_dict(dict(train_cfg=dict(max_epochs=1), log_level='INFO', **changes))
    config.train_dataloader.dataset.sources[0].data_root = str(data)
    config.val_dataloader.dataset.data_root = str(data)
    path.write_bytes(config.pretty_text.replace('\n', '\r\n').encode())
    return path


def test_training_by_spawn_in_an_odd_folder_without_a_home(
    tiny_config, tiny_data, make_runner, odd_folder, bare_environment
):
    make_runner(
        train_dataloader=dict(num_workers=1, multiprocessing_context='fork'),
        train_cfg=dict(max_epochs=1),
    ).train()
    shutil.copytree(tiny_data, odd_folder / 'data')
    config = write_config(
        tiny_config,
        odd_folder / 'réglages.py',
        odd_folder / 'data',
        train_dataloader=dict(num_workers=1),
        env_cfg=dict(mp_cfg=dict(mp_start_method='spawn')),
    )
    command = [ROOT / 'tools/train.py', config, '--work-dir', odd_folder / 'work dir']
    run(command, odd_folder, bare_environment)
    assert losses(odd_folder / 'work dir') == losses(odd_folder.parent / 'run')


def test_segment_in_an_odd_folder_without_a_home(make_runner, odd_folder, bare_environment):
    runner = make_runner(train_cfg=dict(max_epochs=1))
    runner.train()
    (checkpoint,) = Path(runner.work_dir).glob('epoch_*.pth')
    weights = odd_folder / 'poids é.pth'
    shutil.copy(checkpoint, weights)
    Image.new('RGB', (40, 30), 'red').save(odd_folder / 'photo 海.png')
    (odd_folder / 'words.txt').write_bytes('red wall\r\nmur vert é\r\n'.encode())
    arguments = ['-m', 'groupvit_cli', 'segment', 'photo 海.png', '--model', weights]
    run([*arguments, '--classes', 'words.txt', '--out', 'ça'], odd_folder, bare_environment)
    written = {path.name for path in (odd_folder / 'ça').rglob('*') if path.is_file()}
    assert any(name.startswith('photo 海') for name in written), written


class NoFloat64(TorchDispatchMode):
    """Raises where a tensor of float64 is made, which Apple's GPUs do not have."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            assert getattr(tensor, 'dtype', None) is not torch.float64, function
        return result


def test_models_make_no_float64(make_runner, tiny_config):
    runner = make_runner(train_cfg=dict(max_epochs=1))
    runner.train()
    (checkpoint,) = Path(runner.work_dir).glob('epoch_*.pth')
    batch = next(iter(runner.train_dataloader))
    inferencer = GroupViTInferencer.from_pretrained(str(checkpoint), class_names=['red', 'blue'])
    with NoFloat64():
        model = runner.model.train()
        data = model.data_preprocessor(dict(batch), training=True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        loss.backward()
        result = inferencer(torch.zeros(40, 50, 3, dtype=torch.uint8).numpy())
    assert result.label_map.shape == (40, 50)
    with pytest.raises(AssertionError), NoFloat64():
        torch.ones(2).double()


def test_a_config_with_windows_line_endings_is_the_same(tiny_config, tiny_data, tmp_path):
    path = write_config(tiny_config, tmp_path / 'windows.py', tiny_data)
    assert b'\r\n' in path.read_bytes()
    ours = Config.fromfile(path)
    assert ours.model == tiny_config.model
    assert ours.train_dataloader == tiny_config.train_dataloader
