"""What the page does when a visitor changes something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import gradio as gr
from gradio.components import Component

from groupvit_web import views
from groupvit_web.backend import Backend, RequestValues, Task, pixel_position
from groupvit_web.controls import Controls, Panels
from groupvit_web.deadline import Deadline
from groupvit_web.downloads import DownloadFolder
from groupvit_web.errors import PageError, RequestCancelled
from groupvit_web.pixels import explain_pixel
from groupvit_web.take_away import KINDS, take_away_all
from groupvit_web.uploads import Picture
from groupvit_web.visitors import Turn, Visitors

Data = Mapping[Component, object]
"""What the browser sent, by component."""
Updates = dict[Component, object]
"""New values, by component."""
TEXTS = ('python', 'command')
"""tuple[str, ...]: Downloads that are shown as texts."""


class Visit(NamedTuple):
    """A request of a visitor with its time limit."""

    turn: Turn
    deadline: Deadline


class Events:
    """The handlers of the page's events.

    Args:
        controls (Controls): What a visitor sets.
        panels (Panels): What shows results.
        backend (Backend): Models, examples and limits.
    """

    def __init__(self, controls: Controls, panels: Panels, backend: Backend) -> None:
        self.controls, self.panels, self.backend = controls, panels, backend
        self.visitors, self.downloads = Visitors(), DownloadFolder()

    def begin(self, data: Data, request: gr.Request) -> Updates:
        """Show the first example."""
        return self._with_picture(data, request, lambda: self.backend.example(0))

    def upload(self, data: Data, request: gr.Request) -> Updates:
        """Show a file that was chosen, dropped or pasted."""
        return self._with_picture(
            data, request, lambda: self.backend.upload(data[self.controls.upload])
        )

    def example(self, data: Data, event: gr.EventData, request: gr.Request) -> Updates:
        """Show an example."""
        return self._with_picture(
            data, request, lambda: self.backend.example(getattr(event, 'index', None))
        )

    def _with_picture(
        self, data: Data, request: gr.Request, read: Callable[[], Picture]
    ) -> Updates:
        """Segment another picture; one that cannot be used leaves everything as it is."""
        try:
            # Noted at once: a request that begins while this one computes is about it.
            self.visitors.show(_visitor(request), read())
        except PageError as error:
            return self._complaint(error)
        return self.everything(data, request)

    def everything(self, data: Data, request: gr.Request) -> Updates:
        """Show all views: another picture, other words, another way to segment."""
        return self._answer(data, request, 'everything')

    def labels(self, data: Data, request: gr.Request) -> Updates:
        """Show the labels again: another threshold or opacity."""
        return self._answer(data, request, 'labels')

    def _answer(self, data: Data, request: gr.Request, kind: str) -> Updates:
        """Segment and show what has changed, unless the visitor asked for something else since."""
        try:
            visit = self._visit(request, kind)
            return self._updates(self._task(data, request), visit)
        except RequestCancelled:
            return self._nothing()
        except PageError as error:
            return self._complaint(error)

    def _updates(self, task: Task, visit: Visit) -> Updates:
        """Return the new values of all parts that show results."""
        segmenter, picture, request = task
        result = segmenter.segment(picture, request, deadline=visit.deadline)
        panels, updates = self.panels, dict[Component, object]()
        if visit.turn.kind == 'everything':
            updates[panels.maps] = views.maps_value(picture, result)
        if not self.visitors.is_last(visit.turn):  # a later answer has the present threshold
            return updates
        updates[panels.stage] = views.stage_value(result)
        updates[panels.shares] = views.shares_table(result)
        updates[panels.message] = views.remarks(picture.notes)
        updates[panels.take_away.texts] = self._texts(task, visit)
        updates[panels.pixel.answer] = self._pixel(task, visit)
        return updates

    def _texts(self, task: Task, visit: Visit) -> str:
        """Return the program and the command that reproduce the result."""
        files = take_away_all(TEXTS, *task, deadline=visit.deadline)
        return views.snippets(
            [(KINDS[kind], file.content.decode()) for kind, file in zip(TEXTS, files, strict=True)]
        )

    def _pixel(self, task: Task, visit: Visit) -> str:
        """Return what is at the pixel that the visitor points at, if there is one."""
        point = self.visitors.point(visit.turn.visitor)
        if point is None:
            return ''
        return views.pixel_answer(explain_pixel(*task, *point, deadline=visit.deadline))

    def pick(self, data: Data, event: gr.EventData, request: gr.Request) -> Updates:
        """Say what is at the pixel that was clicked."""
        return self._point(
            data, request, getattr(event, 'row', None), getattr(event, 'column', None)
        )

    def look(self, data: Data, request: gr.Request) -> Updates:
        """Say what is at the row and the column of the fields."""
        pixel = self.panels.pixel
        return self._point(data, request, data[pixel.row], data[pixel.column])

    def _point(self, data: Data, request: gr.Request, row: object, column: object) -> Updates:
        """Say what is at a pixel."""
        try:
            visit, point = self._visit(request, 'pixel'), pixel_position(row, column)
            task = self._task(data, request)
            report = explain_pixel(*task, *point, deadline=visit.deadline)
            is_shown = self.visitors.picture(visit.turn.visitor) is task.picture
        except RequestCancelled:
            return self._nothing()
        except PageError as error:
            return self._complaint(error)
        if not is_shown:  # another one was chosen meanwhile
            return self._nothing()
        self.visitors.point_at(visit.turn.visitor, point)
        pixel = self.panels.pixel
        return {
            pixel.row: point[0],
            pixel.column: point[1],
            pixel.answer: views.pixel_answer(report),
            self.panels.message: '',
        }

    def compare(self, data: Data, request: gr.Request) -> Updates:
        """Show the result beside that of another model or of other words."""
        panel = self.panels.compare
        try:
            visit, task = self._visit(request, 'compare'), self._task(data, request)
            other = self.backend.other_task(task, data[panel.model], data[panel.words])
            left, right = (
                each.segmenter.segment(each.picture, each.request, deadline=visit.deadline)
                for each in (task, other)
            )
        except RequestCancelled:
            return self._nothing()
        except PageError as error:
            return self._complaint(error)
        value = views.wipe_value(left, right, titles=(_title(task), _title(other)))
        return {panel.wipe: value, self.panels.message: ''}

    def prepare(self, data: Data, request: gr.Request) -> Updates:
        """Make the files to take away."""
        panel = self.panels.take_away
        kinds = data[panel.formats]
        try:
            visit, task = self._visit(request, 'files'), self._task(data, request)
            if not isinstance(kinds, list) or not kinds:
                raise PageError('Choose at least one kind of file.')
            files = take_away_all(kinds, *task, deadline=visit.deadline)
        except RequestCancelled:
            return self._nothing()
        except PageError as error:
            return self._complaint(error)
        notes = [note for file in files for note in file.notes]
        return {
            panel.files: gr.File(self.downloads.write(files), visible=True),
            self.panels.message: views.remarks(list(dict.fromkeys(notes))),
        }

    def leave(self, request: gr.Request) -> None:
        """End the work for a visitor who has left."""
        self.visitors.leave(request.session_hash or '')

    def _visit(self, request: gr.Request, kind: str) -> Visit:
        """Begin a request, which ends early if a later one of its kind replaces it."""
        turn = self.visitors.begin(_visitor(request), kind)
        seconds = self.backend.limits.seconds
        return Visit(turn, Deadline(seconds, lambda: self.visitors.is_replaced(turn)))

    def _task(self, data: Data, request: gr.Request) -> Task:
        """Check what the controls contain."""
        values = RequestValues(*(data[each] for each in self.controls.of_request))
        return self.backend.task(values, self.visitors.picture(_visitor(request)))

    def _nothing(self) -> Updates:
        """Change nothing."""
        return {self.panels.message: gr.skip()}

    def _complaint(self, error: PageError) -> Updates:
        """Show an error and leave everything else as it is."""
        return {self.panels.message: views.remarks([str(error)], is_error=True)}


def _visitor(request: gr.Request) -> str:
    """Return the name that the browser has given to an open page."""
    if not request.session_hash:
        raise PageError('The request belongs to no open page: it needs a session_hash.')
    return request.session_hash


def _title(task: Task) -> str:
    """Return the words and the model of a side of a comparison."""
    return f'{", ".join(task.request.words)} ({task.segmenter.model.name})'
