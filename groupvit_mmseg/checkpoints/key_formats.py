"""Formats of the keys of a state dict, and conversion to the pretrainer's keys."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from groupvit_mmseg.checkpoints.key_map import (
    from_hugging_face,
    from_official,
    to_hugging_face,
    to_official,
)

Tensors = dict[str, Tensor]


class KeyFormat(NamedTuple):
    """The key format of an implementation.

    Attributes:
        title (str): Its name in messages.
        marks (tuple[str, ...]): Parts of keys that only this format has.
        decode (Callable): Converts tensors with these keys to the pretrainer's keys.
        encode (Callable): The inverse.
        dropped (Mapping[str, str]): Patterns of keys that are left out on reading -> the reason.
        lost (Mapping[str, str]): Pretrainer's keys that have no counterpart -> the reason.
    """

    title: str
    marks: tuple[str, ...]
    decode: Callable[[Mapping[str, Tensor]], Tensors]
    encode: Callable[[Mapping[str, Tensor]], Tensors]
    dropped: Mapping[str, str] = {}
    lost: Mapping[str, str] = {}


SEGMENTOR_TO_PRETRAINER = {
    'decode_head.text_encoder.': 'text_encoder.',
    'decode_head.image_projector.': 'image_projector.',
    'decode_head.text_projector.': 'text_projector.',
    'decode_head.logit_scale': 'loss_contrastive.logit_scale',
}


def _from_plugin(state_dict: Mapping[str, Tensor]) -> Tensors:
    """Return a pretrainer's tensors as they are, a segmentor's under the pretrainer's keys."""
    tensors = {}
    for key, value in state_dict.items():
        old = next((p for p in SEGMENTOR_TO_PRETRAINER if key.startswith(p)), '')
        tensors[SEGMENTOR_TO_PRETRAINER.get(old, '') + key[len(old) :]] = value
    return tensors


OFFICIAL = KeyFormat(
    'official',
    marks=('img_encoder.', 'text_encoder.transformer.', 'text_encoder.ln_final.'),
    decode=from_official,
    encode=to_official,
)
HUGGING_FACE = KeyFormat(
    'Hugging Face',
    marks=('vision_model.', 'text_model.', 'visual_projection.'),
    decode=from_hugging_face,
    encode=to_hugging_face,
    dropped={r'.*\.position_ids$': 'a constant, which the model computes itself'},
    lost={'loss_multi_label.logit_scale': 'transformers has no multi-label loss'},
)
PLUGIN = KeyFormat(
    'plugin',
    marks=('backbone.', 'decode_head.text_encoder.', 'text_encoder.blocks.'),
    decode=_from_plugin,
    encode=dict,
    dropped={r'loss_multi_label\.\d+\.': 'one of several losses of a training'},
)
KEY_FORMATS = (OFFICIAL, HUGGING_FACE, PLUGIN)


class RenamedTensors(NamedTuple):
    """Tensors under the pretrainer's keys.

    Attributes:
        tensors (dict[str, Tensor]): The tensors.
        key_format (KeyFormat): The format of their keys before.
        dropped (dict[str, str]): Keys that were left out -> the reason.
    """

    tensors: Tensors
    key_format: KeyFormat
    dropped: dict[str, str]


def key_format_of(state_dict: Mapping[str, Tensor]) -> KeyFormat | None:
    """Return the format of the keys of a state dict; None if it is unknown.

    Args:
        state_dict (Mapping[str, Tensor]): Of a whole model or a part.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.checkpoints.key_formats import key_format_of
        >>> key_format_of({'vision_model.layernorm.weight': torch.ones(4)}).title
        'Hugging Face'
    """
    for key_format in KEY_FORMATS:
        if any(mark in key for key in state_dict for mark in key_format.marks):
            return key_format
    return None


def to_pretrainer_names(state_dict: Mapping[str, Tensor], key_format: KeyFormat) -> RenamedTensors:
    """Decode a state dict; a prefix that all of its keys share is dropped.

    Args:
        state_dict (Mapping[str, Tensor]): With keys of ``key_format``.
        key_format (KeyFormat): Their format.

    Raises:
        ValueError: If keys are not GroupViT's; lists them.
    """
    plain = without_prefix(state_dict, key_format)
    dropped = {
        key: reason
        for key in plain
        for pattern, reason in key_format.dropped.items()
        if re.match(pattern, key)
    }
    rest = {key: value for key, value in plain.items() if key not in dropped}
    return RenamedTensors(key_format.decode(rest), key_format, dropped)


def without_prefix(state_dict: Mapping[str, Tensor], key_format: KeyFormat) -> Tensors:
    """Remove the prefix that wrappers put before all keys, such as ``module.``."""
    prefixes = [
        key[: key.index(mark)]
        for key in state_dict
        for mark in key_format.marks
        if mark in key and _begins_a_name(key, mark)
    ]
    prefix = min(prefixes, key=len, default='')
    return {key.removeprefix(prefix): value for key, value in state_dict.items()}


def _begins_a_name(key: str, mark: str) -> bool:
    """Return whether the mark is at the start, or after a dot."""
    place = key.index(mark)
    return place == 0 or key[place - 1] == '.'
