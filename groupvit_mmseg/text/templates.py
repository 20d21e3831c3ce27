"""Prompt templates: the sentences that a class name or a word of a caption is put into.

The 80 sentences are those published with CLIP for ImageNet (arXiv 2103.00020), of which 7 are its
recommended subset.
"""

import string
from collections.abc import Sequence

# fmt: off
_FULL = (
    'a bad photo of a {}.',
    'a photo of many {}.',
    'a sculpture of a {}.',
    'a photo of the hard to see {}.',
    'a low resolution photo of the {}.',
    'a rendering of a {}.',
    'graffiti of a {}.',
    'a bad photo of the {}.',
    'a cropped photo of the {}.',
    'a tattoo of a {}.',
    'the embroidered {}.',
    'a photo of a hard to see {}.',
    'a bright photo of a {}.',
    'a photo of a clean {}.',
    'a photo of a dirty {}.',
    'a dark photo of the {}.',
    'a drawing of a {}.',
    'a photo of my {}.',
    'the plastic {}.',
    'a photo of the cool {}.',
    'a close-up photo of a {}.',
    'a black and white photo of the {}.',
    'a painting of the {}.',
    'a painting of a {}.',
    'a pixelated photo of the {}.',
    'a sculpture of the {}.',
    'a bright photo of the {}.',
    'a cropped photo of a {}.',
    'a plastic {}.',
    'a photo of the dirty {}.',
    'a jpeg corrupted photo of a {}.',
    'a blurry photo of the {}.',
    'a photo of the {}.',
    'a good photo of the {}.',
    'a rendering of the {}.',
    'a {} in a video game.',
    'a photo of one {}.',
    'a doodle of a {}.',
    'a close-up photo of the {}.',
    'a photo of a {}.',
    'the origami {}.',
    'the {} in a video game.',
    'a sketch of a {}.',
    'a doodle of the {}.',
    'a origami {}.',
    'a low resolution photo of a {}.',
    'the toy {}.',
    'a rendition of the {}.',
    'a photo of the clean {}.',
    'a photo of a large {}.',
    'a rendition of a {}.',
    'a photo of a nice {}.',
    'a photo of a weird {}.',
    'a blurry photo of a {}.',
    'a cartoon {}.',
    'art of a {}.',
    'a sketch of the {}.',
    'a embroidered {}.',
    'a pixelated photo of a {}.',
    'itap of the {}.',
    'a jpeg corrupted photo of the {}.',
    'a good photo of a {}.',
    'a plushie {}.',
    'a photo of the nice {}.',
    'a photo of the small {}.',
    'a photo of the weird {}.',
    'the cartoon {}.',
    'art of the {}.',
    'a drawing of the {}.',
    'a photo of the large {}.',
    'a black and white photo of a {}.',
    'the plushie {}.',
    'a dark photo of a {}.',
    'itap of a {}.',
    'graffiti of the {}.',
    'a toy {}.',
    'itap of my {}.',
    'a photo of a cool {}.',
    'a photo of a small {}.',
    'a tattoo of the {}.',
)
_SUBSET = (
    'itap of a {}.',
    'a bad photo of a {}.',
    'a origami {}.',
    'a photo of the large {}.',
    'a {} in a video game.',
    'art of the {}.',
    'a photo of the small {}.',
)
# fmt: on

TEMPLATE_SETS: dict[str, tuple[str, ...]] = {
    'full': _FULL,
    'subset': _SUBSET,
    'simple': ('a photo of a {}.',),
    'identity': ('{}',),
}


def get_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """Look up a template set, or check templates of the caller's own.

    Args:
        templates (str | Sequence[str]): The name of a set (``'full'``, ``'subset'``, ``'simple'``,
            ``'identity'``) or sentences with ``{}`` where the word goes.

    Returns:
        tuple[str, ...]: The sentences, at least one.

    Raises:
        ValueError: If the set is unknown, or a sentence has no place for the word or other fields
            in braces.

    Example:
        >>> get_templates('simple')
        ('a photo of a {}.',)
        >>> len(get_templates('full'))
        80
        >>> get_templates(['a drawing of a {}.'])
        ('a drawing of a {}.',)
    """
    if isinstance(templates, str):
        if templates not in TEMPLATE_SETS:
            raise ValueError(
                f'There is no template set {templates!r}: use {", ".join(TEMPLATE_SETS)}, or a '
                'list of sentences.'
            )
        return TEMPLATE_SETS[templates]
    if not isinstance(templates, Sequence):
        raise ValueError(f'templates = {templates!r} is neither a name of a set nor sentences.')
    for template in templates:
        if not isinstance(template, str) or '{}' not in template:
            raise ValueError(
                f'The template {template!r} has no place for the word: write {{}} where it goes.'
            )
        if not _has_one_plain_field(template):
            raise ValueError(
                f'The template {template!r} has more in braces than one {{}}, where the word goes; '
                'double other braces.'
            )
    if not templates:
        raise ValueError('The list of templates is empty: give at least one, such as "{}".')
    return tuple(templates)


def _has_one_plain_field(template: str) -> bool:
    """Tell whether ``str.format`` fills in one word, unchanged, and nothing else."""
    try:
        fields = [field for _, *field in string.Formatter().parse(template) if field[0] is not None]
    except ValueError:  # a brace without its partner
        return False
    # Names, formats and conversions read attributes of the word, or make a text of any length.
    return fields == [['', '', None]]
