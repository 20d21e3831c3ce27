"""The model with the words of a request frozen in: ONNX and OpenVINO."""

from __future__ import annotations

import io
import tempfile
import threading
import zipfile
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
from groupvit_web.model import PageModel

# torch.export changes global state: one export at a time.
_EXPORTING = threading.Lock()


class ExportedModel(NamedTuple):
    """An exported model.

    Attributes:
        content (bytes): ONNX file.
        notes (tuple[str, ...]): What differs from the page.
    """

    content: bytes
    notes: tuple[str, ...]


def export_onnx(
    model: PageModel,
    classes: ClassList,
    test_cfg: dict[str, object],
    deadline: Deadline,
) -> ExportedModel:
    """Export a model with fixed words to ONNX.

    Args:
        model (PageModel): The model.
        classes (ClassList): Its words.
        test_cfg (dict[str, object]): Options of the page; windows and PAMR are left out.
        deadline (Deadline): Time limit of the request.

    Raises:
        PageError: If the model has parts that a graph does not support, the ONNX packages are
            missing, or the time is over.
    """
    while not _EXPORTING.acquire(timeout=0.05):
        deadline.check()
    try:
        with model.turn(deadline) as inferencer:
            whole = inferencer.options_with(mode='whole', pamr_steps=0)
            with model.configured(inferencer, classes, whole):
                frozen = FrozenSegmentor(inferencer.segmentor)  # a copy, without the text tower
                metadata = metadata_of(inferencer.segmentor, inferencer.short_side())
        deadline.check()
        content = to_onnx(export_program(frozen), metadata)
    except (ImportError, ValueError) as error:
        if isinstance(error, PageError):
            raise
        raise PageError(str(error)) from error
    finally:
        _EXPORTING.release()
    return ExportedModel(content, tuple(_notes(metadata, test_cfg)))


def _notes(metadata: ExportMetadata, test_cfg: dict[str, object]) -> list[str]:
    """Return sentences about the use of the exported model."""
    notes = [
        f'Resize a picture so that its shorter side has {metadata.short_side} pixels; the input is '
        'RGB uint8 (1, H, W, 3), the outputs are the class and the segment of each pixel.'
    ]
    left_out = [
        what
        for what, is_used in (
            ('windows', test_cfg.get('mode') == 'slide'),
            ('PAMR', bool(test_cfg.get('pamr_steps'))),
        )
        if is_used
    ]
    if left_out:
        notes.append(
            f'The exported model segments a whole picture in one pass, without '
            f'{" and ".join(left_out)}: its maps differ from those of the page.'
        )
    return notes


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
