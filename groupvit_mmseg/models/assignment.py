"""Token-to-segment assignments: soft, hard and Gumbel, as pure functions.

All of them take logits ``(..., S, N)`` and assign each of the ``N`` tokens to one of the ``S``
segments, so they normalise over axis -2. Paper: section 3.1, equations 3 to 5.
"""

import sys
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


def soft_assignment(logits: Tensor) -> Tensor:
    """Return the probability of every segment for every token.

    Args:
        logits (Tensor): ``(..., S, N)``.

    Returns:
        Tensor: ``(..., S, N)``, each column sums to one.
    """
    return logits.softmax(dim=-2)


def hard_assignment(logits: Tensor) -> Tensor:
    """Assign each token to one segment; the gradient is that of the soft assignment.

    Args:
        logits (Tensor): ``(..., S, N)``.

    Returns:
        Tensor: ``(..., S, N)``, one-hot over ``S`` in value.
    """
    soft = soft_assignment(logits)  # (..., S, N)
    winner = soft.argmax(dim=-2, keepdim=True)  # (..., 1, N)
    one_hot = torch.zeros_like(soft).scatter_(-2, winner, 1.0)  # (..., S, N)
    return one_hot - soft.detach() + soft


def gumbel_noise(logits: Tensor) -> Tensor:
    """Draw standard Gumbel noise of the shape, type and device of ``logits``."""
    return -torch.empty_like(logits).exponential_().log()


def gumbel_assignment(logits: Tensor, *, noise: Tensor | None = None, tau: float = 1.0) -> Tensor:
    """Draw a hard assignment: ``hard_assignment((logits + noise) / tau)``.

    Args:
        logits (Tensor): ``(..., S, N)``.
        noise (Tensor, optional): ``(..., S, N)`` to use instead of a fresh draw. Defaults to None.
        tau (float): Temperature, above 0. Defaults to 1.0.

    Returns:
        Tensor: ``(..., S, N)``, one-hot over ``S`` in value.
    """
    noise = gumbel_noise(logits) if noise is None else noise
    return hard_assignment((logits + noise) / tau)


SMALLEST_SIZE = 1e-3
"""float: Tokens that a segment has at least in the denominator of its plain mean."""


class AssignmentOptions(NamedTuple):
    """Options of a grouping block; the defaults are the paper's.

    Attributes:
        kind (str): ``'hard'`` (equation 4), or ``'soft'``: segments are computed with the
            probabilities themselves (equation 3), in training and in inference.
            Defaults to ``'hard'``.
        gumbel_noise (bool): Whether training adds Gumbel noise to the logits. Defaults to True.
        eps (float): Tokens that are added to those of each segment in its mean, above 0. With
            1e-10 an empty segment is a quotient of two rounding errors. Defaults to 1.0.
        mean_of_tokens (bool): Whether a segment is the plain mean of its tokens, without the query,
            which has attended to all tokens, and without an MLP after it; of an empty one, zero.
            For a backbone of one stage; a projector with ``pool_projected`` projects tokens before
            the mean. Defaults to False.
        later_query_weight (float): Factor, at least 0, on the query in the segments of every stage
            after the first. A query has attended to all tokens: a segment that contains it may name
            what is elsewhere. Small, but not 0, where segments may be empty. Defaults to 1.0.
    """

    kind: str = 'hard'
    gumbel_noise: bool = True
    eps: float = 1.0
    mean_of_tokens: bool = False
    later_query_weight: float = 1.0

    def of_stage(self, index: int) -> 'AssignmentOptions':
        """Return the options of a stage, counted from 0: the first has its whole query."""
        return self if index else self._replace(later_query_weight=1.0)


PAPER_ASSIGNMENT = AssignmentOptions()


def read_assignment_options(values: Mapping[str, object] | None) -> AssignmentOptions:
    """Read and check options of the assignment.

    Args:
        values (Mapping[str, object], optional): Some of the fields of :class:`AssignmentOptions`.

    Raises:
        ValueError: If there is no such option, or a value is out of its range.

    Example:
        >>> read_assignment_options(dict(kind='soft')).kind
        'soft'
    """
    values = dict(values or {})
    unknown = sorted(set(values) - set(AssignmentOptions._fields))
    if unknown:
        raise ValueError(
            f'assignment has no option {", ".join(unknown)}: it has '
            f'{", ".join(AssignmentOptions._fields)}.'
        )
    options = AssignmentOptions(**values)  # type: ignore[arg-type]  # checked below
    if options.kind not in ('hard', 'soft'):
        raise ValueError(f"assignment kind must be 'hard' or 'soft', not {options.kind!r}.")
    for name in ('gumbel_noise', 'mean_of_tokens'):
        if not isinstance(getattr(options, name), bool):
            raise ValueError(f'assignment {name} = {getattr(options, name)!r} must be a bool.')
    if not isinstance(options.eps, int | float) or not options.eps > 0:
        raise ValueError(f'assignment eps = {options.eps!r} must be a number above 0.')
    weight = options.later_query_weight
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not is_number or not 0 <= weight <= sys.float_info.max:
        raise ValueError(
            f'assignment later_query_weight = {weight!r} must be a finite number of at least 0.'
        )
    return options._replace(eps=float(options.eps), later_query_weight=float(weight))


def assign(logits: Tensor, options: AssignmentOptions, *, training: bool) -> Tensor:
    """Return the assignment ``(..., S, N)`` that segments are computed with.

    Args:
        logits (Tensor): ``(..., S, N)``.
        options (AssignmentOptions): Its options.
        training (bool): Whether Gumbel noise may be added.
    """
    if training and options.gumbel_noise:
        if options.kind == 'hard':
            return gumbel_assignment(logits)
        return soft_assignment(logits + gumbel_noise(logits))
    return hard_assignment(logits) if options.kind == 'hard' else soft_assignment(logits)


class Assignment(NamedTuple):
    """Assignment of tokens to segments, ``(B, S, N)`` each.

    Attributes:
        hard (Tensor): The segments are computed with it. One-hot over ``S`` in value, drawn with
            Gumbel noise while training; with ``kind='soft'`` probabilities.
        soft (Tensor): Softmax over ``S`` without noise; segmentation uses it.
    """

    hard: Tensor
    soft: Tensor


def mean_of_members(tokens: Tensor, membership: Tensor) -> Tensor:
    """Return the mean of each segment's tokens; zero for a segment without any.

    Args:
        tokens (Tensor): ``(B, N, C)``.
        membership (Tensor): ``(B, S, N)``, hard or soft.

    Returns:
        Tensor: ``(B, S, C)``; gradients reach the membership.

    Example:
        >>> tokens = torch.tensor([[[2.0], [4.0], [9.0]]])
        >>> mean_of_members(tokens, torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]))
        tensor([[[3.],
                 [0.]]])
    """
    # Divided first, and in float32: sums overflow in half precision, quotients by nearly 0 always.
    sizes = membership.sum(dim=-1, keepdim=True).clamp(min=SMALLEST_SIZE)  # (B, S, 1)
    return (membership / sizes).to(tokens.dtype) @ tokens  # (B, S, N) @ (B, N, C)


def compose(assignments: tuple[Tensor, ...]) -> Tensor:
    """Return the assignment of tokens to the last segments: the product of the stages' matrices.

    Args:
        assignments (tuple[Tensor, ...]): ``(B, S1, N)``, ``(B, S2, S1)``, ...; at least one.

    Returns:
        Tensor: ``(B, S, N)`` with ``S`` of the last stage.
    """
    product = assignments[0]
    for assignment in assignments[1:]:
        product = torch.bmm(assignment, product)  # (B, S_i, S_i-1) @ (B, S_i-1, N)
    return product
