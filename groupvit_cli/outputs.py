"""The files that ``groupvit segment`` writes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from groupvit_cli.record import RECORD, Record, recorded_settings, version_of, write_text
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
    """Return the folders of an earlier call's formats, which are no input of the next call."""
    if not (folder / RECORD).is_file():
        return []
    recorded = recorded_settings(folder).get('formats')
    formats = recorded if isinstance(recorded, list) else list(RESULTS)
    names = [name for form in formats for name in RESULTS.get(str(form), ())]
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
        folder.mkdir(parents=True, exist_ok=True)
        self.record = Record(folder, {**settings, 'formats': sorted(formats)})
        if overwrite:
            self._remove_old()
        else:
            self.record.read()
        self.record.begin(anew=overwrite)

    def is_done(self, source: Source) -> bool:
        """Return whether this version of an image has been segmented and its files are there."""
        line = self.record.line_of(source)
        if source.kind == 'camera' or line is None or line['version'] != version_of(source.path):
            return False
        return all((self.folder / file).is_file() for file in line['files'])

    def write(self, source: Source, result: InferenceResult) -> list[str]:
        """Write the files of one image and note that it is done; return the files."""
        files = []
        for form, kind in (('png', 'overlay'), ('groups', 'groups'), ('label', 'labels')):
            if form in self.formats:
                file = Path(kind, f'{source.name}.png')
                result.save(self.folder / file, kind)
                files.append(file.as_posix())
        if 'yolo' in self.formats:
            files += write_yolo(self.folder, source, result)
        height, width = result.label_map.shape
        self.record.add(
            source, files, size=(width, height), shares=result.shares, coco=self._coco(result)
        )
        return files

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
        lines = [line for line in map(self.record.line_of, sources) if line is not None]
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

    def _remove_old(self) -> None:
        """Remove the files of an earlier call, which would not belong to the new ones."""
        try:
            lines = self.record.read(any_settings=True)
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
