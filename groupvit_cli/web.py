"""``groupvit web``: a local page."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from groupvit_cli.segment_model import check_precision, choose_device

if TYPE_CHECKING:
    from groupvit_web.address import Address

QUICKSTART = Path('work_dirs/quickstart/train')
"""Path: Folder of the quickstart's checkpoints, below the working folder."""
QUICKSTART_CONFIG = 'configs/groupvit/groupvit_tiny-p4_1xb64-coslr-6e_scenes-40px.py'
NO_MODEL = (
    'There is no model yet: "groupvit web --model groupvit-gcc-yfcc" downloads the released '
    'weights (224 MB), and "make quickstart" trains a small one on drawn scenes.'
)
FROM_QUICKSTART = (
    'It was trained by the quickstart, on drawn scenes alone; the released weights know '
    'photographs: groupvit web --model groupvit-gcc-yfcc.'
)


class WebOptions(NamedTuple):
    """The options of the command; see ``groupvit web --help``."""

    models: Sequence[str]
    config: Path | None
    examples: Path | None
    work_dir: Path | None
    results: Path | None
    host: str
    port: str
    auth: str | None
    root_path: str
    share: bool
    device: str
    precision: str | None
    open_browser: bool


class DefaultModel(NamedTuple):
    """The model that is opened where none is named, its config, and a sentence about it."""

    source: str
    config: Path | None = None
    notice: str = ''


def run(options: WebOptions) -> None:
    """Open the page and serve it until the program is interrupted.

    Raises:
        ImportError: If Gradio is not installed.
        OSError: If a model, a folder or the port cannot be used.
        ValueError: If an option cannot be used.
    """
    check_gradio()
    address = make_address(options)
    check_folders(options)
    check_precision(options.precision)
    default = None if options.models else default_model()
    sources = [default.source] if default else list(dict.fromkeys(options.models))
    # Before Gradio is imported.
    from groupvit_web.offline import switch_telemetry_off

    switch_telemetry_off()
    from groupvit_web.example_pictures import example_pictures
    from groupvit_web.model import PageModel, give_each_a_name
    from groupvit_web.page import PageSetup, build_page
    from groupvit_web.serve import serve

    examples = example_pictures(options.examples)
    device = choose_device(options.device)
    config = options.config or (default.config if default else None)
    models = [
        PageModel.open(source, config=config, device=device, precision=options.precision)
        for source in sources
    ]
    give_each_a_name(models)
    notice = default.notice if default else ''
    setup = PageSetup(
        models, examples, work_dir=options.work_dir, results=options.results, notice=notice
    )
    page = build_page(setup)
    print(f'{serve(page, address)}  (Ctrl-C ends the page)', flush=True)
    page.blocks.block_thread()


def check_gradio() -> None:
    """Refuse to go on without Gradio.

    Raises:
        ImportError: If it is not installed.
    """
    if importlib.util.find_spec('gradio') is None:
        raise ImportError('The page needs Gradio; run: pip install "groupvit-mmseg[web]"')


def make_address(options: WebOptions) -> Address:
    """Return where the page is served.

    Raises:
        ValueError: If the port or the user cannot be used.
    """
    from groupvit_web.address import Address

    port = None if options.port == 'auto' else _port(options.port)
    return Address(
        host=options.host,
        port=port,
        user=None if options.auth is None else _user(options.auth),
        root_path=options.root_path,
        share=options.share,
        open_browser=options.open_browser,
    )


def _port(text: str) -> int:
    """Return the port of a text."""
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError(f'--port {text}: give a number from 0 to 65535, or auto.')
    return int(text)


def _user(text: str) -> tuple[str, str]:
    """Return the name and the password of a text."""
    name, _, password = text.partition(':')
    if not name or not password:
        raise ValueError('--auth takes a name and a password: --auth USER:PASSWORD.')
    return name, password


def check_folders(options: WebOptions) -> None:
    """Refuse folders that are not there before a model is loaded.

    Raises:
        NotADirectoryError: Naming the option.
    """
    folders = {
        '--examples': options.examples,
        '--work-dir': options.work_dir,
        '--results': options.results,
    }
    for option, folder in folders.items():
        if folder is not None and not folder.is_dir():
            raise NotADirectoryError(f'{option} {folder}: there is no such folder.')


def default_model() -> DefaultModel:
    """Return the model for a call without ``--model``.

    The released weights are taken if they are in a cache, otherwise the best checkpoint of the
    quickstart.

    Raises:
        FileNotFoundError: If there is neither.
    """
    from groupvit_mmseg.checkpoints.released import RELEASED, find_cached
    from groupvit_mmseg.config_files import shipped_file

    for weights in RELEASED.values():
        if find_cached(weights) is not None:
            return DefaultModel(weights.name)
    best = sorted(QUICKSTART.glob('best*.pth'), key=lambda path: path.stat().st_mtime)
    if not best:
        raise FileNotFoundError(NO_MODEL)
    # Its scenes are segmented at the size that they were drawn at, as the quickstart does.
    return DefaultModel(str(best[-1]), shipped_file(QUICKSTART_CONFIG), FROM_QUICKSTART)
