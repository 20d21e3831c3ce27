"""The files that ``groupvit segment`` writes, and the record by which it continues."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from groupvit_cli.sources import Source
from groupvit_cli.yolo import DATA_FILE, data_yaml, write_yolo

if TYPE_CHECKING:
    from groupvit_mmseg.results import InferenceResult

FORMATS = {
    'png': 'overlay/NAME.png: the classes over the image; overlay/NAME.mp4 of a video',
    'groups': 'groups/NAME.png: the segments over the image',
    'label': 'labels/NAME.png: the class index of every pixel, with a palette',
    'json': 'shares.json: the share of every class in every image',
    'coco': 'coco.json: a mask for each connected region of a class',
    'yolo': 'yolo/: images, label files of polygons and data.yaml, a data set of YOLO trainers',
}
LINE_KEYS = {'image', 'name', 'files', 'version'}
RECORD = 'record.jsonl'
"""str: A line per finished image; the first line holds the settings."""


RESULTS = {
    'png': ('overlay',),
    'groups': ('groups',),
    'label': ('labels',),
    'json': ('shares.json',),
    'coco': ('coco.json',),
    'yolo': ('yolo',),
}
"""dict: Files and folders of each format, below the output folder."""


def check_folder_of_results(folder: Path, formats: Sequence[str], *, overwrite: bool) -> None:
    """Refuse an output folder that cannot be made, or whose files are not of this command.

    Args:
        folder (Path): The folder; it need not exist.
        formats (Sequence[str]): Keys of :data:`FORMATS`.
        overwrite (bool): Whether files that are there may be replaced.

    Raises:
        ValueError: If there is such a file, or the folder cannot be made.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f'--out {folder}: {existing} is a file, not a folder: name another.')
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f'--out {folder}: there is no permission to write to {existing}.')
    if overwrite or (folder / RECORD).is_file():
        return
    names = [name for form in formats for name in RESULTS[form] if is_filled(folder / name)]
    if names:
        raise ValueError(
            f'{folder} holds {", ".join(names)} already, and no earlier call of this command wrote '
            'it: name another --out, or --overwrite.'
        )


def is_filled(path: Path) -> bool:
    """Return whether there is such a file, or a folder that is not empty."""
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def result_folders(folder: Path) -> list[Path]:
    """Return the folders of results of an earlier call, which are no input of the next."""
    if not (folder / RECORD).is_file():
        return []
    names = [name for names in RESULTS.values() for name in names]
    return [folder / name for name in names if (folder / name).is_dir()]


def parse_formats(text: str) -> tuple[str, ...]:
    """Return the formats in a text with commas.

    Raises:
        ValueError: If there is none, or one is not known.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(',') if part.strip()))
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise ValueError(
            f'--format {text or "(nothing)"}: choose from {", ".join(FORMATS)}, with commas.'
        )
    return names


class Outputs:
    """Writes results into a folder and remembers which images are done.

    Args:
        folder (Path): The folder; it is made.
        formats (Sequence[str]): Keys of :data:`FORMATS`.
        settings (Mapping[str, object]): Everything that the results depend on, as JSON knows it.
        overwrite (bool): Whether to begin again where the folder holds results of other settings.

    Raises:
        ValueError: If the folder holds results of other settings.
    """

    def __init__(
        self,
        folder: Path,
        *,
        formats: Sequence[str],
        settings: Mapping[str, object],
        overwrite: bool = False,
    ) -> None:
        self.folder, self.formats = folder, tuple(formats)
        self._settings = json.loads(json.dumps({**settings, 'formats': sorted(formats)}))
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / RECORD
        if overwrite:
            self._remove_old()
        self._lines: dict[str, dict] = {} if overwrite else self._read()
        self._rewrite()

    def check_names(self, sources: Sequence[Source]) -> None:
        """Refuse images whose files would replace those of other images of earlier calls.

        Raises:
            ValueError: Naming both images.
        """
        owners = {line['name']: path for path, line in self._lines.items()}
        for source in sources:
            owner = owners.get(source.name, source.path)
            if owner != source.path:
                raise ValueError(
                    f'{self.folder} holds results of {owner} as {source.name}, which those of '
                    f'{source.path} would replace: name another --out.'
                )

    def is_done(self, source: Source) -> bool:
        """Return whether this version of an image has been segmented and its files are there."""
        line = self._lines.get(source.path)
        if line is None or line['version'] != version_of(source.path):
            return False
        return all((self.folder / file).is_file() for file in line['files'])

    def write(self, source: Source, result: InferenceResult) -> None:
        """Write the files of one image and note that it is done."""
        files = []
        for form, kind in (('png', 'overlay'), ('groups', 'groups'), ('label', 'labels')):
            if form in self.formats:
                file = Path(kind, f'{source.name}.png')
                result.save(self.folder / file, kind)
                files.append(file.as_posix())
        if 'yolo' in self.formats:
            files += write_yolo(self.folder, source, result)
        height, width = result.label_map.shape
        self.note(
            source, files, size=(width, height), shares=result.shares, coco=self._coco(result)
        )

    def note(self, source: Source, files: Sequence[str], **values: object) -> None:
        """Note that a source is done."""
        line = dict(image=source.path, name=source.name, files=list(files), **values)
        line['version'] = version_of(source.path)
        self._lines[source.path] = json.loads(json.dumps(line))
        from groupvit_mmseg.atomic_files import naming_file  # it imports PyTorch

        with naming_file(self._path), self._path.open('a', encoding='utf-8') as stream:
            stream.write(json.dumps(line) + '\n')

    def finish(
        self, sources: Sequence[Source], class_names: Sequence[str], first: int
    ) -> list[str]:
        """Write the files about all images.

        Args:
            sources (Sequence[Source]): The images that the command was given.
            class_names (Sequence[str]): By label.
            first (int): The first label that is not the background.

        Returns:
            list[str]: Their names.
        """
        lines = [self._lines[source.path] for source in sources if source.path in self._lines]
        contents: dict[str, str] = {}
        if 'json' in self.formats:
            images = [
                {key: line.get(key) for key in ('image', 'size', 'shares', 'files')}
                for line in lines
            ]
            content = {'classes': list(class_names), 'images': images}
            contents['shares.json'] = json.dumps(content, indent=1)
        if 'coco' in self.formats:
            contents['coco.json'] = json.dumps(coco_file(lines, class_names, first), indent=1)
        if 'yolo' in self.formats:
            contents[DATA_FILE] = data_yaml(class_names[first:])
        for name, text in contents.items():
            write_text(self.folder / name, text)
        return list(contents)

    def _coco(self, result: InferenceResult) -> list[dict] | None:
        """Return the annotations of an image if the formats need them."""
        return result.to_coco() if 'coco' in self.formats else None

    def _read(self, *, any_settings: bool = False) -> dict[str, dict]:
        """Return the lines of an earlier call with the same settings; a torn line is left out.

        Args:
            any_settings (bool): Whether they may be of other settings. Defaults to False.

        Raises:
            ValueError: If the file is no record, or one of other settings.
        """
        if not self._path.is_file():
            return {}
        texts = self._path.read_text(encoding='utf-8').split('\n')[:-1]
        try:
            header, *lines = [json.loads(text) for text in texts]
            done = {line['image']: line for line in lines}
            if 'formats' not in header or any(not set(line) >= LINE_KEYS for line in lines):
                raise KeyError('formats')
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f'{self._path} is not a record of this command: name another --out, or --overwrite.'
            ) from error
        differing = [key for key in self._settings if header.get(key) != self._settings[key]]
        if differing and not any_settings:
            raise ValueError(
                f'{self.folder} holds results of other {", ".join(differing)}: name another '
                '--out, or --overwrite to segment everything again.'
            )
        return done

    def _remove_old(self) -> None:
        """Remove the files of an earlier call, which would not belong to the new ones."""
        try:
            lines = self._read(any_settings=True).values()
        except ValueError:  # a damaged record: nothing is known about the files
            return
        files = [file for line in lines for file in line['files']]
        if lines:
            files += [*RESULTS['json'], *RESULTS['coco'], DATA_FILE]
        inside = self.folder.resolve()
        for file in files:
            path = (self.folder / file).resolve()
            if path.is_relative_to(inside) and path.is_file():
                path.unlink()

    def _rewrite(self) -> None:
        """Write the settings and the lines that count."""
        lines = [self._settings, *self._lines.values()]
        write_text(self._path, ''.join(json.dumps(line) + '\n' for line in lines))


def version_of(path: str) -> list[int] | None:
    """Return size and time of a file, or None for what is no file."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def coco_file(lines: Sequence[Mapping], class_names: Sequence[str], first: int) -> dict:
    """Return the content of a COCO file of the images of a record."""
    images: list[dict] = []
    annotations: list[dict] = []
    for image_id, line in enumerate(lines, start=1):
        if line.get('coco') is None:  # a video
            continue
        width, height = line['size']
        images.append(dict(id=image_id, file_name=line['image'], width=width, height=height))
        for annotation in line['coco']:
            annotations.append({**annotation, 'id': len(annotations) + 1, 'image_id': image_id})
    names = enumerate(class_names[first:], start=first)
    return dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=label, name=name, supercategory='') for label, name in names],
    )


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the whole new one."""
    from groupvit_mmseg import atomic_files  # it imports PyTorch

    atomic_files.write_text(path, text)
