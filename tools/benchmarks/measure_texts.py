"""Measures the cost of the text encoder on real captions.

python tools/benchmarks/measure_texts.py CONFIG --shards GLOB

Counts the tokens that are computed for the texts of a batch, in multiples of those up to the end of
each text: with every text as long as the context, as the longest of the batch, and in buckets of
similar length in which equal texts are computed once (text_buckets of GroupViTPretrainer). The
time is that of a forward and backward pass of the text encoder of the config.
"""

import argparse
import sys
import time
from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import MODELS
from torch import Tensor

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.command_line import (
    add_pretraining_arguments,
    pretraining_config,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.models.micro_batching import distinct_texts
from groupvit_mmseg.models.text_encoder import GroupViTTextEncoder, used_length
from groupvit_mmseg.registry import type_name

WITHOUT_AUGMENTATION = (
    'LoadImageText',
    'LoadRandomResizedCrop',
    'CaptionPrompts',
    'PackImageText',
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_pretraining_arguments(parser)
    parser.add_argument('--batch-size', type=int, help="pairs of a batch (default: the config's)")
    parser.add_argument('--batches', type=int, default=4, help='batches to read (default: 4)')
    parser.add_argument(
        '--buckets',
        type=int,
        nargs='+',
        default=[1, 2, 4, 8],
        help='numbers of buckets to compare (default: 1 2 4 8)',
    )
    parser.add_argument('--time', action='store_true', help='also time the text encoder')
    return parser.parse_args(argv)


def load_token_ids(cfg: Config, args: argparse.Namespace) -> list[Tensor]:
    """Load the token ids ``(B, 1 + P, L)`` of some batches; images are not augmented."""
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    loader_cfg = cfg.train_dataloader.to_dict()
    pipeline = loader_cfg['dataset']['pipeline']
    loader_cfg['dataset']['pipeline'] = [
        t for t in pipeline if type_name(t) in WITHOUT_AUGMENTATION
    ]
    loader_cfg.update(num_workers=0, persistent_workers=False, pin_memory=False)
    loader_cfg.update(batch_size=args.batch_size or loader_cfg['batch_size'], drop_last=True)
    loader_cfg['collate_fn'] = lambda samples: torch.stack([s['token_ids'] for s in samples])
    loader = Runner.build_dataloader(loader_cfg, seed=0)
    return [batch for batch, _ in zip(loader, range(args.batches))]


def calls_of(token_ids: Tensor, buckets: int) -> list[Tensor]:
    """Return the inputs of the text encoder; 0 buckets means all texts in one call."""
    rows = token_ids.flatten(0, 1)
    if buckets == 0:
        return [rows]
    rows, _ = distinct_texts(rows)
    return list(rows.split(-(-len(rows) // buckets)))


def computed_tokens(rows: Tensor) -> int:
    """Count the tokens that the text encoder computes for texts ``(N, L)``."""
    return len(rows) * used_length(rows.argmax(-1), rows.shape[1])


def seconds(encoder: GroupViTTextEncoder, calls: Sequence[Tensor]) -> float:
    """Measure a forward and backward pass, in processor time."""
    start = time.process_time()
    torch.cat([encoder(rows) for rows in calls]).sum().backward()
    return time.process_time() - start


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Print the tokens of the batches, and the time they take."""
    args = parse_args(argv)
    cfg = pretraining_config(args)
    batches = load_token_ids(cfg, args)
    if not batches:
        raise ValueError('the shards hold fewer samples than a batch: lower --batch-size.')
    texts = [batch.flatten(0, 1) for batch in batches]
    needed = sum(int((rows.argmax(-1) + 1).sum()) for rows in texts)
    total = sum(len(rows) for rows in texts)
    equal = 1 - sum(len(distinct_texts(rows)[0]) for rows in texts) / total
    print(f'{len(batches)} batches of {tuple(batches[0].shape)}: {total} texts')
    print(f'{needed / total:.1f} tokens on average, {equal:.1%} equal to another of their batch')
    encoder = MODELS.build(cfg.model.text_encoder) if args.time else None
    whole = sum(rows.numel() for rows in texts)
    print(f'{"":24} {"tokens":>9} {"x needed":>9}' + ('  processor s' if args.time else ''))
    print(f'{"whole context":24} {whole:9} {whole / needed:9.2f}')
    for buckets in (0, *args.buckets):
        calls = [calls_of(batch, buckets) for batch in batches]
        tokens = sum(computed_tokens(rows) for parts in calls for rows in parts)
        name = 'longest of the batch' if buckets == 0 else f'{buckets} buckets, distinct'
        line = f'{name:24} {tokens:9} {tokens / needed:9.2f}'
        if encoder is not None:
            line += f' {sum(seconds(encoder, parts) for parts in calls):12.1f}'
        print(line, flush=True)


if __name__ == '__main__':
    sys.exit(main())
