"""Runs of a study side by side, each a process of its own, with progress on the terminal."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

from mmengine.config import Config

from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.benchmark.report import write_json
from groupvit_mmseg.benchmark.study import Study
from groupvit_mmseg.benchmark.study_configs import (
    RunSettings,
    digest_of,
    move_data,
    run_config,
    settings_of,
)
from groupvit_mmseg.benchmark.study_types import CONFIG, LOG, RESULT, TASK, Run, RunResult, Task

_POLL_SECONDS = 0.2


class StudyOptions(NamedTuple):
    """How a study is run.

    Attributes:
        out (Path): Folder of the results.
        data_root (Path, optional): Folder of the data, in place of the configs' ``data_root``.
            Defaults to None.
        threads (int): Threads of each run. Defaults to 1.
        jobs (int): Runs side by side. Defaults to 1.
        max_epochs (int, optional): Length of every training, for a trial. Defaults to None.
    """

    out: Path
    data_root: Path | None = None
    threads: int = 1
    jobs: int = 1
    max_epochs: int | None = None


def make_runs(study: Study, variants: Sequence[str], seeds: Sequence[int], out: Path) -> list[Run]:
    """Return the runs of some variants, in the order in which they start: seed by seed."""
    runs = []
    for seed in seeds:
        for name in variants:
            weights_of, starts_from = (
                None if variant is None else out / variant / f'seed-{seed}'
                for variant in (study.variants[name].weights_of, study.variants[name].starts_from)
            )
            start = None if weights_of else starts_from
            runs.append(Run(name, seed, out / name / f'seed-{seed}', weights_of, start))
    return runs


def prepare(study: Study, runs: Sequence[Run], options: StudyOptions) -> None:
    """Write the config and the task of every run; nothing is changed if one is refused.

    Raises:
        ValueError: If a folder holds a run of other settings, or a change does not fit.
    """
    configured = _configured(study, runs, options)
    for run, (_, settings) in configured.items():
        check_earlier(run, settings)
    for run, (cfg, settings) in configured.items():
        moved = cfg if options.data_root is None else move_data(cfg, options.data_root)
        write_task(study, run, moved, settings)


def reported(study: Study, runs: Sequence[Run], options: StudyOptions) -> list[Run]:
    """Return the runs that are finished and were evaluated as the study says.

    Args:
        study (Study): The study.
        runs (Sequence[Run]): All of its runs, those that a run starts from before it.
        options (StudyOptions): How they are run.

    Raises:
        ValueError: If one of them was trained with other settings.
    """
    found = []
    for run, (_, settings) in _configured(study, runs, options).items():
        result = run.result()
        if result is not None:
            check_earlier(run, settings)
            if result['settings']['evaluation'] == settings.evaluation:
                found.append(run)
    return found


def _configured(
    study: Study, runs: Sequence[Run], options: StudyOptions
) -> dict[Run, tuple[Config, RunSettings]]:
    """Return the config and the settings of every run."""
    configured: dict[Run, tuple[Config, RunSettings]] = {}
    settings: dict[tuple[str, int], RunSettings] = {}
    for run in runs:
        cfg = run_config(study, run.variant, run.seed, max_epochs=options.max_epochs)
        start = settings.get((str(study.variants[run.variant].starts_from), run.seed))
        own = settings[run.variant, run.seed] = settings_of(study, cfg, start)
        configured[run] = cfg, own
    return configured


def check_earlier(run: Run, settings: RunSettings) -> None:
    """Raise ``ValueError`` for a folder of another training."""
    for earlier in (run.task(), run.result()):
        if earlier is not None and earlier['settings']['training'] != settings.training:
            raise ValueError(
                f'{run.folder} was trained with other settings: choose another --out, or remove '
                'that folder.'
            )


def write_task(study: Study, run: Run, cfg: Config, settings: RunSettings) -> None:
    """Write the config and the task of a run; remove the result of another evaluation."""
    begun, result, config = run.task(), run.result(), digest_of(cfg.to_dict())
    if result is not None and result['settings']['evaluation'] != settings.evaluation:
        (run.folder / RESULT).unlink()
    if begun is None or begun['config'] != config:
        write_text(run.folder / CONFIG, cfg.pretty_text)  # its layout takes a second
    task = Task(
        variant=run.variant,
        seed=run.seed,
        config=config,
        settings=settings._asdict(),
        metrics=study.metrics,
        evaluations=study.evaluations,
        weights_from=None if run.source is None else str(run.source),
        starts_from=None if run.start is None else str(run.start),
        module_folder=str(study.variants[run.variant].config.resolve().parent),
    )
    write_json(task, run.folder / TASK)


class Queue:
    """Runs that wait, run, are finished or failed.

    Args:
        runs (Sequence[Run]): All runs; those with a result count as finished.
        options (StudyOptions): How they are run.
    """

    def __init__(self, runs: Sequence[Run], options: StudyOptions) -> None:
        self.total, self.options = len(runs), options
        self.results = {run: result for run in runs if (result := run.result()) is not None}
        self.waiting = [run for run in runs if run not in self.results]
        self.active: dict[Run, subprocess.Popen[bytes]] = {}
        self.failed: dict[Run, str] = {}

    def run(self) -> None:
        """Run all; a failed run does not end the others.

        Raises:
            RuntimeError: At the end, if runs failed.
        """
        if self.results:
            print(f'{len(self.results)} of {self.total} runs are finished already', flush=True)
        with ended_by_signal():
            try:
                while self.waiting or self.active:
                    self._start()
                    self._collect()
            finally:
                for process in self.active.values():
                    process.terminate()
                for process in self.active.values():
                    process.wait()
        if self.failed:
            reasons = '; '.join(f'{run.name}: {why}' for run, why in self.failed.items())
            raise RuntimeError(f'{len(self.failed)} of {self.total} runs failed: {reasons}')

    def _start(self) -> None:
        """Start runs whose weights exist, as many as may run side by side."""
        for run in list(self.waiting):
            if any(failed.folder in (run.source, run.start) for failed in self.failed):
                self.waiting.remove(run)
                self.failed[run] = 'the run that gives its weights failed'
            elif len(self.active) < self.options.jobs and self._has_weights(run):
                self.waiting.remove(run)
                print(f'{run.name} starts', flush=True)
                self.active[run] = start_process(run, self.options.threads)

    @staticmethod
    def _has_weights(run: Run) -> bool:
        """Whether the run whose weights a run evaluates or starts from is finished."""
        before = run.source or run.start
        return before is None or (before / RESULT).is_file()

    def _collect(self) -> None:
        """Note the runs that have ended."""
        time.sleep(_POLL_SECONDS)
        for run, process in list(self.active.items()):
            status = process.poll()
            if status is None:
                continue
            del self.active[run]
            result = run.result() if status == 0 else None
            if result is None:
                self.failed[run] = last_line(run.folder / LOG) or f'status {status}'
                print(f'{run.name} failed: {self.failed[run]}', flush=True)
            else:
                self.results[run] = result
                self._print_progress(run, result)

    def _print_progress(self, run: Run, result: RunResult) -> None:
        """Print one line about a run that is finished."""
        score, minutes = result['metrics'].get('mIoU'), duration(result)
        left = minutes_left(self.results, [*self.waiting, *self.active], self.options.jobs)
        print(
            f'run {len(self.results) + len(self.failed)} of {self.total}: {run.name}, '
            f'mIoU {"-" if score is None else format(score, ".2f")}, {minutes:.1f} minutes; '
            f'about {left:.0f} minutes left',
            flush=True,
        )


def start_process(run: Run, threads: int) -> subprocess.Popen[bytes]:
    """Start the process of a run; its output is appended to the log of the run."""
    names = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')
    command = [sys.executable, '-m', 'groupvit_mmseg.benchmark.study_process', str(run.folder)]
    with (run.folder / LOG).open('ab') as log:
        environment = {**os.environ, **dict.fromkeys(names, str(threads))}
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def duration(result: RunResult) -> float:
    """Return the minutes of a run: training and evaluation."""
    return result['minutes'] + result['evaluation_minutes']


def minutes_left(results: dict[Run, RunResult], unfinished: Sequence[Run], num_jobs: int) -> float:
    """Estimate the minutes until all runs are finished from those that are.

    A run takes as long as others of its variant, or else as others that train, or evaluate only.
    """
    estimates = []
    for run in unfinished:
        alike = [duration(r) for each, r in results.items() if each.variant == run.variant]
        kind = [
            duration(r) for each, r in results.items() if (each.source is None) == (not run.source)
        ]
        estimates.append(statistics.mean(alike or kind or [0.0]))
    return sum(estimates) / min(num_jobs, max(1, len(unfinished)))


def last_line(file: Path) -> str:
    """Return the last line of a log that holds text."""
    lines = file.read_text(errors='replace').split('\n') if file.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), '')


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that the processes of the runs are ended too."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
