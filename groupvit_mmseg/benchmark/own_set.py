"""A set of a user from a folder of images, a folder of masks and a class file: its config."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from pprint import pformat

from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.datasets.label_maps import IGNORED, LARGEST_LABEL
from groupvit_mmseg.text.class_file import read_class_file

NAME = 'own'
"""str: Name of the set, on command lines and of its files."""
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff')
NUM_SAMPLES = 20
"""int: Images whose masks are searched for, to find the ending of all masks."""
MASK_SUFFIXES = ('.png', '.tif', '.tiff', '.bmp')


def write_set_config(
    out: str | Path, *, images: str | Path, masks: str | Path, classes: str | Path
) -> Path:
    """Write the config of a set that consists of two folders, as MMSegmentation reads it.

    Images and masks belong together by their names without endings; a mask may have more in its
    name, such as ``street_labels.png`` of ``street.jpg``, the same for all.

    Args:
        out (str | Path): Folder to write ``own.py`` into.
        images (str | Path): Folder of the images, all with one ending.
        masks (str | Path): Folder of the masks: label images, of more than 255 classes with 16
            bits and 65535 for pixels to ignore.
        classes (str | Path): Class file, a class per label in order.

    Returns:
        Path: The config, an argument of :func:`.select_sets`.

    Raises:
        FileNotFoundError: If a folder or the class file does not exist, or an image has no mask.
        ValueError: If images have several endings, the class file cannot be used, or the folder has
            results of another set, or a file of that name that is not of this function.
    """
    image_files = _files(images, IMAGE_SUFFIXES, 'images')
    mask_files = _files(masks, MASK_SUFFIXES, 'masks')
    image_suffix = _one_suffix(image_files, images)
    mask_suffix = _mask_suffix(image_files, mask_files, masks)
    names = read_class_file(classes)['class_names']
    dataset: dict[str, object] = dict(
        type='BaseSegDataset',
        metainfo=dict(classes=list(names)),
        data_root=str(Path(images).resolve()),
        data_prefix=dict(img_path='', seg_map_path=str(Path(masks).resolve())),
        img_suffix=image_suffix,
        seg_map_suffix=mask_suffix,
    )
    if len(names) > IGNORED:  # labels of 16 bits
        dataset['ignore_index'] = LARGEST_LABEL
    text = f'test_dataloader = dict(dataset={pformat(dataset, sort_dicts=False)})\n'
    path = Path(out) / f'{NAME}.py'
    earlier = path.read_text('utf-8', errors='replace') if path.is_file() else text
    if earlier != text and any(Path(out, 'journal').glob(f'{NAME}.*')):
        raise ValueError(f'{out} holds results of another set, that of {path}: name another.')
    if not earlier.startswith(text.partition('{')[0]):
        raise ValueError(f'{path} is not a file of this tool: choose another folder.')
    write_text(path, text)
    return path


def _files(folder: str | Path, suffixes: Sequence[str], what: str) -> list[Path]:
    """Return the files of a folder with one of the endings, in order."""
    if not Path(folder).is_dir():
        raise FileNotFoundError(f'There is no folder {folder} of {what}.')
    files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in suffixes)
    if not files:
        raise FileNotFoundError(
            f'{folder} holds no {what}: their files end in {", ".join(suffixes)}.'
        )
    return files


def _one_suffix(files: Sequence[Path], folder: str | Path) -> str:
    """Return the ending of all files.

    Raises:
        ValueError: If there are several.
    """
    counts = Counter(path.suffix for path in files)
    if len(counts) > 1:
        text = ', '.join(f'{count} x {suffix}' for suffix, count in counts.most_common())
        raise ValueError(f'{folder} holds images with several endings, {text}: convert some.')
    return files[0].suffix


def _mask_suffix(images: Sequence[Path], masks: Sequence[Path], folder: str | Path) -> str:
    """Return what the name of every mask has after that of its image.

    Raises:
        FileNotFoundError: If an image has no mask.
    """
    names = {mask.name for mask in masks}
    # "street_2.png" begins with "street" too: of all endings the one that most images have counts.
    endings = {
        name[len(image.stem) :]
        for image in images[:NUM_SAMPLES]
        for name in names
        if name.startswith(image.stem)
    }
    if not endings:
        raise FileNotFoundError(
            f'{folder} holds no mask of {images[0].name}: call it {images[0].stem}.png, or the '
            'same with one ending for all.'
        )
    missing = {
        ending: [image for image in images if f'{image.stem}{ending}' not in names]
        for ending in endings
    }
    best = min(endings, key=lambda ending: (len(missing[ending]), len(ending)))
    if missing[best]:
        first = missing[best][0]
        raise FileNotFoundError(
            f'{folder} holds no mask of {first.name}, which would be {first.stem}{best} '
            f'({len(missing[best])} of {len(images)} images lack theirs).'
        )
    return best
