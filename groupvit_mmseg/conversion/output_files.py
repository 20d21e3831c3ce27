"""The files that a converter writes: weights, their config, and what else belongs to them."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from groupvit_mmseg.atomic_files import Writer
from groupvit_mmseg.checkpoints.architecture import Structure
from groupvit_mmseg.checkpoints.hub import CONFIG
from groupvit_mmseg.checkpoints.key_formats import (
    HUGGING_FACE,
    OFFICIAL,
    PLUGIN,
    KeyFormat,
    Tensors,
)
from groupvit_mmseg.checkpoints.settings_readers import RECORD
from groupvit_mmseg.checkpoints.weight_files import CONFIG_ENTRY, SETTINGS_ENTRY
from groupvit_mmseg.conversion.fingerprint import record
from groupvit_mmseg.conversion.model_configs import (
    hugging_face_config,
    official_config,
    plugin_meta,
    segmentation_config_text,
)
from groupvit_mmseg.conversion.official_forward import Embeddings
from groupvit_mmseg.conversion.processor_files import FILES, processor_files

SUFFIXES = ('.pth', '.pt', '.bin', '.safetensors')


def target_paths(name: str, target: KeyFormat, *, overwrite: bool) -> tuple[Path, Path]:
    """The file of the weights and that of their config; nothing that is written is there yet.

    Args:
        name (str): As the user gives it: a file, or a folder of Hugging Face's.
        target (KeyFormat): Whose names the tensors get.
        overwrite (bool): Whether files may be replaced.

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
        HUGGING_FACE.title: weights.parent / CONFIG,
    }[target.title]
    others = [weights.parent / file for file in FILES] if target is HUGGING_FACE else []
    there = [str(path) for path in (weights, config, *others) if path.exists()]
    if there and not overwrite:
        raise FileExistsError(
            f'DST holds {" and ".join(there)} already: name another DST or --overwrite.'
        )
    return weights, config


def output_files(
    structure: Structure,
    tensors: Tensors,
    target: KeyFormat,
    *,
    paths: tuple[Path, Path],
    answers: Embeddings,
) -> dict[Path, Writer]:
    """What writes each file; says what cannot be written.

    Args:
        structure (Structure): Of the model.
        tensors (dict[str, Tensor]): Under the target's names.
        target (KeyFormat): Whose names they are.
        paths (tuple[Path, Path]): Of weights and config.
        answers (Embeddings): Of the source, to ``probe_batch``; they travel with the weights.
    """
    scale = structure.backbone.get('assign_scale', 1.0) if target is PLUGIN else 1.0
    noted = record(structure, answers, assign_scale=scale)
    if target is PLUGIN:
        text = segmentation_config_text(structure)
        entries: dict[str, Any] = {CONFIG_ENTRY: text, RECORD: noted}
        contents = {paths[1]: text.encode()}
    else:
        config = official_config if target is OFFICIAL else hugging_face_config
        settings = {**config(structure), RECORD: noted}
        entries = {SETTINGS_ENTRY: settings}
        contents = {paths[1]: json.dumps(settings, indent=2).encode()}
    if target is HUGGING_FACE:
        extra = processor_files(structure)
        contents |= {paths[0].parent / name: content for name, content in extra.files.items()}
        for remark in extra.remarks:
            print(remark)
    files = {paths[0]: _weights_writer(tensors, target, paths[0], entries)}
    return files | {path: _bytes_writer(content) for path, content in contents.items()}


def _bytes_writer(content: bytes) -> Writer:
    """What writes these bytes."""
    return lambda stream: stream.write(content)


def _weights_writer(
    tensors: Tensors, target: KeyFormat, path: Path, entries: dict[str, Any]
) -> Writer:
    """What writes the weights, in the format that the name ends in, with their entries."""
    if path.suffix == '.safetensors':
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in entries.items()}
        whole = {key: value.contiguous() for key, value in tensors.items()}
        return lambda stream: stream.write(safetensors.torch.save(whole, {'format': 'pt', **texts}))
    content = {
        PLUGIN.title: dict(state_dict=tensors, meta={**plugin_meta(), **entries}),
        OFFICIAL.title: dict(model=tensors, **entries),
        HUGGING_FACE.title: tensors,  # transformers knows no entries here; config.json has them
    }[target.title]
    return lambda stream: torch.save(content, stream)
