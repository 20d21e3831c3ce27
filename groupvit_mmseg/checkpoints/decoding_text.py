"""How a config segments, from the syntax tree of its text."""

import ast
from collections.abc import Callable, Sequence
from typing import TypeGuard

from groupvit_mmseg.checkpoints.architecture import Structure
from groupvit_mmseg.checkpoints.architecture_hints import Decoding, Sides
from groupvit_mmseg.checkpoints.config_syntax import Values, assigned, entry, literals, of_type


def _is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a number above or at 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_count(value: object) -> TypeGuard[int]:
    """Return whether a value is a positive integer."""
    return isinstance(value, int) and _is_number(value) and value > 0


# The options of a head that are read, and what their values are.
_HEAD: dict[str, Callable[[object], bool]] = {
    'affinity': lambda value: value in ('softmax', 'cosine', 'contrast'),
    'top_k': _is_count,
    'image_weight': lambda value: _is_number(value) and value < 1,
}
_INTERPOLATIONS = ('nearest', 'bilinear', 'bicubic', 'area', 'lanczos')
# Sizes over that of training. Weights do not say how much memory and time an image takes.
SMALLEST_FACTOR, LARGEST_FACTOR = 0.5, 8
LARGEST_SIDE = 4096
MOST_WINDOWS_OF_A_PIXEL = 4  # along each side


def read_decoding(tree: ast.Module, configs: Sequence[Values]) -> Decoding | None:
    """Read how a config segments; values that no such setting has are left out.

    Args:
        tree (ast.Module): Of the whole text.
        configs (Sequence[dict]): Every dict in it, those that are used first.

    Returns:
        Decoding: None if it has no zero-shot head.
    """
    head = of_type(configs, 'GroupViTZeroShotHead')
    if head is None:
        return None
    known = {name: head[name] for name, is_value in _HEAD.items() if is_value(head.get(name))}
    test_cfg = (of_type(configs, 'GroupViTSegmentor') or {}).get('test_cfg')
    windows = test_cfg if isinstance(test_cfg, dict) else {}
    size, stride = (_sides(windows.get(name)) for name in ('crop_size', 'stride'))
    mode = windows.get('mode')
    resize = of_type(_evaluation_pipeline(tree), 'Resize') or {}
    if resize.get('keep_ratio') is not True:
        resize = {}
    scale, factor, interpolation = (
        resize.get(name) for name in ('scale', 'scale_factor', 'interpolation')
    )
    return Decoding(
        known,
        mode if mode in ('whole', 'slide') else None,
        None if size is None or stride is None else (size, stride),
        _sides((scale, scale) if _is_count(scale) else scale),
        factor if _is_number(factor) and factor > 0 else None,
        next((name for name in _INTERPOLATIONS if name == interpolation), None),
    )


def within_limits(decoding: Decoding, structure: Structure) -> Decoding:
    """Leave out sizes that no evaluation of a model has, so that those of the paper take effect.

    Args:
        decoding (Decoding): How a config segments, of a file that anybody may have written.
        structure (Structure): Of the model.
    """
    native = min(structure.image_shape)
    smallest, largest = SMALLEST_FACTOR * native, LARGEST_FACTOR * native
    scale, factor, windows = decoding.scale, decoding.size_factor, decoding.windows
    if scale is not None and not (smallest <= min(scale) <= largest and max(scale) <= LARGEST_SIDE):
        scale = None
    if factor is not None and not SMALLEST_FACTOR <= factor <= LARGEST_FACTOR:
        factor = None
    if windows is not None and not all(
        smallest <= side <= largest and side <= MOST_WINDOWS_OF_A_PIXEL * step
        for side, step in zip(*windows, strict=True)
    ):
        windows = None
    return decoding._replace(scale=scale, size_factor=factor, windows=windows)


def _sides(value: object) -> Sides | None:
    """Return two sides in pixels; None for something else."""
    if isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_count, value)):
        return value[0], value[1]
    return None


def _evaluation_pipeline(tree: ast.Module) -> list[Values]:
    """Return the plain values of the transforms that images are evaluated with."""
    # The loader of tests may hold changes alone; the validation's is the whole one then.
    loaders = [*assigned(tree, 'test_dataloader'), *assigned(tree, 'val_dataloader')]
    for loader in loaders:
        transforms = entry(entry(loader, 'dataset'), 'pipeline')
        if isinstance(transforms, ast.List | ast.Tuple):
            nodes = [node for node in transforms.elts if isinstance(node, ast.Call | ast.Dict)]
            return [literals(node) for node in nodes]
    return []
