"""What both tabs need of Gradio: when their tab is open, and errors as sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypedDict

import gradio as gr
from gradio.context import Context


class EventOptions(TypedDict):
    """Options of an event, as Gradio names them."""

    show_progress: Literal['full', 'minimal', 'hidden']
    api_visibility: Literal['public', 'private', 'undocumented']


QUIET: EventOptions = {'show_progress': 'hidden', 'api_visibility': 'private'}
"""EventOptions: Of events that the visitor does not wait for and that are no interface."""


def current_tab() -> gr.Tab | None:
    """Return the tab that is being built, None outside of tabs."""
    block = Context.block
    while block is not None and not isinstance(block, gr.Tab):
        block = block.parent
    return block


def current_page() -> gr.Blocks:
    """Return the page that is being built.

    Raises:
        RuntimeError: If none is.
    """
    if Context.root_block is None:
        raise RuntimeError('Build a tab within gr.Blocks.')
    return Context.root_block


def run_while_open(timer: gr.Timer) -> None:
    """Let a timer run only while the tab that is being built is open.

    Outside of tabs it runs always.

    Args:
        timer (gr.Timer): An inactive timer.
    """
    tab = current_tab()
    if tab is None or not isinstance(tab.parent, gr.Tabs):
        current_page().load(lambda: gr.Timer(active=True), outputs=timer, **QUIET)
        return
    label = tab.label

    def is_open(event: gr.SelectData) -> gr.Timer:
        return gr.Timer(active=event.value == label)

    tab.parent.select(is_open, outputs=timer, **QUIET)


def when_opened(handler: Callable, inputs: list, outputs: list) -> None:
    """Call a handler each time the tab that is being built is opened; outside of tabs, on load."""
    tab = current_tab()
    if tab is None:
        current_page().load(handler, inputs, outputs, **QUIET)
    else:
        tab.select(handler, inputs, outputs, **QUIET)


def sentence(error: Exception) -> str:
    """Return what a visitor reads of an error; those of the system are without the folder."""
    if isinstance(error, OSError) and error.strerror:
        name = str(error.filename or '').rpartition('/')[2]
        return f'{name or "A file"} cannot be read: {error.strerror}.'
    return str(error)


def plain_html(value: str = '', *, visible: bool = True) -> gr.HTML:
    """Return a component for HTML with its own style sheet, instead of that of running text."""
    return gr.HTML(value, visible=visible, apply_default_css=False)


def shown_if_filled(value: str) -> gr.HTML:
    """Return the update of such a component, which takes no room while it is empty."""
    return plain_html(value, visible=bool(value))
