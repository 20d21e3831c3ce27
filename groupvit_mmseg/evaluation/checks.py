"""What is wrong with a data set, in one sentence and before the forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def check_masks(samples: Iterable[Any], num_classes: int, ignore_index: int = 255) -> None:
    """Refuses masks whose labels or shape cannot be those of the classes.

    Args:
        samples (Iterable[Any]): ``SegDataSample`` objects; those without a mask are passed over.
        num_classes (int): Classes, the background included.
        ignore_index (int): Label that does not count. Defaults to 255.

    Raises:
        ValueError: If a mask has colours instead of labels, or a label without a class.
    """
    for sample in samples:
        if 'gt_sem_seg' not in sample:
            continue
        mask = sample.gt_sem_seg.data
        name = sample.metainfo.get('seg_map_path', 'A mask')
        if mask.ndim != 3 or mask.shape[0] != 1:
            raise ValueError(
                f'{name} has colours instead of labels (shape {tuple(mask.shape)}): save it as an '
                '8-bit PNG of labels, grey or with a palette.'
            )
        known = mask[mask != ignore_index]
        if known.numel() and not 0 <= int(known.min()) <= int(known.max()) < num_classes:
            raise ValueError(
                f'{name} has label {int(known.max())}, but there are only {num_classes} classes: '
                f'use labels 0 to {num_classes - 1}, and {ignore_index} for pixels to ignore.'
            )


def check_files(data_list: Sequence[dict]) -> None:
    """Refuses a list of images of which some, or their masks, do not exist.

    Args:
        data_list (Sequence[dict]): What a segmentation data set lists: ``img_path`` and
            ``seg_map_path``.

    Raises:
        FileNotFoundError: Names the first that is missing and counts them.
        ValueError: If the list is empty.
    """
    if not data_list:
        raise ValueError('The data set lists no image: check its folder and its file endings.')
    for key, what in (('img_path', 'image'), ('seg_map_path', 'mask')):
        missing = [item[key] for item in data_list if not _exists(item.get(key))]
        if missing:
            raise FileNotFoundError(
                f'There is no {what} {missing[0]} ({len(missing)} of {len(data_list)} are '
                'missing): complete the folder, or shorten the list of images.'
            )


def check_class_count(num_prompted: int, dataset_classes: Sequence[str], name: str) -> None:
    """Refuses a class list of another length than the labels.

    Raises:
        ValueError: If the numbers differ.
    """
    if num_prompted != len(dataset_classes):
        raise ValueError(
            f'{name} has {len(dataset_classes)} classes, but the class list has {num_prompted}: '
            'give one entry per label, in their order.'
        )


def _exists(path: str | None) -> bool:
    """Whether a file is there; what is not on this machine is taken to be."""
    return path is not None and ('://' in path or Path(path).is_file())
