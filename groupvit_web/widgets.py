"""The parts of the page that Gradio lacks: chips, the large picture, the wipe, examples.

Each is a ``gr.HTML`` with markup and script of its own in ``static``. The markup does not change
when the value does: the script draws the value, so that focus stays where it is.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import gradio as gr

from groupvit_web.chips import COLOURS, ChipValue
from groupvit_web.theme import static_text


def data_address(data: bytes, kind: str) -> str:
    """Return a ``data:`` address of an encoded picture.

    Args:
        data (bytes): The encoded picture.
        kind (str): MIME type, such as ``'image/webp'``.
    """
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'


def chips(
    words: Sequence[ChipValue], *, name: str, title: str, example: str, coloured: bool = True
) -> gr.HTML:
    """Make a list of words.

    Args:
        words (Sequence[ChipValue]): The words to begin with.
        name (str): Id of the component in the page.
        title (str): Name of the list.
        example (str): What could stand in the field for more words.
        coloured (bool): Whether words have colours and other names. Defaults to True.
    """
    return gr.HTML(
        list(words),
        html_template=static_text('chips.html'),
        js_on_load=static_text('chips.js'),
        apply_default_css=False,
        elem_id=name,
        title=title,
        adding=f'Add to: {title}',
        example=example,
        field=f'{name}-field',
        coloured=coloured,
        palette=list(COLOURS),
    )


def stage() -> gr.HTML:
    """Make the large picture with its views; its event ``pick`` has ``row`` and ``column``."""
    return _scripted('stage', elem_id='stage')


def maps() -> gr.HTML:
    """Make the invisible component that hands further views to the large picture."""
    return gr.HTML(
        html_template='', js_on_load=static_text('maps.js'), elem_classes='feed', elem_id='maps'
    )


def wipe() -> gr.HTML:
    """Make the comparison of two pictures; its value has a ``left`` and a ``right`` view."""
    return _scripted('wipe', elem_id='wipe')


def _scripted(name: str, *, elem_id: str) -> gr.HTML:
    """Make a component from its markup and its script."""
    return gr.HTML(
        html_template=static_text(f'{name}.html'),
        js_on_load=static_text(f'{name}.js'),
        apply_default_css=False,
        elem_id=elem_id,
    )


def examples(pictures: Sequence[tuple[str, str]]) -> gr.HTML:
    """Make buttons for pictures to begin with; the event ``pick`` has the ``index``.

    Args:
        pictures (Sequence[tuple[str, str]]): What each shows, and its ``data:`` address.
    """
    buttons = ''.join(
        f'<button type="button" class="example" data-index="{index}" title="{escape(name)}">'
        f'<img src="{address}" alt="{escape(name)}"></button>'
        for index, (name, address) in enumerate(pictures)
    )
    return gr.HTML(
        f'<div class="examples" role="group" aria-label="Example pictures">{buttons}</div>',
        js_on_load=static_text('examples.js'),
        apply_default_css=False,
        elem_id='examples',
    )


def message() -> gr.HTML:
    """Make the place for errors and remarks, which screen readers read aloud."""
    return gr.HTML(
        '',
        html_template='<div class="message" role="alert">${value}</div>',
        js_on_load=None,
        apply_default_css=False,
        elem_id='message',
    )


def heading(text: str, *, level: int = 2) -> gr.HTML:
    """Make a heading."""
    return gr.HTML(
        f'<h{level}>{escape(text)}</h{level}>', apply_default_css=False, elem_classes='heading'
    )


def note(text: str) -> gr.HTML:
    """Make a sentence that explains a part of the page."""
    return gr.HTML(f'<p class="notice">{escape(text)}</p>', apply_default_css=False)


def copyable(elem_id: str) -> gr.HTML:
    """Make a place for texts with buttons that copy them."""
    return gr.HTML(
        '', js_on_load=static_text('copying.js'), apply_default_css=False, elem_id=elem_id
    )


def bounded_slider(
    low: float, high: float, *, value: float, step: float, **options: str
) -> gr.Slider:
    """Make a slider whose number field may hold anything.

    Gradio's own raises errors for an empty field and for values out of range: these become the
    first value and the nearest end. A subclass would do, but Gradio writes a file beside the module
    of every subclass.

    Args:
        low (float): Least value.
        high (float): Largest value.
        value (float): First value.
        step (float): Step of the values.
        **options: Other texts, such as the label.
    """
    slider = gr.Slider(low, high, value=value, step=step, **options)  # type: ignore[arg-type]  # texts
    preprocess = slider.preprocess

    def within_bounds(payload: float | None) -> float:
        return preprocess(min(max(float(value if payload is None else payload), low), high))

    slider.preprocess = within_bounds  # type: ignore[method-assign]  # of this slider alone
    return slider
