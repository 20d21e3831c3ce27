"""Every option of a ``GroupViTSegmentor``'s ``test_cfg``, with its default and its range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from groupvit_mmseg.models.window_views import WindowView, window_views

PRECISIONS = ('fp32', 'fp32-plain', 'bf16', 'int8', 'auto')
MAX_SCALE = 4


class InferenceOptions(NamedTuple):
    """Options of a segmentation; :func:`read_options` reads them from a ``test_cfg``.

    Attributes:
        mode (str): ``'whole'``, or ``'slide'`` for windows. Defaults to ``'whole'``.
        crop_size (tuple[int, int], optional): Height and width of a window in pixels; used by
            ``'slide'``. Defaults to None.
        stride (tuple[int, int], optional): Pixels between windows, at most ``crop_size``; used by
            ``'slide'``. Defaults to None.
        window_batch_size (int): Windows that go through the backbone together, of one image or of
            several. Defaults to 8.
        with_scores (bool): Whether results hold ``seg_logits``, a value per class and pixel.
            Without them memory does not grow with the number of classes. Defaults to True.
        with_confidence (bool): Whether results hold ``seg_confidence``, the score of each pixel's
            class; of the background, one minus the best other score. Defaults to False.
        with_group_map (bool): Whether results hold ``pred_group_map``, the segment of each pixel;
            needs ``mode='whole'``. Defaults to False.
        pamr_steps (int): Iterations of PAMR on the scores, by the image. It holds 192 bytes a
            pixel besides. Defaults to 0.
        crf_steps (int): Iterations of a fully connected CRF on the scores, after PAMR if both are
            asked for. Needs pydensecrf2, and memory for all classes that any window lets through.
            Defaults to 0.
        precision (str): How the backbone computes. ``'fp32'``; on CPUs with oneDNN's linear layers.
            ``'fp32-plain'``, with PyTorch's own. ``'bf16'``, under autocast. ``'int8'``, on CPUs,
            with quantised linear layers. ``'auto'``, the fastest of the first three on this CPU,
            and ``'fp32'`` on other devices. Defaults to ``'fp32'``.
        tta_scales (tuple[float, ...]): Sizes in which each window is encoded, factors on its sides
            above 0 and at most 4. Defaults to ``(1.0,)``.
        tta_flip (bool): Whether each is encoded with left and right exchanged too. All views of a
            window have the mean of their images in common, which chooses the ``top_k`` words and
            has the share ``image_weight``; their scores are averaged. Defaults to False.
    """

    mode: str = 'whole'
    crop_size: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    window_batch_size: int = 8
    with_scores: bool = True
    with_confidence: bool = False
    with_group_map: bool = False
    pamr_steps: int = 0
    crf_steps: int = 0
    precision: str = 'fp32'
    tta_scales: tuple[float, ...] = (1.0,)
    tta_flip: bool = False

    @property
    def views(self) -> tuple[WindowView, ...]:
        """Views of every window."""
        return window_views(self.tta_scales, self.tta_flip)

    def changed(self) -> dict[str, object]:
        """Return the options that differ from their default; window sizes only with windows."""
        unused = () if self.mode == 'slide' else ('crop_size', 'stride')
        return {
            name: value
            for name, value in self._asdict().items()
            if name not in unused and value != self._field_defaults[name]
        }


def read_options(test_cfg: Mapping[str, object] | None) -> InferenceOptions:
    """Read and check the options of a ``test_cfg``.

    Args:
        test_cfg (Mapping[str, object], optional): Some of the fields of :class:`InferenceOptions`.

    Returns:
        InferenceOptions: These values, and the defaults of the other fields.

    Raises:
        ValueError: If there is no such option, a value is out of its range, or two do not fit.
    """
    values = dict(test_cfg or {})
    unknown = sorted(set(values) - set(InferenceOptions._fields))
    if unknown:
        raise ValueError(
            f'test_cfg has no option {", ".join(unknown)}: it has '
            f'{", ".join(InferenceOptions._fields)}.'
        )
    if 'tta_scales' in values:
        values['tta_scales'] = read_scales(values['tta_scales'])
    options = InferenceOptions(**values)  # type: ignore[arg-type]  # checked below
    _check_values(options)
    if options.mode == 'slide':
        _check_windows(options)
        if options.with_group_map:
            raise ValueError(
                "with_group_map=True needs test_cfg mode='whole': in sliding windows each window "
                'has groups of its own.'
            )
    if options.with_group_map and len(options.views) > 1:
        raise ValueError('with_group_map=True needs test_cfg without tta: views have other groups.')
    return options


def read_scales(scales: object) -> tuple[float, ...]:
    """Return the sizes of test-time augmentation as numbers.

    Raises:
        ValueError: If there is none, one twice, or one out of its range.

    Example:
        >>> read_scales(1), read_scales([0.75, 1.25])
        ((1.0,), (0.75, 1.25))
    """
    listed = list(scales) if isinstance(scales, (list, tuple)) else [scales]
    numbers = [each for each in listed if isinstance(each, int | float) and each is not True]
    in_range = [float(each) for each in numbers if 0 < each <= MAX_SCALE]
    if not listed or len(in_range) != len(listed) or len(set(in_range)) != len(listed):
        raise ValueError(
            f'test_cfg tta_scales = {scales!r} are not different numbers above 0 and at most '
            f'{MAX_SCALE}.'
        )
    return tuple(in_range)


def refuse_options(options: InferenceOptions, carried: tuple[str, ...], what: str) -> None:
    """Raise ``ValueError`` for options that an operation does not support, new ones included.

    Args:
        options (InferenceOptions): Options of the segmentor.
        carried (tuple[str, ...]): Names of options that are supported or have no effect.
        what (str): The operation, as the beginning of a sentence.
    """
    for name, value in options.changed().items():
        if name not in carried:
            raise ValueError(
                f'{what} without {name}, but model.test_cfg has {name}={value!r}: set it to '
                f'{options._field_defaults[name]!r}.'
            )


def _check_values(options: InferenceOptions) -> None:
    """Refuse a value out of its range."""
    choices = dict(
        mode=('whole', 'slide'),
        precision=PRECISIONS,
        with_scores=(True, False),
        with_confidence=(True, False),
        with_group_map=(True, False),
        tta_flip=(True, False),
    )
    for name, allowed in choices.items():
        if getattr(options, name) not in allowed:
            raise ValueError(
                f'test_cfg {name} = {getattr(options, name)!r} is none of '
                f'{", ".join(map(repr, allowed))}.'
            )
    for name, least in dict(window_batch_size=1, pamr_steps=0, crf_steps=0).items():
        if not is_count(getattr(options, name), least):
            raise ValueError(
                f'test_cfg {name} = {getattr(options, name)!r} must be a whole number of at least '
                f'{least}.'
            )


def _check_windows(options: InferenceOptions) -> None:
    """Refuse windows without a size, or with pixels between them."""
    for name in ('crop_size', 'stride'):
        size = getattr(options, name)
        if not (isinstance(size, (tuple, list)) and len(size) == 2 and all(map(is_count, size))):
            raise ValueError(
                f"test_cfg mode='slide' needs {name}=(HEIGHT, WIDTH) in pixels, not {size!r}."
            )
    assert options.crop_size is not None
    assert options.stride is not None
    if any(step > side for side, step in zip(options.crop_size, options.stride)):
        raise ValueError(
            f'test_cfg stride = {tuple(options.stride)} is larger than crop_size = '
            f'{tuple(options.crop_size)}: no window would see the pixels between two.'
        )


def is_count(value: object, least: int = 1) -> bool:
    """Return whether a value is a whole number of at least ``least``."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
