"""One self-contained HTML page of two results: numbers, classes, the images that changed most."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groupvit_mmseg.benchmark.compare import ChangedImage, SetComparison, StoredResult
from groupvit_mmseg.benchmark.gallery_figures import encode_figure
from groupvit_mmseg.benchmark.stored_predictions import decode_labels
from groupvit_mmseg.visualization import draw_labels, enlarge, legend, panel

SIDE = 200
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .2rem .7rem; border-bottom: 1px solid #ccc; text-align: right }
td:first-child, th:first-child { text-align: left }
figure { margin: 1.5rem 0 } img { max-width: 100% }
.worse { color: #b00020 } .better { color: #00662b }
"""


class ChangedPicture(NamedTuple):
    """A figure of an image that changed, RGB ``(H, W, 3)``."""

    change: ChangedImage
    figure: NDArray[np.uint8]


def draw_change(
    first: StoredResult,
    second: StoredResult,
    change: ChangedImage,
    image: NDArray[np.uint8],
    truth: NDArray[np.int64],
) -> ChangedPicture:
    """Draw an image, its mask and both predictions side by side.

    Args:
        first (StoredResult): With label maps in its journal (``--measures predictions``).
        second (StoredResult): Likewise.
        change (ChangedImage): Which image.
        image (NDArray): RGB ``(H, W, 3)``.
        truth (NDArray): True labels ``(H, W)``; 255 is ignored.

    Raises:
        ValueError: If a journal has no label maps.
    """
    names = list(first.result['class_iou'])
    predictions = [_prediction(each, change.number) for each in (first, second)]
    background = enlarge(image, SIDE)
    shown = [enlarge(each, SIDE) for each in (truth, *predictions)]
    painted = [background, *(draw_labels(background, labels, names) for labels in shown)]
    figure = panel([painted], ('image', 'truth', 'first', 'second'))
    labels = np.concatenate([each.reshape(-1) for each in shown])[None]
    strip = legend(labels, names, width=figure.shape[1])
    return ChangedPicture(change, _stack(figure, strip))


def _prediction(stored: StoredResult, index: int) -> NDArray[np.int64]:
    """Return the label map of an image."""
    text = stored.images[index].get('prediction')
    if text is None:
        raise ValueError(
            f'{stored.folder}/journal has no label maps: evaluate with --measures predictions '
            'into another folder.'
        )
    return decode_labels(text)


def _stack(figure: NDArray[np.uint8], strip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put a legend below a figure."""
    width = max(figure.shape[1], strip.shape[1])
    parts = []
    for each in (figure, strip):
        part = np.full((each.shape[0], width, 3), 255, np.uint8)
        part[:, : each.shape[1]] = each
        parts.append(part)
    return np.concatenate(parts)


def comparison_page(
    title: str,
    comparisons: Sequence[SetComparison],
    pictures: Sequence[Sequence[ChangedPicture]],
    labels: tuple[str, str],
) -> str:
    """Write the page; everything is in it, nothing is loaded.

    Args:
        title (str): Title of the page.
        comparisons (Sequence[SetComparison]): By set.
        pictures (Sequence[Sequence[ChangedPicture]]): Pictures of each set.
        labels (tuple[str, str]): Names of the two results.
    """
    parts = [f'<h1>{html.escape(title)}</h1>', _summary(comparisons, labels)]
    for each, some in zip(comparisons, pictures, strict=True):
        parts += [f'<h2>{html.escape(each.name)}</h2>', _classes(each, labels)]
        parts += [_picture(picture) for picture in some]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
        f'</title><style>{STYLE}</style></head><body>\n' + '\n'.join(parts) + '\n</body></html>\n'
    )


def _summary(comparisons: Sequence[SetComparison], labels: tuple[str, str]) -> str:
    """Return the table of the sets."""
    rows = []
    for each in comparisons:
        low, high = each.comparison.interval
        scores = [
            f'{score:.2f} ({interval.low:.2f} to {interval.high:.2f})'
            for score, interval in zip(each.scores, each.intervals, strict=True)
        ]
        change = f'{each.comparison.difference:+.2f} ({low:+.2f} to {high:+.2f})'
        rows.append([each.name, *scores, change, f'{each.comparison.p_value:.4f}'])
    note = (
        '<p>mIoU in percent with 95 % intervals by bootstrap over the images. p: share of random '
        'exchanges of the two results, image by image, that differ by as much.</p>'
    )
    return _table(['set', *labels, 'difference', 'p'], rows) + note


def _classes(each: SetComparison, labels: tuple[str, str]) -> str:
    """Return the table of the classes, those that lost most first."""
    both = {k: (a, b) for k, (a, b) in each.class_iou.items() if a is not None and b is not None}
    ordered = sorted(both.items(), key=lambda item: item[1][1] - item[1][0])
    rows = [[name, f'{a:.2f}', f'{b:.2f}', f'{b - a:+.2f}'] for name, (a, b) in ordered]
    return _table(['class', *labels, 'change'], rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    head = ''.join(f'<th>{html.escape(cell)}</th>' for cell in columns)
    body = ''.join(
        f'<tr>{"".join(f"<td>{html.escape(cell)}</td>" for cell in row)}</tr>' for row in rows
    )
    return f'<table><tr>{head}</tr>{body}</table>'


def _picture(picture: ChangedPicture) -> str:
    """Return a figure with its caption."""
    change, (content, kind) = picture.change, encode_figure(picture.figure)
    kind = {'jpg': 'jpeg'}.get(kind.strip('.'), kind.strip('.'))
    data = base64.b64encode(content).decode('ascii')
    word = 'worse' if change.second < change.first else 'better'
    name = html.escape(change.image)
    return (
        f'<figure><img alt="{name}" src="data:image/{kind};base64,{data}">'
        f'<figcaption>{name}: {change.first:.1f} to {change.second:.1f} % '
        f'<span class="{word}">({change.second - change.first:+.1f})</span></figcaption></figure>'
    )
