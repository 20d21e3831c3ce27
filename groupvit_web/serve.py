"""Serving the page: address, queue, limits, and nothing that leaves the machine."""

from __future__ import annotations

import socket

from starlette.middleware import Middleware

from groupvit_web.address import Address
from groupvit_web.gate import Gate
from groupvit_web.page import Page
from groupvit_web.theme import page_head, page_theme, static_text
from groupvit_web.visitors import MOST_VISITORS

QUEUE_LENGTH = 100
"""int: Requests that wait at once; the next visitor is told that the page is busy."""
CONCURRENCY = 8
"""int: Requests that are worked on at once; a model is used by one at a time."""
FIRST_PORT, PORTS = 7860, 100


def serve(page: Page, address: Address) -> str:
    """Serve a page in the background until the program ends or ``page.blocks.close()`` is called.

    Args:
        page (Page): From :func:`.build_page`.
        address (Address): Where, and for whom.

    Returns:
        str: The address of the page.

    Raises:
        OSError: If the port is taken, or the host is none of this machine.
    """
    blocks, visitors, limits = page
    port = free_port(address.host, address.port)
    blocks.queue(max_size=QUEUE_LENGTH, default_concurrency_limit=CONCURRENCY, api_open=False)
    _, local, shared = blocks.launch(
        server_name=address.host,
        server_port=port,
        auth=address.user,
        root_path=address.root_path or None,
        share=address.share,
        inbrowser=address.open_browser,
        max_file_size=limits.file_bytes,
        app_kwargs={'middleware': [Middleware(Gate, limits=limits, visitors=visitors)]},
        state_session_capacity=MOST_VISITORS,
        theme=page_theme(),
        css=static_text('page.css'),
        head=page_head(),
        prevent_thread_lock=True,
        quiet=True,
        show_error=True,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
    )
    return shared or local


def free_port(host: str, port: int | None) -> int:
    """Return a port that is free.

    Args:
        host (str): Address to listen on.
        port (int, optional): The port that has to be free; None takes the first from 7860 on.

    Raises:
        OSError: If it is taken, or the host is none of this machine.
    """
    ports = [port] if port is not None else range(FIRST_PORT, FIRST_PORT + PORTS)
    reason: OSError | None = None
    for candidate in ports:
        try:
            return _bound_port(host, candidate)
        except OSError as error:
            reason = error
    what = f'Port {port}' if port is not None else f'Ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1}'
    raise OSError(
        f'{what} of {host} cannot be used ({reason}): choose another --port or --host.'
    ) from reason


def _bound_port(host: str, port: int) -> int:
    """Return the port after binding it once; 0 is any that is free."""
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        return int(listener.getsockname()[1])
