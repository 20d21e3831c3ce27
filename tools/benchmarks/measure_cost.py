"""Counts the FLOPs, saved activations and parameters of a pretraining config.

python tools/benchmarks/measure_cost.py CONFIG

FLOPs are counted with torch's FlopCounterMode (a multiply-add is two), activations by summing the
tensors that autograd saves, on the CPU; neither depends on its speed. All texts have --tokens
tokens, or as many as the context.
"""

import argparse
import sys
from collections.abc import Sequence

import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.command_line import add_config_options_argument, tool_main, tool_parser
from groupvit_mmseg.config_files import merge_options, read_config
from groupvit_mmseg.models import GroupViT, GroupViTPretrainer
from groupvit_mmseg.models.flops import flop_counter
from groupvit_mmseg.models.image_embeddings import embed_images

PARTS = ('backbone', 'text_encoder', 'image_projector', 'text_projector')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='pretraining config')
    parser.add_argument('--batch-size', type=int, default=4, help='pairs (default: 4)')
    parser.add_argument('--prompts', type=int, default=3, help='prompts of a pair (default: 3)')
    parser.add_argument('--tokens', type=int, help='tokens of each text (default: the context)')
    add_config_options_argument(parser)
    args = parser.parse_args(argv)
    if args.batch_size < 2:
        parser.error('--batch-size must be at least 2: BatchNorm needs more than one sample')
    return args


def make_batch(model: GroupViTPretrainer, args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Return random images of the size of the position embeddings, and random texts."""
    if not isinstance(model.backbone, GroupViT):
        raise ValueError(
            f'Costs are counted for a GroupViT, not for {type(model.backbone).__name__}.'
        )
    side = model.backbone.grid_shape[0] * model.backbone.patch_size
    length = args.tokens or model.text_encoder.context_length
    token_ids = torch.randint(1, 40_000, (args.batch_size, 1 + args.prompts, length))
    token_ids[..., -1] = model.text_encoder.token_embedding.num_embeddings - 1
    return torch.randn(args.batch_size, 3, side, side), token_ids


@torch.no_grad()
def count_flops(model: GroupViTPretrainer, images: Tensor, token_ids: Tensor) -> dict[str, int]:
    """Count the FLOPs of a forward pass, by part of the model."""
    counters = {part: flop_counter() for part in PARTS}
    with counters['backbone']:
        output = model.backbone.encode(images)
    with counters['text_encoder']:
        texts = model.text_encoder(token_ids.flatten(0, 1))
    with counters['image_projector']:
        embed_images(output, model.image_projector)
    with counters['text_projector']:
        model.text_projector(texts)
    return {part: counter.get_total_flops() for part, counter in counters.items()}


def saved_bytes(
    model: GroupViTPretrainer, images: Tensor, token_ids: Tensor, dtype: torch.dtype | None
) -> int:
    """Return the bytes that autograd saves for the backward pass, without parameters."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no storage is freed and its address used again

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    device = images.device.type
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            model(images, token_ids, mode='loss')
    return sum(sizes.values())


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    args = parse_args(argv)
    cfg = read_config(args.config)
    merge_options(cfg, args.cfg_options or {})
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    model = MODELS.build(cfg.model)
    images, token_ids = make_batch(model, args)
    print(f'{"part":18} {"parameters":>12} {"MFLOP a sample, forward":>24}')
    counts = count_flops(model, images, token_ids)
    for part, flops in counts.items():
        parameters = sum(p.numel() for p in getattr(model, part).parameters())
        print(f'{part:18} {parameters:12,} {flops / len(images) / 1e6:24,.1f}')
    total = sum(p.numel() for p in model.parameters())
    print(f'{"together":18} {total:12,} {sum(counts.values()) / len(images) / 1e6:24,.1f}')
    for dtype in (None, torch.bfloat16):
        mib = saved_bytes(model, images, token_ids, dtype) / len(images) / 2**20
        name = 'float32' if dtype is None else 'bfloat16 autocast'
        print(f'activations kept, {name}: {mib:.1f} MiB a sample')


if __name__ == '__main__':
    sys.exit(main())
