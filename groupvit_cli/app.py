"""The commands and their options; what they do is imported when they run."""

from __future__ import annotations

import contextlib
import pickle
import sys
from pathlib import Path
from typing import Annotated

import typer

ERRORS = (
    *(ImportError, KeyError, MemoryError, OSError, RuntimeError, ValueError),
    pickle.UnpicklingError,
)
"""tuple: What a wrong file, name, option or disk raises; each says what to do in one sentence."""
Precision = Annotated[
    str | None,
    typer.Option(
        help='auto (the fastest on this CPU), fp32, fp32-plain, bf16, int8. Defaults to that of '
        '--config, or auto.'
    ),
]
PASS_ON = {'allow_extra_args': True, 'ignore_unknown_options': True, 'help_option_names': []}

app = typer.Typer(
    name='groupvit',
    help='Segment images with any class names, using a model trained on image-caption pairs only.',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={'help_option_names': ['-h', '--help']},
)


@app.command()
def segment(
    inputs: Annotated[
        list[str], typer.Argument(help='Images, folders, patterns, videos, or camera:0.')
    ],
    out: Annotated[str, typer.Option(help='Folder of the results.')],
    words: Annotated[str | None, typer.Option(help='Class names: "cat, dog, grass".')] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help='Class file, with aliases and templates, instead of --words.'),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help='Name of released weights, a file or folder, hf://OWNER/NAME or https://.'
        ),
    ] = 'groupvit-gcc-yfcc',
    config: Annotated[
        Path | None, typer.Option(help='Config of the model, where its weights do not tell it.')
    ] = None,
    formats: Annotated[
        str, typer.Option('--format', help='Of png, groups, label, json, coco, yolo; with commas.')
    ] = 'png,json',
    bg_thresh: Annotated[
        float | None,
        typer.Option(help='In [0, 1]: pixels whose best score is below are background.'),
    ] = None,
    background: Annotated[
        str | None, typer.Option(help='Words whose pixels are background: "sky, wall".')
    ] = None,
    thresholds: Annotated[
        str | None,
        typer.Option(help='Thresholds of single classes, in [0, 1]: "cat=0.6, dog=0.4".'),
    ] = None,
    negative: Annotated[
        str | None,
        typer.Option('--not', help='What resembles a class and is not meant: "computer mouse".'),
    ] = None,
    templates: Annotated[
        str | None, typer.Option(help='Name of a set of sentences: simple, ...')
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(help='whole, or slide for windows. Defaults to that of the model.'),
    ] = None,
    pamr_steps: Annotated[
        int | None, typer.Option(help='Steps of PAMR, which moves borders to edges of the image.')
    ] = None,
    precision: Precision = None,
    device: Annotated[str, typer.Option(help='auto, cpu, cuda, cuda:1, mps.')] = 'auto',
    batch_size: Annotated[str, typer.Option(help='auto, or images per batch.')] = 'auto',
    every: Annotated[int, typer.Option(help='Of a video, every so many frames.')] = 1,
    max_frames: Annotated[int | None, typer.Option(help='Frames of a video or camera.')] = None,
    overwrite: Annotated[bool, typer.Option(help='Segment everything again.')] = False,
) -> None:
    """Segment images, folders, videos or a camera; continue where an earlier call stopped."""
    from groupvit_cli.segment import SegmentOptions, run

    if not out.strip():  # an unset variable of the shell; a path would be the current folder
        raise ValueError('--out is empty: name a folder.')
    options = SegmentOptions(
        inputs=inputs,
        out=Path(out),
        words=words,
        classes=classes,
        model=model,
        config=config,
        formats=formats,
        bg_thresh=bg_thresh,
        background=background,
        thresholds=thresholds,
        negative=negative,
        templates=templates,
        mode=mode,
        pamr_steps=pamr_steps,
        precision=precision,
        device=device,
        batch_size=batch_size,
        every=every,
        max_frames=max_frames,
        overwrite=overwrite,
    )
    raise typer.Exit(run(options))


@app.command()
def web(
    model: Annotated[
        list[str] | None,
        typer.Option(help='Name of released weights, or a file; twice to compare two.'),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help='Config of the models, where the weights do not tell it.')
    ] = None,
    examples: Annotated[
        Path | None, typer.Option(help='Folder of photographs to begin with.')
    ] = None,
    work_dir: Annotated[Path | None, typer.Option(help='Folder of a training to watch.')] = None,
    results: Annotated[
        Path | None, typer.Option(help='Folder that groupvit evaluate wrote.')
    ] = None,
    host: Annotated[
        str, typer.Option(help='Address to listen on; the default is this machine alone.')
    ] = '127.0.0.1',
    port: Annotated[
        str, typer.Option(help='A number, or auto: the first free one from 7860.')
    ] = 'auto',
    auth: Annotated[
        str | None, typer.Option(help='USER:PASSWORD that visitors have to give.')
    ] = None,
    root_path: Annotated[str, typer.Option(help='Path below which a proxy serves the page.')] = '',
    share: Annotated[
        bool, typer.Option('--share', help="Open a public link through Gradio's servers.")
    ] = False,
    device: Annotated[str, typer.Option(help='auto, cpu, cuda, cuda:1, mps.')] = 'auto',
    precision: Precision = None,
    open_browser: Annotated[
        bool, typer.Option('--open/--no-open', help='Open the page in a browser.')
    ] = True,
) -> None:
    """Open a local page: pictures, words, groups, a pixel, comparisons, downloads."""
    from groupvit_cli.web import WebOptions, run

    run(
        WebOptions(
            models=model or [],
            config=config,
            examples=examples,
            work_dir=work_dir,
            results=results,
            host=host,
            port=port,
            auth=auth,
            root_path=root_path,
            share=share,
            device=device,
            precision=precision,
            open_browser=open_browser,
        )
    )


@app.command()
def models() -> None:
    """List the released weights, their licence, and whether they are in the cache."""
    from groupvit_cli.light_imports import light_imports

    with light_imports():
        from groupvit_cli.models import run

    run()


@app.command()
def doctor() -> None:
    """Print versions, devices and folders, and what is wrong with them."""
    from groupvit_cli.doctor import run

    raise typer.Exit(run())


@app.command(context_settings={'allow_extra_args': True, 'ignore_unknown_options': True})
def convert(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(help='Weights in any format, or the name of released ones.')
    ],
    target: Annotated[str, typer.Argument(help='File or folder to write.')],
    to: Annotated[str, typer.Option(help='plugin, official or hf.')] = 'plugin',
    overwrite: Annotated[bool, typer.Option(help='Replace files that are there.')] = False,
    no_check: Annotated[
        bool, typer.Option('--no-check', help='Skip the numeric comparison with the source.')
    ] = False,
) -> None:
    """Convert weights between the formats of this plugin, the authors and Hugging Face.

    Options of the converters come after SOURCE and TARGET: --num-heads, --text-heads, --img-size,
    --config.
    """
    if source.startswith('-'):
        raise ValueError(f'{source} is an option: name SOURCE and TARGET before it.')
    from groupvit_cli.light_imports import light_imports

    with light_imports():
        from groupvit_cli.convert import run

    flags = {'--overwrite': overwrite, '--no-check': no_check}
    options = [*context.args, *(flag for flag, is_set in flags.items() if is_set)]
    raise typer.Exit(run(source, target, to=to, options=options))


@app.command(context_settings=PASS_ON, add_help_option=False)
def evaluate(context: typer.Context) -> None:
    """Measure mIoU on benchmarks; the options are those of tools/evaluate.py."""
    from groupvit_cli.tools import run_tool

    raise typer.Exit(run_tool('evaluate.py', context.args))


@app.command(context_settings=PASS_ON, add_help_option=False)
def export(context: typer.Context) -> None:
    """Export to ONNX with class names frozen in; the options are those of export_onnx.py."""
    from groupvit_cli.tools import run_tool

    raise typer.Exit(run_tool('model_converters/export_onnx.py', context.args))


@app.callback(invoke_without_command=True)
def top(
    version: Annotated[bool, typer.Option('--version', help='Print the version and exit.')] = False,
) -> None:
    """Hold the options that belong to no command."""
    if version:
        from importlib.metadata import version as version_of

        print(version_of('groupvit-mmseg'))
        raise typer.Exit


def main() -> None:
    """Run the command line; wrong input is one sentence and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors='replace')  # type: ignore[union-attr]
    try:
        app()
    except ERRORS as error:
        print(f'error: {sentence(error)}', file=sys.stderr)
        sys.exit(2)


def sentence(error: Exception) -> str:
    """Return the message of an error without the class name or quotes."""
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return error.strerror  # without its number
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
