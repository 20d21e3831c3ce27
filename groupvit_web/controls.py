"""The parts of the page that its events read and write."""

from __future__ import annotations

from typing import NamedTuple

import gradio as gr


class Controls(NamedTuple):
    """The parts that a visitor sets; all but the first few decide how a picture is segmented."""

    upload: gr.UploadButton
    examples: gr.HTML
    picture: gr.State
    model: gr.Dropdown
    words: gr.HTML
    background: gr.HTML
    templates: gr.Dropdown
    threshold: gr.Slider
    opacity: gr.Slider
    windows: gr.Radio
    refine: gr.Checkbox

    @property
    def of_request(self) -> tuple[gr.components.Component, ...]:
        """The parts that decide how the picture is segmented."""
        return self[2:]


class PixelPanel(NamedTuple):
    """The parts about one pixel."""

    row: gr.Number
    column: gr.Number
    look: gr.Button
    answer: gr.HTML


class ComparePanel(NamedTuple):
    """The parts of the comparison."""

    model: gr.Dropdown
    words: gr.HTML
    compare: gr.Button
    wipe: gr.HTML


class TakeAwayPanel(NamedTuple):
    """The parts of the downloads."""

    texts: gr.HTML
    formats: gr.CheckboxGroup
    prepare: gr.Button
    files: gr.File


class Panels(NamedTuple):
    """The parts that show results."""

    message: gr.HTML
    stage: gr.HTML
    maps: gr.HTML
    shares: gr.HTML
    point: gr.State
    pixel: PixelPanel
    compare: ComparePanel
    take_away: TakeAwayPanel
