"""The model with the words of a request frozen in: ONNX and OpenVINO."""

from __future__ import annotations

import io
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from groupvit_mmseg.export import (
    ExportMetadata,
    FrozenSegmentor,
    export_program,
    metadata_of,
    to_onnx,
)
from groupvit_mmseg.text.class_list import ClassList
from groupvit_web.deadline import Deadline
from groupvit_web.errors import PageError
from groupvit_web.segmentation import PageSegmenter

# torch.export changes global state: one export at a time.
_EXPORTING = threading.Lock()


class ExportedModel(NamedTuple):
    """An exported model.

    Attributes:
        content (bytes): ONNX file.
        notes (tuple[str, ...]): How to use it, and what differs from the page.
    """

    content: bytes
    notes: tuple[str, ...]


def export_onnx(
    segmenter: PageSegmenter,
    classes: ClassList,
    options: Mapping[str, object],
    deadline: Deadline,
) -> ExportedModel:
    """Export a model with fixed words to ONNX, or look the export up.

    Args:
        segmenter (PageSegmenter): The model.
        classes (ClassList): Its words.
        options (Mapping[str, object]): Options of the page; windows and PAMR are left out.
        deadline (Deadline): Time limit of the request; an export that has begun ends.

    Raises:
        PageError: If the model has parts that a graph does not support, the ONNX packages are
            missing, or the time is over before it begins.
    """
    try:
        with segmenter.model.turn(deadline) as inferencer:
            short_side = inferencer.short_side()
            whole = inferencer.options_with(mode='whole', pamr_steps=0)
            content = segmenter.exports.get(repr(classes))
            if content is None:
                with segmenter.model.configured(inferencer, classes, whole):
                    frozen = FrozenSegmentor(inferencer.segmentor)  # a copy, for later
                    metadata = metadata_of(inferencer.segmentor, short_side)
        if content is None:
            content = _export(frozen, metadata, deadline)
            segmenter.exports.put(repr(classes), content, len(content))
    except (ImportError, ValueError) as error:
        if isinstance(error, PageError):
            raise
        raise PageError(str(error)) from error
    return ExportedModel(content, tuple(_notes(short_side, options)))


def _export(frozen: FrozenSegmentor, metadata: ExportMetadata, deadline: Deadline) -> bytes:
    """Write the ONNX file; other requests segment meanwhile."""
    while not _EXPORTING.acquire(timeout=0.05):
        deadline.check()
    try:
        return to_onnx(export_program(frozen), metadata)
    finally:
        _EXPORTING.release()


def _notes(short_side: int, options: Mapping[str, object]) -> Iterator[str]:
    """Yield sentences about the use of the exported model."""
    yield (
        f'Resize a picture so that its shorter side has {short_side} pixels; the input is RGB '
        'uint8 (1, H, W, 3), the outputs are the class and the segment of each pixel.'
    )
    left_out = ['windows'] if options.get('mode') == 'slide' else []
    left_out += ['PAMR'] if options.get('pamr_steps') else []
    if left_out:
        yield (
            'The exported model segments a whole picture in one pass, without '
            f'{" and ".join(left_out)}: its maps differ from those of the page.'
        )


def to_openvino(content: bytes) -> bytes:
    """Convert an ONNX file to OpenVINO, in 32 bits.

    Args:
        content (bytes): The ONNX file.

    Returns:
        bytes: ZIP file with ``model.xml`` and ``model.bin``.

    Raises:
        PageError: If OpenVINO is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise PageError(
            'The OpenVINO download needs openvino where the page runs: '
            'pip install "groupvit-mmseg[openvino]"'
        ) from error
    # Not openvino.convert_model: it sends usage statistics.
    converted = openvino.Core().read_model(model=content, weights=b'')
    stream = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'model.xml')
        openvino.save_model(converted, path, compress_to_fp16=False)
        del converted
        with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(Path(folder).iterdir()):
                archive.write(file, file.name)
    return stream.getvalue()
