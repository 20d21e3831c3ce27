"""What the four converters of ``tools/model_converters`` have in common."""

import argparse
import json
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from mmengine.config import Config

from groupvit_mmseg.checkpoints.check import compare, embed, random_batch
from groupvit_mmseg.checkpoints.conversion import Model, decode, encode
from groupvit_mmseg.checkpoints.hints import Hints, hints_from_config, hints_from_hugging_face
from groupvit_mmseg.checkpoints.hub import CONFIG as HUGGING_FACE_CONFIG
from groupvit_mmseg.checkpoints.hub import HUB_PREFIX
from groupvit_mmseg.checkpoints.model_configs import (
    hugging_face_config,
    official_config,
    plugin_meta,
    segmentation_config_text,
)
from groupvit_mmseg.checkpoints.naming import HUGGING_FACE, OFFICIAL, PLUGIN, Naming, Tensors
from groupvit_mmseg.checkpoints.weight_files import CONFIG_ENTRY, WeightFile, locate, read_weights
from groupvit_mmseg.checkpoints.writing import Writer, write_together

# What a wrong file, option or disk raises; each says what to do in one sentence.
ERRORS = (ImportError, OSError, RuntimeError, ValueError, pickle.UnpicklingError)
SUFFIXES = ('.pth', '.pt', '.bin', '.safetensors')


def run(source: Naming, target: Naming, doc: str, argv: Sequence[str] | None = None) -> int:
    """Convert as the command line says.

    Args:
        source (Naming): Names that the source must have.
        target (Naming): Names that the result gets.
        doc (str): The tool's help.
        argv (Sequence[str], optional): The command line. Defaults to that of the process.

    Returns:
        int: Exit status.
    """
    args = parse_args(source, doc, argv)
    try:
        convert(args, source, target)
    except ERRORS as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def parse_args(source: Naming, doc: str, argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of a converter."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('paths', nargs='+', metavar='SRC DST', help='file, index of shards or folder; the result')
    if source is HUGGING_FACE:
        add('--from', dest='hub', metavar='OWNER/NAME', help='of the hub, in the place of SRC')
    if source is PLUGIN:
        add('--config', help='the config of the weights, for what their shapes do not tell')
    add('--num-heads', type=int, nargs='+', help='of each stage; 64 channels per head otherwise')
    add('--text-heads', type=int, help='of the text tower; 64 channels per head otherwise')
    add('--img-size', type=int, nargs=2, metavar=('H', 'W'), help='of models not for squares')
    add('--no-check', action='store_true', help='skip the numeric comparison with the source')
    add('--overwrite', action='store_true', help='replace files that are already there')
    args = parser.parse_args(argv)
    if getattr(args, 'hub', None):
        args.paths.insert(0, HUB_PREFIX + args.hub)
    if len(args.paths) != 2:
        parser.error('give one SRC and one DST')
    return args


def convert(args: argparse.Namespace, source: Naming, target: Naming) -> None:
    """Read, convert, check, and only then write."""
    paths = target_paths(args.paths[1], target, overwrite=args.overwrite)
    path = locate(args.paths[0])
    weights = read_weights(path)
    model = decode(weights.tensors, source, find_hints(args, path, weights), where=path)
    tensors, lost = encode(model, target)
    report(path, weights, model, lost)
    if args.no_check:
        print('numeric check: skipped')
    else:
        batch = random_batch(model.structure)
        results = [
            embed(each, naming, model.structure, batch)
            for each, naming in ((model.source, source), (tensors, target))
        ]
        print(f'numeric check: largest difference {compare(*results):.1e} in float64')
    write_together(dict(zip(paths, writers(model, tensors, target, paths[0]), strict=True)))
    print(f'wrote {paths[0]} and {paths[1]}')


def find_hints(args: argparse.Namespace, path: Path, weights: WeightFile) -> Hints:
    """The command line first, then what lies with the weights."""
    told = Hints(args.num_heads, args.text_heads, tuple(args.img_size) if args.img_size else None)
    if getattr(args, 'config', None):
        told = told.completed(hints_from_config(Config.fromfile(args.config).pretty_text))
    if weights.config_text:
        told = told.completed(hints_from_config(weights.config_text))
    beside = path.parent / HUGGING_FACE_CONFIG
    if hasattr(args, 'hub') and beside.is_file():
        try:
            told = told.completed(hints_from_hugging_face(json.loads(beside.read_text())))
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f'{beside} is not a config of Hugging Face ({error}).') from error
    return told


def target_paths(name: str, target: Naming, *, overwrite: bool) -> tuple[Path, Path]:
    """The file of the weights and that of their config, neither of them there yet.

    Raises:
        FileExistsError: If one is there and may not be replaced.
        ValueError: If the name says no known format.
    """
    weights = Path(name).expanduser()
    if target is HUGGING_FACE and weights.suffix not in SUFFIXES:
        weights = weights / 'model.safetensors'
    if weights.suffix not in SUFFIXES:
        raise ValueError(f'DST {name} must end in one of {", ".join(SUFFIXES)}.')
    config = {
        PLUGIN.title: weights.with_suffix('.py'),
        OFFICIAL.title: weights.with_suffix('.json'),
        HUGGING_FACE.title: weights.parent / HUGGING_FACE_CONFIG,
    }[target.title]
    there = [str(path) for path in (weights, config) if path.exists()]
    if there and not overwrite:
        raise FileExistsError(f'{" and ".join(there)} exists: name another DST or --overwrite.')
    return weights, config


def report(path: Path, weights: WeightFile, model: Model, lost: dict[str, str]) -> None:
    """Say what was read, what it is, and everything that was left out."""
    backbone = model.structure.backbone
    print(f'{path}: {len(model.source)} tensors, widths {list(model.structure.widths)}')
    for name in ('depths', 'num_heads', 'num_group_tokens', 'num_output_groups', 'img_size'):
        print(f'  {name} {backbone[name]}')
    for remark in weights.skipped:
        print(f'skipped {remark}')
    for key, reason in {**model.dropped, **lost}.items():
        print(f'dropped {key}: {reason}')


def writers(model: Model, tensors: Tensors, target: Naming, path: Path) -> tuple[Writer, Writer]:
    """What writes the weights and their config."""
    configs = {
        PLUGIN.title: lambda: segmentation_config_text(model.structure),
        OFFICIAL.title: lambda: json.dumps(official_config(model.structure), indent=2),
        HUGGING_FACE.title: lambda: json.dumps(hugging_face_config(model.structure), indent=2),
    }
    text = configs[target.title]()
    return _weights_writer(tensors, target, path, text), lambda s: s.write(text.encode())


def _weights_writer(tensors: Tensors, target: Naming, path: Path, text: str) -> Writer:
    """What writes the weights in the format that the name ends in."""
    if path.suffix == '.safetensors':
        metadata = {'format': 'pt'} | ({CONFIG_ENTRY: text} if target is PLUGIN else {})
        whole = {key: value.contiguous() for key, value in tensors.items()}
        return lambda stream: stream.write(safetensors.torch.save(whole, metadata))
    content = {
        PLUGIN.title: dict(state_dict=tensors, meta=plugin_meta(text)),
        OFFICIAL.title: dict(model=tensors),
        HUGGING_FACE.title: tensors,
    }[target.title]
    return lambda stream: torch.save(content, stream)
