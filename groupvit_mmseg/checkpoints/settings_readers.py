"""Settings of a model from the plugin's record, the official settings and Hugging Face's."""

from collections.abc import Mapping

from groupvit_mmseg.checkpoints.architecture_hints import Settings, normalization

RECORD = 'groupvit_mmseg'
"""str: The entry of the plugin's own record, in files and configs of every key format."""

CLIP_VOCABULARY = 49408


def readable(values: Mapping[str, object]) -> dict[str, object]:
    """Drop values that are None; write lists as tuples, a side as ``(H, W)``."""
    known = {k: v for k, v in values.items() if v is not None}
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in known.items()}
    if isinstance(settings.get('img_size'), int):
        settings['img_size'] = (settings['img_size'],) * 2
    patch = settings.get('patch_size')
    if isinstance(patch, tuple) and len(set(patch)) == 1:
        settings['patch_size'] = patch[0]
    return settings


def numbers(value: object) -> list[float]:
    """Return a sequence of numbers.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(value, list | tuple):
        raise TypeError(f'{value!r} is not a list of numbers')
    return [number(each) for each in value]


def number(value: object) -> float:
    """Return a number; raise ``TypeError`` if it is none."""
    if not isinstance(value, int | float):
        raise TypeError(f'{value!r} is not a number')
    return value


def _part(config: Mapping[str, object], *names: str) -> Mapping[str, object]:
    """Return the first entry of these names that is there; raise ``TypeError`` if no mapping."""
    value = next((config[name] for name in names if config.get(name)), {})
    if not isinstance(value, Mapping):
        raise TypeError(f'{names[0]} = {value!r} is not a dict')
    return value


def from_record(record: Mapping[str, object], where: str) -> Settings:
    """Read the record that this plugin writes with weights, see ``fingerprint.record``.

    Args:
        record (Mapping[str, object]): The record.
        where (str): Its place, for messages.
    """
    pixels = _part(record, 'normalization')
    return Settings(
        where,
        readable({k: record.get(k) for k in ('num_heads', 'img_size', 'assign_scale')}),
        readable({'num_heads': record.get('text_heads')}),
        normalization(numbers(pixels['mean']), numbers(pixels['std']), rgb=bool(pixels['rgb']))
        if pixels
        else None,
        _part(record, 'answers') or None,
    )


_OFFICIAL_IMAGE = {
    'img_size': 'img_size',
    'patch_size': 'patch_size',
    'embed_dim': 'embed_dims',
    'num_heads': 'num_heads',
    'depths': 'depths',
    'num_group_tokens': 'num_group_tokens',
    'num_output_groups': 'num_output_groups',
}
_OFFICIAL_TEXT = {
    'context_length': 'context_length',
    'width': 'embed_dims',
    'layers': 'num_layers',
    'vocab_size': 'vocab_size',
}


def from_official(config: Mapping[str, object], where: str) -> Settings:
    """Read settings under the official names.

    Args:
        config (Mapping[str, object]): With ``img_encoder`` and ``text_encoder``.
        where (str): Its place, for messages.
    """
    image, text = _part(config, 'img_encoder'), _part(config, 'text_encoder')
    return Settings(
        where,
        readable({ours: image.get(theirs) for theirs, ours in _OFFICIAL_IMAGE.items()}),
        readable({ours: text.get(theirs) for theirs, ours in _OFFICIAL_TEXT.items()}),
    )


# Defaults of `transformers` for entries that a config.json lacks.
_VISION_DEFAULTS: dict[str, object] = dict(num_attention_heads=6, depths=(6, 3, 3), image_size=224)
_TEXT_DEFAULTS: dict[str, object] = dict(num_attention_heads=4)
# The only values that this plugin computes, which a config.json that lacks them means, too.
_FIXED: dict[str, dict[str, object]] = {
    'vision_config': dict(hidden_act='gelu', layer_norm_eps=1e-5, assign_eps=1.0),
    'text_config': dict(hidden_act='quick_gelu', layer_norm_eps=1e-5),
}
_VISION = {
    'patch_size': 'patch_size',
    'num_channels': 'in_channels',
    'hidden_size': 'embed_dims',
    'depths': 'depths',
    'num_group_tokens': 'num_group_tokens',
    'image_size': 'img_size',
}
_TEXT = {
    'max_position_embeddings': 'context_length',
    'hidden_size': 'embed_dims',
    'num_hidden_layers': 'num_layers',
    'vocab_size': 'vocab_size',
    'num_attention_heads': 'num_heads',
}


def from_hugging_face(config: Mapping[str, object], where: str) -> Settings:
    """Read a ``config.json`` of ``transformers.GroupViTModel``.

    Args:
        config (Mapping[str, object]): Its content.
        where (str): Its place, for messages.

    Raises:
        ValueError: If it is of another kind of model, or of one that this plugin does not compute.
    """
    kind = config.get('model_type', 'groupvit')
    if kind != 'groupvit':
        raise ValueError(f'{where} is of a {kind}, not of a groupvit: give the one of the weights.')
    # Files of early versions of transformers have the whole config of a tower in `..._dict`.
    parts = {part: _part(config, f'{part}_dict', part) for part in _FIXED}
    for part, fixed in _FIXED.items():
        for name, value in fixed.items():
            _check_fixed(where, f'{part}.{name}', parts[part].get(name, value), value)
    text = {**_TEXT_DEFAULTS, **parts['text_config']}
    _check_end(where, text)
    vision = {**_VISION_DEFAULTS, **parts['vision_config']}
    backbone = {ours: vision.get(theirs) for theirs, ours in _VISION.items()}
    heads = (vision['num_attention_heads'],) * len(numbers(vision['depths']))
    return Settings(
        where,
        readable(dict(backbone, num_heads=heads, assign_scale=1.0, assignment={})),
        readable({ours: text.get(theirs) for theirs, ours in _TEXT.items()}),
    )


def _check_fixed(where: str, name: str, value: object, known: object) -> None:
    """Raise ``ValueError`` for a setting of which this plugin computes one value only."""
    if value != known:
        raise ValueError(
            f'{where} has {name} = {value!r}, but this plugin computes {known!r} only: such a '
            'model cannot be converted.'
        )


def _check_end(where: str, text: Mapping[str, object]) -> None:
    """Raise ``ValueError`` if the end token is not the highest one; 2 stands for the highest."""
    end = text.get('eos_token_id', 2)
    highest = end_token(int(number(text.get('vocab_size', CLIP_VOCABULARY))))
    if end not in (None, 2, highest):
        raise ValueError(
            f'{where} has text_config.eos_token_id = {end}, but this plugin reads texts at the '
            f'token {highest}, the highest of the vocabulary: such a model cannot be converted.'
        )


def end_token(vocab_size: int) -> int:
    """Return the token at which texts are read: CLIP's, or the last of a smaller vocabulary."""
    return min(vocab_size, CLIP_VOCABULARY) - 1


def from_image_processor(config: Mapping[str, object], where: str) -> Settings:
    """Read the normalisation in a ``preprocessor_config.json`` of Hugging Face's.

    Args:
        config (Mapping[str, object]): Its content.
        where (str): Its place, for messages.
    """
    is_scaled = config.get('do_rescale', True)
    per_unit = 1 / number(config.get('rescale_factor', 1 / 255)) if is_scaled else 1.0
    mean, std = [0.0] * 3, [1.0] * 3
    if config.get('do_normalize', True):
        mean, std = numbers(config['image_mean']), numbers(config['image_std'])
    means, stds = ([value * per_unit for value in values] for values in (mean, std))
    return Settings(where, normalization=normalization(means, stds, rgb=True))
