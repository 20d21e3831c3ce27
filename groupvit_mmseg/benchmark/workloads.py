"""Work whose time and memory are measured: a segmentation, a training step, the losses of a rank.

Weights and inputs are random; the paper's model, unless a size is given.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from groupvit_mmseg.benchmark.one_rank import LOSSES, act_as_first_rank, build_loss, draw_inputs
from groupvit_mmseg.config_files import read_config, shipped_file
from groupvit_mmseg.inference import segmentation_config

SEGMENT = 'configs/groupvit/groupvit_vit-small-p16_zeroshot_voc12-448.py'
PRETRAIN = 'configs/groupvit_pretrain.py'
TOKENS = 16
"""int: Tokens of each text of a training step."""


def segmentation(
    *, side: int = 448, classes: int = 21, mode: str = 'slide'
) -> Callable[[str], None]:
    """Prepare the segmentation of a square image; scores of classes are not kept.

    Args:
        side (int): Pixels of a side. Defaults to 448.
        classes (int): Number of classes. Defaults to 21.
        mode (str): ``'slide'`` for windows of 448 px, or ``'whole'``. Defaults to 'slide'.

    Returns:
        Callable[[str], None]: Runs it in a precision of ``test_cfg``, such as ``'fp32'``.
    """
    cfg = segmentation_config(read_config(shipped_file(SEGMENT)))
    names = [f'thing {index}' for index in range(classes)]
    cfg.model.decode_head.update(class_names=names, with_background=False, bg_thresh=None)
    model = MODELS.build(cfg.model).eval()
    model.decode_head.encode_classes()
    image = torch.randn(3, side, side)
    windows = dict(mode='whole') if mode == 'whole' else dict(model.test_cfg)

    @torch.inference_mode()
    def run(precision: str) -> None:
        model.test_cfg = dict(windows, with_scores=False, precision=precision)
        model.predict([image], [SegDataSample(metainfo=dict(ori_shape=(side, side)))])

    return run


def training(*, batch: int = 4, groups: int = 64) -> Callable[[str], None]:
    """Prepare the forward and backward pass of a training step on 224 px, three prompts a pair.

    Args:
        batch (int): Pairs, 2 at least. Defaults to 4.
        groups (int): Group tokens and segments of the first stage. Defaults to 64.

    Returns:
        Callable[[str], None]: Runs it in ``'fp32'``, or in ``'bf16'`` under autocast.
    """
    cfg = read_config(shipped_file(PRETRAIN))
    cfg.model.backbone.update(num_group_tokens=(groups, 8, 0), num_output_groups=(groups, 8))
    model = MODELS.build(cfg.model).train()
    images = torch.randn(batch, 3, 224, 224)
    token_ids = torch.randint(1, 40_000, (batch, 4, TOKENS))
    token_ids[..., -1] = model.text_encoder.token_embedding.num_embeddings - 1

    def run(precision: str) -> None:
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=precision == 'bf16'):
            losses = model(images, token_ids, mode='loss')
        sum(value for name, value in losses.items() if 'loss' in name).backward()

    return run


def losses_of_a_rank(ranks: int, batch: int = 256) -> Callable[[], None]:
    """Prepare both losses of one of several ranks, forward and backward.

    The process acts as that rank from now on, as :func:`.act_as_first_rank` says.

    Args:
        ranks (int): Number of ranks.
        batch (int): Pairs of each. Defaults to 256.
    """
    act_as_first_rank(ranks)
    pairs = [(build_loss(name, chunk_size=256), draw_inputs(name, batch)) for name in LOSSES]

    def run() -> None:
        for loss, inputs in pairs:
            loss(*inputs).backward()

    return run
