"""Names and colours of a segmentor's classes, as OpenMMLab's tools read and write them."""

from collections.abc import Mapping, Sequence

import numpy as np

from groupvit_mmseg.visualization import class_palette


def dataset_meta_of(
    class_names: Sequence[str], known_meta: Mapping[str, object] | None = None
) -> dict[str, list]:
    """Make the ``dataset_meta`` of classes, as MMSegmentation names it.

    Args:
        class_names (Sequence[str]): The ``K`` classes that are segmented.
        known_meta (Mapping, optional): A ``dataset_meta`` whose palette is used if it is of the
            same classes. Defaults to None.

    Returns:
        dict: ``classes``, ``K`` names, and ``palette``, ``K`` lists of red, green and blue.

    Example:
        >>> dataset_meta_of(['cat'], {'classes': ('cat',), 'palette': [(9, 8, 7)]})
        {'classes': ['cat'], 'palette': [[9, 8, 7]]}
    """
    known_meta = known_meta or {}
    classes, palette = known_meta.get('classes'), known_meta.get('palette')
    same = isinstance(classes, list | tuple) and list(classes) == list(class_names)
    colours = np.asarray(palette, dtype=int) if same and palette is not None else np.zeros(0)
    if len(colours) != len(class_names):
        colours = class_palette(class_names)
    return {'classes': list(class_names), 'palette': colours.tolist()}
