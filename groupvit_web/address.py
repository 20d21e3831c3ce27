"""Where the page is served."""

from __future__ import annotations

from typing import NamedTuple


class Address(NamedTuple):
    """Where the page is served, and for whom.

    Attributes:
        host (str): Address to listen on. Defaults to '127.0.0.1', this machine alone.
        port (int, optional): Port; None takes the first free one from 7860 on. Defaults to None.
        user (tuple[str, str], optional): Name and password that visitors need. Defaults to None.
        root_path (str): Path below which a proxy serves the page. Defaults to ''.
        share (bool): Whether Gradio opens a public link through its servers. Defaults to False.
        open_browser (bool): Whether to open the page in a browser. Defaults to False.
    """

    host: str = '127.0.0.1'
    port: int | None = None
    user: tuple[str, str] | None = None
    root_path: str = ''
    share: bool = False
    open_browser: bool = False
