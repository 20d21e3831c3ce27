"""Frames of videos and cameras in, videos of overlays and label maps per frame out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from groupvit_cli.sources import CAMERA, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from groupvit_mmseg.results import InferenceResult

DEFAULT_RATE = 25.0


class Frame(NamedTuple):
    """A frame.

    Attributes:
        number (int): Its number in the video, from 0.
        image (NDArray): RGB ``(H, W, 3)`` uint8.
        rate (float): Frames per second at which those that are segmented follow each other.
    """

    number: int
    image: NDArray[np.uint8]
    rate: float


def read_frames(source: Source, *, every: int, max_frames: int | None) -> Iterator[Frame]:
    """Yield every ``every``-th frame.

    Args:
        source (Source): A video or a camera.
        every (int): 1 for all frames.
        max_frames (int, optional): After so many it ends; None for all.

    Raises:
        ValueError: If the video or camera cannot be opened, or gives no frame.
    """
    capture = open_capture(source)
    try:
        rate = capture.get(cv2.CAP_PROP_FPS)
        rate = (rate if 0 < rate < 1000 else DEFAULT_RATE) / every
        count = index = 0
        while max_frames is None or count < max_frames:
            if not capture.grab():
                break
            if index % every == 0:
                success, pixels = capture.retrieve()
                if not success:
                    break
                yield Frame(index, np.ascontiguousarray(pixels[..., ::-1]), rate)
                count += 1
            index += 1
        if not count:
            raise ValueError(f'{source.path} holds no frame that can be read.')
    finally:
        capture.release()


def open_capture(source: Source) -> cv2.VideoCapture:
    """Open a video or a camera.

    Raises:
        ValueError: If that is not possible.
    """
    camera = source.kind == 'camera'
    target = int(source.path.removeprefix(CAMERA)) if camera else source.path
    capture = cv2.VideoCapture(target)
    if not capture.isOpened():
        capture.release()
        reason = 'is there no camera of this number?' if camera else 'is it a video?'
        raise ValueError(f'{source.path} cannot be opened: {reason}')
    return capture


class FrameWriter:
    """Writes what the formats ask for of each frame.

    Args:
        source (Source): The video.
        folder (Path): The output folder.
        formats (Sequence[str]): Keys of ``outputs.FORMATS``.
    """

    def __init__(self, source: Source, folder: Path, formats: Sequence[str]) -> None:
        self._source, self._folder, self._formats = source, folder, formats
        self._video: cv2.VideoWriter | None = None
        self._files: list[str] = []
        self.size: tuple[int, int] | None = None

    def add(self, frame: Frame, result: InferenceResult) -> None:
        """Write one frame."""
        height, width = result.label_map.shape
        self.size = (width, height)
        for form, kind in (('groups', 'groups'), ('label', 'labels')):
            if form in self._formats:
                file = Path(kind, self._source.name, f'{frame.number:06}.png')
                result.save(self._folder / file, kind)
                self._files.append(file.as_posix())
        if 'png' not in self._formats:
            return
        figure = result.overlay(with_legend=False)
        if self._video is None:
            self._video = self._open((figure.shape[1], figure.shape[0]), frame.rate)
        self._video.write(np.ascontiguousarray(figure[..., ::-1]))

    def close(self) -> list[str]:
        """Finish the video and return the files that were written."""
        if self._video is not None:
            self._video.release()
        return self._files

    def _open(self, size: tuple[int, int], rate: float) -> cv2.VideoWriter:
        """Begin the video of overlays."""
        file = Path('overlay', f'{self._source.name}.mp4')
        path = self._folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate, size)
        if not video.isOpened():
            raise ValueError(f'{path} cannot be written: this build of OpenCV encodes no MP4.')
        self._files.append(file.as_posix())
        return video
