"""Writes a page of pictures from any weights: groups by stage, words, confidence, failures too.

python tools/analysis_tools/make_gallery.py CHECKPOINT --images FOLDER --words WORDS --out PAGE.md
python tools/analysis_tools/make_gallery.py CHECKPOINT --images scenes --config CONFIG --out PAGE.md

FOLDER/PAGE.md gets its pictures in FOLDER/images/PAGE. With masks, the worst and best images are
those of the lowest and highest mean IoU, without masks of mean margin. ``scenes`` are drawn, with
their masks.
"""

import argparse
import datetime
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import numpy as np
import torch
from numpy.typing import NDArray

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.benchmark.gallery_figures import encode_figure, example_sheet
from groupvit_mmseg.benchmark.gallery_page import (
    MARK,
    Assessment,
    GalleryRecord,
    Section,
    choose_images,
    gallery_page,
)
from groupvit_mmseg.benchmark.report import describe_checkpoint
from groupvit_mmseg.checkpoints.sources import check_source
from groupvit_mmseg.command_line import (
    add_checkpoint_argument,
    add_device_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.datasets.label_maps import decode_label_map
from groupvit_mmseg.datasets.scenes import CLASSES, draw_scene, scene_seed
from groupvit_mmseg.evaluation.confusion import count_pairs
from groupvit_mmseg.inference import GroupViTInferencer, load_image
from groupvit_mmseg.output_paths import check_folder, check_output
from groupvit_mmseg.results import InferenceResult
from groupvit_mmseg.text.class_choice import read_class_choice
from groupvit_mmseg.text.class_list import ClassOptions

SCENES = 'scenes'
SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp')
OWN_PICTURE = re.compile(r'(random|worst|best)_\d+\.(jpg|png)')


class Example(NamedTuple):
    """An image with its name, and its mask ``(H, W)`` if there is one."""

    name: str
    image: NDArray[np.uint8]
    truth: NDArray[np.uint8] | None


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--images', required=True, help='folder of images, or "scenes", which are drawn'
    )
    parser.add_argument(
        '--masks',
        type=Path,
        metavar='FOLDER',
        help='masks (.png) of the names of the images: indices of the classes, 255 for none',
    )
    parser.add_argument(
        '--words',
        help='a known set, a class file, or words separated by commas (default for scenes: all '
        'that occur in them)',
    )
    parser.add_argument('--bg-thresh', type=float, help='background threshold in [0, 1]')
    parser.add_argument('--config', type=Path, help='config of the model (default: of the weights)')
    parser.add_argument(
        '--out', type=Path, required=True, metavar='PAGE.md', help='page to write or replace'
    )
    parser.add_argument(
        '--limit', type=int, default=100, metavar='N', help='images to segment (default: 100)'
    )
    parser.add_argument(
        '--count', type=int, default=3, metavar='N', help='images of each section (default: 3)'
    )
    add_device_argument(parser)
    return parser.parse_args(argv)


class Images:
    """The images of a command line, each read when it is needed.

    Raises:
        FileNotFoundError: If a folder does not exist or has no image.
        ValueError: If a number is too small, or scenes are given masks.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        for name in ('limit', 'count'):
            if getattr(args, name) < 1:
                raise ValueError(f'--{name} {getattr(args, name)} must be at least 1.')
        self.masks: Path | None = args.masks
        self.paths: list[Path] | None = None
        self.count: int = args.limit
        if args.images == SCENES:
            if args.masks is not None:
                raise ValueError('--masks: scenes are drawn with their masks; leave it out.')
        else:
            self.paths = list_images(Path(args.images), args.limit)
            self.count = len(self.paths)
            if args.masks is not None and not args.masks.is_dir():
                raise FileNotFoundError(f'There is no folder {args.masks}.')

    def __getitem__(self, index: int) -> Example:
        """Return an image; its mask is None where there is no file."""
        if self.paths is None:
            scene = draw_scene(scene_seed(0, 'val', index))
            return Example(f'scene {index}', scene.image, scene.labels)
        path = self.paths[index]
        mask = self.masks / f'{path.stem}.png' if self.masks else None
        truth = decode_label_map(mask.read_bytes(), str(mask)) if mask and mask.is_file() else None
        return Example(path.stem, np.asarray(load_image(path)), truth)

    @property
    def files(self) -> list[Path]:
        """The files that are read."""
        return self.paths or []


def list_images(folder: Path, limit: int) -> list[Path]:
    """Return the first images of a folder by name."""
    if not folder.is_dir():
        raise FileNotFoundError(f'There is no folder {folder}: name one, or "{SCENES}".')
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f'{folder} has no image ({", ".join(SUFFIXES)}).')
    return paths[:limit]


def check_page(page: Path, reads: Sequence[object]) -> None:
    """Refuse a page that is no Markdown file, or that something else has written."""
    if page.suffix != '.md':
        raise ValueError(f'--out {page} is no page: let it end in .md.')
    check_output(page, reads=reads)
    check_folder(pictures_folder(page))
    if page.is_file() and not page.read_text(encoding='utf-8').startswith(MARK):
        raise ValueError(f'--out {page} was not written by this tool: name another file.')


def pictures_folder(page: Path) -> Path:
    """Return the folder of the pictures of a page."""
    return page.parent / 'images' / page.stem


def load_model(args: argparse.Namespace) -> GroupViTInferencer:
    """Open the weights with the words of the command line."""
    if args.words is None and args.images != SCENES:
        raise ValueError('--words is missing: name what to look for, such as "cat, dog, grass".')
    choice = read_class_choice(args.words or ','.join(CLASSES))
    options = {name: value for name, value in choice.items() if name != 'class_names'}
    return GroupViTInferencer.from_pretrained(
        args.checkpoint,
        class_names=choice['class_names'],
        config=args.config,
        device=args.device,
        **cast(ClassOptions, options | {'bg_thresh': args.bg_thresh}),
    )


def assess(result: InferenceResult, example: Example) -> Assessment:
    """Return the numbers of a segmentation.

    Raises:
        ValueError: If the mask has another size, or labels without a class.
    """
    pairs = None
    if example.truth is not None:
        check_mask(example, result)
        labels, predicted = torch.tensor(example.truth), torch.tensor(result.label_map)
        pairs = count_pairs(labels, predicted, len(result.class_names))
    confidence, margin = float(result.confidence.mean()), float(result.margin.mean())
    return Assessment(example.name, result.shares, confidence, margin, pairs)


def check_mask(example: Example, result: InferenceResult) -> None:
    """Refuse a mask that does not fit its image or the classes."""
    assert example.truth is not None
    if example.truth.shape != result.label_map.shape:
        raise ValueError(
            f'The mask of {example.name} has the size {example.truth.shape}, the image '
            f'{result.label_map.shape}: they must be equal.'
        )
    known = example.truth[example.truth != 255]  # not ignored
    if known.size and int(known.max()) >= len(result.class_names):
        raise ValueError(
            f'The mask of {example.name} has the label {int(known.max())}, but there are '
            f'{len(result.class_names)} classes, counted from 0: check --words.'
        )


def draw_sections(
    inferencer: GroupViTInferencer, images: Images, sections: Mapping[str, Section]
) -> Iterator[tuple[int, str, bytes]]:
    """Yield index, file name and content of every picture."""
    for name, section in sections.items():
        for number, index in enumerate(section.indices, start=1):
            example = images[index]
            encoded = inferencer.encode(example.image)
            sheet = example_sheet(encoded, inferencer.classify(encoded), example.truth)
            content, suffix = encode_figure(sheet)
            yield index, f'{name}_{number}{suffix}', content


def write_pictures(
    folder: Path, pictures: Iterator[tuple[int, str, bytes]], page: Path
) -> dict[int, str]:
    """Write the pictures, remove those of an earlier page; return their paths by index."""
    files = {}
    for index, name, content in pictures:
        write_atomically(folder / name, partial(write_bytes, content))
        files[index] = (folder / name).relative_to(page.parent).as_posix()
    kept = {Path(file).name for file in files.values()}
    for path in folder.iterdir():
        if OWN_PICTURE.fullmatch(path.name) and path.name not in kept:
            path.unlink()
    return files


def write_bytes(content: bytes, stream: BinaryIO) -> None:
    """Write the content of a file."""
    stream.write(content)


def describe(
    args: argparse.Namespace,
    argv: Sequence[str],
    inferencer: GroupViTInferencer,
    assessments: Sequence[Assessment],
) -> GalleryRecord:
    """Return how the gallery was made."""
    weights = describe_checkpoint(args.checkpoint)
    names = inferencer.class_names
    mious = [miou for each in assessments if (miou := each.miou(len(names))) is not None]
    settings = {
        'date': datetime.date.today().isoformat(),
        'weights': str(weights['file']),
        'SHA-256 of the weights': str(weights['sha256'])[:12],
        'words': ', '.join(names),
        'images': f'{len(assessments)}',
    }
    if mious:
        settings['mean IoU of an image, averaged over images'] = f'{np.mean(mious):.1f} %'
    settings['mean confidence'] = f'{np.mean([each.confidence for each in assessments]):.2f}'
    is_scenes = args.images == SCENES
    command = shlex.join(['python', 'tools/analysis_tools/make_gallery.py', *argv])
    return GalleryRecord(
        command=command.replace(' --', ' \\\n    --'),  # an option per line
        needs='these weights' if is_scenes else 'these weights and images',
        settings=settings,
        images='test scenes' if is_scenes else 'photographs',
    )


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Segment the images, choose some, and write the page."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    images = Images(args)
    check_source(args.checkpoint)
    check_page(args.out, [args.checkpoint, args.config, *images.files])
    inferencer = load_model(args)
    inferencer.set_options(precision='fp32')  # the same on every machine
    examples = (images[index] for index in range(images.count))
    assessments = [assess(inferencer(example.image), example) for example in examples]
    names = inferencer.class_names
    sections = choose_images(assessments, len(names), args.count)
    folder = pictures_folder(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    files = write_pictures(folder, draw_sections(inferencer, images, sections), args.out)
    record = describe(args, argv, inferencer, assessments)
    page = gallery_page(record, list(sections.values()), assessments, names, files)
    write_atomically(args.out, partial(write_bytes, page.encode()))
    size = sum((args.out.parent / file).stat().st_size for file in files.values())
    print(f'wrote {args.out} and {len(files)} pictures ({size / 1e6:.1f} MB) in {folder}')


if __name__ == '__main__':
    sys.exit(main())
