"""The tab that shows what ``groupvit evaluate`` has written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from groupvit_web.evaluation_results import (
    ORDERS,
    EvaluationResults,
    ScoreTable,
    SetScores,
    has_results,
    read_results,
    sorted_classes,
)
from groupvit_web.folders import folder_choices, list_folders, resolve_below
from groupvit_web.fragments import STYLES, bar_table, message, picture, table
from groupvit_web.tab_events import QUIET, plain_html, sentence, shown_if_filled, when_opened

NO_FOLDER = (
    'Nothing to show: start the page with --results FOLDER, the --out folder of groupvit evaluate '
    'or a folder of several.'
)
TEXT_COLUMNS = {'set', 'protocol', 'templates', 'precision', 'weights'}


class EvaluationPage:
    """Answers the events of the tab.

    Args:
        root (Path): Folder of the command line; nothing outside of it is shown.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def choices(self) -> list[tuple[str, str]]:
        """Return the folders with a table below the root, the newest first."""
        return folder_choices(self.root, list_folders(self.root, has_results))

    def list_again(self, name: str | None) -> gr.Dropdown:
        """Return the choice of a folder with all that there are now; the newest if none was."""
        choices = self.choices()
        newest = choices[0][1] if choices else None
        return gr.Dropdown(choices, value=name or newest, allow_custom_value=True)

    def read(self, name: str | None) -> EvaluationResults:
        """Read the results of a folder.

        Raises:
            OSError: If it cannot be listed.
            ValueError: If the name is none of a folder below the root, or it has no results.
        """
        if not name:
            raise ValueError(f'"{self.root.name}" has no results of groupvit evaluate yet.')
        return read_results(resolve_below(self.root, name))

    def show_folder(self, name: str | None, set_name: str | None, order: str) -> tuple:
        """Return the outputs for a folder.

        Args:
            name (str, optional): Name of the folder.
            set_name (str, optional): Set that was shown; another is chosen if it is not there.
            order (str): A key of ``ORDERS``.

        Returns:
            tuple: Updates of the table, the choice of a set, and of what :meth:`show_set` returns.
        """
        try:
            results = self.read(name)
        except (OSError, ValueError) as error:
            text = STYLES + message(sentence(error), alert=True)
            return (text, gr.Dropdown(visible=False), *_no_set())
        names = list(results.sets)
        shown = set_name if set_name in results.sets else next(iter(names), None)
        choice = gr.Dropdown(names, value=shown, visible=bool(names))
        return (results_html(results), choice, *_set_outputs(results, shown, order))

    def show_set(self, name: str | None, set_name: str | None, order: str) -> tuple:
        """Return the outputs for a set: classes, settings and pictures."""
        try:
            return _set_outputs(self.read(name), set_name, order)
        except (OSError, ValueError) as error:
            _, *rest = _no_set()
            return (shown_if_filled(message(sentence(error), alert=True)), *rest)


def _set_outputs(results: EvaluationResults, set_name: str | None, order: str) -> tuple:
    """Return the outputs for a set."""
    scores = results.sets.get(set_name or '')
    if scores is None:
        return _no_set()
    settings = [[key, value] for key, value in scores.settings.items()]
    return (
        shown_if_filled(classes_html(scores, order)),
        table(['setting', 'value'], settings, caption=f'Settings of {scores.name}'),
        shown_if_filled(pictures_html(scores)),
    )


def _no_set() -> tuple:
    """Return the outputs without a set."""
    return (shown_if_filled(''), '', shown_if_filled(''))


def results_html(results: EvaluationResults) -> str:
    """Return the table with its notes, and what cannot be read."""
    parts = [STYLES, *(message(text, alert=True) for text in results.problems)]
    if results.table is not None:
        parts.append(_table(results.table))
    return ''.join(parts)


def _table(scores: ScoreTable) -> str:
    """Return the table with its notes."""
    numeric = [i for i, column in enumerate(scores.columns) if column not in TEXT_COLUMNS]
    content = table(scores.columns, scores.rows, caption='Scores in percent', numeric=numeric)
    return content + ''.join(message(note) for note in scores.notes)


def classes_html(scores: SetScores, order: str) -> str:
    """Return the scores of a set, and the IoU of its classes in an order.

    Raises:
        ValueError: If there is no such order.
    """
    metrics = ', '.join(f'{name} {_number(value)}' for name, value in scores.metrics.items())
    if not scores.class_iou:
        return message(f'{scores.name}: {metrics}. This set has no masks.')
    rows: Sequence[tuple[str, float | None]] = sorted_classes(scores.class_iou, order)
    caption = f'IoU of the {len(rows)} classes of {scores.name} in percent, {order}'
    return message(f'{scores.name}: {metrics}.') + bar_table(
        ('class', 'IoU'), rows, caption=caption
    )


def _number(value: float | None) -> str:
    """Format a score."""
    return 'undefined' if value is None else f'{value:.2f}'


def pictures_html(scores: SetScores) -> str:
    """Return the pictures of a set, or a sentence in the place of one that cannot be read."""
    figures = []
    for title, path in scores.pictures.items():
        try:
            alt = f'{title} of {scores.name}'
            figures.append(picture(path, alt=alt, caption=title, longest_side=1400))
        except (OSError, ValueError) as error:
            figures.append(message(sentence(error)))
    if not figures:
        return message('No pictures: groupvit evaluate draws them unless --pictures is 0.')
    return f'<div class="gv-figures">{"".join(figures)}</div>'


def build_evaluation_tab(folder: Path | None) -> None:
    """Add the components and events of the tab; called within ``gr.Blocks``, best in a ``gr.Tab``.

    Args:
        folder (Path, optional): ``--out`` of ``groupvit evaluate``, or a folder of several.
            Nothing outside of it is shown. None shows how to name one.
    """
    if folder is None:
        plain_html(STYLES + message(NO_FOLDER))
        return
    page = EvaluationPage(folder)
    choices = page.choices()
    choice = gr.Dropdown(
        choices,
        value=choices[0][1] if choices else None,
        allow_custom_value=True,
        label='Results',
        info=f'Folders below {folder.name or folder}, the newest first.',
    )
    scores = plain_html()
    with gr.Row():
        set_name = gr.Dropdown([], label='Set', visible=False, min_width=260)
        order = gr.Radio(list(ORDERS), value=next(iter(ORDERS)), label='Order of the classes')
    classes = plain_html(visible=False)
    pictures = plain_html(visible=False)
    with gr.Accordion('Settings that the scores depend on', open=False):
        settings = plain_html()
    inputs, of_set = [choice, set_name, order], [classes, settings, pictures]
    choice.change(page.show_folder, inputs, [scores, set_name, *of_set], **QUIET)
    gr.on([set_name.input, order.input], page.show_set, inputs, of_set, **QUIET)
    when_opened(page.show_folder, inputs, [scores, set_name, *of_set])
    when_opened(page.list_again, [choice], [choice])
