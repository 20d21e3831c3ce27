"""Shows what pretraining sees: prints a batch, draws its images beside captions and prompts.

python tools/analysis_tools/browse_pairs.py CONFIG [--out FILE.png] [-n 16] [--shards GLOB]

Images are drawn as they leave the augmentation. The samples are those of the epoch asked for, in
the order in which one process with the number of workers of the config reads them.
"""

import argparse
import sys
import textwrap
from pathlib import Path

import matplotlib
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.datasets import ImageTextBatch, check_loader
from groupvit_mmseg.key_values import KeyValueAction
from groupvit_mmseg.output_paths import check_output

COLUMNS = 4


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='pretraining config with a train_dataloader')
    parser.add_argument('--out', metavar='FILE.png', help='where to draw; only prints otherwise')
    parser.add_argument('-n', type=int, default=16, help='number of pairs, 16 by default')
    parser.add_argument('--epoch', type=int, default=0, help='epoch, 0 by default')
    parser.add_argument('--shards', help='shards to read instead of those of the config')
    parser.add_argument('--cfg-options', nargs='+', action=KeyValueAction, help='KEY=VALUE changes')
    args = parser.parse_args(argv)
    if args.n < 1:
        parser.error('-n must be at least 1')
    try:
        check_output(args.out, reads=[args.config])
    except ValueError as error:
        parser.error(str(error))
    return args


def config_of(args) -> Config:
    """The config with the changes of the command line."""
    cfg = read_config(args.config)
    if 'train_dataloader' not in cfg:
        raise ValueError(f'"{cfg.filename}" has no `train_dataloader`: give a pretraining config.')
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    if args.shards:
        cfg.train_dataloader.dataset.sources = [dict(shards=args.shards)]
    return cfg


def load_batch(cfg: Config, num_pairs: int, epoch: int) -> ImageTextBatch:
    """The first batch of an epoch, made ``num_pairs`` long."""
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    loader_cfg = cfg.train_dataloader.to_dict()
    loader_cfg.update(batch_size=num_pairs, drop_last=False, pin_memory=False)
    loader = Runner.build_dataloader(loader_cfg, seed=cfg.get('randomness', {}).get('seed') or 0)
    check_loader(loader, 1)
    loader.sampler.set_epoch(epoch)
    return next(iter(loader))


def print_batch(batch: ImageTextBatch) -> None:
    """The structure of a batch, then every pair."""
    for name in ('inputs', 'token_ids'):
        print(f'{name:10s} {tuple(batch[name].shape)} {batch[name].dtype}')
    for i, key in enumerate(batch['keys']):
        ids = batch['token_ids'][i, 0]
        print(f'\n{key}\n  caption  {batch["captions"][i]}')
        print(f'  tokens   {ids[ids != 0].tolist()}')
        for prompt in batch['prompts'][i]:
            print(f'  prompt   {prompt}')
    for problem in batch['skipped']:
        print(f'\nskipped {problem}')
    for complaint in batch['damaged']:
        print(f'\ndamaged {complaint}')


def draw_batch(batch: ImageTextBatch, path: Path) -> None:
    """Images with the caption in bold and the prompts below."""
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    num_pairs = len(batch['keys'])
    columns = min(COLUMNS, num_pairs)
    rows = -(-num_pairs // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.4 * columns, 4.6 * rows), squeeze=False, layout='constrained'
    )
    for i, axis in enumerate(axes.flat):
        axis.axis('off')
        if i < num_pairs:
            axis.imshow(batch['inputs'][i].flip(0).permute(1, 2, 0).numpy())
            axis.set_title(_wrap([batch['captions'][i]], 36), fontsize=9, weight='bold')
            prompts = _wrap(batch['prompts'][i], 44, first='\u2022 ')
            axis.text(0, -0.03, prompts, transform=axis.transAxes, va='top', fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _wrap(texts, width: int, first: str = '') -> str:
    """Lines that fit under an image; long texts are cut, dollar signs are not mathematics."""
    lines = [
        line
        for text in texts
        for line in textwrap.wrap(
            text, width, initial_indent=first, max_lines=3, placeholder=' \u2026'
        )
    ]
    return '\n'.join(lines).replace('$', r'\$')


def main(argv=None) -> None:
    args = parse_args(argv)
    try:
        batch = load_batch(config_of(args), args.n, args.epoch)
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        # of a worker's error the last line is the sentence
        print(f'error: {str(error).strip().splitlines()[-1]}', file=sys.stderr)
        sys.exit(2)
    print_batch(batch)
    if args.out:
        draw_batch(batch, Path(args.out))
        print(f'\nDrawn to {args.out}')


if __name__ == '__main__':
    main()
