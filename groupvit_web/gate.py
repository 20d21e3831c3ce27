"""What passes to the page: requests of a bounded size and number, and none that would go elsewhere.

Gradio has routes that the page does not need: they fetch addresses for a visitor, run programs on
recordings, or write links. A page for others answers only its own.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from urllib.parse import parse_qs

from gradio.routes import App
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groupvit_web.counters import Counters
from groupvit_web.limits import Limits
from groupvit_web.listeners import Listeners
from groupvit_web.visitors import Visitors

ADDRESSES = ('http://', 'https://')
"""tuple[str, ...]: Beginnings of paths that Gradio would fetch."""
_UPLOAD, _JOIN, _ANSWERS, _LOGIN = '/upload', '/queue/join', '/queue/data', '/login'
_LONGEST_NAME = 64  # of a visitor; browsers have 11 characters
_CLOSED = (
    '/proxy=',
    '/call/',
    '/process_recording',
    '/component_server',
    '/deep_link',
    '/vibe-',
    '/monitoring',
    '/run-history',
)


class Refusal(Exception):
    """A request that does not pass.

    Args:
        status (HTTPStatus): Of the answer.
        sentence (str): Why.
    """

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Gate:
    """ASGI middleware around Gradio's application.

    Args:
        app (ASGIApp): Gradio's application.
        limits (Limits): What visitors may send.
        visitors (Visitors): Their requests, which end when their connection is dropped.
    """

    def __init__(self, app: ASGIApp, limits: Limits, visitors: Visitors) -> None:
        self.app, self.limits, self.visitors = app, limits, visitors
        self.counters, self.listeners = Counters(limits), Listeners()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with one sentence."""
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return
        path = str(scope['path']).rstrip('/')
        try:
            _check_route(path)
            if scope['method'] == 'POST' and path.endswith(_UPLOAD):
                await self._uploaded(scope, receive, send)
                return
            if scope['method'] == 'POST':
                receive = await self._checked_body(scope, receive, path)
        except Refusal as refusal:
            answer = JSONResponse({'detail': str(refusal)}, refusal.status)
            await answer(scope, receive, send)
            return
        if path.endswith(_ANSWERS):
            await self._watched(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _check_size(self, scope: Scope, limit: int, what: str, *, is_login: bool = False) -> int:
        """Check the number and the size of requests with a content; return its bytes."""
        address = scope['client'][0] if scope.get('client') else ''
        if not self.counters.admits(address, is_login=is_login):
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS, 'These are too many requests: wait for a minute.'
            )
        length = _length(scope)
        if length > limit:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f'The {what} is too large: send a smaller one.'
            )
        return length

    async def _uploaded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an upload on, if there is room for it; one that is refused takes none."""
        length = self._check_size(scope, self.limits.upload_bytes, 'file')
        if not self.counters.has_room(length):
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE,
                'The page has no room for more files: try again in an hour.',
            )
        status = 0

        async def watched_send(message: Message) -> None:
            nonlocal status
            status = message.get('status', status)
            await send(message)

        try:
            await self.app(scope, receive, watched_send)
        finally:
            if status != HTTPStatus.OK:
                self.counters.give_back(length)

    async def _checked_body(self, scope: Scope, receive: Receive, path: str) -> Receive:
        """Check a request with a content, and paths of files in it."""
        limit = self.limits.request_bytes
        self._check_size(scope, limit, 'request', is_login=path.endswith(_LOGIN))
        body = await _read(receive)
        content = _json(body)
        if _names_an_address(content):
            raise Refusal(HTTPStatus.BAD_REQUEST, 'The page fetches no addresses: send the file.')
        if path.endswith(_JOIN) and isinstance(content, dict):
            name = str(content.get('session_hash'))
            if len(name) > _LONGEST_NAME:
                raise Refusal(HTTPStatus.BAD_REQUEST, 'The request belongs to no open page.')
            await self._forget_silent(scope['app'])
            self.listeners.asked(name)
        return _replayed(body, receive)

    async def _forget_silent(self, app: App) -> None:
        """Drop the answers to visitors who have not fetched them within the time of a request.

        Gradio keeps them until it ends.
        """
        queue = app.get_blocks()._queue
        for visitor in list(self.listeners.pop_silent(self.limits.seconds)):
            self.visitors.cancel(visitor)
            await queue.clean_events(session_hash=visitor)
            queue.pending_messages_per_session.pop(visitor, None)
            queue.pending_event_ids_session.pop(visitor, None)

    async def _watched(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send answers; end a visitor's requests if the connection is dropped before all are."""
        query = parse_qs(scope.get('query_string', b'').decode('latin-1'))
        (visitor, *_) = query.get('session_hash', [''])
        is_complete = False

        async def watched_send(message: Message) -> None:
            nonlocal is_complete
            # The browser may hang up as soon as it has read the last message.
            last = b'"close_stream"' in message.get('body', b'')
            is_complete |= last or not message.get('more_body', True)
            await send(message)

        async def watched_receive() -> Message:
            message = await receive()
            if message['type'] == 'http.disconnect' and not is_complete:
                self.visitors.cancel(visitor)
            return message

        self.listeners.connected(visitor)
        try:
            await self.app(scope, watched_receive, watched_send)
        finally:
            self.listeners.disconnected(visitor)


def _check_route(path: str) -> None:
    """Refuse routes that the page does not need, and files that are addresses."""
    route, _, file = path.lower().replace('/file/', '/file=', 1).partition('/file=')
    if any(part in route for part in _CLOSED) or file.startswith(ADDRESSES):
        raise Refusal(HTTPStatus.NOT_FOUND, 'The page has no such address.')


def _length(scope: Scope) -> int:
    """Return the bytes of a request's content, which have to be stated."""
    values = [value for name, value in scope['headers'] if name == b'content-length']
    if not values or not values[0].isdigit():
        raise Refusal(HTTPStatus.LENGTH_REQUIRED, 'The request does not state its length.')
    return int(values[0])


async def _read(receive: Receive) -> bytes | None:
    """Return the content of a request, None if the connection was dropped."""
    parts = []
    while True:
        message = await receive()
        if message['type'] == 'http.disconnect':
            return None
        parts.append(message.get('body', b''))
        if not message.get('more_body', False):
            return b''.join(parts)


def _replayed(body: bytes | None, receive: Receive) -> Receive:
    """Return a ``receive`` that gives a content that was read, then what follows."""
    first: list[Message] = [
        {'type': 'http.disconnect'}
        if body is None
        else {'type': 'http.request', 'body': body, 'more_body': False}
    ]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay


def _json(body: bytes | None) -> object:
    """Return the content of a request; None if it is no JSON, which Gradio says."""
    try:
        return json.loads(body or b'null')
    except (ValueError, RecursionError):
        return None


def _names_an_address(content: object) -> bool:
    """Return whether content of JSON has an object whose ``path`` is an address."""
    parts = [content]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            path = part.get('path')
            if isinstance(path, str) and path.lower().startswith(ADDRESSES):
                return True
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    return False
