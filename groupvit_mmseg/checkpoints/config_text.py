"""Settings of a model from the text of a config, which is parsed and not run."""

import ast
import inspect
from collections.abc import Mapping

from mmseg.registry import MODELS

from groupvit_mmseg.checkpoints.architecture_hints import Normalization, Settings, normalization
from groupvit_mmseg.checkpoints.config_syntax import (
    assigned,
    is_readable,
    literals,
    of_type,
    parse_config,
)
from groupvit_mmseg.checkpoints.decoding_text import read_decoding
from groupvit_mmseg.checkpoints.settings_readers import numbers, readable

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
    tree = parse_config(text)
    if tree is None or assigned(tree, '_base_') or any(isinstance(n, ast.With) for n in tree.body):
        return Settings(where)
    # These first: the variables that they were made of may be beside them, unchanged.
    used = [*assigned(tree, 'model'), *assigned(tree, 'val_cfg')]
    nodes = [node for root in (*used, tree) for node in ast.walk(root)]
    configs = [literals(node) for node in nodes if isinstance(node, ast.Call | ast.Dict)]
    return Settings(
        where,
        _backbone(of_type(configs, 'GroupViT')),
        _text_encoder(of_type(configs, 'GroupViTTextEncoder')),
        _normalization(of_type(configs, *_PREPROCESSORS)),
        decoding=read_decoding(tree, configs),
    )


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
    return readable({k: v for k, v in config.items() if is_readable(v)})


def _normalization(config: Mapping[str, object] | None) -> Normalization | None:
    """Return the normalisation of a data preprocessor's config; None if a value is unreadable."""
    if config is None:
        return None
    swaps = [config.get(name) for name in ('bgr_to_rgb', 'rgb_to_bgr', 'to_rgb')]
    try:
        mean = numbers(config.get('mean') or [0.0] * 3)
        std = numbers(config.get('std') or [1.0] * 3)
        return normalization(mean, std, rgb=any(swap is True for swap in swaps))
    except (TypeError, OverflowError):
        return None
