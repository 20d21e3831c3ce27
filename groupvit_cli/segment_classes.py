"""The classes of ``groupvit segment``, checked before a model is loaded or downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from groupvit_cli.segment import SegmentOptions
    from groupvit_mmseg.text.class_list import ClassChanges, ClassOptions


def read_classes(options: SegmentOptions) -> ClassChanges:
    """Read the classes of the options and check them.

    Raises:
        FileNotFoundError: If there is no such class file.
        ValueError: If the classes cannot be used.
    """
    from groupvit_mmseg.text.class_changes import change_classes
    from groupvit_mmseg.text.class_file import read_class_file
    from groupvit_mmseg.text.class_list import foreground_names, make_class_list

    background, negative = options.background, options.negative
    class_options = dict(
        bg_thresh=options.bg_thresh,
        background_words=None if background is None else foreground_names(background),
        negative_words=None if negative is None else foreground_names(negative),
        class_thresholds=options.thresholds,
        templates=options.templates,
    )
    stated = {name: value for name, value in class_options.items() if value is not None}
    # Options of the command line precede those of a class file.
    classes = (
        read_class_file(options.classes) if options.classes else {'class_names': options.words}
    )
    result = cast('ClassChanges', {**classes, **stated})
    others = {name: value for name, value in result.items() if name != 'class_names'}
    plain = make_class_list(['thing'])
    change_classes(plain, result['class_names'], cast('ClassOptions', others))  # for its errors
    return result
