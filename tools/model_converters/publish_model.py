"""Makes a checkpoint ready for publication: weights, config and classes, without training state.

python tools/model_converters/publish_model.py CONFIG CHECKPOINT groupvit.pth

CONFIG is a segmentation config, or a pretraining config whose val_cfg names a segmentor; the file
opens in mmseg.apis too. The state of the training is left out; the first eight digits of the file's
SHA-256 go into its name. DST ends in .pth or .safetensors.
"""

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import safetensors.torch
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from torch import Tensor

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.checkpoints.config_text import from_config_text
from groupvit_mmseg.checkpoints.key_formats import PLUGIN
from groupvit_mmseg.checkpoints.loading import read_checkpoint
from groupvit_mmseg.checkpoints.settings_readers import RECORD
from groupvit_mmseg.checkpoints.types import CheckpointMeta
from groupvit_mmseg.checkpoints.weight_files import CONFIG_ENTRY
from groupvit_mmseg.command_line import add_checkpoint_argument, tool_main, tool_parser
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.conversion.convert import decode
from groupvit_mmseg.conversion.fingerprint import probe_batch, record
from groupvit_mmseg.conversion.numeric_check import embed
from groupvit_mmseg.dataset_meta import dataset_meta_of
from groupvit_mmseg.inference import GroupViTInferencer, segmentation_config
from groupvit_mmseg.models import GroupViTZeroShotHead
from groupvit_mmseg.output_paths import check_output

OF_ONE_MACHINE = ('work_dir', 'load_from', 'resume', 'launcher')
HASH_DIGITS = 8


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='segmentation or pretraining config')
    add_checkpoint_argument(parser)
    parser.add_argument('out', metavar='DST', help='NAME.pth or NAME.safetensors')
    return parser.parse_args(argv)


def load_config(path: str) -> Config:
    """Return the segmentation config without the entries that belong to one machine."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no config at {path}.')
    cfg = segmentation_config(read_config(path))
    for entry in OF_ONE_MACHINE:
        cfg.pop(entry, None)
    return cfg


def meta_of(
    cfg: Config, weights: Mapping[str, Tensor], meta: CheckpointMeta, path: str
) -> dict[str, object]:
    """Return config, classes and record of the model; raise if the weights do not fit.

    Args:
        cfg (Config): The segmentation config.
        weights (Mapping[str, Tensor]): Of the checkpoint.
        meta (CheckpointMeta): Of the checkpoint.
        path (str): The checkpoint.
    """
    segmentor = GroupViTInferencer(cfg, path).segmentor
    head, text = segmentor.decode_head, cfg.pretty_text
    if not isinstance(head, GroupViTZeroShotHead):
        return {CONFIG_ENTRY: text, **learned_classes(head, meta)}
    classes = json.loads(json.dumps(head.classes._asdict()))  # lists in place of tuples
    entries = {CONFIG_ENTRY: text, 'dataset_meta': segmentor.dataset_meta, **classes}
    return entries | record_of(weights, text, path)


def learned_classes(head: BaseModule, meta: CheckpointMeta) -> dict[str, object]:
    """Return the classes that a head was trained with on masks, from the checkpoint."""
    known = meta.get('dataset_meta') or {}
    if len(known.get('classes') or []) != head.num_classes:
        print(f'left out the names of the {head.num_classes} classes: the checkpoint has none')
        return {}
    return {'dataset_meta': dataset_meta_of(known['classes'], known)}


def record_of(weights: Mapping[str, Tensor], text: str, path: str) -> dict[str, object]:
    """Return the record that converters write: settings, and outputs for a fixed batch.

    Empty for another image tower than a GroupViT, which converters do not know.
    """
    try:
        model = decode(weights, PLUGIN, [from_config_text(text, 'the config')], where=path)
    except ValueError as error:
        print(f'left out the record of outputs: {error}')
        return {}
    answers = embed(model.tensors, PLUGIN, model.structure, probe_batch(model.structure))
    scale = model.structure.assign_scale
    return {RECORD: record(model.structure, answers, assign_scale=scale)}


def pack(weights: Mapping[str, Tensor], meta: Mapping[str, object], suffix: str) -> bytes:
    """Return the content of the file."""
    if suffix == '.safetensors':
        texts = {k: str(v) if k == CONFIG_ENTRY else json.dumps(v) for k, v in meta.items()}
        whole = {key: value.contiguous() for key, value in weights.items()}
        return safetensors.torch.save(whole, {'format': 'pt', **texts})
    stream = io.BytesIO()
    torch.save(dict(state_dict=weights, meta=meta), stream)
    return stream.getvalue()


def publish(args: argparse.Namespace) -> None:
    """Check, pack, name and write the file."""
    out = Path(args.out)
    if out.suffix not in ('.pth', '.safetensors'):
        raise ValueError(f'DST {out} must end in .pth or .safetensors.')
    check_output(out, reads=[args.config, args.checkpoint], name='DST')
    cfg = load_config(args.config)
    checkpoint = read_checkpoint(args.checkpoint)
    weights = dict(checkpoint['state_dict'])
    meta = meta_of(cfg, weights, checkpoint.get('meta', {}), args.checkpoint)
    content = pack(weights, meta, out.suffix)
    digest = hashlib.sha256(content).hexdigest()[:HASH_DIGITS]
    path = out.with_name(f'{out.stem}-{digest}{out.suffix}')
    check_output(path, reads=[args.config, args.checkpoint], name='DST')
    write_atomically(path, lambda stream: stream.write(content))
    left_out = [key for key in checkpoint if key not in ('state_dict', 'meta', 'settings')]
    print(f'left out {", ".join(left_out) or "nothing"}')
    print(f'wrote {path}: {len(weights)} tensors, {len(content) / 2**20:.1f} MiB')


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    publish(parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
