"""The folder of prepared downloads: files are removed after an hour, all of them at the end."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from groupvit_web.take_away import Download

SECONDS_KEPT = 3600.0


class DownloadFolder:
    """A folder that is removed when the program ends.

    Args:
        seconds_kept (float): Age at which files are removed. Defaults to an hour.
    """

    def __init__(self, seconds_kept: float = SECONDS_KEPT) -> None:
        self.seconds_kept = seconds_kept
        self._folder = tempfile.TemporaryDirectory(prefix='groupvit-downloads-')

    def write(self, downloads: Sequence[Download]) -> list[str]:
        """Write files into a new folder, and remove old ones.

        Args:
            downloads (Sequence[Download]): The files.

        Returns:
            list[str]: Their paths.
        """
        self._remove_old()
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        paths = [folder / download.name for download in downloads]
        for path, download in zip(paths, downloads, strict=True):
            path.write_bytes(download.content)
        return [str(path) for path in paths]

    def _remove_old(self) -> None:
        """Remove the folders that are older than the limit."""
        limit = time.time() - self.seconds_kept
        for folder in Path(self._folder.name).iterdir():
            if folder.stat().st_mtime < limit:
                shutil.rmtree(folder, ignore_errors=True)
