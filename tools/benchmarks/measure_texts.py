"""What the text tower costs on real captions: ``python .../measure_texts.py CONFIG --shards GLOB``.

Counts the tokens that are computed for the texts of a batch, in multiples of those up to the end of
each text: with every text as long as the context, as the longest of the batch, and in buckets of
similar length in which equal texts are computed once (``text_buckets`` of GroupViTPretrainer). The
time is that of a forward and backward pass of the text encoder of the config.
"""

import argparse
import sys
import time

import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import MODELS

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.key_values import KeyValueAction
from groupvit_mmseg.models.micro_batching import distinct_texts
from groupvit_mmseg.models.text_encoder import used_length

WITHOUT_IMAGES = ('LoadImageText', 'CaptionPrompts', 'PackImageText')


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='pretraining config with a train_dataloader')
    parser.add_argument('--shards', help='shards to read instead of those of the config')
    parser.add_argument('--batch-size', type=int, help="instead of the config's")
    parser.add_argument('--batches', type=int, default=4)
    parser.add_argument('--buckets', type=int, nargs='+', default=[1, 2, 4, 8])
    parser.add_argument('--time', action='store_true', help='also time the text encoder')
    parser.add_argument('--cfg-options', nargs='+', action=KeyValueAction, help='KEY=VALUE changes')
    return parser.parse_args(argv)


def load_token_ids(cfg, args):
    """Token ids ``(B, 1 + P, L)`` of some batches; images are not augmented."""
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    loader_cfg = cfg.train_dataloader.to_dict()
    pipeline = loader_cfg['dataset']['pipeline']
    loader_cfg['dataset']['pipeline'] = [t for t in pipeline if t['type'] in WITHOUT_IMAGES]
    if args.shards:
        loader_cfg['dataset']['sources'] = [dict(shards=args.shards)]
    loader_cfg.update(num_workers=0, persistent_workers=False, pin_memory=False)
    loader_cfg.update(batch_size=args.batch_size or loader_cfg['batch_size'], drop_last=True)
    loader_cfg['collate_fn'] = lambda samples: torch.stack([s['token_ids'] for s in samples])
    loader = Runner.build_dataloader(loader_cfg, seed=0)
    return [batch for batch, _ in zip(loader, range(args.batches))]


def calls_of(token_ids, buckets):
    """What the text encoder is called with; ``buckets`` of 0 means all texts as they are."""
    rows = token_ids.flatten(0, 1)
    if buckets == 0:
        return [rows]
    rows, _ = distinct_texts(rows)
    return list(rows.split(-(-len(rows) // buckets)))


def computed(rows):
    return len(rows) * used_length(rows.argmax(-1), rows.shape[1])


def seconds(encoder, calls):
    start = time.process_time()
    torch.cat([encoder(rows) for rows in calls]).sum().backward()
    return time.process_time() - start


def measure(args):
    """Print the tokens of the batches, and the time they take."""
    cfg = read_config(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
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
        tokens = sum(computed(rows) for parts in calls for rows in parts)
        name = 'longest of the batch' if buckets == 0 else f'{buckets} buckets, distinct'
        line = f'{name:24} {tokens:9} {tokens / needed:9.2f}'
        if encoder is not None:
            line += f' {sum(seconds(encoder, parts) for parts in calls):12.1f}'
        print(line, flush=True)


def main(argv=None):
    args = parse_args(argv)
    try:
        measure(args)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
