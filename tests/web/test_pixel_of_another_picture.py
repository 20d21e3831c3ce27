"""A click whose answer comes after another picture was chosen."""

from types import SimpleNamespace

import pytest

pytest.importorskip('gradio', reason='the page needs Gradio')

import gradio as gr

from groupvit_web.backend import Backend
from groupvit_web.chips import chip_values
from groupvit_web.events import Events
from groupvit_web.limits import Limits
from groupvit_web.segment_tab import segment_tab
from groupvit_web.uploads import read_picture

from .conftest import png

VISITOR = SimpleNamespace(session_hash='visitor')


def test_it_points_at_nothing_of_the_new_picture(model, monkeypatch):
    with gr.Blocks():
        controls, panels = segment_tab([model], [])
    events = Events(controls, panels, Backend([model], [], Limits()))
    values = [
        model.name,
        chip_values(['cat', 'dog']),
        [],
        'simple',
        0.0,
        0.6,
        'Whole picture',
        False,
    ]
    data = dict(zip(controls.of_request, values, strict=True))
    wide, high = read_picture(png(60, 400)), read_picture(png(400, 60))
    click = SimpleNamespace(row=30, column=399)
    events.visitors.show('visitor', wide)
    assert panels.pixel.answer in events.pick(data, click, VISITOR)
    assert events.visitors.point('visitor') == (30, 399)

    segmenter = events.backend.segmenter(model.name)
    scores = segmenter.scores

    def slow(*args, **options):
        events.visitors.show('visitor', high)
        return scores(*args, **options)

    events.visitors.show('visitor', wide)
    monkeypatch.setattr(segmenter, 'scores', slow)
    assert panels.pixel.answer not in events.pick(data, click, VISITOR)
    assert events.visitors.point('visitor') is None
    monkeypatch.setattr(segmenter, 'scores', scores)
    assert panels.shares in events.everything(data, VISITOR)
