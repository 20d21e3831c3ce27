"""Pretrains on real photographs for a bounded time, evaluates zero-shot on VOC: ``make real``.

python tools/real.py
python tools/real.py --config CONFIG --checkpoint FILE    # evaluates these weights

Reads voc_words_128/, flickr8k_128/ and tiny_imagenet_64/ (tar shards) and VOCdevkit/VOC2012/ in
data/, in ../shared/data/, or in the folder given. No mask is for training; every tenth chooses the
background threshold, the others are for testing. Writes result.json, the checkpoints and figure.png
into work_dirs/real.
"""

import argparse
import json
import math
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
from mmengine.runner import Runner, find_latest_checkpoint
from mmseg.registry import RUNNERS
from PIL import Image

from groupvit_mmseg.benchmark.fitted_length import BoundedTime, fit_epochs
from groupvit_mmseg.benchmark.report import write_json
from groupvit_mmseg.benchmark.study_configs import set_epochs
from groupvit_mmseg.command_line import INPUT_ERRORS, tool_main, tool_parser
from groupvit_mmseg.datasets.shards import expand_shards
from groupvit_mmseg.engine import GroupViTRunner
from groupvit_mmseg.evaluation import calibrate_segmentor
from groupvit_mmseg.evaluation.calibration import ThresholdCalibration
from groupvit_mmseg.inference import GroupViTInferencer, load_image, segmentation_config
from groupvit_mmseg.visualization import draw_groups, draw_labels, panel, save_figure

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/groupvit/groupvit_conv-tiny-p8_1xb64-coslr-4e_photographs-48px.py'
PLACES = (ROOT / 'data', ROOT.parent / 'shared' / 'data')
MASKS = 'VOCdevkit/VOC2012'
PARTS = ('voc_words_128', 'flickr8k_128', 'tiny_imagenet_64', MASKS)
LEAST = 'one epoch is the least; --shards takes fewer photographs (a number of files of each set)'
LATE = 1.3  # how much later than planned a training may end
CALIBRATION_STEP = 10  # every tenth photograph chooses the threshold and is not tested
# Surroundings that captions speak of; none of them is a class of VOC.
BACKGROUND_WORDS = (
    *('grass', 'water', 'snow', 'sand', 'street', 'road', 'sky', 'tree', 'wall', 'floor', 'field'),
    *('building', 'beach', 'ocean', 'rock', 'mountain', 'room', 'carpet', 'bed', 'fence', 'dirt'),
)
AGAINST_WORDS: dict[str, object] = dict(affinity='contrast', background_words=BACKGROUND_WORDS)
VIEWS = dict(tta_scales=(0.6, 0.8, 1.0, 1.3, 1.6), tta_flip=True, with_group_map=False)
OF_VIEWS = ('PerClassIoUMetric', 'ForegroundIoUMetric')  # views have no groups in common


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('--config', type=Path, default=CONFIG, help='recipe (default: four epochs)')
    parser.add_argument('--checkpoint', type=Path, help='weights to evaluate instead of training')
    parser.add_argument('--data', type=Path, help='folder that holds the data sets')
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/real'),
        help='folder of the results (default: work_dirs/real)',
    )
    parser.add_argument(
        '--minutes', type=float, default=11, help='minutes of training (default: 11)'
    )
    parser.add_argument(
        '--epochs', type=int, help="epochs (default: those of the recipe's that fit into the time)"
    )
    parser.add_argument('--shards', type=int, help='shards of each set to train on (default: all)')
    parser.add_argument(
        '--photographs', type=int, default=446, help='photographs of VOC (default: 446)'
    )
    parser.add_argument(
        '--views', action='store_true', help='also with averages over five sizes, mirrored too'
    )
    args = parser.parse_args(argv)
    if args.epochs is not None and args.epochs < 1:
        parser.error(f'--epochs {args.epochs} must be at least 1')
    return args


def find_data(place: Path | None) -> Path:
    """Return the folder with the data sets."""
    places = PLACES if place is None else (place,)
    for folder in places:
        if all((folder / part).is_dir() for part in PARTS):
            return folder
    names = ' or '.join(str(folder) for folder in places)
    raise FileNotFoundError(
        f'No folder {names} holds {", ".join(PARTS)}: get them as '
        'docs/data_preparation.md says, or name the folder with --data.'
    )


def make_config(data: Path, args: argparse.Namespace) -> Config:
    """Return the shipped config with the places of the data."""
    cfg = Config.fromfile(args.config)
    for source in cfg.train_dataloader.dataset.sources:
        source.data_root = str(data / Path(source.data_root).name)
        source.shards = expand_shards(source.shards, source.data_root)[: args.shards]
        source.data_root = None
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(data / MASKS)
    if args.epochs:
        set_epochs(cfg, args.epochs)
    cfg.work_dir = str(args.work_dir)
    cfg.launcher = 'none'
    return cfg


def train(cfg: Config, args: argparse.Namespace) -> dict[str, float]:
    """Train, and return the time and the speed."""
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    minutes = args.minutes
    if args.epochs is None:
        length = fit_epochs(cfg, minutes)
        print(f'{length} ...', flush=True)
        if length.minutes > minutes:
            print(f'Longer than --minutes {minutes:g}: {LEAST}.', flush=True)
        minutes *= LATE  # the last epoch teaches most
    cfg.train_cfg.val_begin = cfg.train_cfg.max_epochs + 1  # evaluated afterwards, in the test loop
    runner: GroupViTRunner = RUNNERS.build(cfg)  # type: ignore[arg-type]  # mmengine takes a Config
    clock = BoundedTime(minutes, args.work_dir)
    runner.register_hook(clock)
    runner.train()
    minutes = (time.monotonic() - clock.start) / 60
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


def calibrate(
    cfg: Config, checkpoint: Path, photographs: Sequence[int], **head: object
) -> ThresholdCalibration:
    """Choose the background threshold on some of the photographs.

    ``head`` are settings of the decode head to change.
    """
    cfg = segmentation_config(cfg)
    cfg.model.decode_head.update(head)
    inferencer = GroupViTInferencer(cfg, checkpoint)
    inferencer.set_options(precision='fp32')  # as in the evaluation
    loader = cfg.test_dataloader
    loader.dataset.indices = photographs
    batches = Runner.build_dataloader(loader)
    return calibrate_segmentor(inferencer.segmentor, batches)


def draw(
    cfg: Config, checkpoint: Path, threshold: float, photographs: Sequence[int], out: Path
) -> None:
    """Draw photograph, truth, groups and prediction, against other words, of some photographs."""
    cfg = segmentation_config(cfg)
    cfg.model.decode_head.update(AGAINST_WORDS, bg_thresh=threshold)
    inferencer = GroupViTInferencer(cfg, checkpoint)
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


def with_views(cfg: Config) -> Config:
    """Return the config with averages over views of each photograph."""
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    cfg.val_cfg.segmentor.test_cfg.update(VIEWS)
    cfg.val_evaluator = [each for each in cfg.val_evaluator if each.type in OF_VIEWS]
    cfg.test_evaluator = cfg.val_evaluator
    return cfg


def measure(
    cfg: Config, name: str, checkpoint: Path, photographs: int, *, views: bool = False
) -> tuple[ThresholdCalibration, dict[str, Any]]:
    """Choose thresholds of a class alone, against other words, with views; evaluate with each.

    Returns the second choice, and the results.
    """
    part = range(0, photographs, CALIBRATION_STEP)
    rest = [index for index in range(photographs) if index % CALIBRATION_STEP]
    ways: dict[str, tuple[Config, dict]] = dict(threshold=(cfg, {}), words=(cfg, AGAINST_WORDS))
    if views:
        ways['views'] = (with_views(cfg), {})
    choices, result = {}, dict[str, Any](calibration=dict(photographs=len(part)))
    for way, (changed, head) in ways.items():
        choices[way] = calibrate(changed, checkpoint, list(part), **head)
        result['calibration'][way] = choices[way].provenance
        head = dict(head, bg_thresh=choices[way].threshold)
        result[way] = evaluate(changed, f'{name}_{way}', checkpoint, rest, **head)
    return choices['words'], result


def run(args: argparse.Namespace, data: Path) -> dict[str, Any]:
    """Train, calibrate, evaluate and draw; return the content of the result file."""
    cfg = make_config(data, args)
    result: dict[str, Any] = dict(config=args.config.name)
    weights = dict(trained=args.checkpoint)
    if args.checkpoint is None:
        result['training'] = train(cfg, args)
        latest = find_latest_checkpoint(args.work_dir)
        assert latest is not None  # every epoch saves its averaged weights
        weights['trained'] = Path(latest)
        weights['untrained'] = args.work_dir / 'untrained.pth'
    for name, file in weights.items():
        margin, result[name] = measure(cfg, name, file, args.photographs, views=args.views)
        if name == 'trained':
            spread = range(5, args.photographs, max(1, args.photographs // 6))
            draw(cfg, file, margin.threshold, spread[:6], args.work_dir / 'figure.png')
    result['weights'] = str(weights['trained'])
    write_json(result, args.work_dir / 'result.json')
    return result


COLUMNS = ('', 'tag_center/', 'foreground/', 'tag_foreground/', 'oracle/', 'boundary/')


def print_summary(result: Mapping[str, Any], work_dir: Path) -> None:
    """Print the numbers, and how to go on."""
    if training := result.get('training'):
        print(f'\nEpochs trained: {training["epochs"]}, in {training["minutes"]} minutes.')
    print('mIoU in percent; tag, middle: the best word over all of a photograph, or its middle.')
    titles = ('background', 'words for it', 'middle', '20 classes', 'tag', 'oracle', 'boundary')
    print(' ' * 12 + ''.join(f'{title:>14}' for title in titles))
    for name in ('untrained', 'trained'):
        if name in result:
            metrics = result[name]['threshold']['metrics']
            row = [metrics.get(f'{prefix}mIoU', math.nan) for prefix in COLUMNS]
            row.insert(1, result[name]['words']['metrics']['mIoU'])
            print(f'{name:12}' + ''.join(f'{value:14.2f}' for value in row))
            if 'views' in result[name]:
                metrics = result[name]['views']['metrics']
                print(f'  views {metrics["mIoU"]:18.2f}{metrics["foreground/mIoU"]:42.2f}')
    print(f'wrote {work_dir / "result.json"} and {work_dir / "figure.png"}')
    threshold = result['trained']['threshold']['background']['threshold']
    print(
        f'Segment your own photographs: groupvit segment PHOTO --model {result["weights"]} '
        f'--words "cat, dog, sheep" --bg-thresh {threshold:.2f} --out masks'
    )


@tool_main(errors=(OSError,))
def main(argv: Sequence[str] | None = None) -> int:
    """Run everything, and print the numbers; errors of a training keep their traceback."""
    args = parse_args(argv)
    data = find_data(args.data)
    # One core is the loader's; threads that wait for each other cost more than they bring.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    errors = (OSError,) if args.checkpoint is None else INPUT_ERRORS
    return tool_main(errors=errors)(lambda: print_summary(run(args, data), args.work_dir))()


if __name__ == '__main__':
    sys.exit(main())
