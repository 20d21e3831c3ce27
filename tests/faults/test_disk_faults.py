"""Disks that are full, read-only, over a quota, failing or slow: one sentence, then an exact rest.

``faulty_disk.c`` makes the calls of a process fail. Each command meets each disk at several random
moments: ``DISK_MOMENTS=20 pytest -s -m faults tests/faults/test_disk_faults.py``.
"""

import errno
import functools
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from loading import load_file

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MEASURED = ('time', 'memory', 'samples_per_s')  # of the machine, not of the training
MOMENTS = int(os.environ.get('DISK_MOMENTS', '1'))
disks = load_file(HERE / 'disks.py')
helper = load_file('tests/tools/test_evaluate.py')
place = helper.place  # a fixture
pytestmark = pytest.mark.faults


@pytest.fixture(scope='module')
def tools(tmp_path_factory):
    tools = disks.Tools(tmp_path_factory.mktemp('disks'))
    yield tools
    tools.close()


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Six images with captions."""
    folder, rng = tmp_path_factory.mktemp('photos'), np.random.default_rng(0)
    for index in range(6):
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{index}.png')
        (folder / f'{index}.txt').write_text('a red wall\na green wall\n')
    return folder


@pytest.fixture(scope='module')
def commands(tiny_config, place, photos, tmp_path_factory):
    """Tool and arguments of each command; the last argument names the folder of its results."""
    folder = tmp_path_factory.mktemp('commands')
    tiny_config.dump(folder / 'config.py')
    arguments = [place / 'weights.pth', f'--config={helper.CONFIG}', '--device=cpu']
    segment = ['segment', photos, '--model', *arguments, '--words=red wall, green wall']
    evaluate = [*arguments, '--workers=0', f'--data-root={place / "data"}', '--pictures=0']
    evaluate += ['--sets', 'voc21', 'voc20', '--change', *helper.WINDOWS]
    shards = ['folder', photos, '--name=photos', '--per-shard=2', '--overwrite']
    return dict(
        train=(ROOT / 'tools/train.py', [folder / 'config.py', '--resume', '--work-dir']),
        evaluate=(ROOT / 'tools/evaluate.py', [*evaluate, '--out']),
        make_shards=(ROOT / 'tools/dataset_converters/make_shards.py', [*shards, '--out']),
        segment=(
            ROOT / 'groupvit_cli/app.py',
            [*segment, '--format=png,label,json,coco,yolo', '--out'],
        ),
    )


def contents(name, out):
    """Return what a command is to leave: by file, or of a training's last checkpoint."""
    if name == 'train':
        last = torch.load(out / 'epoch_3.pth', weights_only=True)
        scalars = {
            key: str(value)
            for key, value in last['message_hub']['log_scalars'].items()
            if not any(word in key for word in MEASURED)
        }
        assert sorted(path.name for path in out.glob('.*')) == []
        return {**last['state_dict'], **scalars}
    # A read-only disk keeps a hidden temporary file.
    files = [path for path in out.rglob('*') if path.is_file()]
    named = {str(path.relative_to(out)): path for path in files}
    return {name: path.read_bytes() for name, path in named.items() if '/.' not in f'/{name}'}


def differences(found, expected):
    keys = found.keys() | expected.keys()
    return [key for key in keys if not _is_same(found.get(key), expected.get(key))]


def _is_same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return first == second


def assert_complete(name, out):
    """What a fault has left is complete, file by file, where its name is one of a result."""
    for path in out.rglob('*') if out.is_dir() else ():
        if path.name.startswith('.') or any(p.startswith('.') for p in path.parts):
            continue
        if path.suffix == '.pth':
            torch.load(path, weights_only=True)
        elif path.suffix in ('.png', '.jpg'):
            Image.open(path).load()
        elif path.suffix == '.json' and name != 'train':  # mmengine's scalars have a line a step
            json.loads(path.read_text())
        elif path.name == 'last_checkpoint':
            assert Path(path.read_text()).is_file()


@pytest.fixture(scope='module')
def undisturbed(tools, commands, tmp_path_factory):
    """Returns what a command leaves, and how it ended, by its name."""
    folder = tmp_path_factory.mktemp('whole')

    @functools.cache
    def run(name):
        tool, argv = commands[name]
        out = folder / name
        done = tools.run(tool, [*argv, out], out)
        assert done.status == 0, done.errors[-3000:]
        return contents(name, out), done

    return run


@pytest.mark.parametrize('disk', disks.FAULTS)
@pytest.mark.parametrize('name', ['train', 'evaluate', 'make_shards', 'segment'])
def test_a_fault_is_one_sentence_and_the_same_command_goes_on(
    tools, commands, undisturbed, tmp_path, name, disk
):
    tool, argv = commands[name]
    expected, whole = undisturbed(name)
    count = whole.count(disks.FAULTS[disk])
    rng = random.Random(f'{name} {disk}')
    for number, after in enumerate(sorted(rng.sample(range(count), min(count, MOMENTS)))):
        out = tmp_path / str(number)
        fault = disks.FAULTS[disk]._replace(after=after)
        done = tools.run(tool, [*argv, out], out, fault)
        print(f'{name}, {disk}, call {after} of {count}: {done.errors.strip()[-300:]}')
        assert_complete(name, out)
        if done.status == 0 and not done.errors:  # only temporary files could not be removed
            assert not differences(contents(name, out), expected)
            continue
        disks.assert_one_sentence(done, fault, out)
        done = tools.run(tool, [*argv, out], out)
        assert done.status == 0, done.errors[-3000:]
        assert not differences(contents(name, out), expected)


@pytest.mark.parametrize('name', ['train', 'evaluate', 'make_shards', 'segment'])
def test_a_whole_command_on_a_full_disk(tools, commands, undisturbed, tmp_path, name):
    """As a user starts it, in a process that imports everything while the disk is full."""
    tool, argv = commands[name]
    expected, whole = undisturbed(name)
    disk = disks.FAULTS['full']._replace(after=whole.count(disks.FAULTS['full']) // 2)
    done = tools.run_alone(tool, [*argv, tmp_path / 'out'], tmp_path / 'out', disk)
    disks.assert_one_sentence(done, disk, tmp_path / 'out')
    assert_complete(name, tmp_path / 'out')
    assert tools.run(tool, [*argv, tmp_path / 'out'], tmp_path / 'out').status == 0
    assert not differences(contents(name, tmp_path / 'out'), expected)


@pytest.mark.parametrize('name', ['train', 'evaluate', 'make_shards', 'segment'])
def test_a_slow_disk_changes_nothing(tools, commands, undisturbed, tmp_path, name):
    tool, argv = commands[name]
    expected, whole = undisturbed(name)
    slow = disks.Disk(microseconds=5_000)
    began = time.monotonic()
    done = tools.run(tool, [*argv, tmp_path / 'out'], tmp_path / 'out', slow)
    calls = whole.count(disks.Disk(disks.READ | disks.WRITE | disks.SYNC | disks.OPEN))
    assert time.monotonic() - began > 0.005 * calls * 0.5
    assert done.status == 0, done.errors[-3000:]
    assert not differences(contents(name, tmp_path / 'out'), expected)


@pytest.mark.parametrize('workers', [0, 2])
def test_slow_shards_give_the_same_samples(tools, commands, tiny_data, tmp_path, workers):
    tool, argv = commands['train']
    options = ['--cfg-options', f'train_dataloader.num_workers={workers}']
    outs, slow = [tmp_path / 'fast', tmp_path / 'slow'], disks.Disk(microseconds=20_000)
    for out, disk in zip(outs, (disks.SOUND, slow), strict=True):
        done = tools.run(tool, [*argv, out, *options], tiny_data, disk)
        assert done.status == 0, done.errors[-3000:]
        assert done.count(disks.Disk(disks.READ)) > 10
    assert not differences(*(contents('train', out) for out in outs))


@pytest.mark.parametrize('workers', [0, 2])
def test_samples_that_a_disk_loses_are_named_and_replaced(
    tools, commands, tiny_data, tmp_path, workers
):
    """The second shard fails from its middle on: the first takes the place of those lost."""
    tool, argv = commands['train']
    options = ['--cfg-options', f'train_dataloader.num_workers={workers}', 'log_level=WARNING']
    options.append('train_dataloader.dataset.max_failure_share=0.9')
    shard = tiny_data / 'pairs-1.tar'
    whole = tools.run(tool, [*argv, tmp_path / 'whole', *options], shard)
    assert whole.status == 0
    reads = whole.count(disks.Disk(disks.READ))
    failing = disks.Disk(disks.READ, errno.EIO, after=reads // 2)
    done = tools.run(tool, [*argv, tmp_path / 'run', *options], shard, failing)
    assert done.status == 0, done.errors[-3000:]
    assert done.failed
    text = done.output + done.errors
    assert 'pairs-1.tar' in text
    assert 'Input/output error' in text
    last = torch.load(tmp_path / 'run/epoch_3.pth', weights_only=True)
    assert last['meta']['iter'] == 12
    assert 'pairs-1.tar' not in whole.output + whole.errors


@pytest.mark.parametrize('workers', [0, 2])
def test_a_disk_that_loses_too_much_is_one_sentence(tools, commands, tiny_data, tmp_path, workers):
    tool, argv = commands['train']
    options = ['--cfg-options', f'train_dataloader.num_workers={workers}']
    failing = disks.Disk(disks.READ, errno.EIO)
    out, shard = tmp_path / 'run', tiny_data / 'pairs-1.tar'
    done = tools.run(tool, [*argv, out, *options], shard, failing)
    disks.assert_one_sentence(done, failing, 'pairs-1.tar')
    assert '`max_failure_share=0.1`' in done.errors
    done = tools.run(tool, [*argv, out, *options], shard)
    assert done.status == 0, done.errors[-3000:]


def can_mount():
    command = ['unshare', '-rm', 'mount', '-t', 'tmpfs', 'none', '/mnt']
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


TMPFS = """
set -u
mount -t tmpfs -o size=$1 none "$2"; shift; out=$1; shift
"$@" 2> "$out/../errors"; echo $? > "$out/../status"
ls "$out/run" > "$out/../files"
mount -o remount,size=64m "$out"
"$@" || exit
cp -r "$out/run" "$out/../result"
"""


@pytest.mark.parametrize('size', ['120k', '400k'])
def test_a_training_fills_a_real_disk(commands, undisturbed, tmp_path, size):
    if not can_mount():
        pytest.skip('needs the right to mount a tmpfs (unshare -rm)')
    tool, argv = commands['train']
    (tmp_path / 'disk').mkdir()
    command = ['unshare', '-rm', 'sh', '-c', TMPFS, 'sh', size, tmp_path / 'disk', sys.executable]
    env = dict(os.environ, PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES='')
    done = subprocess.run(
        [*command, tool, *argv, tmp_path / 'disk/run'],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    errors = (tmp_path / 'errors').read_text()
    assert (tmp_path / 'status').read_text() == '2\n', errors[-3000:]
    assert errors.count('error: ') == errors.count('No space left on device') == 1
    assert 'Traceback' not in errors
    assert not differences(contents('train', tmp_path / 'result'), undisturbed('train')[0])
