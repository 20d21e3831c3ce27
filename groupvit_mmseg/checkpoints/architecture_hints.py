"""What shapes do not tell of a model, and what the files with the weights say of it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class Normalization(NamedTuple):
    """How pictures become the input of a model.

    Attributes:
        mean (tuple[float, ...]): Subtracted from pixels in [0, 255], per channel.
        std (tuple[float, ...]): What they are divided by then.
        rgb (bool): Whether the channels are red, green, blue; otherwise blue, green, red.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    rgb: bool = True


IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


class Hints(NamedTuple):
    """What the tensors do not tell; None where nothing is known.

    Attributes:
        num_heads (Sequence[int], optional): Attention heads per stage of the image tower.
        text_heads (int, optional): Attention heads of the text tower.
        img_size (tuple[int, int], optional): ``H, W`` in pixels of the position embedding.
        assign_scale (float, optional): Factor on the assignment logits.
        normalization (Normalization, optional): Of the pictures.
    """

    num_heads: Sequence[int] | None = None
    text_heads: int | None = None
    img_size: tuple[int, int] | None = None
    assign_scale: float | None = None
    normalization: Normalization | None = None

    def completed(self, other: 'Hints') -> 'Hints':
        """Fill unset fields from another."""
        said = {name: value for name, value in self._asdict().items() if value is not None}
        return other._replace(**said)


class Settings(NamedTuple):
    """What one place says of a model, under the names of the plugin's configs.

    Attributes:
        where (str): The place, for messages.
        backbone (Mapping): Of the image tower; sequences are tuples, sizes ``(H, W)``.
        text_encoder (Mapping): Of the text tower.
        normalization (Normalization, optional): Of the pictures.
        answers (Mapping, optional): What the model answered when it was written; see
            :mod:`groupvit_mmseg.conversion.fingerprint`.
    """

    where: str
    backbone: Mapping[str, Any] = {}
    text_encoder: Mapping[str, Any] = {}
    normalization: Normalization | None = None
    answers: Mapping[str, Any] | None = None

    @property
    def hints(self) -> Hints:
        """The part that shapes do not tell."""
        return Hints(
            self.backbone.get('num_heads'),
            self.text_encoder.get('num_heads'),
            self.backbone.get('img_size'),
            self.backbone.get('assign_scale'),
            self.normalization,
        )


class Told(NamedTuple):
    """What all places together say.

    Attributes:
        hints (Hints): The values.
        places (dict[str, str]): Where each comes from, by the name of the field.
    """

    hints: Hints
    places: dict[str, str]


def agreed(settings: Iterable[Settings]) -> Told:
    """What several places say, if they do not contradict each other.

    Args:
        settings (Iterable[Settings]): Of one model, of each place.

    Raises:
        ValueError: If two places say different things; names both.
    """
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for each in settings:
        check_kinds(each)
        for name, value in each.hints._asdict().items():
            if value is None:
                continue
            if name in values and values[name] != value:
                raise ValueError(
                    f'{places[name]} and {each.where} disagree on {name}, {plain(values[name])} '
                    f'and {plain(value)}: leave the option out, or move away the file that is not '
                    'of this model.'
                )
            values.setdefault(name, value)
            places.setdefault(name, each.where)
    return Told(Hints(**values), places)


def check_kinds(settings: Settings) -> None:
    """Raise ``ValueError`` if a place gives a value of another kind than its setting has."""
    heads, text_heads, size, scale, _ = settings.hints
    kinds = {
        'num_heads': (heads, 'one number of 1 or more for each stage', _are_counts(heads)),
        'text_heads': (text_heads, 'a number of 1 or more', _are_counts((text_heads,))),
        'img_size': (size, 'height and width', _are_counts(size) and len(size or ()) == 2),
        'assign_scale': (scale, 'a number', isinstance(scale, int | float)),
    }
    for name, (value, kind, is_kind) in kinds.items():
        if value is not None and not is_kind:
            raise ValueError(f'{settings.where} says {name} = {value!r}, which must be {kind}.')


def _are_counts(values: Any) -> bool:
    """Whether these are several numbers of 1 or more."""
    return isinstance(values, tuple) and all(isinstance(n, int) and n > 0 for n in values)


def plain(value: Any) -> Any:
    """A setting as a message shows it."""
    if isinstance(value, Normalization):
        return {key: plain(part) for key, part in value._asdict().items()}
    return list(value) if isinstance(value, tuple) else value


# Shapes tell these, so a place that says otherwise is of another model.
SHAPED = {
    'backbone': (
        'patch_size',
        'in_channels',
        'embed_dims',
        'depths',
        'num_group_tokens',
        'num_output_groups',
    ),
    'text_encoder': ('context_length', 'embed_dims', 'num_layers', 'vocab_size'),
}


def check_belongs(settings: Settings, structure: Any) -> None:
    """Compare what a place says with the structure that the shapes tell.

    Args:
        settings (Settings): Of the place.
        structure (Structure): Of the tensors.

    Raises:
        ValueError: If the place is of another model; names one difference.
    """
    for part, names in SHAPED.items():
        said, found = getattr(settings, part), getattr(structure, part)
        for name in names:
            value = tuple(found[name]) if isinstance(found[name], list) else found[name]
            if name in said and said[name] != value:
                raise ValueError(
                    f'{settings.where} is of another model: its {part} has {name} = '
                    f'{plain(said[name])}, the weights have {plain(value)}; give the one that '
                    'belongs to them.'
                )
