"""How far below the heads a parameter lies: what layer-wise learning rates are counted by."""

from typing import Any

from torch import nn


class LayerDistances:
    """Distances of a model's parameters from its heads, counted in blocks of its backbones.

    A backbone is a module with mmpretrain's ``get_layer_depth``: a ``GroupViT`` and most of
    mmpretrain's transformers have it.

    Args:
        model (nn.Module): An ``EncoderDecoder``, an ``ImageClassifier``, a pretrainer or the like.

    Raises:
        ValueError: If it has no such backbone.
    """

    def __init__(self, model: nn.Module) -> None:
        self._backbones: dict[str, Any] = {
            f'{name}.': module
            for name, module in model.named_modules()
            if name and hasattr(module, 'get_layer_depth')
        }
        if not self._backbones:
            raise ValueError(
                f'layer_decay counts the blocks of a backbone that knows how deep they lie, as '
                f'GroupViT does, but {type(model).__name__} has none; leave layer_decay out.'
            )

    def of(self, name: str) -> int:
        """Layers from a parameter up to the heads; 0 for what is behind or beside a backbone.

        Args:
            name (str): Of the parameter, from the model on.
        """
        for prefix, backbone in self._backbones.items():
            if name.startswith(prefix):
                depth, num_depths = backbone.get_layer_depth(name, prefix)
                return num_depths - 1 - depth
        return 0
