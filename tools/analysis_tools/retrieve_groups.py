"""Shows which images and words activate each segment of a model.

python tools/analysis_tools/retrieve_groups.py CHECKPOINT --images FOLDER --out DIR [--words WORDS]

Writes groups.png, a row per segment with the images that activate it most (the rest of each image
is faded), and groups.json with the words it is nearest to.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from groupvit_mmseg.benchmark.report import describe_checkpoint, write_json
from groupvit_mmseg.checkpoints.sources import check_source
from groupvit_mmseg.command_line import (
    add_checkpoint_argument,
    add_device_argument,
    add_model_config_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.evaluation.retrieval import SegmentConcept, SegmentSight, segment_concepts
from groupvit_mmseg.inference import load_image, load_segmentor
from groupvit_mmseg.models import GroupViTSegmentor
from groupvit_mmseg.models.image_embeddings import project_segments
from groupvit_mmseg.output_paths import check_output
from groupvit_mmseg.text.class_choice import read_class_choice
from groupvit_mmseg.visualization import IndexMap, RGBArray, panel, percent, save_figure

ENDINGS = ('.jpg', '.jpeg', '.png')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_checkpoint_argument(parser)
    parser.add_argument('--images', type=Path, required=True, help='folder of images')
    parser.add_argument(
        '--words',
        default='coco_object',
        help='a known set, a class file, or words separated by commas (default: coco_object)',
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder to write')
    add_model_config_argument(parser)
    parser.add_argument(
        '--size', type=int, default=224, help='side to which images are resized (default: 224)'
    )
    parser.add_argument(
        '--top', type=int, default=5, help='images and words per segment (default: 5)'
    )
    parser.add_argument('--limit', type=int, metavar='N', help='use the first N images only')
    add_device_argument(parser)
    return parser.parse_args(argv)


def list_images(folder: Path, limit: int | None) -> list[Path]:
    """Return the images of a folder by name."""
    if not folder.is_dir():
        raise FileNotFoundError(f'There is no folder {folder}.')
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    if limit is not None and limit < 1:
        raise ValueError(f'--limit {limit} leaves no image to look at.')
    return paths[:limit]


def read_words(text: str) -> tuple[str, ...]:
    """Return all words of the classes, without those of a background."""
    choice = read_class_choice(text)
    names = choice['class_names'][int(choice.get('with_background', False)) :]
    aliases = choice.get('aliases', {})
    return tuple(word for name in names for word in (name, *aliases.get(name, ())))


def resize(image: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize an image ``(3, H, W)`` with antialiasing."""
    return F.interpolate(image[None].float(), size, mode='bilinear', antialias=True)[0]


@torch.inference_mode()
def segment(segmentor: GroupViTSegmentor, path: Path, size: int) -> tuple[SegmentSight, IndexMap]:
    """Return the segments of one image, resized to a square, and the segment of each pixel."""
    image = torch.from_numpy(np.array(load_image(path))[..., ::-1].copy()).permute(2, 0, 1)
    data = segmentor.data_preprocessor(dict(inputs=[resize(image, (size, size))]), False)
    output = segmentor.extract_feat(data['inputs'])
    head = segmentor.decode_head
    embeds = F.normalize(project_segments(output, head.image_projector)[0], dim=-1).cpu()
    group_map = output.group_map()[0].cpu()
    shares = torch.bincount(group_map.flatten(), minlength=len(embeds)) / group_map.numel()
    return SegmentSight(embeds, shares), group_map.numpy()


def fade_others(path: Path, group_map: IndexMap, index: int) -> RGBArray:
    """Return the image with everything but one segment faded."""
    pixels = torch.from_numpy(np.array(load_image(path))).permute(2, 0, 1)  # (3, H, W)
    image = resize(pixels, group_map.shape).permute(1, 2, 0).numpy()
    weight = np.where(group_map == index, 1.0, 0.2)[..., None]
    return (image * weight + 255 * (1 - weight)).round().clip(0, 255).astype(np.uint8)


def draw(
    concepts: Sequence[SegmentConcept],
    paths: Sequence[Path],
    maps: Sequence[IndexMap],
    args: argparse.Namespace,
) -> None:
    """Draw a row per segment into ``groups.png``."""
    blank = np.full((args.size, args.size, 3), 255, np.uint8)
    rows = [
        [fade_others(paths[i], maps[i], concept.segment) for i in concept.images]
        + [blank] * (args.top - len(concept.images))
        for concept in concepts
    ]
    save_figure(panel(rows, [str(i + 1) for i in range(args.top)]), args.out / 'groups.png')


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Segment the images, and write what activates each segment."""
    args = parse_args(argv)
    check_source(args.checkpoint)
    words, paths = read_words(args.words), list_images(args.images, args.limit)
    for name in ('groups.png', 'groups.json'):
        check_output(args.out / name, reads=[args.checkpoint, args.config, *paths])
    segmentor = load_segmentor(args.config, args.checkpoint, device=args.device)
    results = [segment(segmentor, path, args.size) for path in paths]
    embeds = segmentor.decode_head.embed_names(words).cpu()
    concepts = segment_concepts(
        [sight for sight, _ in results], embeds, words, top_images=args.top, top_words=args.top
    )
    draw(concepts, paths, [group_map for _, group_map in results], args)
    content = [
        concept._asdict() | dict(images=[paths[i].name for i in concept.images])
        for concept in concepts
    ]
    weights = describe_checkpoint(args.checkpoint)
    write_json(dict(segments=content, checkpoint=weights), args.out / 'groups.json')
    for concept in concepts:
        nearest = ', '.join(f'{word} {cosine:.2f}' for word, cosine in concept.words)
        share = percent(concept.share, 1)
        print(f'segment {concept.segment}: {share:>6s} of the pixels; {nearest}')
    print(f'wrote {args.out / "groups.json"} and {args.out / "groups.png"}')


if __name__ == '__main__':
    sys.exit(main())
