"""The curve of a training that is watched: a table, a figure, TensorBoard, Weights & Biases."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from matplotlib.figure import Figure

from groupvit_mmseg.atomic_files import write_atomically, write_text
from groupvit_mmseg.benchmark.report import write_json
from groupvit_mmseg.benchmark.watch import CheckpointScores
from groupvit_mmseg.datasets.image_decoding import load_image

if TYPE_CHECKING:
    import wandb

PANEL = 'pictures/{}_random.jpg'
"""str: Figure of the same images of every checkpoint, by set."""


class CurveLogger(Protocol):
    """Where the scores and panels of a checkpoint go."""

    def log(self, each: CheckpointScores) -> None:
        """Write the scores and panels of one checkpoint."""

    def close(self) -> None:
        """Finish."""


class TensorBoardLogger:
    """Event files for TensorBoard.

    Args:
        folder (Path): Folder to write.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def log(self, each: CheckpointScores) -> None:
        """Write the scores and panels of one checkpoint."""
        for name, score in _named(each).items():
            self._writer.add_scalar(name, score, each.step)
        for name, path in panels(each).items():
            self._writer.add_image(name, load_image(path), each.step, dataformats='HWC')
        self._writer.flush()

    def close(self) -> None:
        """Finish."""
        self._writer.close()


class WandbLogger:
    """A run of Weights & Biases: offline, unless ``WANDB_MODE`` says otherwise.

    The same folder continues the same run.

    Args:
        folder (Path): Folder to write.

    Raises:
        ImportError: If ``wandb`` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ImportError(
                'wandb is not installed: install it, or leave wandb out of --log.'
            ) from error
        folder.mkdir(parents=True, exist_ok=True)
        self._wandb = wandb
        self._run: wandb.Run = wandb.init(
            project=os.environ.get('WANDB_PROJECT', 'groupvit'),
            dir=str(folder),
            id=hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16],
            resume='allow',
            mode=os.environ.get('WANDB_MODE', 'offline'),
        )

    def log(self, each: CheckpointScores) -> None:
        """Write the scores and panels of one checkpoint, by epoch or iteration."""
        figures = {name: self._wandb.Image(str(path)) for name, path in panels(each).items()}
        self._run.log({each.kind: each.step, **_named(each), **figures})

    def close(self) -> None:
        """Finish."""
        self._run.finish()


LOGGERS: Mapping[str, type[TensorBoardLogger] | type[WandbLogger]] = {
    'tensorboard': TensorBoardLogger,
    'wandb': WandbLogger,
}


class CurveReport:
    """Writes the curve, and passes each checkpoint once to each logger.

    Args:
        out (Path): Folder of the results.
        loggers (Sequence[str]): Keys of ``LOGGERS``.
    """

    def __init__(self, out: Path, loggers: Sequence[str] = ()) -> None:
        self.out = out
        self._loggers: dict[str, CurveLogger] = {
            name: LOGGERS[name](out / name) for name in loggers
        }

    def __call__(self, results: Sequence[CheckpointScores]) -> None:
        """Write everything for all checkpoints that are done."""
        write_text(self.out / 'curve.csv', curve_table(results))
        draw_curve(results, self.out / 'curve.png')
        for name, logger in self._loggers.items():
            self._log_once(name, logger, results)
        best, last = max(results, key=lambda each: each.mean), results[-1]
        scores = ', '.join(f'{name} {score:.2f}' for name, score in last.scores.items())
        print(
            f'{last.kind} {last.step}: {scores}; best is {best.kind} {best.step} with a mean of '
            f'{best.mean:.2f}.',
            flush=True,
        )

    def _log_once(
        self, name: str, logger: CurveLogger, results: Sequence[CheckpointScores]
    ) -> None:
        """Pass on the checkpoints that a logger has not had, in earlier runs either."""
        record = self.out / name / 'logged.json'
        logged = json.loads(record.read_text(encoding='utf-8')) if record.is_file() else {}
        for each in results:
            key = f'{each.kind}_{each.step}'
            if key not in logged:
                logger.log(each)
                logged[key] = each.mean
                write_json(logged, record)

    def close(self) -> None:
        """Finish all loggers."""
        for logger in self._loggers.values():
            logger.close()


def curve_table(results: Sequence[CheckpointScores]) -> str:
    """Return the scores by checkpoint as comma-separated values.

    Example:
        >>> result = CheckpointScores('epoch', 3, Path('.'), {'voc21': 20.0, 'voc20': 40.0})
        >>> print(curve_table([result]), end='')
        kind,step,mean,voc21,voc20
        epoch,3,30.0000,20.0000,40.0000
    """
    names = _names(results)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator='\n')
    writer.writerow(['kind', 'step', 'mean', *names])
    for each in results:
        scores = [f'{each.scores[name]:.4f}' if name in each.scores else '' for name in names]
        writer.writerow([each.kind, each.step, f'{each.mean:.4f}', *scores])
    return stream.getvalue()


def draw_curve(results: Sequence[CheckpointScores], path: Path) -> None:
    """Draw the score of each set by step, and the best checkpoint."""
    figure = Figure(figsize=(7, 4), layout='constrained')
    axes = figure.add_subplot()
    steps = [each.step for each in results]
    for name in _names(results):
        axes.plot(steps, [r.scores.get(name, float('nan')) for r in results], 'o-', label=name)
    best = max(results, key=lambda each: each.mean)
    axes.axvline(best.step, color='grey', linestyle=':', label=f'best mean: {best.step}')
    axes.set_xlabel(results[-1].kind)
    axes.set_ylabel('mIoU (ImageNet: top-1), %')
    axes.legend(fontsize=8)
    write_atomically(path, lambda stream: figure.savefig(stream, dpi=110, format='png'))


def panels(each: CheckpointScores) -> dict[str, Path]:
    """Return the figures of predictions that exist, by name."""
    paths = {f'{name}/predictions': each.folder / PANEL.format(name) for name in each.scores}
    return {name: path for name, path in paths.items() if path.is_file()}


def _named(each: CheckpointScores) -> dict[str, float]:
    """Return the scores by the names that loggers show."""
    return {**{f'{name}/score': score for name, score in each.scores.items()}, 'mean': each.mean}


def _names(results: Sequence[CheckpointScores]) -> list[str]:
    """Return the names of the sets of all results, in order."""
    return list(dict.fromkeys(name for each in results for name in each.scores))
