"""Checks of the files that a segmentation data set lists, before any of them is read."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from groupvit_mmseg.datasets.label_maps import IGNORED, reading_label_maps
from groupvit_mmseg.datasets.segmentation import COCOObjectDataset

ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
LoaderT = TypeVar('LoaderT')
SILENCE = 1800
"""int: Seconds without a batch after which a hanging file system ends a run."""
_LISTED_ALIKE = (BaseSegDataset.load_data_list, COCOObjectDataset.load_data_list)


def checked_loader(loader: LoaderT) -> LoaderT:
    """Check the data sets of a data loader's config and make it read masks with LoadLabelMap.

    Workers that give nothing for ``SILENCE`` seconds end the run, unless the config has a
    ``timeout`` of its own.

    Args:
        loader (LoaderT): A config, which is not changed, or a built loader, which is returned.

    Raises:
        FileNotFoundError: If a folder, a list or a file that it names does not exist.
        ValueError: If a list or a folder does not fit the endings.
    """
    if not isinstance(loader, dict) or not isinstance(loader.get('dataset'), dict):
        return loader
    for dataset in _parts(loader['dataset']):
        check_listing(dataset)
    changed = reading_label_maps(loader['dataset'], **_options_of_16_bits(loader['dataset']))
    limit = {'timeout': SILENCE} if loader.get('num_workers') else {}
    return type(loader)({**limit, **loader, 'dataset': changed})


def _options_of_16_bits(dataset: dict[str, Any]) -> dict[str, int]:
    """Return ``ignore_index`` where that of a data set, or of its parts, says 16-bit masks."""
    ignored = {part.get('ignore_index', IGNORED) for part in _parts(dataset)}
    largest = max(ignored, default=IGNORED)
    if largest <= IGNORED:
        return {}
    if len(ignored) > 1:
        raise ValueError(
            f'The data sets of one loader have ignore_index={sorted(ignored)}: sets of 16-bit '
            'masks need the same one.'
        )
    return {'ignore_index': largest}


def check_listing(dataset: dict[str, Any]) -> None:
    """Refuse the config of a segmentation data set that would list no file, or wrong names.

    Sets with a ``load_data_list`` of their own are not checked.

    Args:
        dataset (dict[str, Any]): The config, with the arguments of any class.

    Raises:
        FileNotFoundError: If the folder or the list does not exist.
        ValueError: If the list has an unreadable name, or no image has the ending.
    """
    kind = DATASETS.get(dataset['type']) if isinstance(dataset['type'], str) else dataset['type']
    if kind is None or getattr(kind, 'load_data_list', None) not in _LISTED_ALIKE:
        return
    root = Path(dataset.get('data_root') or '')
    prefix = dataset.get('data_prefix') or {}
    if '://' in str(dataset.get('data_root')) or '://' in str(prefix.get('img_path')):
        return
    images = root / (prefix.get('img_path') or '')
    if not images.is_dir():
        raise FileNotFoundError(
            f'{kind.__name__} finds no {images}: prepare the data as docs/evaluation.md '
            'says, or give its folder with data_root.'
        )
    suffix = dataset.get('img_suffix', _default_suffix(kind))
    if dataset.get('ann_file'):
        check_list_file(root / dataset['ann_file'], suffix)
    else:
        _check_folder(images, suffix)


def check_list_file(path: Path, suffix: str) -> None:
    """Refuse a list of image names that MMSegmentation would read as other names.

    Args:
        path (Path): A name without ending on each line.
        suffix (str): Ending of the images.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: With the line, for a byte-order mark, an empty line, or a name with its ending.
    """
    if path.is_dir():
        return
    if not path.is_file():
        raise FileNotFoundError(f'There is no list of images {path}.')
    try:
        lines = path.read_bytes().decode('utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'The list {path} is not UTF-8 text: save it as UTF-8.') from error
    if not any(line.strip() for line in lines):
        raise ValueError(f'The list {path} names no image: give a name, without ending, per line.')
    if lines[0].startswith('\ufeff'):
        raise ValueError(
            f'The list {path} begins with a byte-order mark: save it as UTF-8 without it.'
        )
    for number, line in enumerate(lines, start=1):
        what = _wrong_name(line.strip(), suffix)
        if what:
            raise ValueError(f'Line {number} of the list {path} {what}')


def _wrong_name(name: str, suffix: str) -> str:
    """Describe what is wrong with a line of a list; empty if nothing is."""
    if not name:
        return 'is empty: remove it.'
    ending = Path(name).suffix
    if suffix and (name.endswith(suffix) or ending.lower() in ENDINGS):
        return f'is {name!r}: leave out {ending or suffix}, img_suffix adds {suffix!r}.'
    if '\\' in name:
        return f'is {name!r}: write the folder with / instead of \\.'
    return ''


def _check_folder(folder: Path, suffix: str) -> None:
    """Refuse a folder whose images are not all listed by their ending."""
    files = [path for path in folder.rglob('*') if path.is_file()]
    if any(path.name.endswith(suffix) for path in files):
        left_out = [path for path in files if _differs_in_case_only(path, suffix)]
        if left_out:
            raise ValueError(
                f'{len(left_out)} images of {folder} end in {left_out[0].suffix!r} (the first is '
                f'{left_out[0].name}) and would be left out by img_suffix={suffix!r}: rename them.'
            )
        return
    others = [path.suffix for path in files if path.suffix.lower() in ENDINGS]
    todo = 'put the images there.'
    if others:
        todo = f'there are {len(others)} that end in {others[0]!r}: set img_suffix={others[0]!r}.'
    raise ValueError(f'No image of {folder} ends in {suffix!r}: {todo}')


def _differs_in_case_only(path: Path, suffix: str) -> bool:
    """Return whether a file's ending differs from the suffix only in case or as .jpeg from .jpg."""
    name, ending = (text.lower().replace('.jpeg', '.jpg') for text in (path.name, suffix))
    return name.endswith(ending) and not path.name.endswith(suffix)


def _default_suffix(kind: type) -> str:
    """Return the default ending of a set's images."""
    parameter = inspect.signature(kind).parameters.get('img_suffix')
    return '.jpg' if parameter is None else str(parameter.default)


def _parts(dataset: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the configs of the sets within a repeated, concatenated or otherwise wrapped one."""
    if isinstance(dataset.get('dataset'), dict):
        yield from _parts(dataset['dataset'])
    elif isinstance(dataset.get('datasets'), list | tuple):
        for part in dataset['datasets']:
            yield from _parts(part)
    elif 'type' in dataset:
        yield dataset
