"""Checks of a segmentation data set before the forward pass; a fault raises one clear error."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.structures import SegDataSample
from numpy.typing import NDArray
from torch.utils.data import Dataset

from groupvit_mmseg.datasets.label_maps import IGNORED, LARGEST_LABEL, LoadLabelMap, size_sentence


def check_masks(
    samples: Iterable[SegDataSample],
    num_classes: int,
    ignore_index: int | None = None,
    *,
    at_original_size: bool = True,
) -> None:
    """Refuse masks whose labels or shape cannot be those of the classes and the image.

    Args:
        samples (Iterable[SegDataSample]): Those without a mask are skipped.
        num_classes (int): Classes, the background included.
        ignore_index (int, optional): Label that does not count; None for 255 and, of 16 bits,
            65535. Defaults to None.
        at_original_size (bool): Whether masks have the size of the image's file, as they have in
            an evaluation; in training they are cropped. Defaults to True.

    Raises:
        ValueError: If a mask has colours instead of labels, a label without a class, or another
            size than its image.
    """
    for sample in samples:
        if 'gt_sem_seg' not in sample:
            continue
        mask = sample.gt_sem_seg.data  # type: ignore[attr-defined]  # set by its constructor
        meta = sample.metainfo
        name = meta.get('seg_map_path', 'A mask')
        if mask.ndim != 3 or mask.shape[0] != 1:
            raise ValueError(
                f'{name} has colours instead of labels (shape {tuple(mask.shape)}): save it as an '
                '8-bit PNG of labels, grey or with a palette.'
            )
        size = tuple(meta.get('ori_shape', mask[0].shape))
        if at_original_size and tuple(mask[0].shape) != size:
            image = meta.get('img_path', 'of the sample')
            raise ValueError(size_sentence(name, mask[0].shape, image, size))
        ignored = IGNORED if ignore_index is None else ignore_index
        label = _label_without_class(mask.cpu().numpy(), num_classes, ignore_index)
        if label is not None:
            shifted = meta.get('reduce_zero_label')
            in_file = f' ({label + 1} in the file, by reduce_zero_label)' if shifted else ''
            raise ValueError(
                f'{name} has label {label}{in_file}, but there are only {num_classes} classes: use '
                f'labels 0 to {num_classes - 1} without gaps, and {ignored} for '
                'pixels to ignore.'
            )


def _label_without_class(labels: NDArray, num_classes: int, ignore_index: int | None) -> int | None:
    """Find a label without a class; NumPy compares int64 four times as fast as PyTorch on CPUs."""
    ignored = IGNORED if ignore_index is None else ignore_index
    wrong = (labels >= num_classes) & (labels != ignored)
    if ignore_index is None and wrong.any():
        wrong &= labels != LARGEST_LABEL
    if wrong.any():
        return int(labels[wrong].max())
    lowest = int(labels.min()) if labels.size else 0
    return lowest if lowest < 0 and lowest != ignored else None


def check_set(dataset: Dataset, num_classes: int, *, for_training: bool = False) -> None:
    """Refuse a data set whose files, classes or masks cannot be used.

    Reads masks until one has more than label 0 and the ignored label: one, in most sets.

    Args:
        dataset (Dataset): Of images with masks, listed as by mmengine's ``BaseDataset``; others
            are not checked.
        num_classes (int): Classes of the model, the background included.
        for_training (bool): Whether an image may be listed more than once. Defaults to False.

    Raises:
        FileNotFoundError: If an image or a mask is missing.
        ValueError: If the classes are of another number, an image is listed twice, or all masks
            are binary or ignored.
    """
    if not hasattr(dataset, 'get_data_info'):
        return
    listed = cast(BaseDataset, dataset)  # mmengine's wrappers have its methods, not its class
    classes, name = listed.metainfo.get('classes'), type(dataset).__name__
    if classes is not None or not for_training:
        check_class_names_of_set(classes, name)
        check_class_count(num_classes, classes or (), name)
    data_list = [listed.get_data_info(index) for index in range(len(listed))]
    check_files(data_list)
    if not for_training:
        _check_listed_once(data_list)
    _note_unused_masks(listed, data_list)
    if num_classes > 1:
        check_labels_occur(listed)


def check_class_names_of_set(classes: object, name: str) -> None:
    """Refuse a set's ``metainfo`` whose classes are no list of names.

    Raises:
        ValueError: If there are none, or a text, which would be taken letter by letter.
    """
    if isinstance(classes, str):
        raise ValueError(
            f'The classes of {name} are the text {classes!r}, and no such file is there: give a '
            "list of names, metainfo=dict(classes=['cat', 'dog'])."
        )
    names = list(classes) if isinstance(classes, Iterable) else []
    if not names or not all(isinstance(one, str) and one.strip() for one in names):
        raise ValueError(
            f'{name} names no classes, or not by words: give it metainfo=dict(classes=[...]).'
        )


def check_class_count(num_prompted: int, dataset_classes: Sequence[str], name: str) -> None:
    """Refuse a class list of another length than the labels.

    Raises:
        ValueError: If the numbers differ.
    """
    if num_prompted != len(dataset_classes):
        raise ValueError(
            f'{name} has {len(dataset_classes)} classes, but the class list has {num_prompted}: '
            'give one entry per label, in their order.'
        )


def check_files(data_list: Sequence[Mapping[str, str]]) -> None:
    """Refuse a list of images of which some, or their masks, do not exist.

    Args:
        data_list (Sequence[Mapping[str, str]]): Data infos of a segmentation set, with
            ``img_path`` and ``seg_map_path``.

    Raises:
        FileNotFoundError: Names the first that is missing and counts them.
        ValueError: If the list is empty, or names no masks.
    """
    if not data_list:
        raise ValueError('The data set lists no image: check its folder and its file endings.')
    for key, what in (('img_path', 'image'), ('seg_map_path', 'mask')):
        if key not in data_list[0]:
            raise ValueError(
                f'The data set names no folder of {what}s: give it '
                "data_prefix=dict(img_path='...', seg_map_path='...')."
            )
        missing = [item[key] for item in data_list if not _exists(item[key])]
        if missing:
            raise FileNotFoundError(
                f'There is no {what} {missing[0]} ({len(missing)} of {len(data_list)} are '
                f'missing){_found_instead(Path(missing[0]))}: complete the folder, or shorten the '
                'list of images.'
            )


def check_labels_occur(dataset: BaseDataset) -> None:
    """Refuse a set whose masks have no label but 0 and the ignored one.

    Masks of 0 and 255 are common for one class; here 255 is ignored, so that no class would occur;
    in masks of 16 bits another label is.

    Raises:
        ValueError: If all masks are binary, or ignored as a whole.
    """
    steps = dataset.pipeline.transforms
    load = next((step for step in steps if type(step) in (LoadAnnotations, LoadLabelMap)), None)
    if load is None:  # masks that are read in another way, or within a TestTimeAug
        return
    ignored = getattr(load, 'ignored', IGNORED)
    counts: Counter[int] = Counter()
    for index in range(len(dataset)):
        labels = load(dict(dataset.get_data_info(index), seg_fields=[]))['gt_seg_map']
        values = np.unique(labels).tolist()
        if set(values) - {0, ignored}:
            return
        counts.update(values)
    count = f'all {len(dataset)} masks of the data set'
    if 0 not in counts:
        raise ValueError(f'In {count} every pixel has the label {ignored}, which is ignored.')
    if ignored in counts:
        raise ValueError(
            f'The labels in {count} are 0 and {ignored} only, and {ignored} is ignored: save '
            'binary masks with the labels 0 and 1.'
        )


def _check_listed_once(data_list: Sequence[Mapping[str, str]]) -> None:
    """Refuse a list in which an image would count twice."""
    counts = Counter(item['img_path'] for item in data_list)
    repeated = [path for path, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(
            f'{repeated[0]} is listed {counts[repeated[0]]} times ({len(repeated)} images are '
            'listed more than once): name each image once.'
        )


def _note_unused_masks(dataset: BaseDataset, data_list: Sequence[Mapping[str, str]]) -> None:
    """Count and name masks that have no image, where the folder is the list of images."""
    suffix = getattr(dataset, 'seg_map_suffix', None)
    ann_file = getattr(dataset, 'ann_file', None)
    if suffix is None or ann_file or '://' in data_list[0]['seg_map_path']:
        return
    masks_of_images = {Path(item['seg_map_path']) for item in data_list}
    beside = (
        path for folder in {path.parent for path in masks_of_images} for path in folder.iterdir()
    )
    unused_masks = sorted(
        path for path in beside if path.name.endswith(suffix) and path not in masks_of_images
    )
    if unused_masks:
        print_log(
            f'{len(unused_masks)} masks have no image and are left out, the first is '
            f'{unused_masks[0]}.',
            logger='current',
            level=logging.WARNING,
        )


def _found_instead(path: Path) -> str:
    """Name a file beside a missing one that differs only in case or ending."""
    if not path.parent.is_dir():
        return f', there is not even {path.parent}'
    similar = sorted(p.name for p in path.parent.iterdir() if p.stem.lower() == path.stem.lower())
    return f', but {similar[0]} is there: endings and case must agree' if similar else ''


def _exists(path: str | None) -> bool:
    """Return whether a file exists; remote files are assumed to."""
    return path is not None and ('://' in path or Path(path).is_file())
