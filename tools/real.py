"""Pretrains on real photographs for a bounded time, evaluates zero-shot on VOC: ``make real``.

python tools/real.py

Reads flickr8k_128/ (tar shards) and VOCdevkit/VOC2012/ in data/, in ../shared/data/, or in the
folder given. Writes result.json, the checkpoints and figure.png into work_dirs/real.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import RUNNERS
from PIL import Image

from groupvit_mmseg.atomic_files import save_checkpoint
from groupvit_mmseg.benchmark.report import write_json
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.engine import GroupViTRunner
from groupvit_mmseg.evaluation import calibrate_threshold, collect_predictions
from groupvit_mmseg.evaluation.calibration import ThresholdCalibration
from groupvit_mmseg.inference import GroupViTInferencer, load_image, segmentation_config
from groupvit_mmseg.visualization import draw_groups, draw_labels, panel, save_figure

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/groupvit/groupvit_vit-tiny-p16_1xb128-coslr-8e_flickr8k-112px.py'
PLACES = (ROOT / 'data', ROOT.parent / 'shared' / 'data')
PARTS = ('flickr8k_128', 'VOCdevkit/VOC2012')
CALIBRATION_STEP = 10  # every tenth photograph chooses the threshold and is not tested at it


class BoundedTime(Hook):
    """Keeps the untrained weights, and ends training when the next epoch would be too late."""

    def __init__(self, minutes: float, work_dir: Path) -> None:
        self.seconds, self.work_dir, self.start = minutes * 60, work_dir, 0.0

    def before_train(self, runner: GroupViTRunner) -> None:
        """Save the untrained weights and start the clock."""
        weights = dict(state_dict=runner.unwrapped_model.state_dict())
        save_checkpoint(weights, self.work_dir / 'untrained.pth')
        self.start = time.monotonic()

    def after_train_epoch(self, runner: GroupViTRunner) -> None:
        """Stop if another epoch would take too long."""
        elapsed = time.monotonic() - self.start
        if elapsed * (runner.epoch + 2) / (runner.epoch + 1) > self.seconds:
            runner.train_loop.stop_training = True


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('--data', type=Path, help='folder that holds both data sets')
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/real'),
        help='folder of the results (default: work_dirs/real)',
    )
    parser.add_argument('--minutes', type=float, default=7, help='minutes of training (default: 7)')
    parser.add_argument('--shards', type=int, default=15, help='shards to train on (default: 15)')
    parser.add_argument(
        '--photographs', type=int, default=446, help='photographs of VOC (default: 446)'
    )
    return parser.parse_args(argv)


def find_data(place: Path | None) -> Path:
    """Return the folder with both data sets."""
    places = PLACES if place is None else (place,)
    for folder in places:
        if all((folder / part).is_dir() for part in PARTS):
            return folder
    names = ' or '.join(str(folder) for folder in places)
    raise FileNotFoundError(
        f'No folder {names} holds both {" and ".join(PARTS)}: get them as '
        'docs/data_preparation.md says, or name the folder with --data.'
    )


def make_config(data: Path, args: argparse.Namespace) -> Config:
    """Return the shipped config with the places of the data."""
    cfg = Config.fromfile(CONFIG)
    (source,) = cfg.train_dataloader.dataset.sources
    source.data_root = str(data / PARTS[0])
    source.shards = f'flickr8k-train-{{000000..{args.shards - 1:06d}}}.tar'
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(data / PARTS[1])
    cfg.work_dir = str(args.work_dir)
    cfg.launcher = 'none'
    return cfg


def train(cfg: Config, args: argparse.Namespace) -> dict[str, float]:
    """Train, and return the time and the speed."""
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    cfg.train_cfg.val_begin = cfg.max_epochs + 1  # evaluated afterwards, in the test loop
    runner: GroupViTRunner = RUNNERS.build(cfg)  # type: ignore[arg-type]  # mmengine takes a Config
    clock = BoundedTime(args.minutes, args.work_dir)
    runner.register_hook(clock)
    runner.train()
    minutes = (time.monotonic() - clock.start) / 60
    save_checkpoint(
        dict(state_dict=runner.unwrapped_model.state_dict()), args.work_dir / 'trained.pth'
    )
    pairs = runner.iter * runner.train_dataloader.batch_size
    return dict(
        minutes=round(minutes, 2),
        epochs=runner.epoch,
        planned_epochs=runner.max_epochs,
        pairs=pairs,
        samples_per_s=round(pairs / minutes / 60, 1),
    )


def evaluate(
    cfg: Config, name: str, checkpoint: Path, photographs: Sequence[int], **head: object
) -> dict[str, Any]:
    """Run tools/test.py on some of the photographs and return its result file.

    ``head`` are settings of the decode head to change.
    """
    cfg = segmentation_config(cfg)
    cfg.test_dataloader.dataset.indices = photographs
    cfg.model.decode_head.update(head)
    folder = Path(cfg.work_dir) / name
    folder.mkdir(parents=True, exist_ok=True)
    cfg.dump(folder / 'voc.py')
    tool = [sys.executable, str(ROOT / 'tools/test.py'), str(folder / 'voc.py'), str(checkpoint)]
    out = folder / 'result.json'
    print(f'{name}: evaluating {len(photographs)} photographs ...', flush=True)
    threads = {'OMP_NUM_THREADS': str(torch.get_num_threads())}
    command = [*tool, f'--work-dir={folder}', f'--out={out}']
    status = subprocess.run(command, check=False, env={**os.environ, **threads}).returncode
    if status:  # the tool has printed the reason
        sys.exit(status)
    return json.loads(out.read_text())


def calibrate(cfg: Config, checkpoint: Path, photographs: Sequence[int]) -> ThresholdCalibration:
    """Choose the background threshold on some of the photographs."""
    inferencer = GroupViTInferencer(cfg, checkpoint)
    loader = segmentation_config(cfg).test_dataloader
    loader.dataset.indices = photographs
    batches = Runner.build_dataloader(loader)
    return calibrate_threshold(collect_predictions(inferencer.segmentor, batches))


def draw(
    cfg: Config, checkpoint: Path, threshold: float, photographs: Sequence[int], out: Path
) -> None:
    """Draw photograph, truth, groups and prediction of some of the photographs."""
    inferencer = GroupViTInferencer(cfg, checkpoint, bg_thresh=threshold)
    folder = Path(cfg.test_dataloader.dataset.data_root)
    names = (folder / cfg.test_dataloader.dataset.ann_file).read_text().split()
    rows = []
    for index in photographs:
        image = load_image(folder / 'JPEGImages' / f'{names[index]}.jpg')
        truth = np.asarray(Image.open(folder / 'SegmentationClass' / f'{names[index]}.png'))
        result = inferencer(image)
        labels = (draw_labels(image, m, result.class_names) for m in (truth, result.label_map))
        truth_figure, prediction = labels
        rows.append([image, truth_figure, draw_groups(image, result.group_map), prediction])
    titles = ('photograph', 'truth', 'groups', 'prediction')
    save_figure(panel(rows, titles), out)


def run(args: argparse.Namespace, data: Path) -> dict[str, Any]:
    """Train, calibrate, evaluate and draw; return the content of the result file."""
    cfg = make_config(data, args)
    result: dict[str, Any] = dict(training=train(cfg, args))
    trained = args.work_dir / 'trained.pth'
    every = list(range(args.photographs))
    calibration_part = every[::CALIBRATION_STEP]
    test_part = [index for index in every if index not in calibration_part]
    calibration = calibrate(cfg, trained, calibration_part)
    result['calibration'] = dict(
        threshold=calibration.threshold,
        source=calibration.provenance,
        photographs=len(calibration_part),
    )
    result['untrained'] = evaluate(cfg, 'untrained', args.work_dir / 'untrained.pth', every)
    result['trained'] = evaluate(cfg, 'trained', trained, every)
    result['trained_calibrated'] = evaluate(
        cfg, 'trained_calibrated', trained, test_part, bg_thresh=calibration.threshold
    )
    write_json(result, args.work_dir / 'result.json')
    spread = test_part[:: max(1, len(test_part) // 5)][:5]
    draw(cfg, trained, calibration.threshold, spread, args.work_dir / 'figure.png')
    return result


def print_summary(result: Mapping[str, Any], work_dir: Path) -> None:
    """Print the numbers, with their thresholds."""
    training, calibration = result['training'], result['calibration']
    print(f'\nTrained {training["epochs"]} epochs in {training["minutes"]} minutes:')
    for name in ('untrained', 'trained', 'trained_calibrated'):
        metrics, background = result[name]['metrics'], result[name]['background']
        print(
            f'  {name}: mIoU {metrics["mIoU"]:.2f} (threshold {background["threshold"]:.3f}), '
            f'on foreground pixels {metrics["foreground/mIoU"]:.2f}'
        )
    print(f'  The last threshold was {calibration["source"]}; those photographs are left out.')
    print(f'wrote {work_dir / "result.json"} and {work_dir / "figure.png"}')


@tool_main(errors=(OSError,))
def main(argv: Sequence[str] | None = None) -> None:
    """Run everything, and print the numbers."""
    args = parse_args(argv)
    data = find_data(args.data)
    # One core is the loader's; threads that wait for each other cost more than they bring.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    print_summary(run(args, data), args.work_dir)


if __name__ == '__main__':
    sys.exit(main())
