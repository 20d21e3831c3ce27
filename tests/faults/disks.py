"""Disks that fail or are slow, for tools in processes of their own."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# The bits of faulty_disk.c.
WRITE, SYNC, CLOSE, RENAME, OPEN, MKDIR, LINK, UNLINK, READ = (1 << bit for bit in range(9))


class Disk(NamedTuple):
    """What fails below a folder."""

    calls: int = 0
    error: int = 0
    """int: An errno; 0 counts the calls, and none fails."""
    after: int = 0
    """int: Calls before the first that fails."""
    microseconds: int = 0
    """int: Sleep before reads, writes and the like."""


SOUND = Disk()
FAULTS = {
    'full': Disk(WRITE | OPEN | MKDIR | LINK, errno.ENOSPC),
    'quota': Disk(WRITE | SYNC | CLOSE | OPEN, errno.EDQUOT),
    'read-only': Disk(WRITE | OPEN | MKDIR | LINK | RENAME | UNLINK, errno.EROFS),
    'failing': Disk(WRITE | SYNC | CLOSE | RENAME, errno.EIO),
}
"""dict: What fails on which disk."""


SQLITE = ('disk is full', 'disk I/O error', 'unable to open database', 'readonly database')
"""tuple: SQLite's words for what the system reports."""


class Done(NamedTuple):
    """How a process ended."""

    status: int
    counts: list[int]
    """list[int]: Calls of each kind, by bit."""
    failed: int
    """int: Calls that failed."""
    output: str
    errors: str

    def count(self, disk: Disk) -> int:
        """Return the number of calls that could fail on a disk."""
        return sum(count for bit, count in enumerate(self.counts) if disk.calls >> bit & 1)


def compile_library(folder: Path) -> Path:
    """Compile faulty_disk.c; skip the test where that is not possible."""
    compiler = next(filter(shutil.which, ('cc', 'gcc', 'clang')), None)
    if compiler is None or not sys.platform.startswith('linux'):
        pytest.skip('needs Linux and a C compiler for a disk that fails')
    library = folder / 'faulty_disk.so'
    source = HERE / 'faulty_disk.c'
    command = [compiler, '-shared', '-fPIC', '-O1', '-o', library, source, '-ldl']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


class Tools:
    """Calls tools in processes that are forked from one that has imported everything.

    Args:
        folder (Path): For the library and the outputs.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.library = compile_library(folder)
        env = dict(os.environ, LD_PRELOAD=str(self.library), PYTHONPATH=str(ROOT))
        env.update(CUDA_VISIBLE_DEVICES='', OMP_NUM_THREADS='1')
        self.process = subprocess.Popen(
            [sys.executable, HERE / 'disk_process.py'],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == 'ready\n'

    def run(self, tool: Path, argv: list, folder: Path, disk: Disk = SOUND) -> Done:
        """Call ``main(argv)`` of a tool while a folder is on a disk."""
        output = str(self.folder / 'output')
        job = dict(tool=str(tool), argv=list(map(str, argv)), output=output)
        job |= dict(folder=str(folder), fault=list(map(int, disk)))
        print(json.dumps(job), file=self.process.stdin, flush=True)
        result = json.loads(self.process.stdout.readline())
        texts = [Path(f'{output}.{name}').read_text() for name in ('out', 'err')]
        return Done(**result, output=texts[0], errors=texts[1])

    def run_alone(self, tool: Path, argv: list, folder: Path, disk: Disk) -> Done:
        """Start a tool as a command of its own."""
        env = dict(os.environ, LD_PRELOAD=str(self.library), PYTHONPATH=str(ROOT))
        env.update(CUDA_VISIBLE_DEVICES='', OMP_NUM_THREADS='1')
        env['FAULT'] = ' '.join(map(str, [*map(int, disk), folder]))
        script = tool.with_name('__main__.py') if tool.name == 'app.py' else tool
        done = subprocess.run(
            [sys.executable, script, *argv], env=env, capture_output=True, text=True, check=False
        )
        return Done(done.returncode, [], 1, done.stdout, done.stderr)

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait(60)


def assert_one_sentence(done: Done, disk: Disk, folder: Path) -> None:
    """The process ended with one sentence about the disk, which names a file there."""
    assert done.failed, 'nothing failed'
    assert done.status == 2, done.errors[-3000:]
    assert 'Traceback' not in done.errors, done.errors[-3000:]
    sentences = [line for line in done.errors.splitlines() if line.startswith('error: ')]
    assert len(sentences) == 1, done.errors[-3000:]
    reasons = (os.strerror(disk.error), *SQLITE)
    assert any(reason in sentences[0] for reason in reasons), sentences
    assert str(folder) in sentences[0], sentences
