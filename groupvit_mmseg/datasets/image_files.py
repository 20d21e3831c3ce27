"""Files of images that a table names."""

import os
from pathlib import Path

from groupvit_mmseg.datasets.shard_stream import BadSample


def read_image(name: str, folder: Path) -> bytes:
    """Read an image's file.

    Args:
        name (str): Name as a table has it, with slashes or backslashes.
        folder (Path): Folder that relative names are in.

    Returns:
        bytes: Content of the file.

    Raises:
        BadSample: If there is no such file, or it cannot be read.
    """
    paths = [folder / name, folder / name.replace('\\', '/')]  # a table of Windows
    path = next(filter(os.path.isfile, paths), None)  # False for names that no file can have
    if path is None:
        raise BadSample('the image is missing')
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadSample('the image cannot be read') from error
