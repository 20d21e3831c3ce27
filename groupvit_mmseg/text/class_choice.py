"""What a command line says of classes: a known set, a class file, or words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from groupvit_mmseg.text.class_file import read_class_file
from groupvit_mmseg.text.vocabulary import (
    CLASS_NAMES,
    DATASETS_OWN_NAMES,
    class_names,
    is_background,
    parse_class_names,
)


def read_class_choice(text: str) -> dict[str, Any]:
    """Arguments of ``set_classes`` for classes without a background threshold.

    Args:
        text (str): Name of a known set, whose background is left out; a class file, whose
            background is left out unless it has words; or words separated by commas.

    Raises:
        FileNotFoundError: If it is the name of a file that does not exist.
        ValueError: If the file or the words cannot be read.
    """
    if text in CLASS_NAMES or text in DATASETS_OWN_NAMES:
        names = class_names(text)
        return dict(class_names=names[int(is_background(names[0])) :])
    looks_like_a_file = re.search(r'[/\\]|\.\w{1,5}$', text) and ',' not in text
    if not Path(text).is_file() and not looks_like_a_file:
        return dict(class_names=parse_class_names(text))
    settings = read_class_file(text)
    if settings['with_background'] and not settings['background_words']:
        settings.update(class_names=settings['class_names'][1:], with_background=False)
    return settings
