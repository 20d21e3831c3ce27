"""The command line of the four converters in ``tools/model_converters``."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from groupvit_mmseg.atomic_files import write_together
from groupvit_mmseg.checkpoints.architecture_hints import Settings, plain, stored_decoding
from groupvit_mmseg.checkpoints.config_text import from_config_text
from groupvit_mmseg.checkpoints.hub import CONFIG as HUGGING_FACE_CONFIG
from groupvit_mmseg.checkpoints.hub import HUB_PREFIX
from groupvit_mmseg.checkpoints.key_formats import (
    HUGGING_FACE,
    OFFICIAL,
    PLUGIN,
    KeyFormat,
    Tensors,
)
from groupvit_mmseg.checkpoints.sources import locate
from groupvit_mmseg.checkpoints.stored_settings import (
    key_format_settings,
    read_json,
    stored_settings,
)
from groupvit_mmseg.checkpoints.weight_files import WeightFile, read_weights, shard_names
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.conversion.convert import Model, decode, encode
from groupvit_mmseg.conversion.fingerprint import check_answers, probe_batch
from groupvit_mmseg.conversion.model_configs import segments_otherwise
from groupvit_mmseg.conversion.numeric_check import compare, embed
from groupvit_mmseg.conversion.official_forward import Embeddings
from groupvit_mmseg.conversion.output_files import output_files, target_paths
from groupvit_mmseg.output_paths import check_output

MAX_LOGIT_SCALE = 100.0  # as ``models.losses`` clamps it


@tool_main()
def run(
    source: KeyFormat,
    target: KeyFormat,
    doc: str,
    argv: Sequence[str] | None = None,
    *,
    weights: WeightFile | None = None,
) -> None:
    """Convert a file by the options of the command line.

    Args:
        source (KeyFormat): The format of the source.
        target (KeyFormat): The format of the result.
        doc (str): The tool's help.
        argv (Sequence[str], optional): The command line. Defaults to that of the process.
        weights (WeightFile, optional): Content of the source, if it has been read. Defaults to
            None.

    Returns:
        int: Exit status, by ``tool_main``.
    """
    convert(parse_args(source, doc, argv), source, target, weights)


def parse_args(source: KeyFormat, doc: str, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line of a converter."""
    parser = tool_parser(doc)
    add = parser.add_argument
    add('paths', nargs='+', metavar='SRC DST', help='file, index of shards or folder; the result')
    if source is HUGGING_FACE:
        add('--from', dest='hub', metavar='OWNER/NAME', help='of the hub, instead of SRC')
    if source is PLUGIN:
        add(
            '--config',
            help='the config of the weights, for settings that are not in their shapes',
        )
    add('--num-heads', type=int, nargs='+', help='of each stage, if SRC does not contain them')
    add('--text-heads', type=int, help='of the text tower, if SRC does not contain them')
    add(
        '--img-size',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        help='of models whose images are not square',
    )
    add('--no-check', action='store_true', help='skip the numeric comparison with the source')
    add('--overwrite', action='store_true', help='replace existing files')
    args = parser.parse_args(argv)
    if getattr(args, 'hub', None):
        args.paths.insert(0, HUB_PREFIX + args.hub)
    if len(args.paths) != 2:
        parser.error('give one SRC and one DST')
    return args


def convert(
    args: argparse.Namespace,
    source: KeyFormat,
    target: KeyFormat,
    weights: WeightFile | None = None,
) -> None:
    """Read, convert and check a model, and write it only after that."""
    paths = target_paths(args.paths[1], target, overwrite=args.overwrite)
    path = locate(args.paths[0])
    for out in paths:
        check_output(out, reads=files_read(args, path), name='DST')
    weights = read_weights(path) if weights is None else weights
    settings = [*option_settings(args), *stored_settings(path, weights, source)]
    model = decode(weights.tensors, source, settings, where=path)
    tensors, lost = encode(model, target)
    report(path, weights, model, lost)
    for remark in remarks(model, target, settings):
        print(f'note: {remark}')
    if args.no_check:
        print('numeric check: skipped')
        answers = embed(model.tensors, PLUGIN, model.structure, probe_batch(model.structure))
    else:
        hub_config = path.parent / HUGGING_FACE_CONFIG
        own = read_json(hub_config) if source is HUGGING_FACE and hub_config.is_file() else None
        answers = check(model, tensors, (source, target), settings, hub_config=own)
    files = output_files(model.structure, tensors, target, paths=paths, answers=answers)
    write_together(files)
    print(f'wrote {", ".join(map(str, files))}')


def files_read(args: argparse.Namespace, path: Path) -> list[Path]:
    """Return every file of the source: weights, an index with its shards, configs."""
    shards = [path.parent / name for name in shard_names(path)] if path.suffix == '.json' else []
    config = getattr(args, 'config', None)
    beside = [path.parent / HUGGING_FACE_CONFIG] if hasattr(args, 'hub') else []
    return [path, *shards, *beside, *([Path(config)] if config else [])]


def option_settings(args: argparse.Namespace) -> list[Settings]:
    """Return the settings on the command line, and those of the config that it names."""
    size = tuple(args.img_size) if args.img_size else None
    heads = tuple(args.num_heads) if args.num_heads else None
    image = {'num_heads': heads, 'img_size': size}
    settings = [Settings('the command line', image, {'num_heads': args.text_heads})]
    if getattr(args, 'config', None):
        text = read_config(args.config).pretty_text
        settings.append(from_config_text(text, str(args.config)))
    return settings


def check(
    model: Model,
    tensors: Tensors,
    key_formats: tuple[KeyFormat, KeyFormat],
    settings: Sequence[Settings],
    *,
    hub_config: Mapping[str, object] | None,
) -> Embeddings:
    """Compare source, target and recorded outputs; return the outputs of the source.

    Args:
        model (Model): The source.
        tensors (dict[str, Tensor]): The target.
        key_formats (tuple[KeyFormat, KeyFormat]): Of source and target.
        settings (Sequence[Settings]): Of the source, some with recorded outputs.
        hub_config (Mapping[str, object], optional): Content of Hugging Face's ``config.json``.
    """
    batch = probe_batch(model.structure)
    answers = embed(model.source, key_formats[0], model.structure, batch, hub_config)
    for each in settings:
        if each.answers:
            check_answers(each, answers)
            print(f'numeric check: as recorded in {each.where}')
    difference = compare(answers, embed(tensors, key_formats[1], model.structure, batch))
    print(f'numeric check: largest difference {difference:.1e} in float64')
    return answers


def remarks(model: Model, target: KeyFormat, settings: Sequence[Settings]) -> Iterator[str]:
    """Yield the differences between the results of the target's own code and the source's."""
    decoding = stored_decoding(settings)
    if target is not PLUGIN and segments_otherwise(decoding, model.structure):
        changes = ', '.join(f'{name}={value!r}' for name, value in decoding.head.items())
        yield (
            f'the result does not contain how this model segments ({changes or decoding.mode}): '
            "it segments as the paper's where its config does not say so"
        )
    scale = float(model.tensors['loss_contrastive.logit_scale'].exp())
    if scale > MAX_LOGIT_SCALE:
        yield (
            f'the logit scale is {scale:.1f}; this plugin and the official code compute with '
            f'{MAX_LOGIT_SCALE:g}, transformers with {scale:.1f}'
        )
    fixed, structure = key_format_settings(target, model.tensors), model.structure
    own = {
        'text_heads': structure.text_encoder['num_heads'],
        'normalization': structure.normalization,
    }
    for name, value in own.items():
        known = getattr(fixed.hints, name)
        if target is OFFICIAL and value != known:
            yield (
                f'{fixed.where} has only {name} = {plain(known) or "one for 64 channels"}, and '
                f'this model has {plain(value)}: only this plugin reads it from the result'
            )


def report(path: Path, weights: WeightFile, model: Model, lost: dict[str, str]) -> None:
    """Print the structure, the origin of its settings, and everything that was left out."""
    structure, backbone = model.structure, model.structure.backbone
    print(f'{path}: {len(model.source)} tensors, widths {list(structure.widths)}')
    for name in ('depths', 'num_group_tokens', 'num_output_groups'):
        print(f'  {name} {backbone[name]}')
    assumptions = {
        'num_heads': (backbone['num_heads'], "assumed: the paper's"),
        'text_heads': (structure.text_encoder['num_heads'], "assumed: the paper's"),
        'img_size': (backbone['img_size'], 'assumed: a square'),
        'assign_scale': (structure.assign_scale, "assumed: the paper's"),
        'normalization': (plain(structure.normalization), "assumed: ImageNet's"),
    }
    for name, (value, assumed) in assumptions.items():
        place = model.origins.get(name)
        print(f'  {name} {value} ({f"from {place}" if place else assumed})')
    for remark in weights.skipped:
        print(f'skipped {remark}')
    for key, reason in {**model.dropped, **lost}.items():
        print(f'dropped {key}: {reason}')
