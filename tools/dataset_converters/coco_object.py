r"""Turns COCO's annotations into the masks that COCOObjectDataset reads.

python tools/dataset_converters/coco_object.py \
    instances_val2017.json data/coco_object/annotations/val2017
python tools/dataset_converters/coco_object.py \
    stuffthingmaps/val2017 data/coco_object/annotations/val2017

From instances, or from the pixel maps of COCO-Stuff 164k (as published, or as MMSegmentation
converts them, *_labelTrainIds.png). Masks are 8-bit PNG files: 0 the background, 1 to 80 the
things in the order of their category ids. Where instances overlap the smaller one is in front;
regions marked as crowds lie behind all of them. Interrupted, the same command goes on: masks that
it has drawn are kept (--overwrite draws them again), as .coco_object.json in the folder tells;
masks of another origin are refused. --check verifies a folder instead of writing it.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.datasets.text_files import read_json
from groupvit_mmseg.text.vocabulary import class_names

ENLARGED = 9  # odd, so that a pixel has a middle
NUM_THINGS = 80
# Category ids of COCO 2017's things have gaps; pixel maps as published hold them less one.
ABSENT_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
THING_IDS = [number for number in range(1, 91) if number not in ABSENT_IDS]
TRAIN_IDS = '_labelTrainIds'
RECORD = '.coco_object.json'  # in the folder of the masks: their origin


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('annotations', type=Path, help='instances_*.json or pixel maps')
    parser.add_argument('out', type=Path, help='folder of the masks')
    parser.add_argument('--workers', type=int, default=1, help='processes; default: 1')
    parser.add_argument('--overwrite', action='store_true', help='draw masks that are there again')
    action = parser.add_mutually_exclusive_group()
    action.add_argument('--dry-run', action='store_true', help='count; write nothing')
    action.add_argument('--check', action='store_true', help='verify counts, sizes and labels')
    return parser.parse_args(argv)


def read(path):
    """The annotation file's content."""
    if not path.is_file():
        raise FileNotFoundError(f'There are no annotations at {path}.')
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'))
    except ValueError as error:  # of the encoding, too
        raise ValueError(f'{path} is no JSON ({error}): give instances_*.json.') from error
    missing = {'images', 'annotations', 'categories'} - set(content)
    if missing:
        raise ValueError(f'{path} has no {", ".join(sorted(missing))}: give instances_*.json.')
    if not content['images']:
        raise ValueError(f'{path} lists no image: there is no mask to draw.')
    return content


def label_of_category(categories):
    """Label, 1 to 80, of every category id."""
    ordered = sorted(categories, key=lambda category: category['id'])
    names = [category['name'] for category in ordered]
    if names != list(class_names('coco_object')[1:]):
        raise ValueError(f'The categories are not the 80 things of COCO 2017 but {names[:5]} ...')
    return {category['id']: label for label, category in enumerate(ordered, start=1)}


def decode(segmentation, height, width):
    """Pixels of one object ``(H, W)`` bool, from polygons or run lengths."""
    if isinstance(segmentation, list):
        return fill_polygons(segmentation, height, width)
    counts = segmentation['counts']
    if isinstance(counts, str):
        return decompress(segmentation)
    if sum(counts) != height * width:
        raise ValueError(f'its run lengths are {sum(counts)} pixels of {height} x {width}')
    values = np.arange(len(counts)) % 2
    return np.repeat(values, counts).reshape(width, height).T.astype(bool)  # runs go down columns


def decompress(segmentation):
    """Pixels of a compressed run-length mask; those of COCO 2017 are not, other tools' may be."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ValueError(
            'A run-length mask is compressed, which takes pycocotools: pip install pycocotools'
        ) from error
    return mask.decode(segmentation).astype(bool)


def fill_polygons(polygons, height, width):
    """Pixels whose centre lies inside; drawn enlarged, for OpenCV's outlines are a pixel wide."""
    fine = np.zeros((height * ENLARGED, width * ENLARGED), np.uint8)
    for polygon in polygons:  # one by one: drawn together, what two share would be a hole
        corners = np.array(polygon).reshape(-1, 2) * ENLARGED - 0.5
        cv2.fillPoly(fine, [np.rint(corners).astype(np.int32)], 1)
    return fine[ENLARGED // 2 :: ENLARGED, ENLARGED // 2 :: ENLARGED].astype(bool)


def draw(image, objects, labels):
    """Mask of one image, uint8 ``(H, W)``."""
    height, width = image['height'], image['width']
    mask = np.zeros((height, width), np.uint8)
    for item in sorted(objects, key=lambda item: (not item.get('iscrowd', 0), -item['area'])):
        try:
            mask[decode(item['segmentation'], height, width)] = labels[item['category_id']]
        except (IndexError, KeyError, TypeError, ValueError) as error:
            name = image['file_name']
            raise ValueError(
                f'Annotation {item.get("id")} of image {name} cannot be drawn: {error}.'
            ) from error
    return mask


def jobs_from_instances(content):
    """For each image the file's name and what draws its mask."""
    labels = label_of_category(content['categories'])
    objects = defaultdict(list)
    for item in content['annotations']:
        missing = {'image_id', 'category_id', 'segmentation', 'area'} - set(item)
        if missing:
            raise ValueError(f'Annotation {item.get("id")} has no {", ".join(sorted(missing))}.')
        objects[item['image_id']].append(item)
    check_images(content['images'], objects)
    return {
        f'{Path(image["file_name"]).stem}.png': partial(draw, image, objects[image['id']], labels)
        for image in content['images']
    }


def check_images(images, objects):
    """Refuse annotations of no image, and images whose masks would have one name."""
    unknown = sorted(set(objects) - {image['id'] for image in images}, key=str)
    if unknown:
        lost = sum(len(objects[number]) for number in unknown)
        raise ValueError(
            f'{lost} annotations are of images that are not listed, the first of image '
            f'{unknown[0]}: complete "images".'
        )
    names = Counter(Path(image['file_name']).stem for image in images)
    (name, count), *_ = names.most_common(1)
    if count > 1:
        raise ValueError(f'{count} images are called {name}: their masks would be one file.')


def jobs_from_pixel_maps(folder):
    """For each pixel map of COCO-Stuff the file's name and what turns it into a mask."""
    paths = sorted(folder.glob('*.png'))
    converted = [path for path in paths if path.stem.endswith(TRAIN_IDS)]
    if not paths:
        raise FileNotFoundError(f'There are no pixel maps *.png in {folder}.')
    return {
        f'{path.stem.removesuffix(TRAIN_IDS)}.png': partial(map_labels, path)
        for path in converted or paths
    }


def map_labels(path):
    """Mask of one pixel map: things keep their order, all else is background."""
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None or labels.ndim != 2:
        raise ValueError(f'{path} is no pixel map of labels: give those of COCO-Stuff 164k.')
    table = np.zeros(256, np.uint8)
    things = range(NUM_THINGS) if path.stem.endswith(TRAIN_IDS) else np.array(THING_IDS) - 1
    table[list(things)] = np.arange(1, NUM_THINGS + 1)
    if labels.max() > 255:
        raise ValueError(f'{path} has label {labels.max()}: pixel maps have labels up to 255.')
    return table[labels]


def convert(name, make_mask, out, overwrite, dry_run):
    """Draw one mask, unless it is there; return the labels in it."""
    path = out / name
    if path.is_file() and not overwrite and not dry_run:
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if mask is not None and mask.ndim == 2:
            return np.unique(mask)
        raise ValueError(f'{path} is there and is no mask of labels: --overwrite draws it again.')
    mask = make_mask()
    if not dry_run:
        encoded = cv2.imencode('.png', mask)[1].tobytes()
        write_atomically(path, lambda stream: stream.write(encoded))
    return np.unique(mask)


def check(name, make_mask, out):
    """What is wrong with one mask; None if nothing is."""
    mask = cv2.imread(str(out / name), cv2.IMREAD_UNCHANGED)
    if mask is None:
        return f'{name} is missing or cannot be read'
    if mask.ndim != 2 or mask.max() > NUM_THINGS:
        return f'{name} has other labels than 0 to {NUM_THINGS}'
    expected = make_mask()
    if mask.shape != expected.shape:
        return f'{name} is {mask.shape}, not {expected.shape} as its annotations'
    return None if (mask == expected).all() else f'{name} differs from its annotations'


def run_all(function, jobs, workers):
    """Results of a function of (name, what draws) over all jobs; says how far it is."""
    results = []
    with ProcessPoolExecutor(workers) if workers > 1 else NoPool() as pool:
        for result in pool.map(function, jobs, jobs.values(), **pool_options(workers)):
            results.append(result)
            if len(results) % 500 == 0:
                print(f'{len(results)} of {len(jobs)} masks', file=sys.stderr, flush=True)
    return results


def pool_options(workers):
    """Jobs travel to processes in batches."""
    return dict(chunksize=16) if workers > 1 else {}


class NoPool:
    """The present process, in the place of a pool."""

    map = staticmethod(map)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def make_jobs(source):
    """What draws each mask, from either source."""
    if source.is_dir():
        return jobs_from_pixel_maps(source)
    return jobs_from_instances(read(source))


def run_check(jobs, args):
    """Print what is wrong with a folder of masks; the exit status."""
    found = [wrong for wrong in run_all(partial(check, out=args.out), jobs, args.workers) if wrong]
    unknown = sorted({path.name for path in args.out.glob('*.png')} - set(jobs))
    found += [f'{name} belongs to no image' for name in unknown]
    for wrong in found[:10]:
        print(wrong)
    print(f'{len(jobs)} masks checked in {args.out}: {len(found)} wrong')
    return int(bool(found))


def check_folder(args):
    """Refuse to draw masks into the folder of the pixel maps that they are made of."""
    if args.annotations.is_dir() and args.out.is_dir() and args.out.samefile(args.annotations):
        raise ValueError(
            f'The masks would replace what they are made of: {args.out}; name another folder.'
        )


def claim_folder(jobs, args):
    """Refuse a folder that holds masks of another origin; note in it what is drawn there."""
    record = args.out / RECORD
    origin = dict(annotations=args.annotations.name, masks=len(jobs))
    found = read_json(record) if record.is_file() else None
    there = next((name for name in jobs if (args.out / name).exists()), None)
    if there is not None and found != origin and not args.overwrite:
        of = f'of {found["annotations"]}' if isinstance(found, dict) else 'of another origin'
        raise FileExistsError(
            f'{args.out} holds {there} {of}: choose another folder, look at it with --check, or '
            'draw the masks again with --overwrite.'
        )
    if not args.dry_run:
        text = json.dumps(origin) + '\n'
        write_atomically(record, lambda stream: stream.write(text.encode()))


def main(argv=None):
    args = parse_args(argv)
    try:
        check_folder(args)
        jobs = make_jobs(args.annotations)
        if args.check:
            return run_check(jobs, args)
        claim_folder(jobs, args)
        draw_one = partial(convert, out=args.out, overwrite=args.overwrite, dry_run=args.dry_run)
        found = run_all(draw_one, jobs, args.workers)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    empty = sum(labels.max() == 0 for labels in found)
    classes = len(set(np.concatenate(found).tolist()) - {0}) if found else 0
    verb = 'would write' if args.dry_run else 'wrote'
    print(f'{verb} {len(found)} masks to {args.out}: {classes} classes, {empty} without any thing')
    return 0


if __name__ == '__main__':
    sys.exit(main())
