"""Counts floating-point operations, those of attention and oneDNN's layers on CPUs included."""

import math
from collections.abc import Callable, Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from groupvit_mmseg.models.onednn import AVAILABLE

# The CPU's fused attention since PyTorch 2.2, for which its counter has no formulas.
_UNCOUNTED = '_scaled_dot_product_flash_attention_for_cpu'
_UNCOUNTED_BACKWARD = f'{_UNCOUNTED}_backward'


def flop_counter() -> FlopCounterMode:
    """Return PyTorch's counter, silent, with what it leaves out on CPUs.

    A multiply-add is two operations.

    Example:
        >>> import torch
        >>> with torch.no_grad(), flop_counter() as counter:
        ...     _ = torch.ones(2, 3) @ torch.ones(3, 4)
        >>> counter.get_total_flops()
        48
    """
    formulas: dict[object, Callable[..., int]] = {}
    for name, formula in (
        (_UNCOUNTED, attention_flops),
        (_UNCOUNTED_BACKWARD, attention_backward_flops),
    ):
        if (operator := getattr(torch.ops.aten, name, None)) is not None:
            formulas[operator] = formula
    if AVAILABLE:
        formulas[torch.ops.mkldnn._linear_pointwise] = linear_flops
    return FlopCounterMode(display=False, custom_mapping=formulas)


def linear_flops(inputs: Sequence[int], weight: Sequence[int], *_: object, **__: object) -> int:
    """Count the product of a linear layer.

    Args:
        inputs (Sequence[int]): Shape ``(..., in)``.
        weight (Sequence[int]): Shape ``(out, in)``.
    """
    return 2 * math.prod(inputs) * weight[0]


def attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object
) -> int:
    """Count the two products of an attention, whose causal half is computed as well.

    Args:
        query (Sequence[int]): Shape ``(B, H, S, C)``.
        key (Sequence[int]): Shape ``(B, H, N, C)``.
        value (Sequence[int]): Shape ``(B, H, N, C)``.
    """
    return 2 * math.prod(query[:3]) * key[2] * (query[3] + value[3])


def attention_backward_flops(
    gradient: Sequence[int],
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    *_: object,
    **__: object,
) -> int:
    """Count the five products of the backward pass: the logits once more, and four gradients.

    Args:
        gradient (Sequence[int]): Shape of the output's gradient ``(B, H, S, C)``.
        query (Sequence[int]): Shape ``(B, H, S, C)``.
        key (Sequence[int]): Shape ``(B, H, N, C)``.
        value (Sequence[int]): Shape ``(B, H, N, C)``.
    """
    logits, weights = query[3], value[3]  # channels of a product of each kind
    return 2 * math.prod(query[:3]) * key[2] * (3 * logits + 2 * weights)
