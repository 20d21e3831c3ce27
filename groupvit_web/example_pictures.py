"""Pictures to begin with: scenes that are drawn, and photographs of a folder."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from groupvit_mmseg.datasets.scenes import draw_scene
from groupvit_web.errors import PageError
from groupvit_web.limits import Limits
from groupvit_web.uploads import Picture, read_picture

SCENE_SEEDS = (5, 11, 23, 30, 42, 54)
"""tuple[int, ...]: Seeds of the scenes that are shown."""
MOST_PHOTOGRAPHS = 12
"""int: Photographs of a folder that are shown, the first by name."""
THUMBNAIL_SIDE = 144
PHOTOGRAPH_SUFFIXES = frozenset({'.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff'})


class ExamplePicture(NamedTuple):
    """A picture to begin with.

    Attributes:
        title (str): What it shows, or its file's name.
        thumbnail (bytes): A small WebP picture.
        open (Callable[[], Picture]): Reads it.
    """

    title: str
    thumbnail: bytes
    open: Callable[[], Picture]


def example_pictures(
    folder: Path | None = None, *, limits: Limits | None = None
) -> list[ExamplePicture]:
    """Return photographs of a folder, if one is named, and scenes.

    Args:
        folder (Path, optional): Folder of photographs. Defaults to None.
        limits (Limits, optional): None takes the defaults. Defaults to None.

    Returns:
        list[ExamplePicture]: Photographs that can be read, then the scenes.

    Raises:
        NotADirectoryError: If there is no such folder.
        ValueError: If it has no photograph that can be used.
    """
    scenes = [_scene(seed) for seed in SCENE_SEEDS]
    return scenes if folder is None else [*_photographs(folder, limits or Limits()), *scenes]


def _scene(seed: int) -> ExamplePicture:
    """Draw one scene."""
    scene = draw_scene(seed)
    stream = io.BytesIO()
    Image.fromarray(scene.image).save(stream, 'PNG')
    content, name = stream.getvalue(), f'scene-{seed}.png'
    enlarged = scene.image.repeat(3, 0).repeat(3, 1)
    title = f'Scene: {scene.caption}'
    return ExamplePicture(title, _thumbnail(enlarged), lambda: read_picture(content, name=name))


def _photographs(folder: Path, limits: Limits) -> list[ExamplePicture]:
    """Return the first photographs of a folder by name; files that are none are left out."""
    if not folder.is_dir():
        raise NotADirectoryError(f'There is no folder {folder} of examples: check --examples.')
    photographs: list[ExamplePicture] = []
    for path in sorted(folder.iterdir()):
        if len(photographs) == MOST_PHOTOGRAPHS:
            break
        if path.suffix.lower() not in PHOTOGRAPH_SUFFIXES:
            continue
        try:
            shown = read_picture(path, limits=limits).shown
        except PageError:
            continue
        photographs.append(_photograph(path, shown, limits))
    if not photographs:
        raise ValueError(f'{folder} has no photograph that can be shown: check --examples.')
    return photographs


def _photograph(path: Path, shown: np.ndarray, limits: Limits) -> ExamplePicture:
    """Return one photograph; it is read again when a visitor chooses it."""
    title = f'Photograph: {path.stem}'
    return ExamplePicture(title, _thumbnail(shown), lambda: read_picture(path, limits=limits))


def _thumbnail(pixels: np.ndarray) -> bytes:
    """Return a small WebP picture of RGB ``(H, W, 3)``."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    stream = io.BytesIO()
    image.save(stream, 'WEBP', quality=80)
    return stream.getvalue()
