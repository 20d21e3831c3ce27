"""Makes a checkpoint ready to be handed on: weights, config, classes, threshold, and no more.

python tools/model_converters/publish_model.py CONFIG CHECKPOINT groupvit.pth

CONFIG is a segmentation config, or a pretraining config whose val_cfg names a segmentor; the file
opens in mmseg.apis too. The state of the training is left out; the first eight digits of the file's
SHA-256 go into its name. DST ends in .pth or .safetensors.
"""

import argparse
import hashlib
import io
import json
import pickle
import sys
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import safetensors.torch
import torch

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.checkpoints.loading import read_checkpoint
from groupvit_mmseg.checkpoints.weight_files import CONFIG_ENTRY
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.dataset_meta import dataset_meta_of
from groupvit_mmseg.inference import GroupViTInferencer, segmentation_config
from groupvit_mmseg.models import GroupViTZeroShotHead
from groupvit_mmseg.output_paths import check_output

ERRORS = (KeyError, OSError, RuntimeError, ValueError, pickle.UnpicklingError)
OF_ONE_MACHINE = ('work_dir', 'load_from', 'resume', 'launcher')
HASH_DIGITS = 8


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='segmentation or pretraining config')
    parser.add_argument('checkpoint', help='checkpoint of a pretrainer or a segmentor')
    parser.add_argument('out', metavar='DST', help='NAME.pth or NAME.safetensors')
    return parser.parse_args(argv)


def load_config(path):
    """The segmentation config without what belongs to one machine."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no config at {path}.')
    cfg = segmentation_config(read_config(path))
    for entry in OF_ONE_MACHINE:
        cfg.pop(entry, None)
    return cfg


def meta_of(cfg, checkpoint, path):
    """Config, classes and colours, threshold, templates; raises if the weights do not fit."""
    segmentor = GroupViTInferencer(cfg, path).segmentor
    head = segmentor.decode_head
    if not isinstance(head, GroupViTZeroShotHead):
        return {CONFIG_ENTRY: cfg.pretty_text, **learnt_meta(head, checkpoint.get('meta', {}))}
    return {
        CONFIG_ENTRY: cfg.pretty_text,
        'dataset_meta': segmentor.dataset_meta,
        'class_names': list(head.class_names),
        'with_background': head.with_background,
        'background_threshold': head.bg_thresh,
        'templates': list(head.templates),
    }


def learnt_meta(head, meta):
    """The classes that a head has learnt from masks, as its training wrote them."""
    learnt = meta.get('dataset_meta') or {}
    if len(learnt.get('classes') or []) != head.num_classes:
        print(f'left out the names of the {head.num_classes} classes: the checkpoint has none')
        return {}
    return {'dataset_meta': dataset_meta_of(learnt['classes'], learnt)}


def pack(weights, meta, suffix):
    """The content of the file."""
    if suffix == '.safetensors':
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in meta.items()}
        whole = {key: value.contiguous() for key, value in weights.items()}
        return safetensors.torch.save(whole, {'format': 'pt', **texts})
    stream = io.BytesIO()
    torch.save(dict(state_dict=weights, meta=meta), stream)
    return stream.getvalue()


def publish(args):
    """Check, pack, name and write."""
    out = Path(args.out)
    if out.suffix not in ('.pth', '.safetensors'):
        raise ValueError(f'DST {out} must end in .pth or .safetensors.')
    check_output(out, reads=[args.config, args.checkpoint], name='DST')
    cfg = load_config(args.config)
    checkpoint = read_checkpoint(args.checkpoint)
    weights = dict(checkpoint['state_dict'])
    content = pack(weights, meta_of(cfg, checkpoint, args.checkpoint), out.suffix)
    digest = hashlib.sha256(content).hexdigest()[:HASH_DIGITS]
    path = out.with_name(f'{out.stem}-{digest}{out.suffix}')
    check_output(path, reads=[args.config, args.checkpoint], name='DST')
    write_atomically(path, lambda stream: stream.write(content))
    left_out = [key for key in checkpoint if key not in ('state_dict', 'meta')]
    print(f'left out {", ".join(left_out) or "nothing"}')
    print(f'wrote {path}: {len(weights)} tensors, {len(content) / 2**20:.1f} MiB')


def main(argv=None):
    args = parse_args(argv)
    try:
        publish(args)
    except ERRORS as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
