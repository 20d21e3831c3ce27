"""Classes on a command line: a known set, a class file, or words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from groupvit_mmseg.text.class_file import read_class_file
from groupvit_mmseg.text.class_file_yaml import ClassFile
from groupvit_mmseg.text.class_list import foreground_names
from groupvit_mmseg.text.vocabulary import CLASS_NAMES, DATASETS_OWN_NAMES, parse_class_names


def read_class_choice(text: str) -> ClassFile:
    """Read the options of ``set_classes`` for classes without thresholds.

    Args:
        text (str): Name of a known set, whose background is left out; a class file, whose
            thresholds are left out, and its background unless that has words; or words separated by
            commas.

    Raises:
        FileNotFoundError: If it is the name of a file that does not exist.
        ValueError: If the file or the words cannot be read.
    """
    if text in CLASS_NAMES or text in DATASETS_OWN_NAMES:
        return _names_only(foreground_names(text))
    looks_like_a_file = re.search(r'[/\\]|\.\w{1,5}$', text) and ',' not in text
    if not Path(text).is_file() and not looks_like_a_file:
        return _names_only(parse_class_names(text))
    file = read_class_file(text)
    file.pop('bg_thresh', None)
    file.pop('class_thresholds', None)
    if file['with_background'] and not file['background_words']:
        file['class_names'] = file['class_names'][1:]
        file['with_background'] = False
    return file


def _names_only(names: Sequence[str]) -> ClassFile:
    """Return the content of a class file that has only names."""
    return ClassFile(
        class_names=tuple(names),
        with_background=False,
        background_words=(),
        aliases={},
        class_templates={},
    )
