"""The tab that watches a pretraining while it runs."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import gradio as gr
import numpy as np

from groupvit_web import training_view as view
from groupvit_web.folders import folder_choices, list_folders, resolve_below
from groupvit_web.fragments import STYLES, message
from groupvit_web.tab_events import (
    QUIET,
    plain_html,
    run_while_open,
    sentence,
    shown_if_filled,
    when_opened,
)
from groupvit_web.training_log import TrainingLog, is_work_dir
from groupvit_web.training_result import find_result, read_outcomes
from groupvit_web.training_run import Picture

SECONDS = 2.0
"""float: Between two looks at the log."""
MOST_LOGS = 8
"""int: Work directories whose logs stay in memory."""
NO_FOLDER = (
    'Nothing to watch: start the page with --work-dir FOLDER, the work directory of tools/train.py '
    'or a folder of several.'
)


class Seen(NamedTuple):
    """What the page of a visitor shows: a folder, which state of its log, the last pictures."""

    folder: str = ''
    version: int = -1
    last_picture: int = 0


class WatchedLog:
    """A log that several visitors read, with a number that grows when it changes."""

    def __init__(self, folder: Path) -> None:
        self.log = TrainingLog(folder)
        self.version = 0
        self.pictures: list[Picture] = []
        self.lock = threading.Lock()

    def update(self) -> None:
        """Read what was appended; the lock has to be held."""
        if self.log.update():
            self.version += 1
            self.pictures = self.log.pictures()

    def seen_as(self, name: str) -> Seen:
        """Return what a page shows that shows the present state."""
        return Seen(name, self.version, self.pictures[-1].step if self.pictures else 0)


class TrainingWatch:
    """Answers the events of the tab.

    Args:
        root (Path): Folder of the command line; nothing outside of it is shown.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._logs: OrderedDict[Path, WatchedLog] = OrderedDict()
        self._lock = threading.Lock()

    def choices(self) -> list[tuple[str, str]]:
        """Return the work directories below the root, the newest first."""
        return folder_choices(self.root, list_folders(self.root, is_work_dir))

    def list_again(self, name: str | None) -> gr.Dropdown:
        """Return the choice of a folder with all that there are now; the newest if none was."""
        choices = self.choices()
        newest = choices[0][1] if choices else None
        return gr.Dropdown(choices, value=name or newest, allow_custom_value=True)

    def watched(self, name: str | None) -> WatchedLog:
        """Return the log of a work directory, as it was last read.

        Raises:
            ValueError: If the name is none of a folder below the root.
        """
        if not name:
            raise ValueError(
                f'There is no log of a training in "{self.root.name}" yet: open this tab again '
                'once one has begun.'
            )
        folder = resolve_below(self.root, name)
        with self._lock:
            watched = self._logs.pop(folder, None) or WatchedLog(folder)
            self._logs[folder] = watched
            while len(self._logs) > MOST_LOGS:
                self._logs.popitem(last=False)
        return watched

    def refresh(self, name: str | None, step: float | None, seen: Seen) -> tuple:
        """Return the outputs of the tab; those that have not changed are left as they are.

        Args:
            name (str, optional): Name of a folder.
            step (float, optional): Step of the pictures.
            seen (Seen): What the visitor's page shows.

        Returns:
            tuple: Updates of status, warnings, charts, tables, slider, pictures, results and the
            new ``Seen``.
        """
        try:
            watched = self.watched(name)
            with watched.lock:
                watched.update()
                return self._outputs(watched, watched.seen_as(name or ''), step, seen)
        except (OSError, ValueError) as error:
            status = STYLES + message(sentence(error), alert=True)
            if seen == Seen():
                return (status, *[gr.skip()] * 6, seen)
            return (status, *[''] * 3, gr.Slider(visible=False), *[''] * 2, Seen())

    def _outputs(self, watched: WatchedLog, now: Seen, step: float | None, seen: Seen) -> tuple:
        """Return the outputs for a log that was read."""
        log = watched.log
        entry_time = view.seconds_per_entry(log)
        status = view.status_html(log.progress(), seconds_per_entry=entry_time, unread=log.unread)
        if now == seen:
            return (status, *[gr.skip()] * 6, seen)
        charts = view.chart_lines(log)
        follows = now.folder != seen.folder or step is None or step >= seen.last_picture
        shown = view.nearest_step(watched.pictures, None if follows else step)
        return (
            status,
            shown_if_filled(view.alerts_html(log.warnings())),
            view.charts_html(charts),
            view.tables_html(charts),
            step_slider(watched.pictures, shown),
            view.pictures_html(watched.pictures, shown),
            shown_if_filled(self._result(log.folder)),
            now,
        )

    def _result(self, folder: Path) -> str:
        """Return the result of a tool that trained there, if there is one."""
        path = find_result(folder, self.root)
        if path is None:
            return ''
        try:
            return view.outcomes_html(read_outcomes(path))
        except (OSError, ValueError) as error:
            return message(sentence(error))

    def pictures(self, name: str | None, step: float | None) -> str:
        """Return the pictures of a step."""
        try:
            watched = self.watched(name)
            with watched.lock:
                return view.pictures_html(watched.pictures, step)
        except (OSError, ValueError) as error:
            return message(sentence(error), alert=True)


def step_slider(pictures: Sequence[Picture], step: int | None) -> gr.Slider:
    """Return the slider of the pictures, which is hidden where there is nothing to choose."""
    steps = sorted({each.step for each in pictures})
    if len(steps) < 2:
        return gr.Slider(visible=False)
    distance = math.gcd(*np.diff(steps).tolist())
    return gr.Slider(steps[0], steps[-1], value=step, step=distance, visible=True)


def build_training_tab(work_dir: Path | None) -> None:
    """Add the components and events of the tab; called within ``gr.Blocks``, best in a ``gr.Tab``.

    Args:
        work_dir (Path, optional): A work directory, or a folder of several. Nothing outside of it
            is shown. None shows how to name one.
    """
    if work_dir is None:
        plain_html(STYLES + message(NO_FOLDER))
        return
    watch = TrainingWatch(work_dir)
    choices = watch.choices()
    seen, timer = gr.State(Seen()), gr.Timer(SECONDS, active=False)
    folder = gr.Dropdown(
        choices,
        value=choices[0][1] if choices else None,
        allow_custom_value=True,
        label='Work directory',
        info=f'Below {work_dir.name or work_dir}, the newest first.',
    )
    status, alerts, charts = plain_html(), plain_html(visible=False), plain_html()
    with gr.Accordion('Values of the curves as tables', open=False):
        tables = plain_html()
    slider = gr.Slider(label='Groups of validation images after step', visible=False)
    pictures, result = plain_html(), plain_html(visible=False)
    inputs = [folder, slider, seen]
    outputs = [status, alerts, charts, tables, slider, pictures, result, seen]
    gr.on([timer.tick, folder.change], watch.refresh, inputs, outputs, **QUIET)
    slider.input(watch.pictures, [folder, slider], pictures, **QUIET)
    when_opened(watch.refresh, inputs, outputs)
    when_opened(watch.list_again, [folder], [folder])
    run_while_open(timer)
