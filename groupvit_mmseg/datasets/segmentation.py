"""Segmentation sets that MMSeg lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from mmseg.datasets import BaseSegDataset, PascalVOCDataset
from mmseg.registry import DATASETS

from groupvit_mmseg.text.class_file import read_class_file
from groupvit_mmseg.text.vocabulary import class_names


def _label_colours(count: int) -> list[list[int]]:
    """Return Pascal VOC's colour map: the bits of a label spread over red, green and blue."""
    return [
        [
            sum(((label >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8))
            for channel in range(3)
        ]
        for label in range(count)
    ]


@DATASETS.register_module()
class COCOObjectDataset(BaseSegDataset):
    """COCO 2017 things as semantic segmentation: 80 classes and the background.

    Masks are 8-bit PNG files of the image's size: 0 the background, 1 to 80 the thing classes in
    the order of COCO's category ids (which have gaps: the masks have none), 255 ignored.

    Args:
        ann_file (str): File with one image name (without suffix) per line; empty takes every image
            of the image folder. Defaults to ''.
        img_suffix (str): Defaults to '.jpg'.
        seg_map_suffix (str): Defaults to '.png': ``000000000139.jpg`` has ``000000000139.png``.
        **kwargs: Arguments of ``BaseSegDataset``.

    Raises:
        FileNotFoundError: If the image folder does not exist.
    """

    # MMSegmentation declares METAINFO without ClassVar.
    METAINFO: ClassVar[dict] = dict(  # type: ignore[misc]
        classes=class_names('coco_object'), palette=_label_colours(81)
    )

    def __init__(
        self,
        ann_file: str = '',
        *,
        img_suffix: str = '.jpg',
        seg_map_suffix: str = '.png',
        **kwargs: Any,
    ) -> None:
        super().__init__(
            ann_file=ann_file, img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs
        )

    def load_data_list(self) -> list[dict]:
        """List images and masks as ``BaseSegDataset`` does; refuse a missing folder."""
        folder = self.data_prefix['img_path']
        if '://' not in folder and not Path(folder).is_dir():
            raise FileNotFoundError(
                f'COCOObjectDataset found no image folder at {folder}: set data_root in the config.'
            )
        return super().load_data_list()


@DATASETS.register_module()
class PascalVOC20Dataset(PascalVOCDataset):
    """Pascal VOC 2012 without its background: 20 classes, pixels of the background ignored.

    Arguments are those of ``PascalVOCDataset``, whose files it reads.
    """

    METAINFO: ClassVar[dict] = {  # type: ignore[misc]  # as above
        key: PascalVOCDataset.METAINFO[key][1:] for key in ('classes', 'palette')
    }

    def __init__(self, ann_file: str, *, reduce_zero_label: bool = True, **kwargs: Any) -> None:
        super().__init__(ann_file=ann_file, reduce_zero_label=reduce_zero_label, **kwargs)


@DATASETS.register_module()
class ClassFileDataset(BaseSegDataset):
    """Images and masks whose classes a class file names, as the sets of very many classes have.

    Masks of more than 255 classes have 16 bits, and an ``ignore_index`` above 255.

    Args:
        class_file (str): Class file below ``data_root``; a class per label, in order.
        data_root (str): Folder of the set. Defaults to ''.
        **kwargs: Arguments of ``BaseSegDataset``.

    Raises:
        FileNotFoundError: If there is no class file.
        ValueError: If it is no class file.
    """

    def __init__(self, class_file: str, *, data_root: str = '', **kwargs: Any) -> None:
        names = read_class_file(Path(data_root) / class_file)['class_names']
        super().__init__(data_root=data_root, metainfo=dict(classes=names), **kwargs)
