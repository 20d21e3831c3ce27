"""Results as the page shows them: views for the large picture, tables and texts in HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TypedDict

from groupvit_mmseg.visualization import percent
from groupvit_web.figures import Figure, make_figure
from groupvit_web.pixels import PixelReport, SegmentOfPixel
from groupvit_web.segmentation import PageResult, Share
from groupvit_web.uploads import Picture


class View(TypedDict):
    """A picture to look at.

    Attributes:
        id (str): Name that stays the same from one result to the next.
        title (str): A few words below the thumbnail.
        caption (str): A sentence below the large picture.
        alt (str): Text for screen readers.
        src (str): A ``data:`` address.
    """

    id: str
    title: str
    caption: str
    alt: str
    src: str


class StageValue(TypedDict):
    """The views that change with threshold, opacity and colours; the first is the labels'."""

    views: list[View]


class MapsValue(TypedDict):
    """The views that do not, and the picture's key and size (height, width) as displayed."""

    key: str
    size: list[int]
    groups: list[View]
    others: list[View]


class WipeValue(TypedDict):
    """The two pictures of a comparison."""

    left: View
    right: View


def view(name: str, title: str, caption: str, figure: Figure) -> View:
    """Return a view of a figure."""
    return {
        'id': name,
        'title': title,
        'caption': caption,
        'alt': figure.alt,
        'src': figure.data_uri,
    }


def stage_value(result: PageResult) -> StageValue:
    """Return the views that change with threshold, opacity and colours."""
    return {
        'views': [
            view('words', 'Words', 'The words over the picture.', result.overlay),
            view(
                'confidence',
                'Confidence',
                "Confidence: the score of each pixel's word, dark is low.",
                result.confidence,
            ),
        ]
    }


def maps_value(picture: Picture, result: PageResult) -> MapsValue:
    """Return the views of groups, heat maps and the picture alone."""
    groups = [
        view(f'groups-{stage}', _groups_title(figure, stage), f'{figure.alt}', figure)
        for stage, figure in enumerate(result.groups, start=1)
    ]
    heat_maps = [
        view(f'heat-{index}', figure.title, f'Score of “{figure.title}”: dark is low.', figure)
        for index, figure in enumerate(result.heat_maps)
    ]
    alone = make_figure(picture.shown, f'The picture {picture.name}')
    return {
        'key': picture.key,
        'size': list(picture.shown.shape[:2]),
        'groups': groups,
        'others': [view('picture', 'Picture', picture.name, alone), *heat_maps],
    }


def _groups_title(figure: Figure, stage: int) -> str:
    """Return the title of a view of groups."""
    return figure.title or f'Groups, stage {stage}'


def wipe_value(left: PageResult, right: PageResult, *, titles: tuple[str, str]) -> WipeValue:
    """Return the two pictures of a comparison.

    Args:
        left (PageResult): The result above.
        right (PageResult): The other one.
        titles (tuple[str, str]): What stands below them.
    """
    return {
        'left': view('left', titles[0], titles[0], left.overlay),
        'right': view('right', titles[1], titles[1], right.overlay),
    }


def shares_table(result: PageResult) -> str:
    """Return the table of shares, and how long the result took."""
    rows = ''.join(_share_row(share) for share in result.shares)
    encoded = 'the picture was encoded' if result.was_encoded else 'without encoding again'
    return (
        '<table class="shares"><caption>Shares</caption><thead><tr><th scope="col">Word</th>'
        '<th scope="col" class="number">Share</th>'
        '<th scope="col" class="number">Confidence</th></tr></thead>'
        f'<tbody>{rows}</tbody></table>'
        f'<p class="notice took">Answered in {_duration(result.seconds)}, {encoded}.</p>'
    )


def _share_row(share: Share) -> str:
    """Return a row of the table of shares."""
    colour = 'transparent' if share.colour is None else f'rgb{tuple(share.colour)}'
    also = [word for word in share.words if word != share.name]
    name = escape(share.name) + (f' <small>= {escape(", ".join(also))}</small>' if also else '')
    confidence = '' if share.confidence is None else f'{share.confidence:.2f}'
    return (
        f'<tr><th scope="row"><span class="swatch" style="background: {colour}"></span>{name}</th>'
        f'<td class="number">{escape(percent(share.share, 1))}</td>'
        f'<td class="number">{confidence}</td></tr>'
    )


def _duration(seconds: float) -> str:
    """Return a time in milliseconds or seconds."""
    return f'{seconds * 1000:.0f} ms' if seconds < 1 else f'{seconds:.1f} s'


def pixel_answer(report: PixelReport) -> str:
    """Return what the page says about a pixel."""
    figures = ''.join(_segment_figure(segment) for segment in report.segments)
    rows = ''.join(_score_row(name, score) for name, score in report.scores)
    return (
        f'<div class="pixel"><h3>Row {report.row}, column {report.column}: {escape(report.name)}'
        f'</h3><p class="notice">Confidence {report.confidence:.2f}; a change of a score by '
        f'{report.margin:.2f} would change the word.</p>'
        f'<div class="segments">{figures}</div>'
        '<table class="scores"><caption class="sr-only">Score of each word at this pixel</caption>'
        '<thead><tr><th scope="col">Word</th><th scope="col"><span class="sr-only">Bar</span></th>'
        f'<th scope="col" class="number">Score</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _segment_figure(segment: SegmentOfPixel) -> str:
    """Return the picture of the segment that a pixel belongs to."""
    return (
        f'<figure><img src="{segment.figure.data_uri}" alt="{escape(segment.figure.alt)}">'
        f'<figcaption>Stage {segment.stage}: segment {segment.segment}, '
        f'{escape(percent(segment.share, 1))} of the picture</figcaption></figure>'
    )


def _score_row(name: str, score: float) -> str:
    """Return a row of the table of scores."""
    return (
        f'<tr><th scope="row">{escape(name)}</th>'
        f'<td class="bars"><span class="bar" style="width: {max(score, 0):.1%}"></span></td>'
        f'<td class="number">{score:.3f}</td></tr>'
    )


def remarks(sentences: Sequence[str], *, is_error: bool = False) -> str:
    """Return sentences for the visitor."""
    kind = ' class="is-error"' if is_error else ''
    return ''.join(f'<p{kind}>{escape(sentence)}</p>' for sentence in sentences)


def snippets(texts: Sequence[tuple[str, str]]) -> str:
    """Return texts to copy, each below its title.

    Args:
        texts (Sequence[tuple[str, str]]): Titles and texts.
    """
    return ''.join(
        f'<div class="panel"><h3>{escape(title)}</h3><div class="snippet">'
        f'<pre tabindex="0" aria-label="{escape(title)}">{escape(text)}</pre>'
        f'<button type="button" class="plain-button copy">Copy</button></div></div>'
        for title, text in texts
    )
