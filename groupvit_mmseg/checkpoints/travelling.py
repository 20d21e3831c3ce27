"""What travels with weights: in their file, and in the files that lie beside it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from groupvit_mmseg.checkpoints.architecture_hints import IMAGENET, Settings
from groupvit_mmseg.checkpoints.hub import CONFIG, IMAGE_PROCESSOR
from groupvit_mmseg.checkpoints.key_formats import HUGGING_FACE, OFFICIAL, PLUGIN, KeyFormat
from groupvit_mmseg.checkpoints.settings_readers import (
    RECORD,
    from_config_text,
    from_hugging_face,
    from_image_processor,
    from_official,
    from_record,
)
from groupvit_mmseg.checkpoints.weight_files import WeightFile


def travelling_settings(path: Path, weights: WeightFile, key_format: KeyFormat) -> list[Settings]:
    """What is said of a model by its file and by those beside it.

    Args:
        path (Path): Of the weights.
        weights (WeightFile): What it holds.
        key_format (KeyFormat): Whose names its tensors have.

    Returns:
        list[Settings]: One for each place that says anything.

    Raises:
        ValueError: If a file beside it cannot be one of these weights.
    """
    found = [_read(from_record, weights.record, f'the record in {path}')]
    found += {
        PLUGIN.title: _of_plugin,
        OFFICIAL.title: _of_official,
        HUGGING_FACE.title: _of_hugging_face,
    }[key_format.title](path, weights)
    return [each for each in found if each is not None and any(each[1:])]


def _read(reader: Any, content: Any, where: str) -> Settings | None:
    """What a reader makes of a content that is a mapping.

    Raises:
        ValueError: If its values are of other kinds than settings have.
    """
    if not isinstance(content, Mapping):
        return None
    try:
        return reader(content, where)
    except (AttributeError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ValueError(
            f'{where} cannot be read as settings of a GroupViT ({type(error).__name__}: {error}).'
        ) from error


def _of_plugin(path: Path, weights: WeightFile) -> list[Settings | None]:
    """The config in the file; that beside it where there is none."""
    if weights.config_text:
        return [from_config_text(weights.config_text, f'the config in {path}')]
    beside = path.with_suffix('.py')
    if not beside.is_file():
        return []
    return [from_config_text(beside.read_text(encoding='utf-8', errors='replace'), str(beside))]


def _of_official(path: Path, weights: WeightFile) -> list[Settings | None]:
    """Settings in the file, of the training in it, and in the ``.json`` beside it."""
    inside, beside = f'the settings in {path}', path.with_suffix('.json')
    found = _with_record(from_official, weights.settings, inside)
    trained = next(_holders(weights.training_config, 'img_encoder'), None)
    found.append(_of_training(trained, f'the training config in {path}'))
    if beside.is_file():
        content = read_json(beside)
        if 'img_encoder' in content:
            found += _with_record(from_official, content, str(beside))
    return found


def _of_training(config: Mapping | None, where: str) -> Settings | None:
    """The heads, if plain numbers: other values may refer to each other, and shapes tell them."""
    heads = (config or {}).get('img_encoder', {}).get('num_heads')
    if not isinstance(heads, list) or not all(isinstance(n, int) for n in heads):
        return None
    return Settings(where, {'num_heads': tuple(heads)})


def _of_hugging_face(path: Path, weights: WeightFile) -> list[Settings | None]:
    """Settings in the file, and ``config.json`` and ``preprocessor_config.json`` beside it."""
    found = _with_record(from_hugging_face, weights.settings, f'the settings in {path}')
    config, processor = path.parent / CONFIG, path.parent / IMAGE_PROCESSOR
    if config.is_file():
        found += _with_record(from_hugging_face, read_json(config), str(config))
    if processor.is_file():
        found.append(_read(from_image_processor, read_json(processor), str(processor)))
    return found


def _with_record(reader: Any, content: Any, where: str) -> list[Settings | None]:
    """What settings say, and the record inside them."""
    record = content.get(RECORD) if isinstance(content, Mapping) else None
    return [_read(reader, content, where), _read(from_record, record, where)]


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds a JSON object.

    Raises:
        ValueError: If it does not.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} beside the weights is not JSON ({error}).') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path} beside the weights holds a {type(content).__name__}, no object.')
    return content


def _holders(content: Any, key: str) -> Iterator[Mapping]:
    """Mappings at any depth that have a key."""
    if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
        yield content
    parts = content.values() if isinstance(content, Mapping) else content
    if isinstance(content, Mapping | list):
        for part in parts:
            yield from _holders(part, key)


def naming_settings(key_format: KeyFormat, tensors: Mapping[str, Tensor]) -> Settings:
    """What the names alone say: the official code leaves no choice in these.

    Args:
        key_format (KeyFormat): Whose names the tensors had.
        tensors (Mapping[str, Tensor]): Under the pretrainer's names.
    """
    positions = tensors.get('text_encoder.pos_embed')
    if key_format is not OFFICIAL or positions is None:
        return Settings('')
    width = positions.shape[-1]
    text = {'num_heads': width // 64} if width % 64 == 0 else {}
    return Settings('the official code', {'assign_scale': 1.0}, text, IMAGENET)
