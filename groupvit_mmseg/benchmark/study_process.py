"""The process of one run of a study: trains or resumes, evaluates, writes the result.

python -m groupvit_mmseg.benchmark.study_process FOLDER

``FOLDER`` contains the config and the task of the run; ``tools/study.py`` writes them.
"""

from __future__ import annotations

import fcntl
import gc
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import RUNNERS

from groupvit_mmseg.benchmark.report import versions, write_json
from groupvit_mmseg.benchmark.study_evaluation import (
    RunScores,
    changed,
    evaluate,
    split_name,
)
from groupvit_mmseg.benchmark.study_types import (
    CONFIG,
    PICTURES,
    PROGRESS,
    RESULT,
    Progress,
    Run,
    RunResult,
    Task,
)
from groupvit_mmseg.command_line import INPUT_ERRORS, report_error, tool_main
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.engine.preemption import (
    EXIT_STATUS,
    Preempted,
    PreemptionHook,
    signals_caught,
)
from groupvit_mmseg.engine.runner.find_checkpoint import latest_complete_checkpoint


class ProgressHook(Hook):
    """Writes the learning curve and the speed of a training into a file.

    Args:
        file (Path): The file; an earlier one of the same training is continued.
    """

    priority = 'LOWEST'

    def __init__(self, file: Path) -> None:
        self.file = file
        self.progress = read_progress(file)
        self.start, self.first_step = 0.0, 0
        self.pairs, self.seconds = 0, 0.0

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clock."""
        self.start, self.first_step = time.monotonic(), runner.iter

    def after_train_epoch(self, runner: Runner) -> None:
        """Add the epoch."""
        batch_size = runner.train_dataloader.batch_sampler.batch_size
        self.seconds += time.monotonic() - self.start
        self.pairs += (runner.iter - self.first_step) * batch_size
        self.progress['pairs'], self.progress['seconds'] = self.pairs, self.seconds
        self.progress['steps'], self.progress['batch_size'] = runner.iter, batch_size
        self.write()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add a point of the curve."""
        self.progress['curve'][str(runner.epoch)] = {
            name: round(float(value), 4) for name, value in (metrics or {}).items()
        }
        self.write()

    def after_train(self, runner: Runner) -> None:
        """Note that the training is complete."""
        self.progress['finished'] = runner.iter >= runner.max_iters
        self.write()

    def write(self) -> None:
        """Write the file."""
        write_json(self.progress, self.file)


def read_progress(file: Path) -> Progress:
    """Return the progress in a file; that of the beginning if there is none."""
    if file.is_file():
        return cast(Progress, json.loads(file.read_text()))
    return Progress(curve={}, pairs=0, seconds=0.0, steps=0, batch_size=0, finished=False)


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder.

    Raises:
        RuntimeError: If another process has it.
    """
    with (folder / '.lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f'{folder} is in use by another process: wait for it.') from None
        yield


def train(cfg: Config, run: Run) -> None:
    """Train, from the latest checkpoint if there is one.

    Raises:
        Preempted: If a signal ended it after a checkpoint.
    """
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    cfg.work_dir, cfg.launcher, cfg.resume = str(run.weights()), 'none', 'auto'
    if run.start is not None and latest_complete_checkpoint(run.weights()) is None:
        cfg.load_from = last_checkpoint(Run('', run.seed, run.start))
    cfg.setdefault('runner_type', 'GroupViTRunner')
    # mmengine keeps loggers and visualizers by name for the life of the process.
    cfg.experiment_name = cfg.visualizer.name = str(run.folder)
    runner = RUNNERS.build(cfg)  # type: ignore[arg-type]  # mmengine takes a Config
    runner.register_hook(ProgressHook(run.folder / PROGRESS))
    runner.register_hook(PreemptionHook())
    with signals_caught():
        runner.train()


def last_checkpoint(run: Run) -> str:
    """Return the last checkpoint of the weights of a run.

    Raises:
        FileNotFoundError: If there is none.
    """
    checkpoint = latest_complete_checkpoint(run.weights())
    if checkpoint is None:
        raise FileNotFoundError(f'There is no checkpoint in {run.weights()}.')
    return checkpoint


def evaluate_run(cfg: Config, run: Run, task: Task) -> dict[str, RunScores]:
    """Evaluate the weights of a run in every way and save pictures; return scores by evaluation."""
    checkpoint = last_checkpoint(run)
    scores: dict[str, RunScores] = {}
    for name, changes in {'': {}, **task['evaluations']}.items():
        wanted = [metric for metric in task['metrics'] if split_name(metric)[0] == name]
        if wanted or not name:
            plain = [metric.rpartition(': ')[2] for metric in wanted]
            pictures = None if name else run.folder / PICTURES
            scores[name] = evaluate(changed(cfg, changes), checkpoint, plain, pictures=pictures)
    return scores


def make_result(run: Run, task: Task, scores: Mapping[str, RunScores], minutes: float) -> RunResult:
    """Return the result of a run from its scores by evaluation, which took some minutes."""
    progress = read_progress(run.folder / PROGRESS)
    speed = progress['pairs'] / progress['seconds'] if progress['seconds'] else 0.0
    pairs = progress['steps'] * progress['batch_size']
    return RunResult(
        variant=run.variant,
        seed=run.seed,
        metrics={_join(n, key): v for n, s in scores.items() for key, v in s.metrics.items()},
        class_iou={_join(n, key): v for n, s in scores.items() for key, v in s.class_iou.items()},
        bg_thresh={n: s.bg_thresh for n, s in scores.items() if s.bg_thresh is not None},
        curve=progress['curve'],
        steps=progress['steps'],
        minutes=round(pairs / speed / 60, 3) if speed else 0.0,
        evaluation_minutes=round(minutes, 3),
        pairs_per_s=round(speed, 1),
        threads=torch.get_num_threads(),
        settings=task['settings'],
        versions=versions(),
    )


def _join(evaluation: str, metric: str) -> str:
    """Return the name of a metric of an evaluation."""
    return f'{evaluation}: {metric}' if evaluation else metric


@tool_main(errors=INPUT_ERRORS, interrupted='Interrupted: the same command goes on.')
def main(argv: Sequence[str] | None = None) -> int:
    """Do one run, or the rest of it."""
    gc.freeze()  # mmengine collects garbage for every data set: not through all that is imported
    (folder,) = map(Path, sys.argv[1:] if argv is None else argv)
    task = Run('', 0, folder).task()
    if task is None:
        raise FileNotFoundError(f'There is no run in {folder}.')
    sys.path.append(task['module_folder'])
    cfg = read_config(folder / CONFIG)
    source, start_from = (
        None if before is None else Path(before)
        for before in (task['weights_from'], task.get('starts_from'))  # earlier files lack it
    )
    run = Run(task['variant'], task['seed'], folder, source, start_from)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    try:
        with only_process(folder):
            if source is None and not read_progress(folder / PROGRESS)['finished']:
                train(cfg, run)
            start = time.monotonic()
            scores = evaluate_run(cfg, run, task)
            minutes = (time.monotonic() - start) / 60
            write_json(make_result(run, task, scores, minutes), folder / RESULT)
    except Preempted as end:
        report_error(end)
        return EXIT_STATUS
    return 0


if __name__ == '__main__':
    sys.exit(main())
