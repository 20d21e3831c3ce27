"""The layout of the first tab: picture and words, the view, the settings, and what follows."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from groupvit_mmseg.text.templates import TEMPLATE_SETS
from groupvit_web import widgets
from groupvit_web.backend import WINDOW_MODES
from groupvit_web.chips import chip_values
from groupvit_web.controls import ComparePanel, Controls, Panels, PixelPanel, TakeAwayPanel
from groupvit_web.example_pictures import ExamplePicture
from groupvit_web.model import PageModel
from groupvit_web.take_away import KINDS


def segment_tab(
    models: Sequence[PageModel], examples: Sequence[ExamplePicture]
) -> tuple[Controls, Panels]:
    """Lay out the first tab.

    Args:
        models (Sequence[PageModel]): The models to choose from.
        examples (Sequence[ExamplePicture]): Pictures to begin with.

    Returns:
        tuple[Controls, Panels]: What a visitor sets, and what shows results.
    """
    message = widgets.message()
    with gr.Row(elem_classes='workbench'):
        with gr.Column(elem_classes=['area-input', 'card']):
            upload, pictures = _picture_inputs(examples)
            words, background = _word_inputs(models[0])
        with gr.Column(elem_classes=['area-view', 'card']):
            stage, maps = widgets.stage(), widgets.maps()
        with gr.Column(elem_classes=['area-settings', 'card']):
            settings = _settings(models)
        with gr.Column(elem_classes=['area-results', 'card']):
            shares = gr.HTML('', apply_default_css=False, elem_id='shares')
            pixel = _pixel_panel()
    model, threshold, opacity, windows, refine, templates = settings
    controls = Controls(
        upload=upload,
        examples=pictures,
        model=model,
        words=words,
        background=background,
        templates=templates,
        threshold=threshold,
        opacity=opacity,
        windows=windows,
        refine=refine,
    )
    compare, take_away = _compare_panel(models), _take_away_panel()
    return controls, Panels(message, stage, maps, shares, pixel, compare, take_away)


def _picture_inputs(examples: Sequence[ExamplePicture]) -> tuple[gr.UploadButton, gr.HTML]:
    """Lay out the choice of a picture: the button and the examples."""
    widgets.heading('Picture')
    upload = gr.UploadButton(
        'Choose a picture', variant='primary', elem_id='picture-upload', file_count='single'
    )
    widgets.note('Or drop or paste one anywhere on this page.')
    thumbnails = [
        (each.title, widgets.data_address(each.thumbnail, 'image/webp')) for each in examples
    ]
    return upload, widgets.examples(thumbnails)


def _word_inputs(model: PageModel) -> tuple[gr.HTML, gr.HTML]:
    """Lay out the two lists of words."""
    widgets.heading('Words')
    words = widgets.chips(
        chip_values(model.default_words),
        name='words',
        title='Words',
        example='cat = kitten, dog',
    )
    widgets.heading('Background words')
    background = widgets.chips(
        [],
        name='background',
        title='Background words',
        example='sky, wall',
        coloured=False,
    )
    return words, background


def _settings(
    models: Sequence[PageModel],
) -> tuple[gr.Dropdown, gr.Slider, gr.Slider, gr.Radio, gr.Checkbox, gr.Dropdown]:
    """Lay out the settings: model, threshold, opacity, windows, refinement, templates."""
    widgets.heading('Settings')
    names = [model.name for model in models]
    model = gr.Dropdown(names, value=names[0], label='Model', visible=len(names) > 1)
    threshold = widgets.bounded_slider(
        0,
        1,
        value=0,
        step=0.01,
        label='Background threshold',
        info='Pixels whose best score is lower are background; 0 is no threshold.',
        elem_id='threshold',
    )
    opacity = widgets.bounded_slider(0, 1, value=0.6, step=0.05, label='Opacity', elem_id='opacity')
    windows = gr.Radio(list(WINDOW_MODES), value='Whole picture', label='Passes', elem_id='windows')
    refine = gr.Checkbox(label='Refine the edges (PAMR)', elem_id='refine')
    templates = gr.Dropdown(
        list(TEMPLATE_SETS), value='simple', label='Templates', elem_id='templates'
    )
    return model, threshold, opacity, windows, refine, templates


def _pixel_panel() -> PixelPanel:
    """Lay out the answers about one pixel."""
    widgets.heading('One pixel')
    widgets.note('Click on the picture, or give a row and a column of it as it is shown.')
    with gr.Row(elem_classes='fields'):
        row = gr.Number(0, precision=0, minimum=0, label='Row', min_width=60, elem_id='pixel-row')
        column = gr.Number(
            0, precision=0, minimum=0, label='Column', min_width=60, elem_id='pixel-column'
        )
    look = gr.Button('Look', elem_id='pixel-look', elem_classes='short-button')
    answer = gr.HTML('', apply_default_css=False, elem_id='pixel-answer')
    return PixelPanel(row, column, look, answer)


def _compare_panel(models: Sequence[PageModel]) -> ComparePanel:
    """Lay out the comparison with another model, or with other words."""
    names = [model.name for model in models]
    with gr.Accordion('Compare', open=False, elem_classes='card', elem_id='compare-panel'):
        widgets.note(
            'On the left is the result above. Choose what differs on the right; without words, '
            'those above are used.'
        )
        model = gr.Dropdown(
            names, value=names[-1], label='Model on the right', elem_id='compare-model'
        )
        widgets.heading('Words on the right', level=3)
        words = widgets.chips(
            [],
            name='compare-words',
            title='Words on the right',
            example='kitten, puppy',
        )
        compare = gr.Button('Compare', elem_id='compare-button', elem_classes='short-button')
        result = widgets.wipe()
    return ComparePanel(model, words, compare, result)


def _take_away_panel() -> TakeAwayPanel:
    """Lay out the downloads, and the texts that reproduce the result."""
    with gr.Accordion('Take away', open=False, elem_classes='card', elem_id='take-away-panel'):
        formats = gr.CheckboxGroup(
            [(name, kind) for kind, name in KINDS.items()],
            value=list(KINDS)[:4],
            label='Files',
            elem_id='formats',
        )
        prepare = gr.Button('Prepare the files', elem_id='prepare', elem_classes='short-button')
        files = gr.File(
            label='Downloads',
            file_count='multiple',
            interactive=False,
            visible=False,
            elem_id='files',
        )
        texts = widgets.copyable('texts')
    return TakeAwayPanel(texts, formats, prepare, files)
