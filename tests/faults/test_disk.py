"""A disk that is full or read-only: one sentence, complete earlier checkpoints, an exact rest."""

import errno
import functools
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from groupvit_mmseg.atomic_files import save_checkpoint, write_text
from groupvit_mmseg.benchmark.journal import Journal

from loading import load_file

ROOT = Path(__file__).resolve().parents[2]
LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def in_limited_process(function, size):
    """Call a function in a forked process that may write files of a size; return its status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            status = function()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize('size', [0, 100, 20_000, 90_000])
def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path, size):
    path = tmp_path / 'epoch_1.pth'
    save_checkpoint({'w': torch.ones(10)}, path)
    before = path.read_bytes()

    def write():
        try:
            save_checkpoint({'w': torch.ones(50_000)}, path)
        except OSError as error:
            is_clear = 'The checkpoint cannot be written' in str(error) and str(path) in str(error)
            return 7 if error.errno == errno.EFBIG and is_clear else 8
        return 0

    assert in_limited_process(write, size) == 7
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ['epoch_1.pth']  # no temporary file either


def test_enough_space_writes(tmp_path):
    def write():
        save_checkpoint({'w': torch.ones(50_000)}, tmp_path / 'epoch_1.pth')
        return 0

    assert in_limited_process(write, 10_000_000) == 0
    assert torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['w'].sum() == 50_000


def test_errors_that_are_not_of_the_disk_keep_their_type(tmp_path):
    with pytest.raises((AttributeError, TypeError, Exception)) as caught:
        save_checkpoint({'w': lambda: 1}, tmp_path / 'x.pth')
    assert not isinstance(caught.value, OSError)


@pytest.mark.parametrize('size', [0, 30, 100, 333, 1000])
def test_a_journal_on_a_full_disk_is_one_sentence_and_goes_on(tmp_path, size):
    def journal():
        return Journal(tmp_path, name='pets', settings=dict(set='pets'))

    def write():
        try:
            with journal().writer(0) as writer:
                for index in range(50):
                    writer.add(index, image='x.png', pairs=[[0, 0, 12]])
        except OSError as error:
            is_clear = 'The journal cannot be written (File too large)' in str(error)
            return 7 if is_clear and str(tmp_path / 'pets.0.jsonl') in str(error) else 8
        return 0

    assert in_limited_process(write, size) == 7
    done = journal().results()
    assert list(done) == list(range(len(done)))
    assert len(done) < 50
    with journal().writer(0) as writer:
        for index in range(len(done), 50):
            writer.add(index, image='x.png', pairs=[[0, 0, 12]])
    assert list(journal().results()) == list(range(50))


@pytest.mark.parametrize('size', [0, 100])
def test_results_on_a_full_disk_name_their_file_and_stay(tmp_path, size):
    path = tmp_path / 'table.md'
    write_text(path, 'before')

    def write():
        try:
            write_text(path, 'after' * 1000)
        except OSError as error:
            return 7 if 'File too large' in str(error) and str(path) in str(error) else 8
        return 0

    assert in_limited_process(write, size) == 7
    assert path.read_text() == 'before'
    assert [each.name for each in tmp_path.iterdir()] == ['table.md']


def train_in_child(config, work_dir, prepare):
    """Call tools/train.py in a forked process after a preparation; return status and errors."""
    reader, writer = os.pipe()  # which no limit of a file's size concerns
    tool = load_file('tools/train.py')
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.dup2(writer, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.stdout, sys.stderr = os.fdopen(1, 'w'), os.fdopen(2, 'w')
            prepare()
            status = tool.main([str(config), '--work-dir', str(work_dir)])
            sys.stderr.flush()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as stream:
        errors = stream.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), errors


@pytest.mark.parametrize('size', [0, 500, 12_000])
def test_logs_on_a_full_disk_end_the_training_with_one_sentence(tiny_config, tmp_path, size):
    tiny_config.dump(tmp_path / 'config.py')

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    status, errors = train_in_child(tmp_path / 'config.py', tmp_path / 'run', limit)
    assert status == 2, errors[-3000:]
    assert errors.count('error: ') == 1
    assert 'Traceback' not in errors, errors[-3000:]


@pytest.mark.skipif(os.geteuid() != 0, reason='becomes another user')
def test_a_folder_that_cannot_be_written_is_one_sentence(tiny_config):
    with tempfile.TemporaryDirectory(prefix='groupvit-read-only-') as name:
        folder = Path(name)
        tiny_config.dump(folder / 'config.py')
        folder.chmod(0o555)
        nobody = functools.partial(os.seteuid, 65534)
        status, errors = train_in_child(folder / 'config.py', folder / 'run', nobody)
        folder.chmod(0o700)
        assert status == 2, errors[-3000:]
        assert errors.count('error: ') == 1
        assert 'Permission denied' in errors
        assert str(folder / 'run') in errors
        assert 'Traceback' not in errors


@pytest.mark.faults
def test_training_on_a_full_disk_is_one_sentence_and_resumes(tiny_config, tmp_path):
    cfg = tiny_config.copy()
    # The model is written without the optimiser first: the second checkpoint is too large.
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=-1)
    cfg.dump(tmp_path / 'config.py')
    command = [str(ROOT / 'tools/train.py'), str(tmp_path / 'config.py'), '--resume']
    env = dict(os.environ, CUDA_VISIBLE_DEVICES='', PYTHONPATH=str(ROOT))

    def train(name, limit):
        return subprocess.run(
            [sys.executable, '-c', LIMITED, str(limit), *command, '--work-dir', tmp_path / name],
            env=env,
            capture_output=True,
            text=True,
        )

    assert train('whole', 2**40).returncode == 0
    full = train('run', 50_000)
    assert full.returncode == 2, full.stderr[-3000:]
    assert full.stderr.count('The checkpoint cannot be written') == 1
    assert 'Traceback' not in full.stderr
    assert train('run', 2**40).returncode == 0
    contents = [
        torch.load(tmp_path / name / 'epoch_3.pth', weights_only=True)['state_dict']
        for name in ('whole', 'run')
    ]
    assert all(torch.equal(contents[0][key], contents[1][key]) for key in contents[0])
