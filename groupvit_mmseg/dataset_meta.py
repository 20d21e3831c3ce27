"""Names and colours of a segmentor's classes, as OpenMMLab's tools read and write them."""

from collections.abc import Mapping, Sequence
from typing import Any

from groupvit_mmseg.visualization import class_palette


def dataset_meta_of(
    class_names: Sequence[str], given: Mapping[str, Any] | None = None
) -> dict[str, list]:
    """What MMSegmentation calls ``dataset_meta``.

    Args:
        class_names (Sequence[str]): The ``K`` classes that are segmented.
        given (Mapping, optional): A ``dataset_meta`` from elsewhere; if its classes are these, its
            palette is taken. Defaults to None.

    Returns:
        dict: ``classes``, ``K`` names, and ``palette``, ``K`` lists of red, green and blue.
    """
    given = given or {}
    palette = given.get('palette')
    same = list(given.get('classes') or []) == list(class_names)
    if not same or palette is None or len(palette) != len(class_names):
        palette = class_palette(class_names)
    return {
        'classes': list(class_names),
        'palette': [[int(channel) for channel in colour] for colour in palette],
    }
