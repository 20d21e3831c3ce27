"""Downloads: files of the result, what reproduces it, and the model with these words."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path, PurePath

from PIL import Image

from groupvit_cli.outputs import coco_file
from groupvit_mmseg.results import InferenceResult
from groupvit_web.deadline import Deadline
from groupvit_web.download import KINDS, Download
from groupvit_web.drawing import colours_of
from groupvit_web.errors import PageError, RequestCancelled
from groupvit_web.model_export import PRECISION_NOTE, ExportedModel, export_onnx, to_openvino
from groupvit_web.reproduction import command, options_of, python_program
from groupvit_web.segmentation import PageSegmenter, SegmentationRequest
from groupvit_web.uploads import Picture

__all__ = ['KINDS', 'Download', 'take_away', 'take_away_all']

EXPORTS = ('onnx', 'openvino')


def take_away(
    kind: str,
    segmenter: PageSegmenter,
    picture: Picture,
    request: SegmentationRequest,
    *,
    deadline: Deadline | None = None,
) -> Download:
    """Make a download.

    Args:
        kind (str): A key of :data:`KINDS`.
        segmenter (PageSegmenter): The model.
        picture (Picture): The picture.
        request (SegmentationRequest): Words and options.
        deadline (Deadline, optional): None takes the time limit of the page. Defaults to None.

    Returns:
        Download: The file; results have the full size of the picture.

    Raises:
        PageError: If there is no such kind, a package is missing, or as
            :meth:`.PageSegmenter.segment`.
    """
    (download,) = take_away_all([kind], segmenter, picture, request, deadline=deadline)
    return download


def take_away_all(
    kinds: Sequence[str],
    segmenter: PageSegmenter,
    picture: Picture,
    request: SegmentationRequest,
    *,
    deadline: Deadline | None = None,
) -> list[Download]:
    """Make several downloads of one segmentation; see :func:`take_away`.

    Args:
        kinds (Sequence[str]): Keys of :data:`KINDS`.
        segmenter (PageSegmenter): The model.
        picture (Picture): The picture.
        request (SegmentationRequest): Words and options.
        deadline (Deadline, optional): None takes the time limit of the page. Defaults to None.

    Returns:
        list[Download]: The files, exports last, as they have a time limit of their own.

    Raises:
        PageError: As :func:`take_away`.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise PageError(f'There is no download {unknown[0]!r}: choose {", ".join(KINDS)}.')
    downloads = _Downloads(segmenter, picture, request, deadline or segmenter.deadline())
    return [downloads.make(kind) for kind in sorted(kinds, key=EXPORTS.__contains__)]


class _Downloads:
    """The downloads of one picture; what several of them need is computed once."""

    def __init__(
        self,
        segmenter: PageSegmenter,
        picture: Picture,
        request: SegmentationRequest,
        deadline: Deadline,
    ) -> None:
        self.segmenter, self.picture, self.request = segmenter, picture, request
        self.model, self.deadline = segmenter.model, deadline
        self.classes = segmenter.classes(request)
        self.options = options_of(self.model, request)
        self.file = file_name(picture)
        self.stem = PurePath(self.file).stem

    @cached_property
    def result(self) -> InferenceResult:
        """The segmentation at full size."""
        return self.segmenter.result(self.picture, self.request, deadline=self.deadline)

    @cached_property
    def exported(self) -> ExportedModel:
        """The ONNX file."""
        return export_onnx(self.segmenter, self.classes, self.options, self.deadline)

    def make(self, kind: str) -> Download:
        """Make a download."""
        makers: dict[str, Callable[[], Download]] = {
            'overlay': self._overlay,
            'labels': self._labels,
            'json': self._json,
            'coco': self._coco,
            'python': self._python,
            'command': self._command,
            'onnx': self._onnx,
            'openvino': self._openvino,
            'zip': self._zip,
        }
        if kind not in EXPORTS:
            self.deadline.check()
        return makers[kind]()

    def _overlay(self) -> Download:
        colours = colours_of(self.classes, self.request.colours)
        figure = self.result.overlay(opacity=self.request.opacity, colours=colours)
        return self._png(Image.fromarray(figure), f'{self.stem}-overlay.png')

    def _labels(self) -> Download:
        labels = self.result.to_image('labels')
        labels.putpalette(colours_of(self.classes, self.request.colours).tobytes())
        return self._png(labels, f'{self.stem}-labels.png')

    def _png(self, image: Image.Image, name: str) -> Download:
        stream = io.BytesIO()
        image.save(stream, format='PNG')
        return Download(name, stream.getvalue(), 'image/png')

    def _json(self) -> Download:
        height, width = self.result.label_map.shape
        classes = self.classes._asdict()
        content = dict(
            image=self.file,
            size=[width, height],
            shares=self.result.shares,
            model=self.model.source,
            licence=self.model.license_line,
            **self.options,
            classes={name: value for name, value in classes.items() if value not in ((), {})},
        )
        return self._text(f'{self.stem}-shares.json', json.dumps(content, indent=1), 'json')

    def _coco(self) -> Download:
        height, width = self.result.label_map.shape
        line = dict(image=self.file, size=[width, height], coco=self.result.to_coco())
        first = int(self.classes.with_background)
        content = coco_file([line], self.classes.class_names, first)
        return self._text(f'{self.stem}-coco.json', json.dumps(content), 'json')

    def _text(self, name: str, text: str, kind: str) -> Download:
        media_type = 'application/json' if kind == 'json' else 'text/plain; charset=utf-8'
        return Download(name, text.encode(), media_type)

    def _python(self) -> Download:
        text = python_program(self.model, self.file, self.request, self.classes)
        return self._text('segment.py', text, 'python')

    def _command(self) -> Download:
        text = command(self.model, self.file, self.request, self.classes)
        return self._text('segment.sh', text, 'command')

    def _onnx(self) -> Download:
        content, notes = self.exported
        name = f'{plain_name(self.model.name)}.onnx'
        return Download(name, content, 'application/octet-stream', notes)

    def _openvino(self) -> Download:
        content, notes = self.exported
        name = f'{plain_name(self.model.name)}-openvino.zip'
        return Download(name, to_openvino(content), 'application/zip', (*notes, PRECISION_NOTE))

    def _zip(self) -> Download:
        """Pack everything, with the picture; what cannot be made is named in a note."""
        stream, notes = io.BytesIO(), []
        with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(self.file, _content(self.picture))
            for kind in KINDS:
                if kind == 'zip':
                    continue
                try:
                    download = self.make(kind)
                except RequestCancelled:
                    raise
                except PageError as error:
                    if kind not in EXPORTS:
                        self.deadline.check()
                    notes.append(f'Not included: {KINDS[kind]}. {error}')
                    continue
                archive.writestr(download.name, download.content)
                notes += [note for note in download.notes if note not in notes]
            archive.writestr('README.txt', '\n'.join([self.model.license_line, *notes]) + '\n')
        name = f'{self.stem}-segmentation.zip'
        return Download(name, stream.getvalue(), 'application/zip', tuple(notes))


def plain_name(name: str) -> str:
    """Return the last part of a path or an address without what file names should not have."""
    return re.sub(r'[^\w.-]+', '-', PurePath(name.replace('\\', '/')).name).strip('.-')


def file_name(picture: Picture) -> str:
    """Return a plain file name for a picture, for programs and downloads."""
    name = plain_name(picture.name)
    if not PurePath(name).suffix:
        name = f'{name or "picture"}.png'
    return name


def _content(picture: Picture) -> bytes:
    """Return the file of a picture."""
    source = picture.source
    try:
        return source.read_bytes() if isinstance(source, Path) else source
    except OSError as error:
        raise PageError(f'{picture.name} is not there any more: choose it again.') from error
