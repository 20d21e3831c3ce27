"""Retrieves captions by images and images by captions: recall at 1, 5 and 10.

python tools/analysis_tools/retrieve_captions.py CHECKPOINT --shards 'data/flickr8k/val-*.tar'
python tools/analysis_tools/retrieve_captions.py CHECKPOINT --shards FILE.tar --labels

With --labels the first caption of a sample is its label, and the result is the accuracy of the
nearest label (top-1, top-5) among all that occur: zero-shot classification.

Shards are those of training; all captions of a sample count, or with --captions text the one of
its text member. Images are resized to a square of the size that the model was trained with. The
embedding of an image is the mean of its segments, as in the paper's contrastive loss.
"""

import argparse
import sys
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from mmengine.registry import init_default_scope
from torch import Tensor

from groupvit_mmseg.benchmark.report import describe_checkpoint, versions, write_json
from groupvit_mmseg.checkpoints.sources import check_source
from groupvit_mmseg.command_line import (
    add_checkpoint_argument,
    add_device_argument,
    add_model_config_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.captions import captions_of_members
from groupvit_mmseg.datasets.image_decoding import decode_image
from groupvit_mmseg.datasets.image_text_transforms import IMAGE_EXTENSIONS
from groupvit_mmseg.datasets.remote_shards import open_shard
from groupvit_mmseg.datasets.shard_members import Sample, group_members, read_members
from groupvit_mmseg.datasets.shard_stream import BadSample
from groupvit_mmseg.datasets.shards import expand_shards
from groupvit_mmseg.evaluation.recall import RANKS, label_accuracy, retrieval_recall
from groupvit_mmseg.inference import load_segmentor
from groupvit_mmseg.inference.caption_embeddings import CAPTION
from groupvit_mmseg.models import GroupViT, GroupViTSegmentor
from groupvit_mmseg.output_paths import check_output


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_checkpoint_argument(parser)
    parser.add_argument('--shards', nargs='+', required=True, help='tar files, patterns, addresses')
    parser.add_argument(
        '--captions', choices=('text', 'json'), default='json',
        help='member to take where a sample has both (default: json)',
    )  # fmt: skip
    parser.add_argument(
        '--labels', action='store_true', help='classify by the first captions instead of retrieving'
    )
    add_model_config_argument(parser)
    parser.add_argument('--size', type=int, help="side of the images (default: the model's)")
    parser.add_argument(
        '--batch-size', type=int, default=32, help='images embedded at a time (default: 32)'
    )
    add_device_argument(parser)
    parser.add_argument('--out', type=Path, metavar='FILE.json', help='file to write')
    args = parser.parse_args(argv)
    for name in ('size', 'batch_size'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} {value} must be at least 1')
    return args


class Pair(NamedTuple):
    """An image, BGR uint8 ``(3, H, W)``, and its captions."""

    image: Tensor
    captions: list[str]


def read_pairs(shard: str, prefer: str, account: Account) -> Iterator[Pair]:
    """Read the samples of a shard; those without an image or a caption are counted."""
    try:
        with open_shard(shard) as stream:
            for sample in group_members(read_members(stream)):
                account.num_read += 1
                try:
                    pair = read_pair(sample, prefer)
                except (BadSample, ValueError) as error:
                    account.drop('a sample that cannot be read', f'{sample.key}: {error}')
                    continue
                account.num_kept += 1
                yield pair
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise ValueError(
            f'The shard {shard} cannot be read: {error or "it is cut off"}.'
        ) from error


def read_pair(sample: Sample, prefer: str) -> Pair:
    """Read the image and the captions of a sample."""
    if sample.problem:
        raise BadSample(sample.problem)
    captions = captions_of_members(sample.members, prefer)
    image = next((e for e in IMAGE_EXTENSIONS if e in sample.members), '')
    pixels = decode_image(sample.members.get(image, b'')).pixels
    return Pair(torch.from_numpy(pixels).permute(2, 0, 1), captions)


def side_of(segmentor: GroupViTSegmentor, args: argparse.Namespace) -> int:
    """Return the side of the images: that of training."""
    if args.size is not None:
        return args.size
    backbone = segmentor.backbone
    if not isinstance(backbone, GroupViT):
        raise ValueError(f'Give --size: a {type(backbone).__name__} does not tell it.')
    return backbone.grid_shape[0] * backbone.patch_size


@torch.inference_mode()
def embed_images(segmentor: GroupViTSegmentor, images: Sequence[Tensor]) -> Tensor:
    """Return the projected embeddings ``(B, D)`` of images of one size."""
    data = segmentor.data_preprocessor(dict(inputs=list(images)), False)
    return segmentor.decode_head.embed_images(segmentor.extract_feat(data['inputs'])).cpu()


def resized(image: Tensor, side: int) -> Tensor:
    """Return an image as a square, with antialiasing."""
    resize = torch.nn.functional.interpolate
    square = resize(image[None].float(), (side, side), mode='bicubic', antialias=True)[0]
    return square.round().clamp(0, 255).to(torch.uint8)


def in_batches(pairs: Iterator[Pair], size: int) -> Iterator[list[Pair]]:
    """Yield lists of ``size`` pairs, the last one shorter."""
    while batch := list(islice(pairs, size)):
        yield batch


def measure(args: argparse.Namespace, shards: Sequence[str]) -> dict[str, Any]:
    """Return the content of the result file."""
    segmentor = load_segmentor(args.config, args.checkpoint, device=args.device)
    side, account = side_of(segmentor, args), Account('samples')
    pairs = (pair for shard in shards for pair in read_pairs(shard, args.captions, account))
    embeds: list[Tensor] = []
    captions: list[list[str]] = []
    for batch in in_batches(pairs, args.batch_size):
        embeds.append(embed_images(segmentor, [resized(pair.image, side) for pair in batch]))
        captions += [pair.captions for pair in batch]
    if account.num_dropped:
        print('\n'.join(account.lines()), file=sys.stderr)
    if not embeds:
        raise ValueError(f'No sample of {", ".join(args.shards)} has an image and a caption.')
    result = compare(segmentor, torch.cat(embeds), captions, labels=args.labels)
    return dict(
        **result,
        images=len(captions),
        side=side,
        checkpoint=dict(describe_checkpoint(args.checkpoint)),
        versions=versions(),
    )


def compare(
    segmentor: GroupViTSegmentor,
    embeds: Tensor,
    captions: Sequence[Sequence[str]],
    *,
    labels: bool,
) -> dict[str, object]:
    """Return the recall, or the accuracy of labels, and the number of texts."""
    if labels:
        numbers: dict[str, int] = {}
        targets = [numbers.setdefault(first, len(numbers)) for first, *_ in captions]
        texts = list(numbers)
    else:
        texts = [text for texts in captions for text in texts]
        targets = [index for index, texts in enumerate(captions) for _ in texts]
    text_embeds = segmentor.decode_head.embed_names(texts, CAPTION).cpu()
    if labels:
        return dict(accuracy=label_accuracy(embeds, text_embeds, targets), labels=len(texts))
    return dict(recall=retrieval_recall(embeds, text_embeds, targets), captions=len(texts))


def print_result(result: Mapping[str, Any]) -> None:
    """Print a table."""
    if 'accuracy' in result:
        print(f'{result["images"]} images, {result["labels"]} labels, {result["side"]} px')
        accuracy = result['accuracy'].items()
        print(', '.join(f'{name} {value:.1f}' for name, value in accuracy))
        return
    print(f'{result["images"]} images, {result["captions"]} captions, {result["side"]} px')
    print('| | R@1 | R@5 | R@10 |\n|---|---|---|---|')
    for name in ('image_to_text', 'text_to_image'):
        cells = [f'{result["recall"][f"{name}/R@{k}"]:.1f}' for k in RANKS]
        print(f'| {name.replace("_", " ")} | {" | ".join(cells)} |')


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    args = parse_args(argv)
    init_default_scope('mmseg')
    check_source(args.checkpoint)
    shards = list(dict.fromkeys(expand_shards(args.shards)))  # one that is named twice counts once
    check_output(args.out, reads=[args.checkpoint, args.config, *shards])
    result = measure(args, shards)
    print_result(result)
    if args.out:
        write_json(result, args.out)
        print(f'wrote {args.out}')


if __name__ == '__main__':
    sys.exit(main())
