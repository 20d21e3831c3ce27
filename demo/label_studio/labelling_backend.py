"""Answers Label Studio's requests to a machine-learning backend.

Label Studio calls ``GET /health``, ``POST /setup`` with a project's labelling config and its own
address, and ``POST /predict`` with tasks. ``/webhook`` reports annotations, from which nothing is
trained here, and ``/versions`` asks for trained versions. An answer to a wrong request has the
status 400 and one sentence under ``error``.

The protocol is that of the package label-studio-ml, which is not used: its release 1.0.9 pins Flask
1.1 and Werkzeug 2.0, keeps one labelling config for all projects, and calls each version INITIAL.
"""

from __future__ import annotations

import logging
import threading
from typing import NamedTuple

import numpy as np
from flask import Flask, Response, jsonify, request
from label_studio_masks import Outlining, to_label_studio
from labelling_config import Defaults, Labelling, read_labelling
from numpy.typing import NDArray
from task_images import Access, access_of, read_task_image
from werkzeug.exceptions import HTTPException

from groupvit_mmseg.error_messages import error_line
from groupvit_mmseg.inference import GroupViTInferencer, InferenceResult
from groupvit_mmseg.text.class_list import ClassList

logger = logging.getLogger('groupvit.label_studio')


class RequestError(ValueError):
    """A request that cannot be answered, in one sentence."""


class SharedModel:
    """One model for all projects and threads, whose classes are those of the last image.

    Args:
        inferencer (GroupViTInferencer): The model.
        name (str): Its name, for Label Studio's list of versions.
    """

    def __init__(self, inferencer: GroupViTInferencer, name: str) -> None:
        self.name = name
        self._inferencer = inferencer
        self._classes: ClassList | None = None
        self._lock = threading.Lock()

    def segment(self, image: NDArray[np.uint8], classes: ClassList) -> InferenceResult:
        """Segment an image ``(H, W, 3)``; words are encoded only when they change."""
        with self._lock:
            if classes != self._classes:
                self._classes = None  # unknown if the next line fails
                self._inferencer.set_classes(classes)
                self._classes = classes
            return self._inferencer(image)


class Host(NamedTuple):
    """Label Studio's own address and token, as ``/setup`` tells them.

    Attributes:
        hostname (str): Defaults to ''.
        token (str): Defaults to ''.
    """

    hostname: str = ''
    token: str = ''


class Backend:
    """Pre-annotates the tasks of any number of projects.

    Args:
        model (SharedModel): The model.
        defaults (Defaults): Options for what a labelling config leaves open.
        outlining (Outlining): How polygons are drawn.
    """

    def __init__(self, model: SharedModel, defaults: Defaults, outlining: Outlining) -> None:
        self.model, self.defaults, self.outlining = model, defaults, outlining
        self._hosts: dict[str, Host] = {}

    def set_up(self, content: dict) -> str:
        """Remember the address of a project's Label Studio; return the version of the model.

        Raises:
            ValueError: If the labelling config cannot be used.
        """
        labelling = read_labelling(content.get('schema'), self.defaults)
        host = Host(content.get('hostname') or '', content.get('access_token') or '')
        self._hosts[str(content.get('project'))] = host
        return self.version(labelling)

    def version(self, labelling: Labelling) -> str:
        """Return the version of predictions, which changes with the words."""
        return f'{self.model.name}-{labelling.fingerprint}'

    def predict(self, content: dict) -> tuple[list[dict], str]:
        """Return a prediction for each task, and the version of the model.

        That of an image that cannot be used has only ``error``, a sentence: Label Studio logs it
        and leaves the task without a prediction.

        Raises:
            ValueError: If there are no tasks, the labelling config cannot be used, or none of the
                images.
        """
        tasks = content.get('tasks')
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise RequestError(
                'The request has no list of tasks: send {"tasks": [{"data": {...}}], ...}.'
            )
        labelling = read_labelling(content.get('label_config'), self.defaults)
        host = self._hosts.get(str(content.get('project')), Host())
        access = access_of(host.hostname, host.token)
        predictions = [self.predict_task(task, labelling, access) for task in tasks]
        errors = [each['error'] for each in predictions if 'error' in each]
        if tasks and len(errors) == len(tasks):
            raise RequestError(errors[0])
        return predictions, self.version(labelling)

    def predict_task(self, task: dict, labelling: Labelling, access: Access) -> dict:
        """Return the prediction of a task."""
        try:
            image = read_task_image(task, labelling.key, access)
            result = self.model.segment(image, labelling.classes)
        except (OSError, ValueError) as error:
            logger.warning('task %s: %s', task.get('id'), error_line(error))
            return dict(error=error_line(error))
        return to_label_studio(result, labelling, self.outlining)


def make_app(backend: Backend) -> Flask:
    """Return the web application."""
    app = Flask('groupvit')

    @app.get('/')
    @app.get('/health')
    def health() -> Response:
        return jsonify(status='UP', model_class=f'GroupViT ({backend.model.name})')

    @app.post('/setup')
    def setup() -> Response:
        return jsonify(model_version=backend.set_up(json_object()))

    @app.post('/predict')
    def predict() -> Response:
        results, version = backend.predict(json_object())
        return jsonify(results=results, model_version=version)

    @app.post('/webhook')
    def webhook() -> tuple[Response, int]:
        return jsonify(), 201

    @app.get('/versions')
    @app.post('/versions')
    def versions() -> Response:
        return jsonify(versions=[])

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[Response, int]:
        return jsonify(error=error.description), error.code or 500

    @app.errorhandler(ValueError)
    def wrong_request(error: ValueError) -> tuple[Response, int]:
        logger.warning('%s: %s', request.path, error_line(error))
        return jsonify(error=error_line(error)), 400

    return app


def json_object() -> dict:
    """Return the JSON object that the request holds.

    Raises:
        RequestError: If it holds none.
    """
    content = request.get_json(force=True, silent=True)
    if not isinstance(content, dict):
        raise RequestError('The request holds no JSON object.')
    return content
