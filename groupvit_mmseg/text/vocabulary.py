"""Class vocabularies: the spellings of data sets' classes in prompts, and class names of users.

The spellings are facts of the released evaluation ("monitor", not "tvmonitor"); the order is the
order of the labels in the masks, so a data set keeps its own names for its metric.
"""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set
from types import MappingProxyType

_ARTICLE = re.compile(r'^(?:an?|the) ', re.IGNORECASE)
_FILE_NAME = re.compile(r'\.(?:txt|text|names|csv|tsv|json|ya?ml|py|xlsx?)$', re.IGNORECASE)


def parse_class_names(text: str) -> tuple[str, ...]:
    """Split free text such as ``"a cat, a dog"`` into class names.

    Args:
        text (str): Names separated by commas. Spaces around a name and an article before it are
            dropped: the templates have articles ("a photo of a {}.").

    Returns:
        tuple[str, ...]: The names, in the order given.

    Raises:
        ValueError: If there is no name at all, an empty one, the same one twice (in any case),
            another separator, quotation marks or brackets around it, or the name of a file.

    Example:
        >>> parse_class_names('a cat, the sky, C# book')
        ('cat', 'sky', 'C# book')
    """
    names = tuple(_ARTICLE.sub('', ' '.join(name.split())) for name in text.split(','))
    if not any(names):
        raise ValueError('The class list is empty: give names separated by commas, "a cat, a dog".')
    if not all(names):
        raise ValueError(
            f'The class list {text!r} has an empty name before or after a comma: remove the comma.'
        )
    for mark, what in {';': 'a semicolon', '|': 'a bar'}.items():
        if mark in text:
            raise ValueError(f'The class list {text!r} has {what}: put commas between the names.')
    marked = next((name for name in names if _is_marked(name)), None)
    if marked is not None:
        raise ValueError(
            f'Write {marked} without marks: a class is a name, or words with commas between them.'
        )
    files = [name for name in names if _FILE_NAME.search(name)]
    if files:
        raise ValueError(f'{files[0]} is the name of a file, and words are wanted here.')
    if len(names) > 1:
        _check_repeated(names)
    return names


def _is_marked(name: str) -> bool:
    """Return whether a name begins with a quotation mark or bracket, or is in single ones."""
    return name[0] in '"\u201c[{' or (len(name) > 1 and name[0] == name[-1] == "'")


def as_words(words: str | Sequence[str]) -> tuple[str, ...]:
    """Return words as a tuple; a text is split at its commas, not into letters.

    Raises:
        ValueError: If it is neither a text nor a list.
    """
    if isinstance(words, str):
        return parse_class_names(words)
    if not isinstance(words, Iterable) or isinstance(words, Mapping | Set):
        raise ValueError(f'{words!r} is neither a text nor a list of words in the order of labels.')
    return tuple(words)


def fold_word(word: str) -> str:
    """Return a word without article, case, spaces around it, and Unicode's compatible forms.

    Example:
        >>> fold_word('A Fire  \uff28ydrant ')
        'fire hydrant'
    """
    return _ARTICLE.sub('', ' '.join(unicodedata.normalize('NFKC', word).casefold().split()))


def _check_repeated(names: Sequence[str]) -> None:
    """Refuse a name that occurs twice; ``make_class_list`` asks the tokenizer too."""
    first: dict[str, str] = {}
    for name in names:
        other = first.get(fold_word(name))
        if other is not None:
            repeated = f'{name} more than once'
            same = f'{other!r} and {name!r}, which are one word' if other != name else repeated
            raise ValueError(f'The class list names {same}: name it once.')
        first[fold_word(name)] = name


def is_background(name: str) -> bool:
    """Return whether a class name means the background: ``_Background_``, ``bg``, ..."""
    return name.strip(' _-').casefold() in ('background', 'bg')


_PASCAL_VOC = parse_class_names(
    """
    background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, table, dog,
    horse, motorbike, person, plant, sheep, sofa, train, monitor
    """
)

_PASCAL_CONTEXT = parse_class_names(
    """
    background, airplane, bag, bed, bedclothes, bench, bicycle, bird, boat, book, bottle,
    building, bus, cabinet, car, cat, ceiling, chair, cloth, computer, cow, cup, curtain, dog,
    door, fence, floor, flower, food, grass, ground, horse, keyboard, light, motorbike,
    mountain, mouse, person, plate, platform, plant, road, rock, sheep, shelves, sidewalk, sign,
    sky, snow, sofa, table, track, train, tree, truck, monitor, wall, water, window, wood
    """
)

_COCO_OBJECT = parse_class_names(
    """
    background, person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic
    light, fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow,
    elephant, bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis,
    snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis
    racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
    broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining
    table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster,
    sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush
    """
)

CLASS_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        'pascal_voc': _PASCAL_VOC,
        'pascal_context': _PASCAL_CONTEXT,
        'coco_object': _COCO_OBJECT,
        'pascal_voc20': _PASCAL_VOC[1:],
        'pascal_context59': _PASCAL_CONTEXT[1:],
    }
)
"""Mapping[str, tuple[str, ...]]: Spellings by set; ``background`` is first where there is one."""

DATASETS_OWN_NAMES: Mapping[str, str] = MappingProxyType(
    {'coco_stuff': 'COCOStuffDataset', 'cityscapes': 'CityscapesDataset', 'ade20k': 'ADE20KDataset'}
)
"""Mapping[str, str]: Sets whose classes are prompted by the names in MMSegmentation; there are no
other spellings."""


def class_names(set_name: str) -> tuple[str, ...]:
    """Return the class names of a known set.

    Args:
        set_name (str): With a background as index 0, ``pascal_voc`` (21), ``pascal_context`` (60)
            or ``coco_object`` (81); without, ``pascal_voc20``, ``pascal_context59``,
            ``coco_stuff`` (171), ``cityscapes`` (19) or ``ade20k`` (150).

    Returns:
        tuple[str, ...]: The spellings used for the prompts, in the order of the labels.

    Raises:
        ValueError: If the set is not known.

    Example:
        >>> class_names('pascal_voc')[:3], len(class_names('coco_stuff'))
        (('background', 'aeroplane', 'bicycle'), 171)
    """
    if set_name in DATASETS_OWN_NAMES:
        datasets = importlib.import_module('mmseg.datasets')
        metainfo = getattr(datasets, DATASETS_OWN_NAMES[set_name]).METAINFO
        return tuple(name.strip() for name in metainfo['classes'])
    if set_name not in CLASS_NAMES:
        sets = ', '.join([*CLASS_NAMES, *DATASETS_OWN_NAMES])
        raise ValueError(f'Unknown class set {set_name!r}: use one of {sets}, or a list of names.')
    return CLASS_NAMES[set_name]
