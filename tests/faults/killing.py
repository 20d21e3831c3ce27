"""Trainings of real processes for the fault tests: how they start, how one is killed, what is left.

A training writes down each step (samples, loss) and each validation in files beside its folder, so
that a test can wait for a moment and compare what was read.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
RANKS = 2
VICTIMS = ('rank', 'launcher', 'worker', 'all')
MOMENTS = ('start-up', 'step', 'checkpoint', 'validation', 'end')
WEIGHTS = (45, 20, 20, 10, 5)
"""tuple: How often each moment is drawn."""
POLL = 0.002
"""float: Seconds between two looks at the files of a run."""
# Writes down steps, validations and loader workers. yapf's layout takes most of a tiny run's time.
RECORDER = """
import json, os
from mmengine.hooks import Hook
from mmseg.registry import HOOKS
from yapf.yapflib import yapf_api

yapf_api.FormatCode = lambda text, **_: (text, True)

def record_worker():
    with open(f"{os.environ['RECORD']}.workers", 'a') as file:
        print(os.getpid(), file=file, flush=True)

os.register_at_fork(after_in_child=record_worker)  # other commands are started in another way

@HOOKS.register_module()
class RecorderHook(Hook):
    def record(self, runner, kind, line):
        with open(f"{os.environ['RECORD']}.{runner.rank}.{kind}.jsonl", 'a') as file:
            print(json.dumps(line), file=file, flush=True)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.record(runner, 'steps', [runner.iter, data_batch['keys'], outputs['loss'].item()])

    def before_val_epoch(self, runner):
        self.record(runner, 'validations', runner.iter)
"""


class Kill(NamedTuple):
    """One kill -9 that ended a run early."""

    victim: str
    moment: str
    step: int
    """int: Steps that all runs together had done."""
    torn: int
    """int: Files that were being written."""
    seconds: float
    """float: From the kill to the end of every rank."""


class Training:
    """A training that is killed and resumed, in ``folder/name``.

    Args:
        folder (Path): Holds ``config.py`` and what it imports.
        name (str): Name of the work dir, and of the files of steps and validations.
        steps (int): Steps of the whole training.
    """

    def __init__(self, folder: Path, name: str, steps: int):
        self.folder, self.name, self.total = folder, name, steps
        self.work_dir, self.log = folder / name, folder / f'{name}.log'

    def start(self) -> subprocess.Popen:
        """Start the training, or go on with it."""
        env = dict(os.environ, PYTHON=sys.executable, CUDA_VISIBLE_DEVICES='')
        env.update(PYTHONPATH=f'{self.folder}:{ROOT}', RECORD=str(self.folder / self.name))
        with self.log.open('a') as log:
            return subprocess.Popen(
                [ROOT / 'tools/dist_train.sh', self.folder / 'config.py', str(RANKS), '--resume']
                + ['--work-dir', self.work_dir],
                env=env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def lines(self, kind: str, rank: int = 0) -> list:
        """Return what a rank has written down."""
        path = self.folder / f'{self.name}.{rank}.{kind}.jsonl'
        text = path.read_text() if path.exists() else ''
        complete = text[: text.rfind('\n') + 1]  # the rest is of a killed process
        return [json.loads(line) for line in complete.splitlines()]

    def step(self) -> int:
        """Return the last step that rank 0 has done, counted from 1."""
        return max((step + 1 for step, *_ in self.lines('steps')), default=0)

    def read(self) -> dict:
        """Return samples and loss by step and rank; a step that was repeated gave the same."""
        read: dict = {}
        for rank in range(RANKS):
            for step, *content in self.lines('steps', rank):
                assert read.setdefault((step, rank), content) == content, (step, rank)
        return read

    def torn(self) -> list[Path]:
        """Return the files that are being written, or were when a process was killed."""
        return [path for path in self.work_dir.glob('.*') if path.name[0] == '.']

    def processes(self) -> list[int]:
        """Return the processes of all runs so far, found by their command line."""
        pids = [int(path.name) for path in Path('/proc').iterdir() if path.name.isdigit()]
        return [pid for pid in pids if self.is_own(pid)]

    def finish(self) -> int:
        """Run to the end; return the status. Nothing of this or an earlier run is left."""
        try:
            status = self.start().wait(300)
            wait_until(lambda: not self.processes(), 20)
            assert not self.processes()
            return status
        finally:
            self.stop()

    def stop(self) -> None:
        """Kill what is left."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wait_for(self, moment: str, run: subprocess.Popen, rng: random.Random, scale: float):
        """Wait for a moment of a run, or for the run's end.

        Args:
            moment (str): One of ``MOMENTS``.
            run (Popen): The run.
            rng (Random): Draws when within the moment.
            scale (float): Seconds from the start to the first step.
        """
        before = 0 if moment == 'end' else self.step()
        events = len(self.lines('validations'))

        def wait(is_there):
            wait_until(lambda: run.poll() is not None or is_there(), 10 * scale)

        if moment == 'start-up':
            time.sleep(rng.uniform(0, scale))
        elif moment == 'validation':
            wait(lambda: len(self.lines('validations')) > events)
            time.sleep(rng.uniform(0, 0.3))
        else:
            steps = dict(step=1 + rng.randrange(4), checkpoint=rng.randrange(4), end=self.total)
            wait(lambda: self.step() >= min(before + steps[moment], self.total))
            if moment == 'checkpoint':
                left = set(self.torn()) if self.step() == before else set()
                wait(lambda: not left.issuperset(self.torn()))
            time.sleep(rng.uniform(0, dict(step=0.2, checkpoint=0.02, end=2)[moment]))

    def kill(self, moment: str, victim: str, rng: random.Random, scale: float) -> Kill | None:
        """Start, kill a process at a moment, and wait for the end; None if nothing was hit."""
        first, before = self.step(), set(self.torn())
        if moment == 'end' and first < self.total - 8:
            moment = 'step'  # it would go through the whole training
        run = self.start()
        try:
            self.wait_for(moment, run, rng, scale)
            wait_until(lambda: run.poll() is not None or self.victims(run, victim), 10 * scale)
            pids = self.victims(run, victim)
            if run.poll() is not None:
                return None
            began, ranks = time.monotonic(), self.victims(run, 'rank')
            for pid in pids if victim == 'all' else [rng.choice(pids)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            step, torn = self.step(), len({*self.torn()} - before)
            status = run.wait(120)
            wait_until(lambda: not any(map(is_alive, ranks)), 60)
            assert not any(map(is_alive, ranks)), f'a {victim} was killed: a rank goes on alone'
        except BaseException:
            self.stop()
            raise
        if status == 0:
            assert self.step() == self.total
            return None
        where = 'start-up' if step == first else 'end' if step == self.total else moment
        return Kill(victim, where, step, torn, time.monotonic() - began)

    def victims(self, run: subprocess.Popen, victim: str) -> list[int]:
        """Return the living processes of a kind."""
        ranks = [pid for pid in children(run.pid) if self.is_own(pid)]
        if victim in ('launcher', 'rank'):
            return [run.pid] if victim == 'launcher' else ranks
        record = self.folder / f'{self.name}.workers'
        known = {int(pid) for pid in record.read_text().split()} if record.exists() else set()
        workers = [pid for rank in ranks for pid in children(rank) if pid in known]
        return [run.pid, *ranks, *workers] if victim == 'all' else workers

    def is_own(self, pid: int) -> bool:
        """Return whether a process runs, and is a rank or a worker: not another command."""
        return is_alive(pid) and str(self.work_dir) in command_line(pid)


def wait_until(is_there: Callable[[], object], seconds: float) -> None:
    """Wait for a condition, or until a time is over."""
    limit = time.monotonic() + seconds
    while not is_there() and time.monotonic() < limit:
        time.sleep(POLL)


def command_line(pid: int) -> str:
    """Return the words of a process; nothing if it has ended."""
    try:
        return Path(f'/proc/{pid}/cmdline').read_text().replace('\0', ' ')
    except OSError:
        return ''


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    try:
        return [int(c) for c in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    """Return whether a process runs."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


def table(kills: list[Kill]) -> str:
    """Return a table of kills by victim and moment."""
    rows = [['victim', *MOMENTS, 'files torn', 'all']]
    for victim in (*VICTIMS, 'total'):
        chosen = [kill for kill in kills if victim in (kill.victim, 'total')]
        counts = [sum(kill.moment == moment for kill in chosen) for moment in MOMENTS]
        rows.append([victim, *counts, sum(kill.torn > 0 for kill in chosen), len(chosen)])
    lines = [' | '.join(str(cell) for cell in row) for row in rows]
    slowest = max((kill.seconds for kill in kills), default=0)
    return '\n'.join([*lines, f'at most {slowest:.0f} s from a kill to the end of all ranks'])
