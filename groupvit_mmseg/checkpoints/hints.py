"""What shapes do not tell of a model, and where it may be read."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Hints(NamedTuple):
    """What the tensors do not tell; None where nothing is known.

    Attributes:
        num_heads (Sequence[int], optional): Attention heads per stage of the image tower.
        text_heads (int, optional): Attention heads of the text tower.
        img_size (tuple[int, int], optional): ``H, W`` in pixels of the position embedding.
        assign_scale (float): Factor on the assignment logits. Defaults to 1.0, the paper's.
    """

    num_heads: Sequence[int] | None = None
    text_heads: int | None = None
    img_size: tuple[int, int] | None = None
    assign_scale: float = 1.0

    def completed(self, other: 'Hints') -> 'Hints':
        """These, with another's where these say nothing."""
        return Hints(
            self.num_heads or other.num_heads,
            self.text_heads or other.text_heads,
            self.img_size or other.img_size,
            self.assign_scale if self.assign_scale != 1.0 else other.assign_scale,
        )


def hints_from_config(text: str) -> Hints:
    """What the text of a plugin config tells beyond shapes, without running it.

    Args:
        text (str): A config, as it travels in a checkpoint.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return Hints()
    # `model` first: what it inherited may stand beside it unchanged.
    models = [n for n in tree.body if isinstance(n, ast.Assign) and _assigns(n, 'model')]
    nodes = [node for root in (*models, tree) for node in ast.walk(root)]
    dicts = [_literals(node) for node in nodes if isinstance(node, ast.Call | ast.Dict)]
    backbone = next((d for d in dicts if d.get('type') == 'GroupViT'), {})
    text_encoder = next((d for d in dicts if d.get('type') == 'GroupViTTextEncoder'), {})
    size = backbone.get('img_size')
    return Hints(
        num_heads=backbone.get('num_heads'),
        text_heads=text_encoder.get('num_heads'),
        img_size=(size, size) if isinstance(size, int) else size,
        assign_scale=backbone.get('assign_scale', 1.0),
    )


def _assigns(node: ast.Assign, name: str) -> bool:
    """Whether ``name = ...``."""
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


def _literals(node: ast.Call | ast.Dict) -> dict[str, Any]:
    """The plain values in ``dict(...)`` or ``{...}``."""
    if isinstance(node, ast.Dict):
        pairs = [
            (k.value, v) for k, v in zip(node.keys, node.values) if isinstance(k, ast.Constant)
        ]
    else:
        pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
    values = {}
    for name, value in pairs:
        try:
            values[str(name)] = ast.literal_eval(value)
        except (ValueError, TypeError):
            continue
    return values


def hints_from_hugging_face(config: Mapping[str, Any]) -> Hints:
    """What a ``config.json`` of Hugging Face's tells beyond shapes."""
    vision, text = config.get('vision_config') or {}, config.get('text_config') or {}
    heads, depths = vision.get('num_attention_heads', 6), vision.get('depths', (6, 3, 3))
    size = vision.get('image_size', 224)
    return Hints(
        num_heads=[heads] * len(depths),
        text_heads=text.get('num_attention_heads', 4),
        img_size=(size, size) if isinstance(size, int) else tuple(size),
    )
