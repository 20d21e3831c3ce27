"""The page: its head, its three tabs, and their events."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from groupvit_web.backend import Backend
from groupvit_web.evaluation_tab import build_evaluation_tab
from groupvit_web.events import Events
from groupvit_web.example_pictures import ExamplePicture
from groupvit_web.limits import Limits
from groupvit_web.model import PageModel
from groupvit_web.segment_tab import segment_tab
from groupvit_web.training_tab import build_training_tab
from groupvit_web.visitors import Visitors
from groupvit_web.wiring import connect


class PageSetup(NamedTuple):
    """Everything that the page is made from.

    Attributes:
        models (Sequence[PageModel]): The models to choose from, at least one.
        examples (Sequence[ExamplePicture]): Pictures to begin with, at least one.
        limits (Limits): What visitors may send. Defaults to those of :class:`.Limits`.
        work_dir (Path, optional): Folder of a training to watch. Defaults to None.
        results (Path, optional): Folder that ``groupvit evaluate`` wrote. Defaults to None.
        notice (str): A sentence for the head of the page. Defaults to ''.
    """

    models: Sequence[PageModel]
    examples: Sequence[ExamplePicture]
    limits: Limits = Limits()
    work_dir: Path | None = None
    results: Path | None = None
    notice: str = ''


class Page(NamedTuple):
    """A page that :func:`.serve` opens.

    Attributes:
        blocks (gr.Blocks): Its parts and events.
        visitors (Visitors): Those who have it open.
        limits (Limits): What they may send.
    """

    blocks: gr.Blocks
    visitors: Visitors
    limits: Limits


def build_page(setup: PageSetup) -> Page:
    """Make the page.

    Args:
        setup (PageSetup): Models, examples and folders.
    """
    seconds = setup.limits.seconds_of_files
    blocks = gr.Blocks(
        title='GroupViT: segment pictures with words',
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(max(1, seconds // 6), seconds),
    )
    with blocks:
        _masthead(setup)
        with gr.Tabs():
            with gr.Tab('Segment', id='segment'):
                controls, panels = segment_tab(setup.models, setup.examples)
            with gr.Tab('Training', id='training'):
                build_training_tab(setup.work_dir)
            with gr.Tab('Evaluation', id='evaluation'):
                build_evaluation_tab(setup.results)
        backend = Backend(setup.models, setup.examples, setup.limits)
        events = Events(controls, panels, backend)
        connect(blocks, events)
    return Page(blocks, events.visitors, setup.limits)


def _masthead(setup: PageSetup) -> None:
    """Lay out the head of the page: its name, and what is known about the models."""
    names = ', '.join(model.name for model in setup.models)
    sentences = dict.fromkeys([setup.notice, *(model.license_line for model in setup.models)])
    gr.HTML(
        '<header class="masthead"><h1>GroupViT</h1>'
        f'<p>Segment pictures with any words. Model: {escape(names)}. '
        f'{escape(" ".join(filter(None, sentences)))}</p></header>',
        apply_default_css=False,
        elem_classes='masthead-block',
    )
