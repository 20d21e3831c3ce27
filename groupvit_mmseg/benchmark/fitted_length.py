"""As many epochs of a training as fit into a given time, and no more."""

import logging
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from mmengine.config import Config
from mmengine.hooks import Hook
from mmseg.registry import RUNNERS

from groupvit_mmseg.atomic_files import save_checkpoint
from groupvit_mmseg.benchmark.study_configs import set_epochs
from groupvit_mmseg.engine import GroupViTRunner

TIMED_STEPS = 40
# Epochs take longer than their steps: workers start, sets are shuffled, files are written.
MARGIN = 1.05
VALIDATION = ('val_dataloader', 'val_cfg', 'val_evaluator')


class StepClock(Hook):
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def after_train_iter(self, *_args: object, **_kwargs: object) -> None:
        """Note the time."""
        self.ends.append(time.monotonic())

    def seconds_per_step(self) -> float:
        """Return the mean time of the second half of the steps; the first half warms up."""
        later = self.ends[len(self.ends) // 2 - 1 :]
        return (later[-1] - later[0]) / (len(later) - 1)


class BoundedTime(Hook):
    """Keeps the untrained weights, and ends training when the next epoch would be too late.

    Args:
        minutes (float): Time of the training.
        work_dir (Path): Folder of ``untrained.pth``.
    """

    def __init__(self, minutes: float, work_dir: Path) -> None:
        self.seconds, self.work_dir, self.start = minutes * 60, work_dir, 0.0

    def before_train(self, runner: GroupViTRunner) -> None:
        """Save the untrained weights and start the clock."""
        weights = dict(
            state_dict=runner.unwrapped_model.state_dict(), meta=dict(cfg=runner.cfg.pretty_text)
        )
        save_checkpoint(weights, self.work_dir / 'untrained.pth')
        self.start = time.monotonic()

    def after_train_epoch(self, runner: GroupViTRunner) -> None:
        """Stop if another epoch would take too long."""
        elapsed = time.monotonic() - self.start
        if elapsed * (runner.epoch + 2) / (runner.epoch + 1) > self.seconds:
            runner.train_loop.stop_training = True


class FittedLength(NamedTuple):
    """What :func:`fit_epochs` measured; as text, a line for the terminal.

    Attributes:
        seconds_per_step (float): Seconds of a step.
        epochs (int): Epochs of the fitted training.
        minutes (float): Minutes that it will take; more than those it was to fit into if a single
            epoch takes longer.
    """

    seconds_per_step: float
    epochs: int
    minutes: float

    def __str__(self) -> str:
        epochs = f'{self.epochs} epoch{"" if self.epochs == 1 else "s"}'
        return f'{self.seconds_per_step:.2f} s a step: {epochs}, {self.minutes:.0f} minutes'


def fit_epochs(cfg: Config, minutes: float, *, steps: int = TIMED_STEPS) -> FittedLength:
    """Take a few steps, then reduce the epochs of a training to those that fit into a time.

    A schedule that ends with the training, at a small learning rate, reaches more than a longer one
    that is cut off.

    Args:
        cfg (Config): Training by epochs; its epochs, at least one, and schedules are changed.
        minutes (float): The time.
        steps (int): Steps to take, at least 4; their weights are thrown away. Defaults to 40.

    Returns:
        FittedLength: The time of a step, the epochs, and the time of the training.

    Raises:
        ValueError: If the training or its schedule counts iterations.
    """
    set_epochs(Config(cfg.to_dict(), filename=cfg.filename), 1)  # refuses what cannot be fitted
    trial = Config(cfg.to_dict(), filename=cfg.filename)
    trial.train_cfg = dict(by_epoch=False, max_iters=steps, val_interval=steps + 1)
    for part in (*VALIDATION, 'param_scheduler', 'visualizer', 'load_from'):
        trial[part] = None
    trial.resume = False
    trial.default_hooks.checkpoint = None
    clock = StepClock()
    with TemporaryDirectory() as folder:
        trial.work_dir = folder
        # mmengine keeps by this name what a process writes to.
        trial.experiment_name = Path(folder).name
        runner: GroupViTRunner = RUNNERS.build(trial)  # type: ignore[arg-type]  # mmengine takes a Config
        runner.register_hook(clock, priority='LOWEST')
        runner.train()
        steps_of_epoch = len(runner.train_dataloader)
        close_files(runner.logger)
    seconds = clock.seconds_per_step()
    fitting = int(minutes * 60 / (steps_of_epoch * seconds * MARGIN))
    epochs = max(1, min(cfg.train_cfg.max_epochs, fitting))
    set_epochs(cfg, epochs)
    return FittedLength(seconds, epochs, epochs * steps_of_epoch * seconds * MARGIN / 60)


def close_files(logger: logging.Logger) -> None:
    """Close the log, whose folder goes."""
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler):
            handler.close()
            logger.removeHandler(handler)
