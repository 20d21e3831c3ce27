"""Writes shards that appear in their folder only when all are complete, and replace no others."""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from webdataset.writer import ShardWriter

from groupvit_mmseg.atomic_files import naming_file, write_atomically
from groupvit_mmseg.datasets.shard_sizes import SIZES_FILE, read_sizes, write_sizes

MOVED = 'moved.json'
"""str: File of the hidden folder that lists the shards that are being moved."""


class ShardSet:
    """The shards ``NAME-000000.tar`` ... of one conversion, as a context manager.

    They are written to a hidden folder inside ``folder`` and moved by ``finish``, sizes.json last.
    Without ``finish`` the folder stays as it was. If ``finish`` itself is interrupted, the hidden
    folder says which shards it was moving; the next ``finish`` with ``overwrite`` replaces them.

    Args:
        folder (Path): Folder of the shards; created if missing.
        name (str): Begins their names.
        per_shard (int): Samples in each but the last. Defaults to 10,000.
        overwrite (bool): Replace the shards of this name that sizes.json lists, and the files of an
            interrupted run. Other files are never removed. Defaults to False.

    Attributes:
        staging (Path): The hidden folder; temporary files may lie there too.

    Raises:
        FileExistsError: If the folder holds shards of this name that may not be replaced.
        ValueError: If the name or the number is not valid, or sizes.json is not.
    """

    def __init__(
        self, folder: Path, name: str, *, per_shard: int = 10_000, overwrite: bool = False
    ) -> None:
        if not re.fullmatch(r'\w[\w.+-]*', name):
            raise ValueError(f'{name!r} is no name for shards: use letters, digits, ".", "-", "_".')
        if per_shard < 1:
            raise ValueError(f'A shard of {per_shard} samples: it needs at least one.')
        self.folder, self.name, self.overwrite = folder, name, overwrite
        self.staging = folder / f'.{name}.unfinished'
        self._per_shard = per_shard
        self._sizes: Counter[str] = Counter()
        self._writer: ShardWriter | None = None
        self._is_moving = False
        self._check_folder()
        self._leftover = self._moved() - self._listed()

    def __enter__(self) -> 'ShardSet':
        if self.overwrite:
            self._empty_staging()
        self.staging.mkdir(parents=True, exist_ok=bool(self._leftover))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._close()
        finally:
            if not self._is_moving:
                self._empty_staging()

    def write(self, key: str, members: Mapping[str, object]) -> None:
        """Write one sample.

        Args:
            key (str): Its name, without a dot.
            members (Mapping[str, object]): Contents by extension: bytes, a text, or a value that
                webdataset encodes for the extension.
        """
        if self._writer is None:
            # webdataset takes the path for a template of printf's kind.
            path = str((self.staging / self.name).resolve()).replace('%', '%%')
            self._writer = ShardWriter(f'{path}-%06d.tar', maxcount=self._per_shard, verbose=0)
        self._writer.write({'__key__': key, **members})
        self._sizes[Path(str(self._writer.fname)).name] += 1

    def add(self, tar: Path, samples: int) -> None:
        """Take a complete tar as the next shard; it stays where it is as well.

        Args:
            tar (Path): The tar.
            samples (int): Samples in it.

        Raises:
            FileNotFoundError: If there is no such file.
        """
        shard = f'{self.name}-{len(self._sizes):06d}.tar'
        try:
            os.link(tar, self.staging / shard)
        except FileNotFoundError:
            raise
        except OSError:  # another disk, or one without links
            shutil.copyfile(tar, self.staging / shard)
        self._sizes[shard] = samples

    def finish(self, extra: Mapping[str, str] | None = None) -> Path:
        """Move the shards to their folder.

        Args:
            extra (Mapping[str, str], optional): Texts of further files by name, which belong to
                the shards. Defaults to None.

        Returns:
            Path: The sizes.json of the folder.
        """
        self._close()
        old = self._listed() | self._leftover
        _write_text(self.staging / MOVED, json.dumps(sorted(old | self._sizes.keys())))
        self._is_moving = True
        # From here until the new sizes are written, the folder lists no shard of this name.
        if old:
            write_sizes(self.folder, {}, remove=old)
        for shard in self._sizes:
            _move(self.staging / shard, self.folder / shard)
        for shard in old - self._sizes.keys():
            (self.folder / shard).unlink(missing_ok=True)
        for file, text in (extra or {}).items():
            _write_text(self.folder / file, text)
        listing = write_sizes(self.folder, dict(self._sizes))
        self._is_moving, self._leftover = False, set()
        return listing

    @property
    def sizes(self) -> dict[str, int]:
        """Samples by shard, so far."""
        return dict(self._sizes)

    def _close(self) -> None:
        """Complete the shard that is being written."""
        if self._writer is not None:
            self._writer.finish()

    def _empty_staging(self) -> None:
        """Remove the hidden folder; the list of shards that were being moved stays with them."""
        if not self._leftover:
            shutil.rmtree(self.staging, ignore_errors=True)
            return
        for path in self.staging.iterdir():
            if path.name != MOVED:
                path.unlink()

    def _listed(self) -> set[str]:
        """List the shards of this name in the folder's sizes.json."""
        return {shard for shard in read_sizes(self.folder) if self._is_ours(shard)}

    def _moved(self) -> set[str]:
        """List the shards that an interrupted ``finish`` was moving or removing."""
        try:
            names = json.loads((self.staging / MOVED).read_text(encoding='utf-8'))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return set()
        return {name for name in names if isinstance(name, str) and self._is_ours(name)}

    def _is_ours(self, shard: str) -> bool:
        """Return whether a file has the name of one of these shards."""
        return re.fullmatch(rf'{re.escape(self.name)}-\d{{6,}}\.tar', shard) is not None

    def _check_folder(self) -> None:
        """Refuse a folder in which files would be replaced or shards of two origins mixed."""
        if self.folder.exists() and not self.folder.is_dir():
            raise FileExistsError(f'{self.folder} is a file: name a folder for the shards.')
        in_sizes = self._listed()
        on_disk = {path.name for path in self.folder.glob('*.tar') if self._is_ours(path.name)}
        others = on_disk - in_sizes - self._moved()
        if others:
            raise FileExistsError(
                f'{self.folder} holds {min(others)}, which its {SIZES_FILE} does not '
                'list: it is of another origin or of an interrupted run. Move it away, or choose '
                'another name or folder.'
            )
        if in_sizes and not self.overwrite:
            raise FileExistsError(
                f'{self.folder} lists {len(in_sizes)} shards called {self.name} in its '
                f'{SIZES_FILE}: choose another name or folder, or replace them with --overwrite.'
            )
        if self.staging.exists() and not self.overwrite:
            remedy = 'use --overwrite' if self._moved() else 'remove it, or use --overwrite'
            raise FileExistsError(
                f'{self.staging} is left from an interrupted run, unless one is running: {remedy}.'
            )


def _write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda stream: stream.write(text.encode()))


def _move(path: Path, target: Path) -> None:
    """Rename a file after it is on disk, so that its new name never names half a file."""
    with naming_file(path), path.open('rb') as stream:
        os.fsync(stream.fileno())
    os.replace(path, target)
