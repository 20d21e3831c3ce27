"""Changes of the classes that an inferencer segments, where one class alone gets contrast words."""

from __future__ import annotations

from collections.abc import Sequence

from groupvit_mmseg.text.class_list import ClassList, ClassOptions
from groupvit_mmseg.text.contrast_words import with_contrast, without_contrast


def change_classes(
    present: ClassList, class_names: str | Sequence[str] | None, changes: ClassOptions
) -> ClassList:
    """Return the classes after a change; see :meth:`.GroupViTInferencer.set_classes`.

    Args:
        present (ClassList): The classes so far.
        class_names (str | Sequence[str], optional): New names; None keeps the present ones, and
            their negative words.
        changes (ClassOptions): Fields to change.

    Example:
        >>> from groupvit_mmseg.text.class_list import make_class_list
        >>> mouse = change_classes(make_class_list(['cat']), 'mouse', {'negative_words': 'rat'})
        >>> mouse.class_names, len(mouse.background_words), mouse.background_words[-1]
        (('background', 'mouse'), 80, 'rat')
        >>> change_classes(mouse, 'mouse, rat', {}).class_names
        ('mouse', 'rat')
    """
    fields: ClassOptions = {**changes}
    negative = fields.pop('negative_words', None)
    plain, present_negative = without_contrast(present)
    classes = plain.looking_for(class_names, **fields)
    if 'bg_thresh' not in fields:
        classes = with_contrast(classes)
    for words in (present_negative if class_names is None else (), negative):
        if words:
            classes = classes.looking_for(negative_words=words)
    return classes
