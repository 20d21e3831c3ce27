"""Settings of a model that are stored in the file of its weights, or in files beside it."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from torch import Tensor

from groupvit_mmseg.checkpoints.architecture_hints import IMAGENET, Settings
from groupvit_mmseg.checkpoints.config_text import from_config_text
from groupvit_mmseg.checkpoints.hub import CONFIG, IMAGE_PROCESSOR
from groupvit_mmseg.checkpoints.key_formats import HUGGING_FACE, OFFICIAL, PLUGIN, KeyFormat
from groupvit_mmseg.checkpoints.settings_readers import (
    RECORD,
    from_hugging_face,
    from_image_processor,
    from_official,
    from_record,
)
from groupvit_mmseg.checkpoints.weight_files import WeightFile

Reader = Callable[[Mapping[str, object], str], Settings]


def stored_settings(path: Path, weights: WeightFile, key_format: KeyFormat) -> list[Settings]:
    """Read the settings of a model from the file of its weights and from the files beside it.

    Args:
        path (Path): The file.
        weights (WeightFile): Its content.
        key_format (KeyFormat): The format of its keys.

    Returns:
        list[Settings]: One for each place that has settings.

    Raises:
        ValueError: If a file beside it cannot be read as settings.
    """
    places = [_read(from_record, weights.record, f'the record in {path}')]
    places += {
        PLUGIN.title: _of_plugin,
        OFFICIAL.title: _of_official,
        HUGGING_FACE.title: _of_hugging_face,
    }[key_format.title](path, weights)
    return [each for each in places if each is not None and any(each[1:])]


def _read(reader: Reader, content: object, where: str) -> Settings | None:
    """Apply a reader to a content; None if that is no mapping.

    Raises:
        ValueError: If its values have other types than settings have.
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
    """Read the config in the file; without one, the config beside it."""
    if weights.config_text:
        return [from_config_text(weights.config_text, f'the config in {path}')]
    beside = path.with_suffix('.py')
    if not beside.is_file():
        return []
    return [from_config_text(beside.read_text(encoding='utf-8', errors='replace'), str(beside))]


def _of_official(path: Path, weights: WeightFile) -> list[Settings | None]:
    """Read the settings and the training config in the file, and the ``.json`` beside it."""
    inside, beside = f'the settings in {path}', path.with_suffix('.json')
    places = _with_record(from_official, weights.settings, inside)
    tower = next(_find(weights.training_config, 'img_encoder'), {})
    places.append(_of_training(tower, f'the training config in {path}'))
    if beside.is_file():
        content = read_json(beside)
        if 'img_encoder' in content:
            places += _with_record(from_official, content, str(beside))
    return places


def _of_training(tower: Mapping[str, object], where: str) -> Settings | None:
    """Read the heads, if plain numbers; other settings are in the shapes, or may be references."""
    heads = tower.get('num_heads')
    if not isinstance(heads, list) or not all(isinstance(n, int) for n in heads):
        return None
    return Settings(where, {'num_heads': tuple(heads)})


def _of_hugging_face(path: Path, weights: WeightFile) -> list[Settings | None]:
    """Read the settings in the file, and both JSON files beside it."""
    places = _with_record(from_hugging_face, weights.settings, f'the settings in {path}')
    config, processor = path.parent / CONFIG, path.parent / IMAGE_PROCESSOR
    if config.is_file():
        places += _with_record(from_hugging_face, read_json(config), str(config))
    if processor.is_file():
        places.append(_read(from_image_processor, read_json(processor), str(processor)))
    return places


def _with_record(reader: Reader, content: object, where: str) -> list[Settings | None]:
    """Read settings, and the record inside them."""
    record = content.get(RECORD) if isinstance(content, Mapping) else None
    return [_read(reader, content, where), _read(from_record, record, where)]


def read_json(path: Path) -> dict[str, object]:
    """Read a file that holds a JSON object.

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


def _find(content: object, key: str) -> Iterator[Mapping[str, object]]:
    """Yield the mappings under a key, at any depth."""
    parts: object = content
    if isinstance(content, Mapping):
        value = content.get(key)
        if isinstance(value, Mapping):
            yield value
        parts = list(content.values())
    if isinstance(parts, list):
        for part in parts:
            yield from _find(part, key)


def key_format_settings(key_format: KeyFormat, tensors: Mapping[str, Tensor]) -> Settings:
    """Return the settings that the official code fixes; none for other key formats.

    Args:
        key_format (KeyFormat): The format of the tensors' keys.
        tensors (Mapping[str, Tensor]): With the pretrainer's keys.
    """
    positions = tensors.get('text_encoder.pos_embed')
    if key_format is not OFFICIAL or positions is None:
        return Settings('')
    width = positions.shape[-1]
    text = {'num_heads': width // 64} if width % 64 == 0 else {}
    image = {'assign_scale': 1.0, 'assignment': {}}
    return Settings('the official code', image, text, IMAGENET)
