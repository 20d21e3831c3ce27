"""Measures how much pretrained weights improve a model that learns from few masks.

python tools/benchmarks/compare_pretraining.py CONFIG --weights FILE --data-root DIR --out DIR

Trains CONFIG, an ordinary MMSegmentation model on a GroupViT backbone, from the weights and from
scratch on the same schedule, once for each seed. Every other image of the list is for training, the
rest for testing. Writes table.md, result.json, and a folder for each run; finished runs are not
repeated.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from mmengine.config import Config
from mmseg.registry import RUNNERS

from groupvit_mmseg.benchmark.report import describe_checkpoint, write_json
from groupvit_mmseg.benchmark.run_set import digest
from groupvit_mmseg.benchmark.seed_statistics import seed_table
from groupvit_mmseg.checkpoints.sources import check_source
from groupvit_mmseg.command_line import add_config_options_argument, tool_main, tool_parser
from groupvit_mmseg.config_files import merge_options, read_config
from groupvit_mmseg.output_paths import check_output

STARTS = ('scratch', 'pretrained')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('config', type=Path, help='config of an EncoderDecoder on a GroupViT')
    parser.add_argument('--weights', required=True, help='checkpoint of a pretraining')
    parser.add_argument(
        '--data-root', type=Path, required=True, help="folder of a data set in VOC's layout"
    )
    parser.add_argument(
        '--list',
        type=Path,
        default='ImageSets/Segmentation/val.txt',
        help='list of images below --data-root (default: ImageSets/Segmentation/val.txt)',
    )
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0, 1, 2], help='a run each (default: 0 1 2)'
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder to write')
    parser.add_argument('--threads', type=int, help="threads of the CPU (default: PyTorch's)")
    add_config_options_argument(parser)
    return parser.parse_args(argv)


def split_in_two(args: argparse.Namespace) -> None:
    """Write every other name into train.txt, the rest into test.txt."""
    names = (args.data_root / args.list).read_text().split()
    if len(names) < 2:
        raise ValueError(f'{args.data_root / args.list} lists {len(names)} images; two are needed.')
    for name in ('train.txt', 'test.txt', 'result.json', 'table.md'):
        reads = [args.config, args.weights, args.data_root / args.list]
        check_output(args.out / name, reads=reads)
    args.out.mkdir(parents=True, exist_ok=True)
    for part, part_names in dict(train=names[::2], test=names[1::2]).items():
        (args.out / f'{part}.txt').write_text('\n'.join(part_names) + '\n')


def make_config(args: argparse.Namespace, start: str, seed: int) -> Config:
    """Return the config of one run."""
    cfg = read_config(args.config)
    merge_options(cfg, args.cfg_options or {})
    for loader, part in ((cfg.train_dataloader, 'train'), (cfg.val_dataloader, 'test')):
        loader.dataset.data_root = str(args.data_root)
        loader.dataset.ann_file = str((args.out / f'{part}.txt').resolve())
    if start == 'pretrained':
        cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(args.weights))
    cfg.randomness.seed = seed
    cfg.launcher = 'none'
    cfg.work_dir = str(args.out / f'{start}-{seed}')
    # mmengine keeps loggers and visualizers by name for the life of the process.
    cfg.experiment_name = cfg.visualizer.name = f'{start}-{seed}'
    return cfg


def train(args: argparse.Namespace, start: str, seed: int) -> dict[str, float]:
    """Train unless it is done already; return the metrics of the last validation."""
    cfg = make_config(args, start, seed)
    file, depends_on = Path(cfg.work_dir, 'metrics.json'), settings_of(cfg, args, start)
    if not file.is_file():
        runner = RUNNERS.build(cfg)  # type: ignore[arg-type]  # mmengine takes a Config
        runner.train()
        scalars = runner.message_hub.log_scalars
        metrics = {name: float(scalars[f'val/{name}'].current()) for name in ('mIoU', 'aAcc')}
        write_json(dict(metrics, settings=depends_on), file)
    metrics = json.loads(file.read_text())
    if metrics.pop('settings') != depends_on:
        raise ValueError(
            f'{file} is of other settings: choose another --out, or remove {args.out}.'
        )
    return metrics


def settings_of(cfg: Config, args: argparse.Namespace, start: str) -> str:
    """Return a digest of everything that determines the result of a run."""
    names = [(args.out / f'{part}.txt').read_text() for part in ('train', 'test')]
    weights = describe_checkpoint(args.weights)['sha256'] or '' if start == 'pretrained' else ''
    return digest([cfg.pretty_text, weights, *names])


def table(rows: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """Return a Markdown table of each metric: both starts, every seed, the difference."""
    parts = []
    for metric in ('mIoU', 'aAcc'):
        scores = {
            start: {seed: run[metric] for seed, run in runs.items()} for start, runs in rows.items()
        }
        parts += [f'{metric}:', seed_table(scores, baseline=STARTS[0], head='from')]
    return '\n\n'.join(parts) + '\n'


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Train all runs and write the table."""
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    check_source(args.weights)
    split_in_two(args)
    rows: dict[str, dict[int, dict[str, float]]] = {start: {} for start in STARTS}
    for seed in args.seeds:
        for start in STARTS:
            rows[start][seed] = train(args, start, seed)
    write_json(
        dict(config=args.config.name, weights=describe_checkpoint(args.weights), runs=rows),
        args.out / 'result.json',
    )
    (args.out / 'table.md').write_text(table(rows))
    print(table(rows))


if __name__ == '__main__':
    sys.exit(main())
