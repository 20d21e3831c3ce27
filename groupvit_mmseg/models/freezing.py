"""Parts of a model that do not learn."""

from torch import nn


def freeze(part: nn.Module | nn.Parameter) -> None:
    """Take a parameter, or all of a module, out of what is learnt; dropout and noise end there."""
    part.requires_grad_(False)
    if isinstance(part, nn.Module):
        part.eval()


def check_frozen_stages(frozen_stages: int, num_stages: int) -> int:
    """Raise ``ValueError`` with one sentence for stages that there are not."""
    if not -1 <= frozen_stages <= num_stages:
        raise ValueError(
            f'frozen_stages = {frozen_stages} must be -1 (nothing), 0 (the embeddings) or up to '
            f'the number of stages, {num_stages}.'
        )
    return frozen_stages
