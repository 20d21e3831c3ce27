"""Settings of a model from the text of a config, which is parsed and not run."""

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TypeGuard

from mmseg.registry import MODELS

from groupvit_mmseg.checkpoints.architecture_hints import (
    Decoding,
    Normalization,
    Settings,
    normalization,
)
from groupvit_mmseg.checkpoints.settings_readers import numbers, readable

_UNREADABLE = object()
_PREPROCESSORS = (
    'ImgDataPreprocessor',
    'AugmentingPreprocessor',
    'SegDataPreProcessor',
    'ClsDataPreprocessor',
)


def _is_count(value: object) -> TypeGuard[int]:
    """Return whether a value is a positive integer."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_share(value: object) -> bool:
    """Return whether a value is a number from 0 to below 1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


# The options of a head that are read, and what their values are.
_HEAD: dict[str, Callable[[object], bool]] = {
    'affinity': lambda value: value in ('softmax', 'cosine', 'contrast'),
    'top_k': _is_count,
    'image_weight': _is_share,
}
# Others are not read: a file of weights is not asked how much memory and time to take.
_LARGEST_SIDE = 4096
_LARGEST_FACTOR = 16
_MOST_WINDOWS_OF_A_PIXEL = 8  # along each side
_INTERPOLATIONS = ('nearest', 'bilinear', 'bicubic', 'area', 'lanczos')


def from_config_text(text: str, where: str) -> Settings:
    """Read the text of a whole plugin config, without running it.

    Args:
        text (str): A config, as checkpoints contain it. One that inherits has no settings: the
            text is incomplete.
        where (str): Its place, for messages.
    """
    try:
        tree = ast.parse(text)
    # Brackets in brackets without end raise one of the last two.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Settings(where)
    if any(isinstance(n, ast.With) or _assigns(n, '_base_') for n in tree.body):
        return Settings(where)
    # These first: the variables that they were made of may be beside them, unchanged.
    models = [n for name in ('model', 'val_cfg') for n in tree.body if _assigns(n, name)]
    nodes = [node for root in (*models, tree) for node in ast.walk(root)]
    dicts = [_literals(node) for node in nodes if isinstance(node, ast.Call | ast.Dict)]
    return Settings(
        where,
        _backbone(_of_type(dicts, 'GroupViT')),
        _text_encoder(_of_type(dicts, 'GroupViTTextEncoder')),
        _normalization(_of_type(dicts, *_PREPROCESSORS)),
        decoding=_decoding(tree, dicts),
    )


def _assigns(node: ast.stmt, name: str) -> bool:
    """Return whether a statement is ``name = ...``."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _literals(node: ast.Call | ast.Dict) -> dict[str, object]:
    """Return the plain values in ``dict(...)`` or ``{...}``; a marker for each other value."""
    if isinstance(node, ast.Dict):
        pairs = [
            (k.value, v) for k, v in zip(node.keys, node.values) if isinstance(k, ast.Constant)
        ]
    else:
        pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
    return {str(name): _literal(value) for name, value in pairs}


def _literal(node: ast.expr) -> object:
    """Return a plain value; a class by its name, the values in ``dict(...)``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        return _literals(node)
    if isinstance(node, ast.Name | ast.Attribute):
        return ast.unparse(node)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return _UNREADABLE


def _of_type(dicts: Sequence[dict[str, object]], *types: str) -> dict[str, object] | None:
    """Return the first config of one of the types, with or without a module before its name."""
    for one in dicts:
        if str(one.get('type')).rpartition('.')[2] in types:
            return one
    return None


def _backbone(config: Mapping[str, object] | None) -> dict[str, object]:
    """Complete the config of a :class:`GroupViT` by the default values."""
    if config is None:
        return {}
    settings = {**_defaults('GroupViT'), **config}
    if settings['assignment'] is None:  # known, to be the paper's
        settings['assignment'] = {}
    return _known(settings)


def _text_encoder(config: Mapping[str, object] | None) -> dict[str, object]:
    """Complete the config of a :class:`GroupViTTextEncoder`, with an explicit number of heads."""
    if config is None:
        return {}
    settings = {**_defaults('GroupViTTextEncoder'), **config}
    width = settings['embed_dims']
    if settings['num_heads'] is None and isinstance(width, int):
        settings['num_heads'] = max(1, width // 64)
    return _known(settings)


def _defaults(name: str) -> dict[str, object]:
    """Return the default values of the arguments of a registered model."""
    model = MODELS.get(name)
    assert model is not None, name
    parameters = inspect.signature(model).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _known(config: Mapping[str, object]) -> dict[str, object]:
    """Drop the values that could not be read."""
    return readable({k: v for k, v in config.items() if v is not _UNREADABLE})


def _normalization(config: Mapping[str, object] | None) -> Normalization | None:
    """Return the normalisation of a data preprocessor's config; None if a value is unreadable."""
    if config is None:
        return None
    swaps = [config.get(name) for name in ('bgr_to_rgb', 'rgb_to_bgr', 'to_rgb')]
    try:
        mean = numbers(config.get('mean') or [0.0] * 3)
        std = numbers(config.get('std') or [1.0] * 3)
    except TypeError:
        return None
    return normalization(mean, std, rgb=any(swap is True for swap in swaps))


def _decoding(tree: ast.Module, dicts: Sequence[dict[str, object]]) -> Decoding | None:
    """Read how the config segments; values that no such setting has are left out."""
    head = _of_type(dicts, 'GroupViTZeroShotHead')
    if head is None:
        return None
    known = {name: head[name] for name, is_value in _HEAD.items() if is_value(head.get(name))}
    test_cfg = (_of_type(dicts, 'GroupViTSegmentor') or {}).get('test_cfg')
    resize = _of_type(_evaluation_pipeline(tree), 'Resize') or {}
    resize = resize if resize.get('keep_ratio') is True else {}
    return Decoding(
        known,
        _windows(test_cfg) if isinstance(test_cfg, dict) else {},
        _resize(resize),
        _size_factor(resize),
    )


def _windows(test_cfg: Mapping[str, object]) -> dict[str, object]:
    """Return the mode, and for windows their size and stride."""
    size, stride = (_sides(test_cfg.get(name)) for name in ('crop_size', 'stride'))
    if test_cfg.get('mode') == 'whole':
        return {'mode': 'whole'}
    if test_cfg.get('mode') != 'slide' or size is None or stride is None:
        return {}
    if not all(side <= _MOST_WINDOWS_OF_A_PIXEL * step for side, step in zip(size, stride)):
        return {}
    return {'mode': 'slide', 'crop_size': size, 'stride': stride}


def _resize(transform: Mapping[str, object]) -> dict[str, object]:
    """Return the size and the interpolation of a transform."""
    scale, interpolation = _sides(transform.get('scale')), transform.get('interpolation')
    found: dict[str, object] = {} if scale is None else {'scale': scale}
    return found | ({'interpolation': interpolation} if interpolation in _INTERPOLATIONS else {})


def _size_factor(transform: Mapping[str, object]) -> float | None:
    """Return the factor of a transform that has one instead of a size."""
    factor = transform.get('scale_factor')
    if not isinstance(factor, int | float) or isinstance(factor, bool):
        return None
    return factor if 0 < factor <= _LARGEST_FACTOR else None


def _sides(value: object) -> tuple[int, int] | None:
    """Return two sides in pixels; None for something else."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return None
    are_sides = all(_is_count(side) and side <= _LARGEST_SIDE for side in value)
    return (value[0], value[1]) if are_sides else None


def _evaluation_pipeline(tree: ast.Module) -> list[dict[str, object]]:
    """Return the plain values of the transforms that images are evaluated with."""
    for name in ('test_dataloader', 'val_dataloader'):
        for statement in tree.body:
            if isinstance(statement, ast.Assign) and _assigns(statement, name):
                transforms = _entry(_entry(statement.value, 'dataset'), 'pipeline')
                nodes = transforms.elts if isinstance(transforms, ast.List | ast.Tuple) else []
                return [_literals(node) for node in nodes if isinstance(node, ast.Call | ast.Dict)]
    return []


def _entry(node: ast.expr | None, name: str) -> ast.expr | None:
    """Return the value of a key of ``dict(...)`` or ``{...}``; None where there is none."""
    if isinstance(node, ast.Dict):
        return next((v for k, v in zip(node.keys, node.values) if _is_text(k, name)), None)
    keywords = node.keywords if isinstance(node, ast.Call) else []
    return next((keyword.value for keyword in keywords if keyword.arg == name), None)


def _is_text(node: ast.expr | None, text: str) -> bool:
    """Return whether a key is this text."""
    return isinstance(node, ast.Constant) and node.value == text
