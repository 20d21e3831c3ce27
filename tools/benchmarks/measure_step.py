"""Seconds of a training step under each speed switch, side by side: ``.../measure_step.py CONFIG``.

Every round runs all variants once, one after the other on the same batch; the ratio is the median
over rounds, and the variant ``again``, nothing changed, tells how far to trust it. On a CPU seconds
are those of the processor, so that other work on the machine counts little. Images and texts are
random, all texts of one length, in memory: loading is not part of it.
"""

import argparse
import copy
import statistics
import time
from functools import partial

import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.engine.hooks.block_hook import blocks_of, compile_blocks, recompute_in_backward
from groupvit_mmseg.key_values import KeyValueAction

VARIANTS = ('again', 'compile', 'recompute', 'channels_last', 'bfloat16')
ADAMW = dict(fused=dict(fused=True), foreach=dict(foreach=True), loop=dict(foreach=False))


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='pretraining config')
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--prompts', type=int, default=3)
    parser.add_argument('--tokens', type=int, default=16, help='of each text')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--variants', nargs='+', choices=VARIANTS, default=VARIANTS)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--cfg-options', nargs='+', action=KeyValueAction, help='KEY=VALUE changes')
    return parser.parse_args(argv)


def make_batch(model, args):
    """Images of the size that the positions are for, and texts of random words."""
    side = model.backbone.grid_shape[0] * model.backbone.patch_size
    token_ids = torch.randint(1, 40_000, (args.batch_size, 1 + args.prompts, args.tokens))
    token_ids[..., -1] = model.text_encoder.token_embedding.num_embeddings - 1
    images = torch.randn(args.batch_size, 3, side, side)
    return images.to(args.device), token_ids.to(args.device)


def step(model, images, token_ids, *, device, bfloat16=False):
    """Forward and backward pass of the losses; the step's optimiser is measured apart."""
    with torch.autocast(device, dtype=torch.bfloat16, enabled=bfloat16):
        losses = model(images, token_ids, mode='loss')
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    model.zero_grad()


def changed(model, images, name):
    """A copy of the model, and the images, under a switch."""
    model = copy.deepcopy(model)
    if name == 'compile':
        compile_blocks(model, True)
    elif name == 'recompute':
        for block in blocks_of(model):
            recompute_in_backward(block)
    elif name == 'channels_last':
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    return model, images


def measure_rounds(calls, rounds, device):
    """Seconds of each call in each round; a first round is not counted: it compiles."""
    clock = time.process_time if device == 'cpu' else time.perf_counter
    seconds = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            synchronize(device)
            start = clock()
            call()
            synchronize(device)
            if number:
                seconds[name].append(clock() - start)
    return seconds


def synchronize(device):
    """Wait for a GPU."""
    if device != 'cpu':
        torch.cuda.synchronize()


def print_table(title, seconds):
    """Median seconds, and the median ratio to the first column of the same round."""
    reference = next(iter(seconds.values()))
    print(f'\n| {title} | seconds | of the first |\n|---|---|---|')
    for name, values in seconds.items():
        ratios = [value / other for value, other in zip(values, reference, strict=True)]
        print(f'| {name} | {statistics.median(values):.4f} | {statistics.median(ratios):.2f} x |')


def convolutions(model, images):
    """The patch embedding, the model's only convolution, alone in both memory formats."""
    conv = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d))
    last = copy.deepcopy(conv).to(memory_format=torch.channels_last)
    images_last = images.contiguous(memory_format=torch.channels_last)
    return {
        'contiguous': lambda: conv(images).sum().backward(),
        'again': lambda: conv(images).sum().backward(),
        'channels_last': lambda: last(images_last).sum().backward(),
    }


def optimisers(model):
    """A step of each kind of AdamW on copies of all parameters."""
    calls = {}
    for name, options in ADAMW.items():
        parameters = [p.detach().clone().requires_grad_() for p in model.parameters()]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        calls[name] = torch.optim.AdamW(parameters, lr=1e-3, **options).step
    return calls


def main(argv=None):
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    cfg = read_config(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    model = MODELS.build(cfg.model).to(args.device).train()
    images, token_ids = make_batch(model, args)
    calls = {'as written': partial(step, model, images, token_ids, device=args.device)}
    for name in args.variants:
        other, inputs = changed(model, images, name)
        half = name == 'bfloat16'
        calls[name] = partial(step, other, inputs, token_ids, device=args.device, bfloat16=half)
    measure = partial(measure_rounds, rounds=args.rounds, device=args.device)
    print_table(f'forward and backward of {args.batch_size} pairs', measure(calls))
    print_table('patch embedding alone', measure(convolutions(model, images)))
    print_table('AdamW step', measure(optimisers(model)))


if __name__ == '__main__':
    main()
