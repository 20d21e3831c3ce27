"""Pretrains a tiny GroupViT in minutes on a CPU and evaluates it: ``make quickstart``.

python tools/quickstart.py

Draws the scenes (captions for training, masks for testing only), pretrains on them, and segments
scenes that are not for training with class names, in two ways, beside the untrained model:

* things + grounds: every ground is a class, as in Pascal Context 59;
* things + background: a threshold, chosen on separate scenes, decides the background, as in VOC
  2012; and again with the names of the grounds as words for the background.

Writes result.json and segmentation.png into --out.
"""

import argparse
import io
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from mmseg.datasets import BaseSegDataset
from mmseg.registry import RUNNERS
from mmseg.structures import SegDataSample
from PIL import Image
from torch.utils.data import DataLoader

from groupvit_mmseg.benchmark.report import versions, write_json
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.engine import GroupViTRunner
from groupvit_mmseg.evaluation.calibration import SegmentPrediction, calibrate_threshold
from groupvit_mmseg.evaluation.metrics import OracleIoUMetric, PerClassIoUMetric
from groupvit_mmseg.visualization import (
    RGBArray,
    draw_groups,
    draw_labels,
    enlarge,
    legend,
    panel,
    save_figure,
)

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/groupvit/groupvit_tiny-p4_1xb64-coslr-12e_scenes-40px.py'
MAKE_SCENES = ROOT / 'tools/dataset_converters/make_scenes.py'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/quickstart'),
        help='folder of the results (default: work_dirs/quickstart)',
    )
    parser.add_argument(
        '--data-root',
        type=Path,
        default=Path('data/scenes'),
        help='folder of the scenes (default: data/scenes)',
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the training (default: 0)')
    parser.add_argument('--max-epochs', type=int, help="epochs (default: the config's)")
    parser.add_argument(
        '--num-train', type=int, default=8000, help='training scenes (default: 8000)'
    )
    parser.add_argument('--num-val', type=int, default=500, help='test scenes (default: 500)')
    parser.add_argument(
        '--num-calib', type=int, default=200, help='scenes to choose thresholds on (default: 200)'
    )
    return parser.parse_args(argv)


def draw_scenes(args: argparse.Namespace) -> None:
    """Draw the data set, unless it is there already."""
    command = [sys.executable, str(MAKE_SCENES), '--out', str(args.data_root)]
    for name in ('num_train', 'num_val', 'num_calib'):
        command += [f'--{name.replace("_", "-")}', str(getattr(args, name))]
    status = subprocess.run(command, check=False).returncode
    if status:  # it has said why
        sys.exit(status)


def load_config(args: argparse.Namespace) -> Config:
    """Return the shipped config with this run's folders and seed."""
    cfg = Config.fromfile(CONFIG)
    cfg.work_dir = str(args.out / 'train')
    cfg.randomness = dict(seed=args.seed)
    cfg.train_dataloader.dataset.sources[0].data_root = str(args.data_root)
    cfg.val_dataloader.dataset.data_root = str(args.data_root / 'val')
    if args.max_epochs:
        cfg.train_cfg.max_epochs = args.max_epochs
    return cfg


def build_runner(cfg: Config) -> GroupViTRunner:
    """Build the runner; its log omits mmengine's pages about the environment and the config."""
    runner: GroupViTRunner = RUNNERS.build({**cfg, 'log_level': 'WARNING'})
    runner.logger.setLevel(logging.INFO)
    for handler in runner.logger.handlers:
        handler.setLevel(logging.INFO)
    return runner


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the log of metrics off the terminal."""
    handlers = MMLogger.get_current_instance().handlers
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)


class ZeroShot:
    """Evaluates the present weights of a pretraining in every way.

    Args:
        runner (GroupViTRunner): Runner of the pretraining.
        cfg (Config): Its config, with the places and classes of the scenes.
    """

    def __init__(self, runner: GroupViTRunner, cfg: Config) -> None:
        self.loop = runner.val_loop
        self.segmentor = self.loop.segmentor
        self.things, self.grounds = list(cfg.things), list(cfg.grounds)
        dataloader = cfg.val_dataloader.to_dict()
        self.loaders = {'things + grounds': self._loader(dataloader)}
        self._to_background(dataloader['dataset'], cfg.palette)
        self.loaders['things + background'] = self._loader(dataloader)
        dataloader['dataset']['ann_file'] = 'ImageSets/Segmentation/calib.txt'
        self.loaders['calibration'] = self._loader(dataloader)

    @staticmethod
    def _loader(dataloader: dict) -> DataLoader:
        return Runner.build_dataloader(
            {**dataloader, 'num_workers': 0, 'persistent_workers': False}
        )

    def _to_background(self, dataset: dict, palette: Sequence[Sequence[int]]) -> None:
        """Read the masks in which every ground is class 0."""
        classes = ['background', *self.things]
        colours = [[0, 0, 0], *palette[: len(self.things)]]
        dataset['metainfo'] = dict(classes=classes, palette=colours)
        dataset['data_prefix']['seg_map_path'] = 'SegmentationClass'

    def run(self) -> dict[str, dict[str, object]]:
        """Measure, print a table per way, and return all numbers for the result file."""
        self.loop.copy_weights()
        head = self.segmentor.decode_head
        head.set_classes([*self.things, *self.grounds])
        result = {'things_and_grounds': self._measure('things + grounds')}
        classes = ['background', *self.things]
        head.set_classes(classes, with_background=True, bg_thresh=0.0)
        choice = calibrate_threshold(self._predictions())
        head.set_classes(head.classes, bg_thresh=choice.threshold)
        print(f'background threshold {choice.threshold:.4f}, {choice.provenance}')
        result['things_and_background'] = self._measure('things + background') | dict(
            bg_thresh=round(choice.threshold, 6), bg_thresh_source=choice.provenance
        )
        head.set_classes(classes, with_background=True, background_words=self.grounds)
        print(f'words for the background: {", ".join(self.grounds)}')
        result['things_and_background_words'] = self._measure('things + background') | dict(
            background_words=self.grounds
        )
        head.set_classes([*self.things, *self.grounds])
        return result

    def _measure(self, name: str) -> dict[str, object]:
        """Measure mIoU, oracle and classes on one loader; MMSeg's metric prints its table."""
        loader = self.loaders[name]
        dataset: BaseSegDataset = loader.dataset  # type: ignore[assignment]  # as the config says
        print(f'{name}:')
        metric, oracle = PerClassIoUMetric(), OracleIoUMetric()
        for one in (metric, oracle):
            one.dataset_meta = dataset.metainfo
        for batch in loader:
            samples = [sample.to_dict() for sample in self._segment(batch)]
            metric.process(batch, samples)
            oracle.process(batch, samples)
        miou = metric.evaluate(len(dataset))['mIoU']
        with quiet():
            best = oracle.evaluate(len(dataset))['oracle/mIoU']
        return {
            'mIoU': round(miou, 2),
            'oracle_mIoU': round(best, 2),
            'class_IoU': metric.class_iou,
        }

    @torch.no_grad()
    def _segment(self, batch: dict) -> list[SegDataSample]:
        return self.segmentor.val_step(batch)

    @torch.no_grad()
    def _predictions(self) -> Iterator[SegmentPrediction]:
        """Predict the calibration scenes."""
        head = self.segmentor.decode_head
        for batch in self.loaders['calibration']:
            data = self.segmentor.data_preprocessor(batch)
            output = self.segmentor.extract_feat(data['inputs'])
            affinity, group_map = head.segment_affinity(output), output.group_map()
            for i, sample in enumerate(data['data_samples']):
                yield SegmentPrediction(affinity[i], group_map[i], sample.gt_sem_seg.data[0])

    def figure(self, count: int = 6, side: int = 200, footer: str = '') -> RGBArray:
        """Draw image, truth, groups and prediction of the first test scenes, side by side."""
        names = [*self.things, *self.grounds]
        batch = next(iter(self.loaders['things + grounds']))
        rows = []
        for sample in self._segment(batch)[:count]:
            image = np.asarray(Image.open(sample.metainfo['img_path']).convert('RGB'))
            truth, prediction, groups = (
                enlarge(sample.get(name).get('data')[0].numpy(), side)
                for name in ('gt_sem_seg', 'pred_sem_seg', 'pred_group_map')
            )
            image = enlarge(image, side)
            painted = [
                draw_labels(image, labels, names, opacity=0.8) for labels in (truth, prediction)
            ]
            strip = legend(prediction, names, width=image.shape[1])
            rows.append(
                [image, painted[0], draw_groups(image, groups), np.concatenate([painted[1], strip])]
            )
        return panel(rows, ('image', 'ground truth', 'groups', 'prediction'), footer=footer)


def pretrain(runner: GroupViTRunner) -> dict[str, object]:
    """Train; return the time, the speed, and the mIoU after every validation."""
    start = time.time()
    runner.train()
    seconds = time.time() - start
    curve, _ = runner.message_hub.get_scalar('val/mIoU').data
    samples = runner.iter * runner.train_dataloader.batch_sampler.batch_size
    return {
        'minutes': round(seconds / 60, 2),
        'steps': runner.iter,
        'samples_per_s': round(samples / seconds, 1),
        'learning_curve': [round(float(miou), 2) for miou in curve],
    }


def print_summary(result: Mapping[str, Any]) -> None:
    """Print both evaluations, trained beside untrained."""
    print(f'\n{"mIoU on unseen scenes":32}{"untrained":>12}{"pretrained":>12}{"oracle":>12}')
    for name, trained in result['trained'].items():
        before = result['untrained'][name]['mIoU']
        row = f'{before:12.2f}{trained["mIoU"]:12.2f}{trained["oracle_mIoU"]:12.2f}'
        print(f'{name.replace("_", " "):32}{row}')


@tool_main(errors=(OSError,))
def main(argv: Sequence[str] | None = None) -> None:
    """Draw, pretrain, evaluate, and write the results."""
    args = parse_args(argv)
    # One core is the loader's; threads that wait for each other cost more than they bring.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    start = time.time()
    draw_scenes(args)
    cfg = load_config(args)
    runner = build_runner(cfg)
    zero_shot = ZeroShot(runner, cfg)
    print('Segmenting with the untrained model')
    with quiet(), redirect_stdout(io.StringIO()):
        result: dict[str, Any] = {'seed': args.seed, 'untrained': zero_shot.run()}
    print('Pretraining')
    result['pretraining'] = pretrain(runner)
    print('\nSegmenting scenes that were not for training')
    result['trained'] = zero_shot.run()
    result['minutes'] = round((time.time() - start) / 60, 2)
    result['config'], result['versions'] = CONFIG.name, versions()
    write_json(result, args.out / 'result.json')
    footer = f'mIoU {result["trained"]["things_and_grounds"]["mIoU"]:.1f} on things + grounds'
    save_figure(zero_shot.figure(footer=footer), args.out / 'segmentation.png')
    print_summary(result)
    print(f'{result["minutes"]} minutes; wrote {args.out}/result.json and segmentation.png')


if __name__ == '__main__':
    sys.exit(main())
