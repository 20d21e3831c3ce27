"""Settings of a model from the text of a config, which is parsed and not run."""

import ast
import inspect
from collections.abc import Mapping, Sequence

from mmseg.registry import MODELS

from groupvit_mmseg.checkpoints.architecture_hints import Normalization, Settings, normalization
from groupvit_mmseg.checkpoints.settings_readers import numbers, readable

_UNREADABLE = object()
_PREPROCESSORS = (
    'ImgDataPreprocessor',
    'AugmentingPreprocessor',
    'SegDataPreProcessor',
    'ClsDataPreprocessor',
)


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
    # `model` first: the variables that it was made of may be beside it, unchanged.
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
