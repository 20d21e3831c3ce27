"""The data set of ``--format yolo``: images, label files of polygons, and ``data.yaml``."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import yaml

from groupvit_cli.sources import Source

if TYPE_CHECKING:
    from groupvit_mmseg.results import InferenceResult

FOLDER = 'yolo'
DATA_FILE = f'{FOLDER}/data.yaml'
READABLE = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
"""tuple: Suffixes of images that YOLO trainers read; others are written again as PNG."""
HEADER = """\
# Labels of these images are predictions. Let val name other images, with masks drawn by people,
# before you believe a score.
"""


def write_yolo(folder: Path, source: Source, result: InferenceResult) -> list[str]:
    """Write the label file of an image and put the image beside it, where trainers look for it.

    The image is copied, so that the data set can be moved and packed.

    Args:
        folder (Path): Folder of all results.
        source (Source): The image.
        result (InferenceResult): Its segmentation.

    Returns:
        list[str]: The files below ``folder``.
    """
    from groupvit_mmseg.atomic_files import write_atomically  # it imports PyTorch

    suffix = Path(source.path).suffix
    readable = suffix.lower() in READABLE
    image = Path(FOLDER, 'images', f'{source.name}{suffix if readable else ".png"}')
    labels = label_file(image)

    def write_image(stream: IO[bytes]) -> None:
        if readable:
            with open(source.path, 'rb') as original:
                shutil.copyfileobj(original, stream)
        else:
            from PIL import Image

            Image.fromarray(result.image).save(stream, format='PNG')

    text = result.to_yolo().encode()
    write_atomically(folder / image, write_image, sync=False)
    write_atomically(folder / labels, lambda stream: stream.write(text), sync=False)
    return [image.as_posix(), labels.as_posix()]


def label_file(image: Path) -> Path:
    """Return where trainers look for the labels of an image: the last ``images`` is ``labels``.

    An image's own folder may be called ``images`` too: ``yolo/images/images/a.jpg``.
    """
    parts = list(image.with_suffix('.txt').parts)
    last = max(index for index, part in enumerate(parts[:-1]) if part == 'images')
    return Path(*parts[:last], 'labels', *parts[last + 1 :])


def data_yaml(class_names: Sequence[str]) -> str:
    """Return the content of ``data.yaml``, whose paths are relative to its own folder.

    Args:
        class_names (Sequence[str]): The names without the background.
    """
    content = dict(train='images', val='images', names=dict(enumerate(class_names)))
    return HEADER + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
