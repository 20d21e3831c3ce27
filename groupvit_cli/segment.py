"""``groupvit segment``: images, folders, videos and cameras to masks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.progress import Progress

from groupvit_cli.outputs import (
    Outputs,
    check_folder_of_results,
    parse_formats,
    result_folders,
)
from groupvit_cli.segment_model import check_precision, make_inferencer, settings_of
from groupvit_cli.sources import Source, find_sources
from groupvit_cli.summary import Summary

if TYPE_CHECKING:
    from groupvit_mmseg.inference import GroupViTInferencer
    from groupvit_mmseg.inference.preparation import PreparedImage
    from groupvit_mmseg.results import InferenceResult

LARGEST_BATCH = 8


class SegmentOptions(NamedTuple):
    """The options of the command; see ``groupvit segment --help``."""

    inputs: Sequence[str]
    out: Path
    words: str | None
    classes: Path | None
    model: str
    config: Path | None
    formats: str
    bg_thresh: float | None
    background: str | None
    thresholds: str | None
    negative: str | None
    templates: str | None
    mode: str | None
    pamr_steps: int | None
    precision: str | None
    device: str
    batch_size: str
    every: int
    max_frames: int | None
    overwrite: bool


def run(options: SegmentOptions) -> int:
    """Segment everything that the inputs name.

    Returns:
        int: 0, or 1 if some files could not be segmented.

    Raises:
        OSError: If an input, the model or the output folder cannot be used.
        ValueError: If an option cannot be used.
    """
    formats = parse_formats(options.formats)
    check_numbers(options)
    check_folder_of_results(options.out, formats, overwrite=options.overwrite)
    sources = find_sources(options.inputs, without=result_folders(options.out))
    check_formats(sources, formats)
    check_cameras(sources)
    inferencer = make_inferencer(options)
    head = inferencer.segmentor.decode_head
    outputs = Outputs(
        options.out,
        formats=formats,
        settings=settings_of(options, head.classes, inferencer.precision),
        overwrite=options.overwrite,
    )
    summary = Summary()
    todo = [source for source in sources if not outputs.is_done(source)]
    outputs.record.check_names(todo)
    summary.done_before = len(sources) - len(todo)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task('segmenting', total=len(todo))
        segment_images(inferencer, todo, outputs, summary, options, lambda: progress.advance(task))
        for source in todo:
            if source.kind != 'image':
                segment_frames(inferencer, source, outputs, summary, options)
                progress.advance(task)
    written = outputs.finish(sources, head.class_names, int(head.with_background))
    for line in summary.lines():
        print(line)
    names = [*(f'{name}/' for name in folders(formats)), *written]
    print(f'wrote {", ".join(str(options.out / name) for name in names)}')
    return 1 if summary.failures else 0


def folders(formats: Sequence[str]) -> list[str]:
    """Return the folders of the formats that are files of their own."""
    names = {'png': 'overlay', 'groups': 'groups', 'label': 'labels'}
    return [names[form] for form in formats if form in names]


def check_numbers(options: SegmentOptions) -> None:
    """Refuse numbers out of their range before a model is loaded.

    Raises:
        ValueError: Naming the option.
    """
    if options.bg_thresh is not None and not 0 <= options.bg_thresh <= 1:
        raise ValueError(f'--bg-thresh {options.bg_thresh} is outside [0, 1].')
    if options.batch_size != 'auto' and not (
        options.batch_size.isdigit() and int(options.batch_size) > 0
    ):
        raise ValueError(
            f"--batch-size {options.batch_size} is neither 'auto' nor a positive number."
        )
    if options.mode not in (None, 'whole', 'slide'):
        raise ValueError(f'--mode {options.mode} is neither whole nor slide.')
    check_precision(options.precision)
    if options.pamr_steps is not None and options.pamr_steps < 0:
        raise ValueError(f'--pamr-steps {options.pamr_steps} is negative.')
    if options.max_frames is not None and options.max_frames < 1:
        raise ValueError(f'--max-frames {options.max_frames} must be at least 1.')
    if not options.model.strip():
        raise ValueError('--model is empty: name weights, such as groupvit-gcc-yfcc.')
    if options.every < 1:
        raise ValueError(f'--every {options.every} must be at least 1.')
    if (options.words is None) == (options.classes is None):
        raise ValueError('Name the classes: --words "cat, dog, grass", or --classes FILE.')


def check_formats(sources: Sequence[Source], formats: Sequence[str]) -> None:
    """Refuse data sets of videos: their frames are no files.

    Raises:
        ValueError: If one is wanted.
    """
    moving = [source.path for source in sources if source.kind != 'image']
    wanted = [form for form in ('coco', 'yolo') if form in formats]
    if moving and wanted:
        raise ValueError(
            f'--format {wanted[0]} takes images, and {moving[0]} is a video: leave one out.'
        )


def check_cameras(sources: Sequence[Source]) -> None:
    """Raise ``ValueError`` for a camera that cannot be opened."""
    for source in sources:
        if source.kind == 'camera':
            from groupvit_cli.video import open_capture

            open_capture(source).release()


def segment_images(
    inferencer: GroupViTInferencer,
    sources: Sequence[Source],
    outputs: Outputs,
    summary: Summary,
    options: SegmentOptions,
    advance: Callable[[], None],
) -> None:
    """Segment image files in batches; one that cannot be read, or is too large, is named."""
    from groupvit_mmseg.out_of_memory import unless_out_of_memory

    for batch in batches(inferencer, sources, summary, options.batch_size, advance):
        for source, result in batch:
            if unless_out_of_memory(partial(outputs.write, source, result)) is None:
                summary.failures.append(too_large(source))
            else:
                summary.images += 1
                summary.add(result)
            advance()


def too_large(source: Source) -> str:
    """Say that the memory is too small for a source."""
    return f'{source.path} is too large for the memory: make it smaller, or name fewer words'


def batches(
    inferencer: GroupViTInferencer,
    sources: Sequence[Source],
    summary: Summary,
    batch_size: str,
    advance: Callable[[], None],
) -> Iterator[list[tuple[Source, InferenceResult]]]:
    """Yield the results of a batch at a time; ``auto`` halves it where the memory is too small."""
    from groupvit_mmseg.out_of_memory import unless_out_of_memory

    size = first_batch_size(inferencer, batch_size)
    waiting: list[tuple[Source, PreparedImage]] = []
    images = [source for source in sources if source.kind == 'image']
    for index, source in enumerate(images, start=1):
        try:
            waiting.append((source, inferencer.prepare(source.path)))
        except (OSError, ValueError) as error:
            summary.failures.append(str(error).rstrip('.'))
            advance()
        except MemoryError:
            summary.failures.append(too_large(source))
            advance()
        while waiting and (len(waiting) >= size or index == len(images)):
            part = waiting[:size]
            results = unless_out_of_memory(partial(inferencer.batch, [image for _, image in part]))
            if results is None and size > 1:
                size //= 2
                continue
            del waiting[: len(part)]
            if results is None:
                summary.failures.append(too_large(part[0][0]))
                advance()
                size = first_batch_size(inferencer, batch_size)
            else:
                yield [(each, result) for (each, _), result in zip(part, results, strict=True)]


def first_batch_size(inferencer: GroupViTInferencer, batch_size: str) -> int:
    """Return the number of images per batch: ``auto`` is one on a CPU."""
    if batch_size != 'auto':
        return int(batch_size)
    on_cpu = next(inferencer.segmentor.parameters()).device.type == 'cpu'
    return 1 if on_cpu else LARGEST_BATCH


def segment_frames(
    inferencer: GroupViTInferencer,
    source: Source,
    outputs: Outputs,
    summary: Summary,
    options: SegmentOptions,
) -> None:
    """Segment the frames of a video or a camera; write a video of overlays."""
    from groupvit_cli.video import FrameWriter, read_frames
    from groupvit_mmseg.out_of_memory import is_out_of_memory

    writer = FrameWriter(source, outputs.folder, outputs.formats)
    shares = []
    try:
        for frame in read_frames(source, every=options.every, max_frames=options.max_frames):
            result = inferencer(frame.image)
            writer.add(frame, result)
            shares.append({'frame': frame.number, **result.shares})
            summary.frames += 1
            summary.add(result)
    except (OSError, ValueError) as error:
        summary.failures.append(str(error).rstrip('.'))
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        summary.failures.append(too_large(source))
        return
    except KeyboardInterrupt:  # the way to end a camera
        if source.kind != 'camera':
            raise
        print(f'{source.path}: ended after {len(shares)} frames', file=sys.stderr)
    finally:
        files = writer.close()
    if shares:
        outputs.record.add(source, files, size=writer.size, shares=shares, coco=None)
