"""Settings of a model from the plugin's configs, the official release's and Hugging Face's."""

import ast
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mmseg.registry import MODELS

from groupvit_mmseg.checkpoints.architecture_hints import Normalization, Settings

RECORD = 'groupvit_mmseg'
"""str: The entry of the plugin's own record, in files and configs of every key format."""

CLIP_VOCABULARY = 49408
_UNREADABLE = object()
_PREPROCESSORS = ('ImgDataPreprocessor', 'SegDataPreProcessor', 'ClsDataPreprocessor')


def from_config_text(text: str, where: str) -> Settings:
    """What the text of a whole plugin config says, without running it.

    Args:
        text (str): A config, as it travels in a checkpoint. One that inherits says nothing: the
            text is not all of it.
        where (str): Its place, for messages.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return Settings(where)
    if any(isinstance(n, ast.With) or _assigns(n, '_base_') for n in tree.body):
        return Settings(where)
    # `model` first: what it inherited may stand beside it unchanged.
    models = [n for n in tree.body if _assigns(n, 'model')]
    nodes = [node for root in (*models, tree) for node in ast.walk(root)]
    dicts = [_literals(node) for node in nodes if isinstance(node, ast.Call | ast.Dict)]
    return Settings(
        where,
        _backbone(_of_type(dicts, 'GroupViT')),
        _text_encoder(_of_type(dicts, 'GroupViTTextEncoder')),
        _normalization(_of_type(dicts, *_PREPROCESSORS)),
    )


def _assigns(node: ast.stmt, name: str) -> bool:
    """Whether ``name = ...``."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _literals(node: ast.Call | ast.Dict) -> dict[str, Any]:
    """The plain values in ``dict(...)`` or ``{...}``; a mark in the place of the others."""
    if isinstance(node, ast.Dict):
        pairs = [
            (k.value, v) for k, v in zip(node.keys, node.values) if isinstance(k, ast.Constant)
        ]
    else:
        pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
    return {str(name): _literal(value) for name, value in pairs}


def _literal(node: ast.expr) -> Any:
    """A plain value; a class by its name."""
    if isinstance(node, ast.Name | ast.Attribute):
        return ast.unparse(node)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return _UNREADABLE


def _of_type(dicts: Sequence[dict[str, Any]], *types: str) -> dict[str, Any] | None:
    """The first config of one of the types, however its name is qualified."""
    for one in dicts:
        if str(one.get('type')).rpartition('.')[2] in types:
            return one
    return None


def _backbone(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """A whole config of a :class:`GroupViT`: what it does not name has the default."""
    if config is None:
        return {}
    return _readable({**_defaults('GroupViT'), **config})


def _text_encoder(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """A whole config of a :class:`GroupViTTextEncoder`, its heads spelt out."""
    if config is None:
        return {}
    settings = {**_defaults('GroupViTTextEncoder'), **config}
    width = settings['embed_dims']
    if settings['num_heads'] is None and isinstance(width, int):
        settings['num_heads'] = max(1, width // 64)
    return _readable(settings)


def _defaults(name: str) -> dict[str, Any]:
    """Default values of the arguments of a registered model."""
    parameters = inspect.signature(MODELS.get(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _readable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not known; lists as tuples, a side as ``(H, W)``."""
    known = {k: v for k, v in values.items() if v is not None and v is not _UNREADABLE}
    tupled = {k: tuple(v) if isinstance(v, list) else v for k, v in known.items()}
    if isinstance(tupled.get('img_size'), int):
        tupled['img_size'] = (tupled['img_size'],) * 2
    patch = tupled.get('patch_size')
    if isinstance(patch, tuple) and len(set(patch)) == 1:
        tupled['patch_size'] = patch[0]
    return tupled


def _normalization(config: Mapping[str, Any] | None) -> Normalization | None:
    """Of a data preprocessor's config; None if a value in it cannot be read."""
    if config is None or _UNREADABLE in (config.get('mean'), config.get('std')):
        return None
    mean, std = config.get('mean') or (0.0,) * 3, config.get('std') or (1.0,) * 3
    swaps = [config.get(name) for name in ('bgr_to_rgb', 'rgb_to_bgr', 'to_rgb')]
    return normalization(mean, std, rgb=any(swap is True for swap in swaps))


def normalization(mean: Sequence[float], std: Sequence[float], *, rgb: bool) -> Normalization:
    """Of pixels in [0, 255]; rounded, so that equal ones are equal however they were written."""
    means, stds = (tuple(round(float(v), 4) for v in values) for values in (mean, std))
    return Normalization(means, stds, rgb)


def from_record(record: Mapping[str, Any], where: str) -> Settings:
    """What a converter of this plugin wrote with the weights, see ``fingerprint.record``."""
    told = record.get('normalization')
    return Settings(
        where,
        _readable({k: record.get(k) for k in ('num_heads', 'img_size', 'assign_scale')}),
        _readable({'num_heads': record.get('text_heads')}),
        normalization(told['mean'], told['std'], rgb=told['rgb']) if told else None,
        record.get('answers'),
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


def from_official(config: Mapping[str, Any], where: str) -> Settings:
    """What settings under the official names say.

    Args:
        config (Mapping): With ``img_encoder`` and ``text_encoder``.
        where (str): Its place, for messages.
    """
    image, text = config.get('img_encoder') or {}, config.get('text_encoder') or {}
    return Settings(
        where,
        _readable({ours: image.get(theirs) for theirs, ours in _OFFICIAL_IMAGE.items()}),
        _readable({ours: text.get(theirs) for theirs, ours in _OFFICIAL_TEXT.items()}),
    )


# What `transformers` takes where a config.json says nothing.
_VISION_DEFAULTS = dict(num_attention_heads=6, depths=(6, 3, 3), image_size=224)
_TEXT_DEFAULTS = dict(num_attention_heads=4)
# The only values that this plugin computes, and what a config.json that lacks them means.
_FIXED = {
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


def from_hugging_face(config: Mapping[str, Any], where: str) -> Settings:
    """What a ``config.json`` of ``transformers.GroupViTModel`` says.

    Args:
        config (Mapping): Its content.
        where (str): Its place, for messages.

    Raises:
        ValueError: If it is of another kind of model, or of one that this plugin does not compute.
    """
    kind = config.get('model_type', 'groupvit')
    if kind != 'groupvit':
        raise ValueError(f'{where} is of a {kind}, not of a groupvit: give the one of the weights.')
    parts = {part: _hugging_face_part(config, part) for part in _FIXED}
    for part, fixed in _FIXED.items():
        for name, value in fixed.items():
            _check_fixed(where, f'{part}.{name}', parts[part].get(name, value), value)
    text = {**_TEXT_DEFAULTS, **parts['text_config']}
    _check_end(where, text)
    vision = {**_VISION_DEFAULTS, **parts['vision_config']}
    backbone = {ours: vision.get(theirs) for theirs, ours in _VISION.items()}
    heads = (vision['num_attention_heads'],) * len(vision['depths'])
    return Settings(
        where,
        _readable(dict(backbone, num_heads=heads, assign_scale=1.0)),
        _readable({ours: text.get(theirs) for theirs, ours in _TEXT.items()}),
    )


def _hugging_face_part(config: Mapping[str, Any], part: str) -> dict[str, Any]:
    """One tower's config; where old files have it in another entry, that one counts."""
    return dict(config.get(f'{part}_dict') or config.get(part) or {})


def _check_fixed(where: str, name: str, given: Any, known: Any) -> None:
    """Raise ``ValueError`` for a setting of which this plugin knows one value only."""
    if given != known:
        raise ValueError(
            f'{where} has {name} = {given!r}, but this plugin computes {known!r} only: such a '
            'model cannot be converted.'
        )


def _check_end(where: str, text: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` if texts end in another token than the highest; 2 stands for that."""
    end = text.get('eos_token_id', 2)
    highest = end_token(text.get('vocab_size', CLIP_VOCABULARY))
    if end not in (None, 2, highest):
        raise ValueError(
            f'{where} has text_config.eos_token_id = {end}, but this plugin reads texts at the '
            f'token {highest}, the highest of the vocabulary: such a model cannot be converted.'
        )


def end_token(vocab_size: int) -> int:
    """The token at which texts are read: CLIP's, or the last of a smaller vocabulary."""
    return min(vocab_size, CLIP_VOCABULARY) - 1


def from_image_processor(config: Mapping[str, Any], where: str) -> Settings:
    """The normalisation in a ``preprocessor_config.json`` of Hugging Face's.

    Args:
        config (Mapping): Its content.
        where (str): Its place, for messages.
    """
    per_unit = 1 / config.get('rescale_factor', 1 / 255) if config.get('do_rescale', True) else 1.0
    mean, std = (0.0,) * 3, (1.0,) * 3
    if config.get('do_normalize', True):
        mean, std = config['image_mean'], config['image_std']
    scaled = [[value * per_unit for value in values] for values in (mean, std)]
    return Settings(where, normalization=normalization(*scaled, rgb=True))
