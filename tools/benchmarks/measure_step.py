"""Measures a training step under each speed switch.

python tools/benchmarks/measure_step.py CONFIG

Every round runs all variants once, one after the other on the same batch; the ratio is the median
over rounds. The variant "again" changes nothing: its ratio shows the noise. On a CPU, seconds are
processor time, which other work on the machine changes little. Images and texts are random, all
texts of one length, in memory: loading is not part of it.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.command_line import (
    add_config_options_argument,
    add_device_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.config_files import merge_options, read_config
from groupvit_mmseg.engine.hooks.block_hook import blocks_of, compile_blocks, recompute_in_backward
from groupvit_mmseg.models import GroupViTPretrainer
from groupvit_mmseg.torch_versions import has_fused_optimizers

VARIANTS = ('again', 'compile', 'recompute', 'channels_last', 'bfloat16')
ADAMW = {
    'fused': partial(torch.optim.AdamW, lr=1e-3, fused=True),
    'foreach': partial(torch.optim.AdamW, lr=1e-3, foreach=True),
    'loop': partial(torch.optim.AdamW, lr=1e-3, foreach=False),
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='pretraining config')
    parser.add_argument('--batch-size', type=int, default=8, help='pairs (default: 8)')
    parser.add_argument('--prompts', type=int, default=3, help='prompts of a pair (default: 3)')
    parser.add_argument('--tokens', type=int, default=16, help='tokens of each text (default: 16)')
    parser.add_argument(
        '--rounds', type=int, default=5, help='rounds after a first that warms up (default: 5)'
    )
    parser.add_argument(
        '--variants',
        nargs='+',
        choices=VARIANTS,
        default=VARIANTS,
        help='speed switches to measure (default: all)',
    )
    parser.add_argument('--threads', type=int, default=1, help='threads of the CPU (default: 1)')
    add_device_argument(parser)
    add_config_options_argument(parser)
    return parser.parse_args(argv)


def make_batch(model: GroupViTPretrainer, args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Return random images of the size of the position embeddings, and random texts."""
    side = model.backbone.grid_shape[0] * model.backbone.patch_size
    token_ids = torch.randint(1, 40_000, (args.batch_size, 1 + args.prompts, args.tokens))
    token_ids[..., -1] = model.text_encoder.token_embedding.num_embeddings - 1
    images = torch.randn(args.batch_size, 3, side, side)
    return images.to(args.device), token_ids.to(args.device)


def step(
    model: GroupViTPretrainer,
    images: Tensor,
    token_ids: Tensor,
    *,
    device: str,
    bfloat16: bool = False,
) -> None:
    """Run the forward and backward pass of the losses, without a step of the optimiser."""
    with torch.autocast(device, dtype=torch.bfloat16, enabled=bfloat16):
        losses = model(images, token_ids, mode='loss')
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    model.zero_grad()


def apply_switch(
    model: GroupViTPretrainer, images: Tensor, name: str
) -> tuple[GroupViTPretrainer, Tensor]:
    """Return a copy of the model, and the images, under a switch."""
    model = copy.deepcopy(model)
    if name == 'compile':
        compile_blocks(model, True)
    elif name == 'recompute':
        for block in blocks_of(model):
            recompute_in_backward(block)
    elif name == 'channels_last':
        to_channels_last(model)
        images = images.contiguous(memory_format=torch.channels_last)
    return model, images


def to_channels_last(module: nn.Module) -> None:
    """Store the weights of convolutions channels last, in place."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it


def measure_rounds(
    calls: Mapping[str, Callable[[], object]], rounds: int, device: str
) -> dict[str, list[float]]:
    """Return the seconds of each call by round, without a first round, which compiles."""
    clock = time.process_time if device == 'cpu' else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            synchronize(device)
            start = clock()
            call()
            synchronize(device)
            if number:
                seconds[name].append(clock() - start)
    return seconds


def synchronize(device: str) -> None:
    """Wait for a GPU."""
    if device != 'cpu':
        torch.cuda.synchronize()


def print_table(title: str, seconds: Mapping[str, list[float]]) -> None:
    """Print median seconds, and the median ratio to the first row in the same round."""
    reference = next(iter(seconds.values()))
    print(f'\n| {title} | seconds | of the first |\n|---|---|---|')
    for name, values in seconds.items():
        ratios = [value / other for value, other in zip(values, reference, strict=True)]
        print(f'| {name} | {statistics.median(values):.4f} | {statistics.median(ratios):.2f} x |')


def convolutions(model: nn.Module, images: Tensor) -> dict[str, Callable[[], object]]:
    """Return calls of the patch embedding, the only convolution, in both memory formats."""
    conv = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d))
    last = copy.deepcopy(conv)
    to_channels_last(last)
    images_last = images.contiguous(memory_format=torch.channels_last)
    return {
        'contiguous': lambda: conv(images).sum().backward(),
        'again': lambda: conv(images).sum().backward(),
        'channels_last': lambda: last(images_last).sum().backward(),
    }


def optimisers(model: nn.Module) -> dict[str, Callable[[], object]]:
    """Return a step of each kind of AdamW that there is, on copies of all parameters."""
    calls: dict[str, Callable[[], object]] = {}
    for name, adamw in ADAMW.items():
        if name == 'fused' and not has_fused_optimizers(model):
            continue
        parameters = [p.detach().clone().requires_grad_() for p in model.parameters()]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        calls[name] = adamw(parameters).step
    return calls


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Print the three tables."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    cfg = read_config(args.config)
    merge_options(cfg, args.cfg_options or {})
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    model = MODELS.build(cfg.model).to(args.device).train()
    images, token_ids = make_batch(model, args)
    calls = {'as written': partial(step, model, images, token_ids, device=args.device)}
    for name in args.variants:
        other, inputs = apply_switch(model, images, name)
        half = name == 'bfloat16'
        calls[name] = partial(step, other, inputs, token_ids, device=args.device, bfloat16=half)
    measure = partial(measure_rounds, rounds=args.rounds, device=args.device)
    print_table(f'forward and backward of {args.batch_size} pairs', measure(calls))
    print_table('patch embedding alone', measure(convolutions(model, images)))
    print_table('AdamW step', measure(optimisers(model)))


if __name__ == '__main__':
    sys.exit(main())
