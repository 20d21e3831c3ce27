"""Depth of parameters below the heads, which layer-wise learning rates depend on."""

from typing import Protocol, cast

from torch import nn


class LayeredBackbone(Protocol):
    """A backbone that knows the depth of its layers, as those of mmpretrain do."""

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth of a parameter and the number of depths."""


class LayerDistances:
    """Distances of a model's parameters from its heads, counted in blocks of its backbones.

    A backbone is a module with mmpretrain's ``get_layer_depth``: a ``GroupViT`` and most of
    mmpretrain's transformers have it.

    Args:
        model (nn.Module): An ``EncoderDecoder``, an ``ImageClassifier``, a pretrainer or another
            model with such a backbone.

    Raises:
        ValueError: If it has no such backbone.
    """

    def __init__(self, model: nn.Module) -> None:
        self._backbones = {
            f'{name}.': cast(LayeredBackbone, module)  # has the method, as checked here
            for name, module in model.named_modules()
            if name and hasattr(module, 'get_layer_depth')
        }
        if not self._backbones:
            raise ValueError(
                f'layer_decay counts the blocks of a backbone with get_layer_depth, such as '
                f'GroupViT, but {type(model).__name__} has none; remove layer_decay.'
            )

    def of(self, name: str) -> int:
        """Return the number of layers between a parameter and the heads.

        Args:
            name (str): Name of the parameter in the model.

        Returns:
            int: 0 for parameters that are not in a backbone.
        """
        for prefix, backbone in self._backbones.items():
            if name.startswith(prefix):
                depth, num_depths = backbone.get_layer_depth(name, prefix)
                return num_depths - 1 - depth
        return 0
