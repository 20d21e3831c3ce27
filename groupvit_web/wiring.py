"""Which handler answers which part of the page."""

from __future__ import annotations

from typing import TypedDict

import gradio as gr
from gradio.blocks import Block

from groupvit_web.controls import Controls, Panels
from groupvit_web.events import Events

SHOW_POINT = (
    "(row, column) => document.dispatchEvent(new CustomEvent('groupvit:point', "
    '{detail: [row, column]}))'
)
"""str: Script that marks a pixel in the large picture."""


class Manner(TypedDict):
    """Options that all events have."""

    show_progress: str
    api_visibility: str


QUIET: Manner = {'show_progress': 'hidden', 'api_visibility': 'undocumented'}
BUSY: Manner = {'show_progress': 'minimal', 'api_visibility': 'undocumented'}


class Outputs:
    """The parts that each kind of event may change.

    Args:
        controls (Controls): What a visitor sets.
        panels (Panels): What shows results.
    """

    def __init__(self, controls: Controls, panels: Panels) -> None:
        self.labels: list[Block] = [
            panels.message,
            panels.stage,
            panels.shares,
            panels.pixel.answer,
            panels.take_away.texts,
        ]
        self.everything = [*self.labels, panels.maps]
        self.picture = [*self.everything, controls.picture, panels.point]
        pixel = panels.pixel
        self.pixel = [panels.message, pixel.row, pixel.column, pixel.answer, panels.point]
        self.compare = [panels.message, panels.compare.wipe]
        self.files = [panels.message, panels.take_away.files]


def connect(page: gr.Blocks, events: Events) -> None:
    """Connect the parts of a page to their handlers.

    Args:
        page (gr.Blocks): The page.
        events (Events): The handlers.
    """
    controls, panels = events.controls, events.panels
    outputs = Outputs(controls, panels)
    values: set[Block] = {*controls.of_request, panels.point}
    page.load(events.begin, values, outputs.picture, **QUIET)
    page.unload(events.leave)
    controls.upload.upload(
        events.upload, {*values, controls.upload}, outputs.picture, api_name='upload', **BUSY
    )
    controls.examples.pick(events.example, values, outputs.picture, **BUSY)
    _connect_settings(events, values, outputs)
    _connect_panels(events, values, outputs)


def _connect_settings(events: Events, values: set[Block], outputs: Outputs) -> None:
    """Connect the words and the settings."""
    controls = events.controls
    gr.on(
        [
            part.change
            for part in (
                controls.model,
                controls.words,
                controls.background,
                controls.templates,
                controls.windows,
                controls.refine,
            )
        ],
        events.everything,
        values,
        outputs.everything,
        trigger_mode='always_last',
        **BUSY,
    )
    gr.on(
        [controls.threshold.change, controls.opacity.change],
        events.labels,
        values,
        outputs.labels,
        trigger_mode='always_last',
        **QUIET,
    )


def _connect_panels(events: Events, values: set[Block], outputs: Outputs) -> None:
    """Connect the panels below the picture."""
    panels = events.panels
    pixel, compare, files = panels.pixel, panels.compare, panels.take_away
    panels.stage.pick(events.pick, values, outputs.pixel, trigger_mode='always_last', **QUIET)
    looked = pixel.look.click(
        events.look, {*values, pixel.row, pixel.column}, outputs.pixel, **QUIET
    )
    looked.then(None, [pixel.row, pixel.column], None, js=SHOW_POINT)
    compare.compare.click(
        events.compare, {*values, compare.model, compare.words}, outputs.compare, **BUSY
    )
    files.prepare.click(events.prepare, {*values, files.formats}, outputs.files, **BUSY)
