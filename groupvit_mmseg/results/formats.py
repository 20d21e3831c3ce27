"""Results in the forms of other programs: COCO, YOLO, LabelMe, supervision, MMSegmentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mmseg.structures import SegDataSample
    from supervision import Detections

    from groupvit_mmseg.results.result import InferenceResult

FORMS = ('rle', 'polygon')
LABELME_VERSION = '5.4.1'


class Region(NamedTuple):
    """A connected region of a class.

    Attributes:
        label (int): Its class.
        mask (NDArray): bool ``(H, W)``.
        box (tuple[int, int, int, int]): Left, top, width and height in pixels.
        area (int): In pixels.
        score (float): Mean confidence of its pixels, in [0, 1].
    """

    label: int
    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    area: int
    score: float


def regions(result: InferenceResult, min_area: int) -> Iterator[Region]:
    """Yield the connected regions of every class but the background, class by class.

    Args:
        result (InferenceResult): The segmentation of an image.
        min_area (int): Pixels that a region must have.
    """
    confidence = result.confidence
    first = int(result.with_background)
    for label in np.unique(result.label_map[result.label_map >= first]).tolist():
        mask = (result.label_map == label).astype(np.uint8)
        count, components, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        for index in range(1, count):
            left, top, width, height, area = map(int, stats[index])
            if area < min_area:
                continue
            region = components == index
            score = float(confidence[region].mean())
            yield Region(label, region, (left, top, width, height), area, score)


def to_coco(result: InferenceResult, *, form: str, min_area: int, image_id: int) -> list[dict]:
    """Return COCO annotations; see :meth:`.InferenceResult.to_coco`."""
    if form not in FORMS:
        raise ValueError(f'There is no form {form!r} of COCO masks; choose {" or ".join(FORMS)}.')
    return [
        dict(
            id=number,
            image_id=image_id,
            category_id=region.label,
            bbox=list(region.box),
            area=region.area,
            iscrowd=0,
            score=round(region.score, 5),
            segmentation=encode_rle(region.mask) if form == 'rle' else polygons(region.mask),
        )
        for number, region in enumerate(regions(result, min_area), start=1)
    ]


def coco_categories(result: InferenceResult) -> list[dict]:
    """Return the ``categories`` of a COCO file: every class but the background, id = label."""
    first = int(result.with_background)
    names = enumerate(result.class_names[first:], start=first)
    return [dict(id=label, name=name, supercategory='') for label, name in names]


def encode_rle(mask: NDArray[np.bool_]) -> dict:
    """Return COCO's uncompressed run-length encoding of a mask: runs of 0 and 1 by columns.

    Args:
        mask (NDArray): bool ``(H, W)``.

    Example:
        >>> encode_rle(np.array([[0, 1], [1, 1]], bool))
        {'size': [2, 2], 'counts': [1, 3]}
    """
    pixels = np.asfortranarray(mask).ravel(order='F')
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    counts = np.diff([0, *changes, pixels.size]).tolist()
    begins_with_one = bool(pixels.size) and bool(pixels[0])
    return dict(size=list(mask.shape), counts=[0, *counts] if begins_with_one else counts)


def polygons(mask: NDArray[np.bool_]) -> list[list[float]]:
    """Return the outer outlines of a mask, each as ``[x1, y1, x2, y2, ...]`` along pixel edges.

    Args:
        mask (NDArray): bool ``(H, W)``.

    Example:
        >>> polygons(np.array([[0, 0, 0], [0, 1, 1]], bool))
        [[1.0, 1.0, 1.0, 2.0, 3.0, 2.0, 3.0, 1.0]]
    """
    # OpenCV's outlines run through the centres of pixels, so that a row of them would have no
    # area: at twice the size, with each pixel as 2 x 2, centres and edges are half a step apart.
    doubled = np.pad(mask.astype(np.uint8).repeat(2, 0).repeat(2, 1), 1)
    outlines, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [_to_edges(outline[:, 0]) for outline in outlines]


def _to_edges(outline: NDArray[np.integer | np.floating]) -> list[float]:
    """Move points ``(n, 2)`` in the padded double size from pixel centres to pixel edges."""
    points = outline.astype(np.int64) - 1
    # The pixel 2i or 2i + 1 of the double size is the left or right half of pixel i.
    return (points // 2 + points % 2).astype(float).ravel().tolist()


def to_yolo(result: InferenceResult, *, min_area: int) -> str:
    """Return the text of a YOLO label file; see :meth:`.InferenceResult.to_yolo`."""
    height, width = result.label_map.shape
    lines = []
    for region in regions(result, min_area):
        for outline in polygons(region.mask):
            points = np.reshape(outline, (-1, 2)) / (width, height)
            values = ' '.join(f'{value:.6g}' for value in points.ravel())
            lines.append(f'{region.label - int(result.with_background)} {values}\n')
    return ''.join(lines)


def to_labelme(result: InferenceResult, image_path: str | Path, *, min_area: int) -> dict:
    """Return the content of a LabelMe file; see :meth:`.InferenceResult.to_labelme`."""
    shapes = [
        dict(
            label=result.class_names[region.label],
            points=np.reshape(outline, (-1, 2)).tolist(),
            group_id=number,
            shape_type='polygon',
            flags={},
        )
        for number, region in enumerate(regions(result, min_area))
        for outline in polygons(region.mask)
    ]
    height, width = result.label_map.shape
    return dict(
        version=LABELME_VERSION,
        flags={},
        shapes=shapes,
        imagePath=Path(image_path).as_posix(),
        imageData=None,
        imageHeight=height,
        imageWidth=width,
    )


def to_detections(result: InferenceResult) -> Detections:
    """Return ``supervision.Detections``; see :meth:`.InferenceResult.to_detections`."""
    try:
        import supervision
    except ImportError as error:
        raise ImportError(
            'to_detections() needs supervision; run: pip install supervision'
        ) from error
    first = int(result.with_background)
    labels = [label for label in np.unique(result.label_map).tolist() if label >= first]
    if not labels:
        return supervision.Detections.empty()
    masks = np.stack([result.label_map == label for label in labels])
    confidence = result.confidence
    return supervision.Detections(
        xyxy=supervision.mask_to_xyxy(masks).astype(np.float32),
        mask=masks,
        class_id=np.array(labels),
        confidence=np.array([confidence[mask].mean() for mask in masks], np.float32),
        data={'class_name': np.array([result.class_names[label] for label in labels])},
    )


def to_sem_seg(result: InferenceResult) -> SegDataSample:
    """Return MMSegmentation's data sample; see :meth:`.InferenceResult.to_sem_seg`."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    shape = result.label_map.shape
    sample = SegDataSample(metainfo=dict(ori_shape=shape, img_shape=shape))
    sample.pred_sem_seg = PixelData(data=torch.from_numpy(result.label_map)[None])
    sample.seg_logits = PixelData(data=torch.from_numpy(result.scores))
    return sample
