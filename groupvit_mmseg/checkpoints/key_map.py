"""Conversion of keys and tensors by the tables of :mod:`.key_tables`, in both directions."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from groupvit_mmseg.checkpoints.key_tables import (
    HUGGING_FACE,
    NESTED,
    OFFICIAL,
    OFFICIAL_PROJECTOR,
)

_WIDENS = re.compile(r'(backbone\.stages\.\d+\.group_projector\.)expand\.')
_PROJECTION_WEIGHT = re.compile(r'(image|img|text)_projector\..*weight$')
_FUSED = re.compile(r'(.*\.attn\.qkv\.)(weight|bias)$')
_SPLIT = re.compile(r'(.*\.attn\.qkv\.)[qkv]\.(weight|bias)$')


def _matcher(pattern: str) -> re.Pattern[str]:
    """Return the pattern as a regular expression whose groups are the indices."""
    expression = re.escape(pattern).replace(r'\*', r'(\d+)')
    return re.compile(expression if pattern.endswith('.') else expression + '$')


def rename(key: str, table: Mapping[str, str]) -> str | None:
    """Return the key here of another implementation's tensor; None if the table lacks it."""
    for pattern, target in table.items():
        match = _matcher(pattern).match(key)
        if match:
            for index in match.groups():
                target = target.replace('*', index, 1)
            return target + key[match.end() :]
    return None


def inverse(table: Mapping[str, str]) -> dict[str, str]:
    """Return the inverse of a table; of two entries with one target, the first is used."""
    inverted: dict[str, str] = {}
    for theirs, ours in table.items():
        inverted.setdefault(ours, theirs)
    return inverted


def rename_all(state_dict: Mapping[str, Tensor], table: Mapping[str, str]) -> dict[str, Tensor]:
    """Rename every tensor by a table.

    Args:
        state_dict (Mapping[str, Tensor]): Of the other implementation.
        table (Mapping[str, str]): Such as ``OFFICIAL`` or ``HUGGING_FACE``.

    Returns:
        dict[str, Tensor]: The same tensors.

    Raises:
        ValueError: If the table lacks keys, or maps several to one; lists them.
    """
    targets = {key: rename(key, table) for key in state_dict}
    unknown = [key for key, target in targets.items() if target is None]
    if unknown:
        raise ValueError(f'{len(unknown)} tensors have no place in GroupViT: {", ".join(unknown)}.')
    tensors = {str(targets[key]): value for key, value in state_dict.items()}
    if len(tensors) < len(state_dict):
        raise ValueError(f'Several tensors have the same meaning: {_doubles(targets)}.')
    return tensors


def _doubles(targets: Mapping[str, str | None]) -> str:
    """Return the keys that share their target with another one."""
    counts = Counter(targets.values())
    return ', '.join(key for key, target in targets.items() if counts[target] > 1)


def merge_qkv(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join ``attn.qkv.{q,k,v}.weight`` (and bias) to ``attn.qkv.weight``, rows q, k, v.

    Raises:
        ValueError: If parts of an attention are missing; lists them.
    """
    tensors: dict[str, Tensor] = {}
    missing = []
    for key, value in state_dict.items():
        match = _SPLIT.match(key)
        if match is None:
            tensors[key] = value
            continue
        name, kind = match.groups()
        parts = [f'{name}{part}.{kind}' for part in 'qkv']
        missing += [part for part in parts if part not in state_dict and part not in missing]
        if not missing and name + kind not in tensors:
            tensors[name + kind] = torch.cat([state_dict[part] for part in parts])
    if missing:
        raise ValueError(f'{len(missing)} tensors are missing: {_in_hugging_face(missing)}.')
    return tensors


def split_qkv(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split ``attn.qkv``: the inverse of :func:`merge_qkv`."""
    tensors = {}
    for key, value in state_dict.items():
        match = _FUSED.match(key)
        if match is None:
            tensors[key] = value
            continue
        for part, rows in zip('qkv', value.chunk(3), strict=True):
            tensors[f'{match[1]}{part}.{match[2]}'] = rows.clone()  # files refuse shared memory
    return tensors


def _in_hugging_face(keys: Iterable[str]) -> str:
    """Return keys here as a list of Hugging Face's."""
    table = inverse(HUGGING_FACE)
    return ', '.join(rename(key, table) or key for key in keys)


def from_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the official release's ``model`` entry for :class:`GroupViTPretrainer`.

    Projectors may hold conv1d weights ``(out, in, 1)`` or linear ones ``(out, in)``.

    Args:
        state_dict (Mapping[str, Tensor]): With the official keys.

    Returns:
        dict[str, Tensor]: With the pretrainer's keys.

    Raises:
        ValueError: If keys are not GroupViT's; lists them.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.checkpoints import from_official, to_official
        >>> ours = from_official({'img_projector.linear_out.weight': torch.zeros(8, 4, 1)})
        >>> {key: tuple(value.shape) for key, value in ours.items()}
        {'image_projector.out.weight': (8, 4)}
        >>> list(to_official(ours))
        ['img_projector.linear_out.weight']
    """
    tensors = rename_all(state_dict, OFFICIAL)
    return {
        key: value.squeeze(-1) if _PROJECTION_WEIGHT.match(key) and value.dim() == 3 else value
        for key, value in tensors.items()
    }


def to_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the state dict of a :class:`GroupViTPretrainer` to the official release's keys.

    Args:
        state_dict (Mapping[str, Tensor]): With the pretrainer's keys.

    Returns:
        dict[str, Tensor]: The ``model`` entry of an official file.

    Raises:
        ValueError: If keys are not the pretrainer's; lists them.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.checkpoints import to_official
        >>> list(to_official({'backbone.stages.0.group_tokens': torch.zeros(1, 64, 384)}))
        ['img_encoder.layers.0.group_token']
    """
    widening = tuple({match[1] for key in state_dict if (match := _WIDENS.match(key))})
    nested = {OFFICIAL_PROJECTOR + part for part in NESTED}
    tables = {
        True: inverse(OFFICIAL),
        False: inverse({k: v for k, v in OFFICIAL.items() if k not in nested}),
    }
    tensors: dict[str, Tensor] = {}
    for widens, table in tables.items():
        part = {k: v for k, v in state_dict.items() if k.startswith(widening) == widens}
        tensors.update(rename_all(part, table))
    return {
        key: value.unsqueeze(-1) if _PROJECTION_WEIGHT.match(key) and value.dim() == 2 else value
        for key, value in tensors.items()
    }


def from_hugging_face(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the state dict of ``transformers.GroupViTModel`` for :class:`GroupViTPretrainer`.

    Args:
        state_dict (Mapping[str, Tensor]): With Hugging Face's keys.

    Returns:
        dict[str, Tensor]: With the pretrainer's keys.

    Raises:
        ValueError: If keys are not GroupViT's, or parts of an attention are missing; lists them.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.checkpoints import from_hugging_face
        >>> attention = 'text_model.encoder.layers.0.self_attn'
        >>> ours = from_hugging_face(
        ...     {f'{attention}.{part}_proj.weight': torch.zeros(4, 4) for part in 'qkv'}
        ... )
        >>> {key: tuple(value.shape) for key, value in ours.items()}
        {'text_encoder.blocks.0.attn.qkv.weight': (12, 4)}
    """
    weights = {k: v for k, v in state_dict.items() if not k.endswith('position_ids')}
    return merge_qkv(rename_all(weights, HUGGING_FACE))


def to_hugging_face(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the state dict of a :class:`GroupViTPretrainer` for ``transformers.GroupViTModel``.

    Args:
        state_dict (Mapping[str, Tensor]): With the pretrainer's keys.

    Returns:
        dict[str, Tensor]: With Hugging Face's keys.

    Raises:
        ValueError: If Hugging Face's model lacks keys, such as those of a second logit scale or of
            stages with other widths; lists them.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.checkpoints import to_hugging_face
        >>> list(to_hugging_face({'backbone.norm.weight': torch.ones(4)}))
        ['vision_model.layernorm.weight']
    """
    return rename_all(split_qkv(state_dict), inverse(HUGGING_FACE))
