"""FLOPs, saved activations and parameters of a pretraining config: ``.../measure_cost.py CONFIG``.

Counts with torch's FlopCounterMode (a multiply-add is two) and by summing what autograd keeps, on
the CPU; neither depends on its speed. Text lengths are those given, or all as long as the context.
"""

import argparse
import sys

import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch.utils.flop_counter import FlopCounterMode

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.key_values import KeyValueAction
from groupvit_mmseg.models import GroupViT

PARTS = ('backbone', 'text_encoder', 'image_projector', 'text_projector')


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='pretraining config')
    parser.add_argument('--batch-size', type=int, default=4)
    parser.add_argument('--prompts', type=int, default=3)
    parser.add_argument('--tokens', type=int, help='of each text; the context length by default')
    parser.add_argument('--cfg-options', nargs='+', action=KeyValueAction, help='KEY=VALUE changes')
    args = parser.parse_args(argv)
    if args.batch_size < 2:
        parser.error('--batch-size must be at least 2: BatchNorm needs more than one sample')
    return args


def make_batch(model, args):
    """Images of the size that the positions are for, and texts of distinct words."""
    if not isinstance(model.backbone, GroupViT):
        sys.exit(
            f'error: costs are counted for a GroupViT, not for {type(model.backbone).__name__}.'
        )
    side = model.backbone.grid_shape[0] * model.backbone.patch_size
    length = args.tokens or model.text_encoder.context_length
    token_ids = torch.randint(1, 40_000, (args.batch_size, 1 + args.prompts, length))
    token_ids[..., -1] = model.text_encoder.token_embedding.num_embeddings - 1
    return torch.randn(args.batch_size, 3, side, side), token_ids


def count_flops(model, images, token_ids):
    """FLOPs of a forward pass by part."""
    counts = {}
    output = None
    for part in PARTS[:2]:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            if part == 'backbone':
                output = model.backbone.encode(images)
            else:
                texts = model.text_encoder(token_ids.flatten(0, 1))
        counts[part] = counter.get_total_flops()
    for part, rows in (('image_projector', output.pooled), ('text_projector', texts)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            getattr(model, part)(rows)
        counts[part] = counter.get_total_flops()
    return counts


def saved_bytes(model, images, token_ids, dtype):
    """What the forward pass keeps for the backward pass, without parameters."""
    own, sizes = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}
    alive = []  # so that no storage is freed and its address used again

    def pack(tensor):
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


def main(argv=None):
    args = parse_args(argv)
    cfg = read_config(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
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
        kept = saved_bytes(model, images, token_ids, dtype) / len(images) / 2**20
        name = 'float32' if dtype is None else 'bfloat16 autocast'
        print(f'activations kept, {name}: {kept:.1f} MiB a sample')


if __name__ == '__main__':
    main()
