"""Shows what pretraining reads: prints a batch, draws its images with captions and prompts.

python tools/analysis_tools/browse_pairs.py CONFIG [--out FILE.png] [-n 16] [--shards GLOB]

Images are drawn after augmentation. The samples are those of epoch --epoch, in the order in which
one process reads them with the number of workers of the config.
"""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from groupvit_mmseg.command_line import (
    add_pretraining_arguments,
    pretraining_config,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.datasets import ImageTextBatch, check_loader
from groupvit_mmseg.datasets.image_text_sampler import ImageTextSampler
from groupvit_mmseg.output_paths import check_output

COLUMNS = 4


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_pretraining_arguments(parser)
    parser.add_argument('--out', metavar='FILE.png', help='file to draw (default: print only)')
    parser.add_argument('-n', type=int, default=16, help='number of pairs (default: 16)')
    parser.add_argument('--epoch', type=int, default=0, help='epoch, counted from 0 (default: 0)')
    args = parser.parse_args(argv)
    if args.n < 1:
        parser.error('-n must be at least 1')
    return args


def load_batch(cfg: Config, num_pairs: int, epoch: int) -> ImageTextBatch:
    """Return the first ``num_pairs`` pairs of an epoch as a batch."""
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    loader_cfg = cfg.train_dataloader.to_dict()
    loader_cfg.update(batch_size=num_pairs, drop_last=False, pin_memory=False)
    loader = Runner.build_dataloader(loader_cfg, seed=cfg.get('randomness', {}).get('seed') or 0)
    check_loader(loader, 1)
    if not isinstance(loader.sampler, ImageTextSampler):
        raise ValueError(
            f'The sampler of train_dataloader is a {type(loader.sampler).__name__}: give an '
            'ImageTextSampler.'
        )
    loader.sampler.set_epoch(epoch)
    return next(iter(loader))


def print_batch(batch: ImageTextBatch) -> None:
    """Print the shapes of a batch, then every pair."""
    for name, tensor in (('inputs', batch['inputs']), ('token_ids', batch['token_ids'])):
        print(f'{name:10s} {tuple(tensor.shape)} {tensor.dtype}')
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
    """Draw the images, each with its caption above in bold and its prompts below."""
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


def _wrap(texts: Sequence[str], width: int, first: str = '') -> str:
    """Break texts into lines of ``width``; cut long ones, and print dollar signs as they are."""
    lines = [
        line
        for text in texts
        for line in textwrap.wrap(
            text, width, initial_indent=first, max_lines=3, placeholder=' \u2026'
        )
    ]
    return '\n'.join(lines).replace('$', r'\$')


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Print the batch and draw it."""
    args = parse_args(argv)
    check_output(args.out, reads=[args.config])
    batch = load_batch(pretraining_config(args), args.n, args.epoch)
    print_batch(batch)
    if args.out:
        draw_batch(batch, Path(args.out))
        print(f'\nDrawn to {args.out}')


if __name__ == '__main__':
    sys.exit(main())
