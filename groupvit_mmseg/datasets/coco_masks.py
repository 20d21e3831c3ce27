"""Masks of COCO's 80 things, from its instances or from the pixel maps of COCO-Stuff 164k.

Label 0 is the background, 1 to 80 are the things in the order of their category ids. Where
instances overlap the smaller one is in front; regions marked as crowds lie behind all of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from groupvit_mmseg.datasets.coco_instances import (
    Annotation,
    Category,
    Image,
    Instances,
    Segmentation,
    read_instances,
)
from groupvit_mmseg.text.vocabulary import class_names

NUM_THINGS = 80
# Category ids of COCO 2017's things have gaps; pixel maps as published hold them less one.
ABSENT_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
THING_IDS = [number for number in range(1, 91) if number not in ABSENT_IDS]
TRAIN_IDS = '_labelTrainIds'  # ends the names of pixel maps that MMSegmentation has converted
ENLARGED = 9  # odd, so that a pixel has a middle

MAX_COORDINATE = 2**24  # enlarged; OpenCV calculates with integers of 32 bits

MaskMaker = Callable[[], NDArray[np.uint8]]
"""Makes the mask ``(H, W)`` of one image."""


def mask_makers(source: Path) -> dict[str, MaskMaker]:
    """List the images of a source, each with the function that makes its mask.

    Args:
        source (Path): An ``instances_*.json``, or a folder of pixel maps.

    Returns:
        dict[str, MaskMaker]: By the name of the mask's file.

    Raises:
        FileNotFoundError: If there is no such file, or no pixel map in the folder.
        ValueError: If the file is not one of instances, or is incomplete.
    """
    if source.is_dir():
        return makers_from_pixel_maps(source)
    return makers_from_instances(read_instances(source))


def makers_from_instances(content: Instances) -> dict[str, MaskMaker]:
    """List the images of an instances file, each with the function that draws its mask."""
    labels = labels_by_category(content['categories'])
    objects: dict[int, list[Annotation]] = defaultdict(list)
    for item in content['annotations']:
        objects[item['image_id']].append(item)
    _check_images(content['images'], objects)
    return {
        f'{Path(image["file_name"]).stem}.png': partial(
            draw_mask, image, objects[image['id']], labels
        )
        for image in content['images']
    }


def labels_by_category(categories: Sequence[Category]) -> dict[int, int]:
    """Return the label, 1 to 80, of every category id."""
    ordered = sorted(categories, key=lambda category: category['id'])
    names = [category['name'] for category in ordered]
    if names != list(class_names('coco_object')[1:]):
        raise ValueError(f'The categories are not the 80 things of COCO 2017 but {names[:5]} ...')
    return {category['id']: label for label, category in enumerate(ordered, start=1)}


def _check_images(images: Sequence[Image], objects: Mapping[int, Sequence[Annotation]]) -> None:
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


def draw_mask(
    image: Image, objects: Sequence[Annotation], labels: Mapping[int, int]
) -> NDArray[np.uint8]:
    """Draw the mask of one image, ``(H, W)``.

    Args:
        image (Image): Its size and name.
        objects (Sequence[Annotation]): Objects in it.
        labels (Mapping[int, int]): Label of each category id.

    Raises:
        ValueError: If an object cannot be drawn; names its annotation.
    """
    height, width = image['height'], image['width']
    mask = np.zeros((height, width), np.uint8)
    for item in sorted(objects, key=lambda item: (not item.get('iscrowd', 0), -item['area'])):
        try:
            mask[decode(item['segmentation'], height, width)] = labels[item['category_id']]
        except KeyError as error:
            raise ValueError(
                f'Annotation {item.get("id")} has the category {error}, which "categories" lacks.'
            ) from error
        except (IndexError, OverflowError, TypeError, ValueError, cv2.error) as error:
            name = image['file_name']
            raise ValueError(
                f'Annotation {item.get("id")} of image {name} cannot be drawn: {error}.'
            ) from error
    return mask


def decode(segmentation: Segmentation, height: int, width: int) -> NDArray[np.bool_]:
    """Return the pixels of one object, ``(H, W)``."""
    if isinstance(segmentation, list):
        return _fill_polygons(segmentation, height, width)
    counts = segmentation['counts']
    if list(segmentation.get('size', ())) != [height, width]:
        raise ValueError(f'its run lengths are not of {height} x {width} pixels')
    counts = _decompress(counts) if isinstance(counts, str) else counts
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(f'its run lengths are {sum(counts)} pixels of {height} x {width}')
    values = np.arange(len(counts)) % 2
    return np.repeat(values, counts).reshape(width, height).T.astype(bool)  # runs go down columns


def _decompress(text: str) -> list[int]:
    """Return the run lengths of a compressed mask.

    A number is written in characters of 5 bits from the lowest on, of which a sixth bit announces
    the next, as a difference to the number two before it. pycocotools reads the same, but past the
    end of a text or a mask.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError('its compressed run lengths are damaged')
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError('its compressed run lengths are torn')
    return counts


def _fill_polygons(polygons: list[list[float]], height: int, width: int) -> NDArray[np.bool_]:
    """Return the pixels whose centre lies inside.

    They are drawn enlarged: OpenCV's outlines are a pixel wide.
    """
    fine = np.zeros((height * ENLARGED, width * ENLARGED), np.uint8)
    for polygon in polygons:  # one by one: drawn together, their intersection would be a hole
        corners = np.array(polygon, np.float64).reshape(-1, 2) * ENLARGED - 0.5
        if not (np.abs(corners) < MAX_COORDINATE).all():
            raise ValueError(f'a corner of its polygon is far outside of {height} x {width} pixels')
        cv2.fillPoly(fine, [np.rint(corners).astype(np.int32)], 1)
    return fine[ENLARGED // 2 :: ENLARGED, ENLARGED // 2 :: ENLARGED].astype(bool)


def makers_from_pixel_maps(folder: Path) -> dict[str, MaskMaker]:
    """List the pixel maps of COCO-Stuff, each with the function that makes its mask."""
    paths = sorted(folder.glob('*.png'))
    converted = [path for path in paths if path.stem.endswith(TRAIN_IDS)]
    if not paths:
        raise FileNotFoundError(f'There are no pixel maps *.png in {folder}.')
    return {
        f'{path.stem.removesuffix(TRAIN_IDS)}.png': partial(map_labels, path)
        for path in converted or paths
    }


def map_labels(path: Path) -> NDArray[np.uint8]:
    """Make the mask of one pixel map: things keep their order, all else is background."""
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None or labels.ndim != 2:
        raise ValueError(f'{path} is no pixel map of labels: give those of COCO-Stuff 164k.')
    table = np.zeros(256, np.uint8)
    things = range(NUM_THINGS) if path.stem.endswith(TRAIN_IDS) else np.array(THING_IDS) - 1
    table[list(things)] = np.arange(1, NUM_THINGS + 1)
    if labels.max() > 255:
        raise ValueError(f'{path} has label {labels.max()}: pixel maps have labels up to 255.')
    return table[labels]
