"""Loads the images that are not in the journal; reasons replace those that cannot be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mmengine.dataset import BaseDataset, pseudo_collate
from torch.utils.data import Dataset

from groupvit_mmseg.error_messages import error_text
from groupvit_mmseg.image_size import TOO_THIN, too_thin


class UnreadableImage(NamedTuple):
    """Reason why a sample cannot be loaded; if a worker raised it, its traceback would be added."""

    reason: str


class PendingImages(Dataset):
    """Some samples of a data set, by index.

    Args:
        dataset (BaseDataset): The whole set.
        indices (Sequence[int]): Indices of the samples.
    """

    def __init__(self, dataset: BaseDataset, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> dict | UnreadableImage:
        index = self.indices[position]
        try:
            return self.dataset[index]
        except Exception as error:  # decoders and transforms have no type of error in common
            return UnreadableImage(_reason(error, self.dataset.get_data_info(index)))


def collate_readable(samples: list[dict | UnreadableImage]) -> dict | UnreadableImage:
    """Return a batch, or the first sample that cannot be read."""
    unreadable = (sample for sample in samples if isinstance(sample, UnreadableImage))
    return next(unreadable, None) or pseudo_collate(samples)


def _reason(error: Exception, info: Mapping[str, object]) -> str:
    """Describe an error in one line that names the file, and the type if it is unexpected."""
    reason = TOO_THIN if too_thin(error) else ' '.join(error_text(error).split())
    has_path = any(str(info.get(key) or ' ') in reason for key in ('img_path', 'seg_map_path'))
    if has_path and isinstance(error, ValueError):
        return reason
    if not isinstance(error, OSError | ValueError) and not too_thin(error):
        reason = f'{type(error).__name__}: {reason}'
    path = info.get('img_path', 'An image')
    return f'{path} cannot be evaluated ({reason}): mend or replace it; the same command goes on.'
