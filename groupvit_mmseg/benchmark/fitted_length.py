"""As many epochs of a training as fit into a given time."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from mmengine.config import Config
from mmengine.hooks import Hook
from mmseg.registry import RUNNERS

from groupvit_mmseg.benchmark.study_configs import set_epochs
from groupvit_mmseg.engine import GroupViTRunner

TIMED_STEPS = 40
VALIDATION = ('val_dataloader', 'val_cfg', 'val_evaluator')


class StepClock(Hook):
    """Measures each step without the loading of its batch, in which workers are ahead."""

    def __init__(self) -> None:
        self.start = 0.0
        self.seconds: list[float] = []

    def before_train_iter(self, *_args: object, **_kwargs: object) -> None:
        """Start the clock."""
        self.start = time.monotonic()

    def after_train_iter(self, *_args: object, **_kwargs: object) -> None:
        """Stop the clock."""
        self.seconds.append(time.monotonic() - self.start)

    def seconds_per_step(self) -> float:
        """Return the mean of the second half of the steps; the first half warms up."""
        later = self.seconds[len(self.seconds) // 2 :]
        return sum(later) / len(later)


def fit_epochs(cfg: Config, minutes: float, *, steps: int = TIMED_STEPS) -> float:
    """Take a few steps, then reduce the epochs of a training to those that fit into a time.

    A schedule that ends with the training, at a small learning rate, reaches more than a longer one
    that is cut off.

    Args:
        cfg (Config): Training by epochs; its epochs, at least one, and schedules are changed.
        minutes (float): The time.
        steps (int): Steps to take, at least 1; their weights are thrown away. Defaults to 40.

    Returns:
        float: Seconds a step.

    Raises:
        ValueError: If the training or its schedule counts iterations.
    """
    trial = Config(cfg.to_dict(), filename=cfg.filename)
    trial.train_cfg = dict(by_epoch=False, max_iters=steps, val_interval=steps + 1)
    for part in (*VALIDATION, 'param_scheduler', 'custom_hooks', 'visualizer'):
        trial[part] = None
    trial.default_hooks.checkpoint = None
    trial.train_dataloader.update(num_workers=0, persistent_workers=False)
    clock = StepClock()
    with TemporaryDirectory() as folder:
        trial.work_dir = folder
        # mmengine keeps by this name what a process writes to.
        trial.experiment_name = Path(folder).name
        runner: GroupViTRunner = RUNNERS.build(trial)  # type: ignore[arg-type]  # mmengine takes a Config
        runner.register_hook(clock)
        runner.train()
    seconds = clock.seconds_per_step()
    epoch = len(runner.train_dataloader) * seconds
    set_epochs(cfg, max(1, min(cfg.train_cfg.max_epochs, int(minutes * 60 / epoch))))
    return seconds
