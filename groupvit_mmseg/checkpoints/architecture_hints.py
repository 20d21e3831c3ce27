"""Settings of a model that the shapes of its tensors do not determine, from several places."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Normalization(NamedTuple):
    """Normalisation of a model's input images.

    Attributes:
        mean (tuple[float, ...]): Subtracted from pixels in [0, 255], per channel.
        std (tuple[float, ...]): Divisor of the result, per channel.
        rgb (bool): Whether the channels are red, green, blue; otherwise blue, green, red.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    rgb: bool = True


def normalization(mean: Sequence[float], std: Sequence[float], *, rgb: bool) -> Normalization:
    """Return a normalisation of pixels in [0, 255], rounded so that equal ones compare equal."""
    means, stds = (tuple(round(float(v), 4) for v in values) for values in (mean, std))
    return Normalization(means, stds, rgb)


IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


class Hints(NamedTuple):
    """Settings that the tensors do not determine; None where a setting is unknown.

    Attributes:
        num_heads (Sequence[int], optional): Attention heads per stage of the image tower.
        text_heads (int, optional): Attention heads of the text tower.
        img_size (tuple[int, int], optional): ``H, W`` in pixels of the position embedding.
        assign_scale (float, optional): Factor on the assignment logits.
        normalization (Normalization, optional): Of the input images.
        assignment (tuple[tuple[str, object], ...], optional): Options of the assignment that differ
            from the paper's, sorted by name.
    """

    num_heads: Sequence[int] | None = None
    text_heads: int | None = None
    img_size: tuple[int, int] | None = None
    assign_scale: float | None = None
    normalization: Normalization | None = None
    assignment: tuple[tuple[str, object], ...] | None = None

    def completed(self, other: 'Hints') -> 'Hints':
        """Fill unset fields from another."""
        known = {name: value for name, value in self._asdict().items() if value is not None}
        return other._replace(**known)


Sides = tuple[int, int]


class Decoding(NamedTuple):
    """How a config segments images, beside its classes and their threshold.

    Attributes:
        head (Mapping[str, object]): Of ``affinity``, ``top_k`` and ``image_weight``, those that the
            head of the config has.
        mode (str, optional): ``'whole'`` or ``'slide'``.
        windows (tuple[Sides, Sides], optional): Size and stride of windows in pixels.
        scale (Sides, optional): Longest and shortest side of images in pixels, of a config that
            resizes them with their ratio kept.
        size_factor (float, optional): Size of evaluated images over that of training, of a config
            that resizes by a factor.
        interpolation (str, optional): By which images are resized.
    """

    head: Mapping[str, object] = {}
    mode: str | None = None
    windows: tuple[Sides, Sides] | None = None
    scale: Sides | None = None
    size_factor: float | None = None
    interpolation: str | None = None


class Settings(NamedTuple):
    """Settings of a model from one place, under the names of the plugin's configs.

    Attributes:
        where (str): The place, for messages.
        backbone (Mapping[str, object]): Of the image tower; sequences are tuples, sizes ``(H, W)``.
        text_encoder (Mapping[str, object]): Of the text tower.
        normalization (Normalization, optional): Of the input images.
        answers (Mapping[str, object], optional): Outputs of the model for a fixed batch, computed
            when it was written; see :mod:`groupvit_mmseg.conversion.fingerprint`.
        decoding (Decoding, optional): How images are segmented with it.
    """

    where: str
    backbone: Mapping[str, object] = {}
    text_encoder: Mapping[str, object] = {}
    normalization: Normalization | None = None
    answers: Mapping[str, object] | None = None
    decoding: Decoding | None = None

    @property
    def hints(self) -> Hints:
        """The settings that shapes do not determine.

        Raises:
            ValueError: If a value has another type than its setting.
        """
        return Hints(
            _num_heads(self.where, self.backbone.get('num_heads')),
            _text_heads(self.where, self.text_encoder.get('num_heads')),
            _img_size(self.where, self.backbone.get('img_size')),
            _assign_scale(self.where, self.backbone.get('assign_scale')),
            self.normalization,
            _assignment(self.where, self.backbone.get('assignment')),
        )


def _num_heads(where: str, value: object) -> tuple[int, ...] | None:
    """Return attention heads per stage."""
    if value is None or (isinstance(value, tuple) and _are_counts(value)):
        return value
    raise _wrong_type(where, 'num_heads', value, 'one number of 1 or more for each stage')


def _text_heads(where: str, value: object) -> int | None:
    """Return attention heads of a text tower."""
    if value is None or (isinstance(value, int) and _are_counts((value,))):
        return value
    raise _wrong_type(where, 'text_heads', value, 'a number of 1 or more')


def _img_size(where: str, value: object) -> tuple[int, int] | None:
    """Return height and width."""
    if value is None:
        return None
    if isinstance(value, tuple) and len(value) == 2 and _are_counts(value):
        return value[0], value[1]
    raise _wrong_type(where, 'img_size', value, 'height and width')


def _assign_scale(where: str, value: object) -> float | None:
    """Return the factor on the assignment logits."""
    if value is None or isinstance(value, int | float):
        return value
    raise _wrong_type(where, 'assign_scale', value, 'a number')


def _assignment(where: str, value: object) -> tuple[tuple[str, object], ...] | None:
    """Return the options of the assignment that differ from the paper's."""
    if value is None:
        return None
    paper: dict[str, object] = dict(
        kind='hard', gumbel_noise=True, eps=1.0, mean_of_tokens=False, later_query_weight=1.0
    )
    if not isinstance(value, Mapping) or not set(value) <= set(paper):
        raise _wrong_type(where, 'assignment', value, f'a dict with keys of {", ".join(paper)}')
    return tuple(sorted((key, v) for key, v in value.items() if v != paper[key]))


def _are_counts(values: Iterable[object]) -> bool:
    """Return whether all values are integers of 1 or more."""
    return all(isinstance(n, int) and n > 0 for n in values)


def _wrong_type(where: str, name: str, value: object, expected: str) -> ValueError:
    """Return the error for a value of another type than its setting."""
    return ValueError(f'{where} has {name} = {value!r}, which must be {expected}.')


class MergedSettings(NamedTuple):
    """Settings from all places.

    Attributes:
        hints (Hints): The values.
        origins (dict[str, str]): Where each comes from, by the name of the field.
    """

    hints: Hints
    origins: dict[str, str]


def merge_settings(settings: Iterable[Settings]) -> MergedSettings:
    """Merge the settings of one model from several places.

    Args:
        settings (Iterable[Settings]): One per place.

    Raises:
        ValueError: If two places disagree, or a value has another type than its setting.
    """
    hints = Hints()
    origins: dict[str, str] = {}
    for each in settings:
        others = each.hints
        for name, value in others._asdict().items():
            if value is None:
                continue
            known = getattr(hints, name)
            if known is not None and known != value:
                raise ValueError(
                    f'{origins[name]} and {each.where} disagree on {name}, {plain(known)} '
                    f'and {plain(value)}: omit the option, or remove the file that does not '
                    'belong to this model.'
                )
            origins.setdefault(name, each.where)
        hints = hints.completed(others)
    return MergedSettings(hints, origins)


def stored_decoding(settings: Iterable[Settings]) -> Decoding:
    """Return how the first place that says so segments; an empty one where none does."""
    return next((each.decoding for each in settings if each.decoding is not None), Decoding())


def plain(value: object) -> object:
    """Return a setting as messages and JSON show it: lists and dicts in place of tuples."""
    if isinstance(value, Normalization):
        return {key: plain(part) for key, part in value._asdict().items()}
    return list(value) if isinstance(value, tuple) else value
