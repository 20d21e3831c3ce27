"""Measures whole training steps: pairs a second, memory and utilisation, for batches and switches.

python tools/benchmarks/measure_throughput.py [CONFIG] --device cuda [--rows 256 512:compile ...]

A row is BATCH or BATCH:SWITCH:SWITCH..., with the switches of ROWS below. A step takes images of
bytes and texts from the CPU's memory, normalises, runs forward and backward, clips and updates by
AdamW, as training does. Texts have the lengths of Flickr8k's captions. Each row is printed, and
appended to --out as a line of JSON, as soon as it is measured, so that what was measured before an
interruption is kept; a row that fails says why.

Utilisation: three forward passes' FLOPs, counted by PyTorch and by the formula of attention, a
second, over the card's peak of dense bfloat16 as its maker gives it, and over what one product of
large matrices of the row's precision reaches here and now.
"""

import argparse
import gc
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn

from groupvit_mmseg.benchmark.step_timing import Step, product_peak, time_step
from groupvit_mmseg.command_line import (
    add_config_options_argument,
    add_device_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.config_files import merge_options, read_config
from groupvit_mmseg.engine.hooks.block_hook import blocks_of, compile_blocks, recompute_in_backward
from groupvit_mmseg.engine.optimizers.optim_wrapper import best_dtype
from groupvit_mmseg.models import GroupViTPretrainer
from groupvit_mmseg.models.flops import flop_counter
from groupvit_mmseg.torch_versions import has_fused_optimizers

CONFIG = Path(__file__).resolve().parents[2] / 'configs/groupvit_pretrain.py'
COMPILE_MODES = {
    'compile': {},
    'autotune': dict(mode='max-autotune-no-cudagraphs'),
    'graphs': dict(mode='reduce-overhead'),
}
SWITCHES = (*COMPILE_MODES, 'fp16', 'fp32', 'recompute', 'micro', 'transformers', '112px')
# In order of worth: an interrupted run keeps the first ones.
ROWS = (
    *('256:compile', '256', '256:transformers', '512:compile', '1024:compile'),
    *('256:compile:fp16', '256:graphs', '1024:recompute', '1024:compile:micro'),
    *('512:compile:112px', '256:fp32', '256:autotune', '1024:autotune'),
)
PEAKS = {'H200': 989e12, 'H100': 989e12, 'A100': 312e12, 'L40S': 362e12, 'RTX 4090': 165e12}
"""dict[str, float]: Dense bfloat16 FLOP a second by the makers, by a part of the card's name."""
MICRO_BATCH = 256
# Tokens of captions, start and end included, as often as in Flickr8k's; prompts have 8 to 12.
CAPTION_TOKENS = (9, 10, 11, 12, 12, 13, 13, 14, 14, 15, 16, 17, 19, 22)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('config', nargs='?', type=Path, default=CONFIG, help='pretraining config')
    parser.add_argument(
        '--rows', nargs='+', type=read_row, default=[read_row(row) for row in ROWS],
        metavar='BATCH[:SWITCH...]', help='rows to measure, in this order',
    )  # fmt: skip
    parser.add_argument(
        '--seconds', type=float, default=4, help='least seconds of each row (default: 4)'
    )
    parser.add_argument('--prompts', type=int, default=3, help='prompts of a pair (default: 3)')
    parser.add_argument('--out', type=Path, help='file of JSON lines to append to')
    add_device_argument(parser)
    add_config_options_argument(parser)
    return parser.parse_args(argv)


def read_row(text: str) -> tuple[int, tuple[str, ...]]:
    """Read ``'512:compile'`` as ``(512, ('compile',))``."""
    batch, *switches = text.split(':')
    unknown = [switch for switch in switches if switch not in SWITCHES]
    if not batch.isdigit() or int(batch) < 2 or unknown:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no row: BATCH[:SWITCH...], a batch of 2 or more and of {SWITCHES}'
        )
    return int(batch), tuple(switches)


def make_texts(batch: int, prompts: int, length: int) -> Tensor:
    """Return token ids ``(B, 1 + P, L)`` with the lengths of real captions and prompts."""
    generator = torch.Generator().manual_seed(0)
    token_ids = torch.randint(1, 40_000, (batch, 1 + prompts, length), generator=generator)
    ends = torch.empty(batch, 1 + prompts, dtype=torch.long)
    ends[:, 0] = torch.tensor(CAPTION_TOKENS * (batch // len(CAPTION_TOKENS) + 1))[:batch] - 1
    ends[:, 1:] = torch.randint(7, 12, (batch, prompts), generator=generator)
    ends.clamp_(max=length - 1)
    token_ids[..., 0] = 49406
    token_ids.scatter_(2, ends[..., None], 49407)
    return token_ids * (torch.arange(length) <= ends[..., None])


def make_batch(model: GroupViTPretrainer, batch: int, prompts: int, device: str) -> dict:
    """Return a batch as the loader gives it: uint8 images and texts in the CPU's memory."""
    side = model.backbone.grid_shape[0] * model.backbone.patch_size
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
    texts = make_texts(batch, prompts, model.text_encoder.context_length)
    if device.startswith('cuda'):
        images, texts = images.pin_memory(), texts.pin_memory()
    return dict(inputs=images, token_ids=texts)


def precision_of(switches: Sequence[str], device: str) -> str | None:
    """Return the type of autocast, None for float32: that of ``dtype='auto'`` but for switches."""
    if 'fp32' in switches:
        return None
    if 'fp16' in switches and device != 'cpu':
        return 'float16'
    best = str(best_dtype(torch.device(device).type)).removeprefix('torch.')
    return None if best == 'float32' else best


def product_type(switches: Sequence[str], device: str) -> torch.dtype:
    """Return the type of the products of a row."""
    return getattr(torch, precision_of(switches, device) or 'float32')


def our_step(
    cfg: Config, batch: int, switches: Sequence[str], args: argparse.Namespace
) -> tuple[Step, float]:
    """Build a training step of this plugin; also return the FLOPs of a step."""
    device, few = args.device, min(batch, 8)
    torch.manual_seed(0)
    settings = cfg.model.to_dict()
    if '112px' in switches:
        settings['backbone'] = {**settings['backbone'], 'img_size': 112}
    if 'micro' in switches:
        settings['micro_batch_size'] = min(MICRO_BATCH, batch // 2)
    model = MODELS.build(settings).to(device).train()
    data = make_batch(model, batch, args.prompts, device)
    flops = count_flops(model, make_batch(model, few, args.prompts, device)) / few
    for block in blocks_of(model) if 'recompute' in switches else ():
        recompute_in_backward(block)
    for mode in set(COMPILE_MODES) & set(switches):
        compile_blocks(model, COMPILE_MODES[mode] or True)
    optim_wrapper = build_optim_wrapper(model, wrapper_of(cfg, precision_of(switches, device)))
    optim_wrapper.initialize_count_status(model, 0, 10**6)
    return partial(model.train_step, data, optim_wrapper), 3 * flops * batch


def wrapper_of(cfg: Config, dtype: str | None) -> dict:
    """Return the config of the optimiser in a precision, whatever precision the config trains in.

    Args:
        cfg (Config): The config.
        dtype (str, optional): Type of autocast; None for float32.
    """
    wrapper = cfg.optim_wrapper.to_dict()
    if dtype is not None:
        return {**wrapper, 'type': 'MixedPrecisionOptimWrapper', 'dtype': dtype}
    others = {key: value for key, value in wrapper.items() if key not in ('dtype', 'loss_scale')}
    return {**others, 'type': 'GuardedOptimWrapper'}


@torch.no_grad()
def count_flops(model: GroupViTPretrainer, data: dict) -> float:
    """Count the FLOPs of a batch's forward pass."""
    with flop_counter() as counter:
        model(**model.data_preprocessor(data, training=True), mode='loss')
    return counter.get_total_flops()


def their_step(cfg: Config, batch: int, switches: Sequence[str], args: argparse.Namespace) -> Step:
    """Build a training step of ``transformers.GroupViTModel`` on the same images and texts.

    It embeds all texts and contrasts captions alone, which is less than this plugin's losses.
    """
    import transformers

    device, ours = args.device, MODELS.build(cfg.model)
    dtype = precision_of(switches, device)
    half, mixed = getattr(torch, dtype or 'bfloat16'), dtype is not None
    data = make_batch(ours, batch, args.prompts, device)
    side = ours.backbone.grid_shape[0] * ours.backbone.patch_size
    settings = transformers.GroupViTConfig(vision_config=dict(image_size=side))
    model = transformers.GroupViTModel(settings).to(device).train()
    fused = has_fused_optimizers(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=fused)

    def step() -> None:
        images, texts = (data[n].to(device, non_blocking=True) for n in ('inputs', 'token_ids'))
        width = int((texts > 0).sum(-1).max())  # no longer than the longest
        with torch.autocast(torch.device(device).type, dtype=half, enabled=mixed):
            pixels = images.float().sub_(115).div_(58)
            vision = model.visual_projection(model.vision_model(pixels).pooler_output)
            flat = texts.flatten(0, 1)[:, :width]
            text = model.text_projection(model.text_model(flat).pooler_output)
            text = text.unflatten(0, texts.shape[:2])[:, 0]
            logits = nn.functional.normalize(vision) @ nn.functional.normalize(text).T / 0.07
        loss = nn.functional.cross_entropy(logits.float(), torch.arange(batch, device=device))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(
    cfg: Config, batch: int, switches: Sequence[str], args: argparse.Namespace
) -> dict[str, float]:
    """Measure one row."""
    device = args.device
    if device.startswith('cuda'):
        torch.cuda.empty_cache()  # what the row before left
        torch.cuda.reset_peak_memory_stats()
    if 'transformers' in switches:
        step, flops = their_step(cfg, batch, switches, args), 0.0
    else:
        step, flops = our_step(cfg, batch, switches, args)
    first, seconds = time_step(step, args.seconds, device)
    row = dict(pairs_per_second=batch / seconds, milliseconds=1000 * seconds, warm_up=first)
    if flops:
        row.update(tflops=flops / seconds / 1e12)
    if device.startswith('cuda'):
        row.update(gib=torch.cuda.max_memory_allocated() / 2**30)
    return row


def describe(row: dict, peak: float | None, product: float) -> str:
    """Return a row of the table."""
    name = f'| {row["batch"]} | {" ".join(row["switches"]) or "eager"} |'
    if 'error' in row:
        return f'{name} {row["error"]} | | | | | |'
    tflops = row.get('tflops')
    shares = [f'{tflops * 1e12 / part:.1%}' if tflops and part else '' for part in (peak, product)]
    memory = f'{row["gib"]:.1f}' if 'gib' in row else ''
    speed = row['pairs_per_second']
    cells = [f'{speed:.{1 if speed < 100 else 0}f}', f'{row["milliseconds"]:.1f}', memory, *shares]
    return f'{name} {" | ".join(cells)} | {row["warm_up"]:.0f} |'


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print the rows."""
    args = parse_args(argv)
    cfg = read_config(args.config)
    merge_options(cfg, args.cfg_options or {})
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    card = torch.cuda.get_device_name() if args.device.startswith('cuda') else 'CPU'
    peak = next((value for part, value in PEAKS.items() if part in card), None)
    dtypes = {row: product_type(row[1], args.device) for row in args.rows}
    products = {dtype: product_peak(args.device, dtype) for dtype in set(dtypes.values())}
    reached = ', '.join(
        f'{speed / 1e12:.2f} TFLOP/s in {str(dtype).removeprefix("torch.")}'
        for dtype, speed in products.items()
    )
    print(f'{card}, torch {torch.__version__}: a product of large matrices reaches {reached}.\n')
    print('| batch | switches | pairs/s | ms | GiB | of the peak | of a product | warm-up s |')
    print('|---' * 8 + '|')
    for batch, switches in args.rows:
        product = products[dtypes[batch, switches]]
        row: dict = dict(batch=batch, switches=switches, card=card, product=product)
        torch._dynamo.reset()
        gc.collect()
        try:
            row.update(measure(cfg, batch, switches, args))
        except (RuntimeError, ImportError) as error:  # out of memory, a compiler's failure
            row.update(error=str(error).strip().splitlines()[0][:200])
        print(describe(row, peak, product), flush=True)
        if args.out is not None:
            with args.out.open('a', encoding='utf-8') as stream:
                stream.write(json.dumps(row) + '\n')


if __name__ == '__main__':
    sys.exit(main())
