"""The page of a gallery: sheets of random, worst and best images with their numbers."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from groupvit_mmseg.evaluation.confusion import Pairs, confusion_matrix, segmentation_scores
from groupvit_mmseg.visualization import percent

MARK = '<!-- Written by tools/analysis_tools/make_gallery.py: run the command below again. -->'
"""str: First line of a page, by which it is known as one that may be replaced."""


class Assessment(NamedTuple):
    """What is known of the segmentation of an image.

    Attributes:
        name (str): Name of the image.
        shares (Mapping[str, float]): Share of each class that occurs, the largest first.
        confidence (float): Mean over the pixels.
        margin (float): Mean over the pixels.
        pairs (Pairs, optional): Pixels of each (label, prediction), of ``count_pairs``; None
            without a mask.
    """

    name: str
    shares: Mapping[str, float]
    confidence: float
    margin: float
    pairs: Pairs | None = None

    def miou(self, num_classes: int) -> float | None:
        """Return the mean IoU in percent over the classes of the mask; None without a mask.

        A class that only the prediction has is not a zero of the mean, since a pixel of it would
        weigh as much as a thing; its pixels still lower the IoU of the class that they belong to.
        """
        if not self.pairs:
            return None
        matrix = confusion_matrix([self.pairs], num_classes)
        labelled = np.flatnonzero(matrix.sum(axis=1))
        scores = segmentation_scores(matrix).class_iou
        return float(np.mean([scores[index] for index in labelled]))


class Section(NamedTuple):
    """Images of the gallery: a title, a sentence on their choice, their indices."""

    title: str
    text: str
    indices: list[int]


def choose_images(
    assessments: Sequence[Assessment], num_classes: int, count: int
) -> dict[str, Section]:
    """Choose random images, the worst and the best, each image once.

    Images with masks are ordered by their mean IoU, or all by their mean margin if there are none.

    Args:
        assessments (Sequence[Assessment]): Of all images.
        num_classes (int): Number of classes, the background included.
        count (int): Images of each section.

    Returns:
        dict[str, Section]: By the beginning of the names of their pictures.
    """
    mious = {i: each.miou(num_classes) for i, each in enumerate(assessments)}
    values = {i: value for i, value in mious.items() if value is not None}
    what = 'mean IoU'
    if not values:
        values, what = {i: each.margin for i, each in enumerate(assessments)}, 'mean margin'
    ordered = sorted(values, key=lambda i: (values[i], i))
    worst = ordered[:count]
    best = [i for i in ordered[::-1] if i not in worst][:count]
    rest = [i for i in ordered if i not in worst and i not in best]
    sample = sorted(random.Random(0).sample(rest, min(count, len(rest))))
    of_all = f'of {len(values)} images'
    return {
        'random': Section('Images at random', f'Chosen at random {of_all}.', sample),
        'worst': Section('Failures', f'Those with the lowest {what} {of_all}.', worst),
        'best': Section('Best images', f'Those with the highest {what} {of_all}.', best),
    }


def caption(each: Assessment, class_names: Sequence[str]) -> str:
    """Describe a segmentation in numbers.

    Example:
        >>> each = Assessment('a', {'cat': 0.75, 'dog': 0.25}, 0.5, 0.1, [[0, 0, 6], [1, 0, 2]])
        >>> print(caption(each, ['cat', 'dog']))
        **a**: mean IoU 37.5 %; 25 % of the pixels are dog and labelled cat; labelled cat 75 %, dog
        25 %; mean confidence 0.50, mean margin 0.10.
    """
    parts = []
    miou = each.miou(len(class_names))
    if miou is not None and each.pairs:
        parts.append(f'mean IoU {miou:.1f} %')
        parts.append(_confusion(each.pairs, class_names))
    shares = [f'{name} {_percent(share)}' for name, share in each.shares.items()]
    parts.append(f'labelled {", ".join(shares)}')
    parts.append(f'mean confidence {each.confidence:.2f}, mean margin {each.margin:.2f}.')
    return f'**{escape(each.name)}**: {"; ".join(escape(part) for part in parts)}'


def _confusion(pairs: Pairs, class_names: Sequence[str]) -> str:
    """Return the error that most pixels have."""
    total = sum(count for *_, count in pairs)
    errors = [(count, label, predicted) for label, predicted, count in pairs if label != predicted]
    if not errors:
        return 'every pixel is right'
    count, label, predicted = max(errors, key=lambda error: error[0])
    names = f'{class_names[label]} and labelled {class_names[predicted]}'
    return f'{_percent(count / total)} of the pixels are {names}'


def _percent(share: float) -> str:
    return percent(share).replace('%', ' %').replace('<', 'less than ')


def escape(text: str) -> str:
    r"""Escape the characters that Markdown reads as marks.

    Example:
        >>> print(escape('a_b <c>'))
        a\_b \<c\>
    """
    return re.sub(r'([\\`*_{}\[\]<>#|$])', r'\\\1', text)


class GalleryRecord(NamedTuple):
    """How a gallery was made.

    Attributes:
        command (str): The command line.
        needs (str): What the command reads that the repository does not contain.
        settings (Mapping[str, str]): Date, weights and others, by name.
        images (str): What the images are.
    """

    command: str
    needs: str
    settings: Mapping[str, str]
    images: str


READING = """
- **groups**: each segment in its colour; the same segment has the same colour on all pictures. The
  model has learned them from captions, without masks.
- **words**: the class of each pixel, with shares below.
- **score**: the score of one word at each pixel, from 0 to the largest on the picture.
- **confidence**: the score of each pixel's class. Dark regions are those to doubt.
"""


def gallery_page(
    record: GalleryRecord,
    sections: Sequence[Section],
    assessments: Sequence[Assessment],
    class_names: Sequence[str],
    files: Mapping[int, str],
) -> str:
    """Write the page in Markdown.

    Args:
        record (GalleryRecord): How the gallery was made.
        sections (Sequence[Section]): Of :func:`choose_images`.
        assessments (Sequence[Assessment]): Of all images.
        class_names (Sequence[str]): Names of the classes, by index.
        files (Mapping[int, str]): Path of the picture of each image, relative to the page.
    """
    shown = [section for section in sections if section.indices]
    titles = ['How it was made', 'How to read the pictures', *(each.title for each in shown)]
    contents = '\n'.join(f'- [{title}](#{title.lower().replace(" ", "-")})' for title in titles)
    settings = '\n'.join(f'| {name} | {escape(text)} |' for name, text in record.settings.items())
    parts = [
        f'{MARK}\n# Gallery',
        f'This page shows how one model segments {record.images}: its groups by stage, the words,\n'
        'the confidence, and its failures. The command below wrote it, numbers included.',
        contents,
        f'## How it was made\n\n```bash\n{record.command}    # needs {record.needs}\n```\n\n'
        f'| | |\n|---|---|\n{settings}',
        f'## How to read the pictures\n{READING.rstrip()}',
    ]
    for section in shown:
        parts.append(f'## {section.title}\n\n{section.text}')
        for index in section.indices:
            each = assessments[index]
            text = f'Groups, words, a score and the confidence of {each.name}'
            parts.append(f'{caption(each, class_names)}\n\n![{escape(text)}]({files[index]})')
    return '\n\n'.join(parts) + '\n'
