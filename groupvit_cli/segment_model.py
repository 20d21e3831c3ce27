"""The model of ``groupvit segment``: its device, its options, and what its results depend on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from groupvit_cli.record import recorded_settings, version_of

if TYPE_CHECKING:
    from groupvit_cli.segment import SegmentOptions
    from groupvit_mmseg.inference import GroupViTInferencer

AUTOMATIC = ('fp32', 'fp32-plain', 'bf16')
"""tuple[str, ...]: What ``auto`` may stand for."""
PRECISIONS = ('auto', *AUTOMATIC, 'int8')
"""tuple[str, ...]: As in ``models.inference_options``, which imports PyTorch."""


def make_inferencer(options: SegmentOptions) -> GroupViTInferencer:
    """Check the classes, load the model and set them."""
    from groupvit_cli.light_imports import light_imports
    from groupvit_cli.segment_classes import read_classes

    with light_imports():
        from groupvit_mmseg.inference import GroupViTInferencer

    classes = read_classes(options)
    inferencer = GroupViTInferencer.from_pretrained(
        options.model,
        config=options.config,
        device=choose_device(options.device),
        **classes,
    )
    changes = segmentation_options(options)
    if changes:
        inferencer.set_options(**changes)
    earlier = None if options.overwrite else recorded_precision(options.out)
    if earlier in AUTOMATIC and inferencer.segmentor.options.precision == 'auto':
        inferencer.set_options(precision=earlier)
    return inferencer


def recorded_precision(folder: Path) -> str | None:
    """Return the precision of the results in a folder: a call that continues keeps it."""
    precision = recorded_settings(folder).get('precision')
    return precision if isinstance(precision, str) else None


def check_precision(precision: str | None) -> None:
    """Raise ``ValueError`` for a precision that does not exist."""
    if precision not in (None, *PRECISIONS):
        raise ValueError(f'--precision {precision} is none of {", ".join(PRECISIONS)}.')


def segmentation_options(options: SegmentOptions) -> dict[str, object]:
    """Return the stated options of the segmentation, as ``set_options`` takes them."""
    stated = dict(mode=options.mode, pamr_steps=options.pamr_steps, precision=options.precision)
    return {name: value for name, value in stated.items() if value is not None}


def choose_device(name: str) -> str:
    """Return the device that ``auto`` stands for: CUDA, then Apple's MPS, then the CPU."""
    if name != 'auto':
        return name
    import torch

    if torch.cuda.is_available():
        return 'cuda'
    return 'mps' if torch.backends.mps.is_available() else 'cpu'


def settings_of(options: SegmentOptions, classes: NamedTuple, precision: str) -> dict[str, object]:
    """Return everything that the results depend on, with the precision that is used."""
    return dict(
        model=options.model,
        weights=version_of(options.model),
        config=version_of(str(options.config)) if options.config else None,
        classes={key: repr(value) for key, value in classes._asdict().items()},
        **{**segmentation_options(options), 'precision': precision},
        every=options.every,
        max_frames=options.max_frames,
    )
