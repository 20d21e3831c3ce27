"""Pretrains a tiny GroupViT in minutes on a CPU and evaluates it: ``make quickstart``.

python tools/quickstart.py

Draws the scenes (captions for training, masks for testing only), pretrains on them, and segments
scenes that are not for training with class names, in two ways, beside the untrained model:

* things + grounds: every ground is a class, as in Pascal Context 59;
* things + background: a threshold, chosen on separate scenes, decides the background, as in VOC
  2012.

The trained model does the second also with outlines refined by PAMR, and with the names of the
grounds as words for the background.

Writes result.json and segmentation.png into --out.
"""

import argparse
import io
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint
from mmseg.registry import RUNNERS

from groupvit_mmseg.benchmark.report import versions, write_json
from groupvit_mmseg.benchmark.scene_evaluation import SceneEvaluation, quiet
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.engine import GroupViTRunner
from groupvit_mmseg.visualization import save_figure

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/groupvit/groupvit_tiny-p4_1xb64-coslr-6e_scenes-40px.py'
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
    """Build the runner, without mmengine's pages about environment and config in its log."""
    runner: GroupViTRunner = RUNNERS.build({**cfg, 'log_level': 'WARNING'})
    runner.logger.setLevel(logging.INFO)
    for handler in runner.logger.handlers:
        handler.setLevel(logging.INFO)
    return runner


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
        before = result['untrained'].get(name, {}).get('mIoU')
        row = f'{"" if before is None else f"{before:.2f}":>12}'
        row += f'{trained["mIoU"]:12.2f}{trained["oracle_mIoU"]:12.2f}'
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
    zero_shot = SceneEvaluation(runner, cfg)
    print('Segmenting with the untrained model')
    with quiet(), redirect_stdout(io.StringIO()):
        untrained = zero_shot.run(in_every_way=False)
    result: dict[str, Any] = {'seed': args.seed, 'untrained': untrained}
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
    weights = find_latest_checkpoint(runner.work_dir)
    print(f'Play with these weights in a browser: make web MODEL={weights}')


if __name__ == '__main__':
    sys.exit(main())
