"""The files that a converter writes: weights, their config and the processor's files."""

import json
from collections.abc import Mapping
from pathlib import Path

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
    """Return the file of the weights and that of their config; raise if a file exists.

    Args:
        name (str): Name that the user gives: a file, or a folder for Hugging Face.
        target (KeyFormat): The format of the keys.
        overwrite (bool): Whether files may be replaced.

    Raises:
        FileExistsError: If a file exists and may not be replaced.
        ValueError: If the suffix is unknown.
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
    present = [str(path) for path in (weights, config, *others) if path.exists()]
    if present and not overwrite:
        raise FileExistsError(
            f'DST holds {" and ".join(present)} already: name another DST or --overwrite.'
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
    """Return a writer for each file; print a note for each file that cannot be written.

    Args:
        structure (Structure): Of the model.
        tensors (dict[str, Tensor]): With the target's keys.
        target (KeyFormat): The format of the keys.
        paths (tuple[Path, Path]): Of weights and config.
        answers (Embeddings): Outputs of the source for ``probe_batch``, to be recorded.
    """
    scale = structure.assign_scale if target is PLUGIN else 1.0
    own_record = record(structure, answers, assign_scale=scale)
    if target is PLUGIN:
        text = segmentation_config_text(structure)
        entries: dict[str, object] = {CONFIG_ENTRY: text, RECORD: own_record}
        contents = {paths[1]: text.encode()}
    else:
        config = official_config if target is OFFICIAL else hugging_face_config
        settings = {**config(structure), RECORD: own_record}
        entries = {SETTINGS_ENTRY: settings}
        contents = {paths[1]: json.dumps(settings, indent=2).encode()}
    if target is HUGGING_FACE:
        extra = processor_files(structure)
        contents |= {paths[0].parent / name: content for name, content in extra.files.items()}
        for remark in extra.remarks:
            print(f'note: {remark}')
    files = {paths[0]: _weights_writer(tensors, target, paths[0], entries)}
    return files | {path: _bytes_writer(content) for path, content in contents.items()}


def _bytes_writer(content: bytes) -> Writer:
    """Return a writer of bytes."""
    return lambda stream: stream.write(content)


def _weights_writer(
    tensors: Tensors, target: KeyFormat, path: Path, entries: Mapping[str, object]
) -> Writer:
    """Return a writer of the weights and their entries, in the format of the suffix."""
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
