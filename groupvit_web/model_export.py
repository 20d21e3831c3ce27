"""The model with the words of a request frozen in: ONNX and OpenVINO."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from groupvit_mmseg.export import check_exportable
from groupvit_mmseg.text.class_list import ClassList
from groupvit_web import export_worker
from groupvit_web.deadline import Deadline
from groupvit_web.errors import PageError
from groupvit_web.export_worker import WHOLE
from groupvit_web.model import PageModel
from groupvit_web.segmentation import PageSegmenter

_EXPORTING = threading.Lock()  # one at a time: each takes a processor and the memory of a model
_ADVICE = 'try again later, or export on a faster machine with groupvit export'


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
    content = segmenter.exports.get(repr(classes))
    with segmenter.model.turn(deadline) as inferencer:
        try:
            short_side = inferencer.short_side()
            check_exportable(inferencer.segmentor, inferencer.options_with(**WHOLE))
        except ValueError as error:
            raise PageError(str(error)) from error
    if content is None:
        renewed = deadline.renewed(segmenter.limits.export_seconds, _ADVICE)
        content = _export(segmenter.model, classes, renewed)
        segmenter.exports.put(repr(classes), content, len(content))
    return ExportedModel(content, tuple(_notes(short_side, options)))


def _export(model: PageModel, classes: ClassList, deadline: Deadline) -> bytes:
    """Write the ONNX file in a process of its own, which ends with the request.

    While ``torch.export`` follows a model, it changes PyTorch for all threads of a process.
    """
    config = None if model.config is None else str(model.config)
    job = dict(source=model.source, config=config, classes=classes._asdict())
    while not _EXPORTING.acquire(timeout=0.05):
        deadline.check()
    try:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, 'model.onnx')
            _run_worker(json.dumps({**job, 'target': str(target)}), deadline)
            return target.read_bytes()
    finally:
        _EXPORTING.release()


def _run_worker(job: str, deadline: Deadline) -> None:
    """Run the worker on a job; it is killed when the request ends before it."""
    here = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join([here, *filter(None, [os.environ.get('PYTHONPATH')])])
    with subprocess.Popen(
        [sys.executable, '-m', export_worker.__name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': path},
        text=True,
    ) as worker:
        text: str | None = job
        while True:
            try:
                _, errors = worker.communicate(text, timeout=0.1)
                break
            except subprocess.TimeoutExpired:
                text = None
            try:
                deadline.check()
            except PageError:
                worker.kill()
                raise
    if worker.returncode:
        lines = errors.strip().splitlines() or [f'it ended with status {worker.returncode}']
        raise PageError(f'The export failed: {lines[-1].removeprefix("error: ")}')


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
