"""Draws the scenes: small images of textured things on textured grounds, with captions.

Training pairs become webdataset shards (an image and a caption, no mask), validation scenes
images with masks in VOC layout. ``groupvit_mmseg.datasets.scenes`` draws them: the same seed
gives the same scenes on every machine.

Written under ``--out``::

    train/scenes-train-000000.tar ... sizes.json      images (.png) and captions (.txt)
    val/JPEGImages/*.png                               images
    val/SegmentationClass/*.png                        0 background, then the things (like VOC)
    val/SegmentationClassContext/*.png                 the things, then the grounds (like Context)
    val/ImageSets/Segmentation/{val,calib}.txt         test scenes; scenes to choose thresholds on
    scenes.json                                        the settings; written last

All files appear when all are complete. Scenes of other settings, which their scenes.json records,
are replaced. Files of another origin are never replaced: nothing is drawn if there is one.

Example::

    python tools/dataset_converters/make_scenes.py --out data/scenes
"""

import argparse
import json
import shutil
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from PIL import Image
from webdataset.writer import TarWriter

from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.datasets.scenes import PALETTE, THINGS, draw_scene, scene_seed
from groupvit_mmseg.datasets.text_files import read_json

STAMP, UNFINISHED, SHARDS = 'scenes.json', '.scenes.unfinished', 'scenes-train'
FOLDERS = ('JPEGImages', 'SegmentationClass', 'SegmentationClassContext')


class Settings(TypedDict):
    """Content of ``scenes.json``: the options, and a checksum of the way of drawing."""

    num_train: int
    num_val: int
    num_calib: int
    shard_size: int
    size: int
    seed: int
    first_scene_crc32: int


def write_train(out: Path, num_scenes: int, seed: int, *, size: int, shard_size: int) -> None:
    """Write images and captions, without masks, as webdataset shards and ``sizes.json``."""
    out.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for start in range(0, num_scenes, shard_size):
        name = f'{SHARDS}-{start // shard_size:06d}.tar'
        stop = min(start + shard_size, num_scenes)
        with TarWriter(str(out / name), mtime=0, user='scenes', group='scenes') as tar:
            for index in range(start, stop):
                scene = draw_scene(scene_seed(seed, 'train', index), size)
                tar.write({'__key__': f'{index:07d}', 'png': scene.image, 'txt': scene.caption})
        sizes[name] = stop - start
    (out / 'sizes.json').write_text(json.dumps(sizes, indent=1) + '\n')


def write_val(out: Path, num_scenes: Mapping[str, int], seed: int, *, size: int) -> None:
    """Write each split of scenes with their masks in VOC layout.

    Args:
        out (Path): Folder to write.
        num_scenes (Mapping[str, int]): Number of scenes by name of the split.
        seed (int): Seed of the data set.
        size (int): Side of the images, pixels.
    """
    for folder in (*FOLDERS, 'ImageSets/Segmentation'):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for split, count in num_scenes.items():
        names = [f'{split}_{index:06d}' for index in range(count)]
        for index, name in enumerate(names):
            scene = draw_scene(scene_seed(seed, split, index), size)
            images = (
                Image.fromarray(scene.image),
                things_map(scene.labels),
                context_map(scene.labels),
            )
            for folder, image in zip(FOLDERS, images, strict=True):
                image.save(out / folder / f'{name}.png')
        listing = out / 'ImageSets/Segmentation' / f'{split}.txt'
        listing.write_text(''.join(f'{name}\n' for name in names))


def things_map(labels: np.ndarray) -> Image.Image:
    """Draw things and background as VOC does: 0 is every ground, then the things."""
    things = np.where(labels < len(THINGS), labels + 1, 0).astype(np.uint8)
    return _palette_image(things, ((0, 0, 0), *PALETTE[: len(THINGS)]))


def context_map(labels: np.ndarray) -> Image.Image:
    """Draw things and grounds, each a class, as in Pascal Context without background."""
    return _palette_image(labels, PALETTE)


def _palette_image(labels: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> Image.Image:
    """Make an image of labels whose palette shows them in colour."""
    image = Image.fromarray(labels)
    image.putpalette([value for colour in palette for value in colour])
    return image


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('--out', type=Path, default=Path('data/scenes'), help='folder to write')
    parser.add_argument('--num-train', type=int, default=8000, help='training scenes')
    parser.add_argument('--num-val', type=int, default=500, help='scenes to test on')
    parser.add_argument('--num-calib', type=int, default=200, help='scenes to choose thresholds on')
    parser.add_argument('--shard-size', type=int, default=500, help='training scenes per shard')
    parser.add_argument('--size', type=int, default=40, help='side of the images, pixels (>= 24)')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args(argv)


def describe(args: argparse.Namespace) -> Settings:
    """Return the settings that decide the content of the folder."""
    image, labels, caption = draw_scene(scene_seed(args.seed, 'train', 0), args.size)
    checksum = zlib.crc32(image.tobytes() + labels.tobytes() + caption.encode())
    return Settings(
        num_train=args.num_train,
        num_val=args.num_val,
        num_calib=args.num_calib,
        shard_size=args.shard_size,
        size=args.size,
        seed=args.seed,
        first_scene_crc32=checksum,
    )


def files_of(settings: Settings) -> set[str]:
    """List the files that a run with these settings writes below ``--out``."""
    shards = range(-(-settings['num_train'] // settings['shard_size']))
    files = {STAMP, 'train/sizes.json', *(f'train/{SHARDS}-{shard:06d}.tar' for shard in shards)}
    for split, count in splits_of(settings).items():
        files.add(f'val/ImageSets/Segmentation/{split}.txt')
        names = [f'{split}_{index:06d}.png' for index in range(count)]
        files |= {f'val/{folder}/{name}' for folder in FOLDERS for name in names}
    return files


def splits_of(settings: Settings) -> dict[str, int]:
    """Return the number of scenes with masks by split."""
    return {'val': settings['num_val'], 'calib': settings['num_calib']}


def own_files(out: Path) -> set[str]:
    """List the files of an earlier run, finished or interrupted while it moved them."""
    files = set()
    for stamp in (out / STAMP, out / UNFINISHED / STAMP):
        if stamp.is_file():
            try:
                content: Any = read_json(stamp)  # of another form, it raises one of these errors
                files |= files_of(content)
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f'{stamp} is not the stamp of scenes: move it away.') from error
    return files


def draw_all(out: Path, settings: Settings) -> None:
    """Draw everything below a folder; the stamp comes last."""
    write_train(
        out / 'train',
        settings['num_train'],
        settings['seed'],
        size=settings['size'],
        shard_size=settings['shard_size'],
    )
    write_val(out / 'val', splits_of(settings), settings['seed'], size=settings['size'])
    (out / STAMP).write_text(json.dumps(settings, indent=1) + '\n')


def replace_files(out: Path, settings: Settings, old: set[str]) -> None:
    """Replace the files of an earlier run by those that are drawn, the stamp last."""
    (out / STAMP).unlink(missing_ok=True)
    for name in old - {STAMP}:
        (out / name).unlink(missing_ok=True)
    for name in sorted(files_of(settings) - {STAMP}) + [STAMP]:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / UNFINISHED / name).replace(out / name)
    shutil.rmtree(out / UNFINISHED)


def draw(args: argparse.Namespace) -> None:
    """Draw everything, unless the folder already holds just that."""
    stamp, settings = args.out / STAMP, describe(args)
    if stamp.is_file() and stamp.read_text() == json.dumps(settings, indent=1) + '\n':
        print(f'{args.out} already holds these scenes')
        return
    old = own_files(args.out)
    foreign = sorted(name for name in files_of(settings) - old if (args.out / name).exists())
    if foreign:
        raise FileExistsError(
            f'{args.out} holds {foreign[0]} and no {STAMP} of scenes that lists it: choose another '
            'folder, or move the file away.'
        )
    shutil.rmtree(args.out / UNFINISHED, ignore_errors=True)
    draw_all(args.out / UNFINISHED, settings)
    replace_files(args.out, settings, old)
    splits = splits_of(settings)
    print(f'{args.out}: {args.num_train} training scenes, {splits} scenes with masks')


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Draw the scenes."""
    draw(parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
