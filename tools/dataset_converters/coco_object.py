r"""Turns COCO's instance annotations into the masks that COCOObjectDataset reads.

python tools/dataset_converters/coco_object.py \
    instances_val2017.json data/coco_object/annotations/val2017

Masks are 8-bit PNG files: 0 the background, 1 to 80 the things in the order of their category ids.
Where things overlap the smaller one is in front; regions marked as crowds lie behind all of them.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from groupvit_mmseg.text.vocabulary import class_names

ENLARGED = 9  # odd, so that a pixel has a middle


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('annotations', type=Path, help='instances_*.json of COCO 2017')
    parser.add_argument('out', type=Path, help='folder of the masks')
    parser.add_argument('--dry-run', action='store_true', help='check and count; write nothing')
    return parser.parse_args(argv)


def read(path):
    """The annotation file's content."""
    if not path.is_file():
        raise FileNotFoundError(f'There are no annotations at {path}.')
    content = json.loads(path.read_text(encoding='utf-8'))
    missing = {'images', 'annotations', 'categories'} - set(content)
    if missing:
        raise ValueError(f'{path} has no {", ".join(sorted(missing))}: give instances_*.json.')
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
        raise ValueError(
            'A run-length mask is compressed, which those of COCO 2017 are not: decode it with '
            'pycocotools first.'
        )
    values = np.arange(len(counts)) % 2
    return np.repeat(values, counts).reshape(width, height).T.astype(bool)  # runs go down columns


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
        mask[decode(item['segmentation'], height, width)] = labels[item['category_id']]
    return mask


def convert(content, out, *, dry_run=False):
    """Draws every image's mask; yields its file and the labels in it."""
    labels = label_of_category(content['categories'])
    objects = defaultdict(list)
    for item in content['annotations']:
        objects[item['image_id']].append(item)
    for image in content['images']:
        mask = draw(image, objects[image['id']], labels)
        path = out / f'{Path(image["file_name"]).stem}.png'
        if not dry_run and not cv2.imwrite(str(path), mask):
            raise OSError(f'{path} could not be written.')
        yield path, np.unique(mask)


def main(argv=None):
    args = parse_args(argv)
    try:
        content = read(args.annotations)
        if not args.dry_run:
            args.out.mkdir(parents=True, exist_ok=True)
        found = [labels for _, labels in convert(content, args.out, dry_run=args.dry_run)]
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
