"""Pieces of HTML that the tabs are made of: tables, figures and messages, in the page's colours."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path

from PIL import Image, UnidentifiedImageError

LARGEST_PIXELS = 64_000_000
"""int: Pictures with more pixels are refused before they are decoded."""

STYLES = """<style>
.gv-grid{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr))}
.gv-pictures{grid-template-columns:repeat(auto-fill,minmax(min(46%,220px),1fr))}
.gv-figures{display:grid;gap:1.2rem;justify-items:start;align-items:start;
grid-template-columns:repeat(auto-fill,minmax(min(100%,430px),1fr))}
.gv-grid figure,.gv-figures figure{margin:0;max-width:100%}
.gv-grid img{width:100%}
.gv-grid img,.gv-figures img{display:block;max-width:100%;height:auto;border-radius:6px}
.gv-small img{image-rendering:pixelated}
.gv-grid figcaption,.gv-figures figcaption,.gv-note{font-size:.875rem;margin:.3rem 0}
.gv-card{border:1px solid var(--border-color-primary);border-radius:8px;padding:.6rem;min-width:0}
.gv-scroll{overflow:auto;max-height:28rem;margin:.4rem 0}
.gv-scroll:focus-visible{outline:2px solid var(--color-accent);outline-offset:2px}
.gv-scroll table{border-collapse:collapse;width:100%;font-size:.9rem}
.gv-scroll caption{text-align:left;font-weight:600;padding:.3rem 0}
.gv-scroll th,.gv-scroll td{padding:.3rem .6rem;text-align:left;white-space:nowrap;
border-bottom:1px solid var(--border-color-primary)}
.gv-scroll th{font-weight:500}
.gv-scroll thead th{font-weight:600}
.gv-scroll .gv-num{text-align:right;font-variant-numeric:tabular-nums}
.gv-scroll .gv-bar{width:60%;min-width:7rem}
.gv-bar span{display:block;height:.7rem;border-radius:3px;background:#2f7fd1;min-width:1px}
.gv-alert{border-left:4px solid #c8641e;padding:.4rem .8rem;margin:.4rem 0;
background:var(--background-fill-secondary)}
.gv-status progress{display:block;width:100%;height:.6rem;appearance:none;border:0;
border-radius:99px;overflow:hidden;background:var(--border-color-primary)}
.gv-status progress::-webkit-progress-bar{background:var(--border-color-primary)}
.gv-status progress::-webkit-progress-value{background:#2f7fd1}
.gv-status progress::-moz-progress-bar{background:#2f7fd1}
.gv-status .gv-note{font-size:1rem;margin-top:.5rem}
</style>"""
"""str: Style sheet of all pieces; one piece on the page has to begin with it."""


def message(text: str, *, alert: bool = False) -> str:
    """Return a sentence; an alert is marked and read out at once."""
    return f'<p class="{"gv-alert" if alert else "gv-note"}"{_role(alert)}>{escape(text)}</p>'


def _role(alert: bool) -> str:
    """Return the role of a message."""
    return ' role="alert"' if alert else ''


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str,
    numeric: Collection[int] = (),
) -> str:
    """Return a table that scrolls by itself where it is too wide or too long.

    Args:
        columns (Sequence[str]): Names of the columns.
        rows (Sequence[Sequence[str]]): Cells by row; the first is the name of the row.
        caption (str): What the table shows.
        numeric (Collection[int]): Columns of numbers, aligned right. Defaults to ().

    Example:
        >>> '<th scope="row">cat</th><td class="gv-num">52.3</td>' in table(
        ...     ['class', 'IoU'], [['cat', '52.3']], caption='IoU', numeric=[1]
        ... )
        True
    """
    head = ''.join(
        f'<th scope="col"{_numeric(i in numeric)}>{escape(name)}</th>'
        for i, name in enumerate(columns)
    )
    body = ''.join(f'<tr>{_row(row, numeric)}</tr>' for row in rows)
    return _scrolling(caption, f'<thead><tr>{head}</tr></thead><tbody>{body}</tbody>')


def _row(cells: Sequence[str], numeric: Collection[int]) -> str:
    """Return the cells of a row."""
    name, *rest = cells
    others = (
        f'<td{_numeric(i in numeric)}>{escape(cell)}</td>' for i, cell in enumerate(rest, start=1)
    )
    head = f'<th scope="row"{_numeric(0 in numeric)}>{escape(name)}</th>'
    return f'{head}{"".join(others)}'


def _numeric(is_numeric: bool) -> str:
    """Return the class of a cell."""
    return ' class="gv-num"' if is_numeric else ''


def _scrolling(caption: str, content: str) -> str:
    """Put a table into a region that the keyboard can scroll."""
    label = escape(caption, quote=True)
    return (
        f'<div class="gv-scroll" tabindex="0" role="region" aria-label="{label}"><table>'
        f'<caption>{escape(caption)}</caption>{content}</table></div>'
    )


def bar_table(
    columns: tuple[str, str], values: Sequence[tuple[str, float | None]], *, caption: str
) -> str:
    """Return a table of names and percentages, each with a bar.

    Args:
        columns (tuple[str, str]): Names of both columns.
        values (Sequence[tuple[str, float | None]]): Name and percentage of each row; None is
            written as "absent".
        caption (str): What the table shows.
    """
    rows = ''.join(f'<tr>{_bar_row(*each)}</tr>' for each in values)
    name, value = (escape(column) for column in columns)
    head = f'<th scope="col">{name}</th><th scope="col" class="gv-num">{value}</th><td></td>'
    return _scrolling(caption, f'<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>')


def _bar_row(name: str, value: float | None) -> str:
    """Return the cells of a name, its percentage and its bar."""
    number = 'absent' if value is None else f'{value:.1f}'
    width = 0 if value is None else min(max(value, 0), 100)
    bar = '' if value is None else f'<span style="width:{width:.1f}%"></span>'
    return (
        f'<th scope="row">{escape(name)}</th><td class="gv-num">{number}</td>'
        f'<td class="gv-bar">{bar}</td>'
    )


def details(summary: str, content: str) -> str:
    """Return content that opens on demand."""
    return f'<details><summary>{escape(summary)}</summary>{content}</details>'


def picture(path: Path, *, alt: str, caption: str = '', longest_side: int = 1024) -> str:
    """Return a figure with a picture file in it.

    Args:
        path (Path): The file.
        alt (str): What the picture shows, for those who do not see it.
        caption (str): Text below. Defaults to ''.
        longest_side (int): Pixels to which a larger picture is reduced. Defaults to 1024.

    Raises:
        ValueError: If the file is no picture, damaged or too large.
        OSError: If it cannot be read.
    """
    data, is_small = _encode(path, longest_side)
    below = f'<figcaption>{escape(caption)}</figcaption>' if caption else ''
    style = ' class="gv-small"' if is_small else ''
    source = f'data:image/webp;base64,{base64.b64encode(data).decode()}'
    return f'<figure{style}><img src="{source}" alt="{escape(alt, quote=True)}">{below}</figure>'


def _encode(path: Path, longest_side: int) -> tuple[bytes, bool]:
    """Return a picture as WebP, and whether it is so small that its pixels are to be seen."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > LARGEST_PIXELS:
                raise ValueError(f'{path.name} has more than {LARGEST_PIXELS:,} pixels.')
            image.thumbnail((longest_side, longest_side))
            is_small = max(image.size) < 160
            stream = io.BytesIO()
            image.convert('RGB').save(stream, 'WEBP', quality=88, lossless=is_small)
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise ValueError(f'{path.name} is no picture that can be read.') from error
    except OSError as error:
        if error.errno is not None:  # of the file system
            raise
        raise ValueError(f'{path.name} is damaged: {error}.') from error
    return stream.getvalue(), is_small
