"""Serves GroupViT to Label Studio: pre-annotates images with the labels of the project.

python demo/label_studio/serve.py --model groupvit-gcc-yfcc
python demo/label_studio/serve.py --model FILE.pth --background "sky, wall" --port 9090

Needs demo/label_studio/requirements.txt. Every option can also be set by an environment variable,
GROUPVIT_MODEL for --model and so on. demo/label_studio/README.md has all steps.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from groupvit_mmseg.command_line import tool_main, tool_parser

FORMS = ('brush', 'polygon')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; defaults come from the environment."""
    parser = tool_parser(__doc__)

    def option(name: str, default: str | None, help_text: str) -> None:
        variable = f'GROUPVIT_{name.upper().replace("-", "_")}'
        parser.add_argument(f'--{name}', default=os.environ.get(variable, default), help=help_text)

    option('model', 'groupvit-gcc-yfcc', 'name, file or address of weights')
    option('classes', None, 'class file with aliases, templates and background words for labels')
    option('background', None, 'words whose pixels get no label, such as "sky, wall"')
    option('bg-thresh', None, 'background threshold in [0, 1]')
    option('form', None, 'brush or polygon, for projects that have labels for both')
    option('min-area', '25', 'pixels that a mask must have (default: 25)')
    option('tolerance', '1', 'pixels by which a polygon may leave its mask (default: 1)')
    option('device', 'cpu', 'device that computes (default: cpu)')
    option('host', '127.0.0.1', 'address to listen at (default: 127.0.0.1)')
    option('port', '9090', 'port to listen at (default: 9090)')
    args = parser.parse_args(argv)
    if args.form not in (None, *FORMS):
        parser.error(f'--form {args.form} is neither brush nor polygon')
    return args


def number(args: argparse.Namespace, name: str, kind: type, low: float, high: float) -> float:
    """Return an option as a number.

    Raises:
        ValueError: If it is none, or outside of the range.
    """
    text = getattr(args, name.replace('-', '_'))
    try:
        value = kind(text)
    except ValueError as error:
        raise ValueError(f'--{name} {text} is no number.') from error
    if not low <= value <= high:
        raise ValueError(f'--{name} {text} is outside [{low:g}, {high:g}].')
    return value


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Load the model and serve until Ctrl-C."""
    args = parse_args(argv)
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    try:
        from labelling_backend import Backend, SharedModel, make_app
    except ImportError as error:
        raise ImportError(
            f'{error}: run pip install -r demo/label_studio/requirements.txt'
        ) from error
    from label_studio_masks import Outlining
    from labelling_config import Defaults

    from groupvit_mmseg.inference import GroupViTInferencer
    from groupvit_mmseg.text.class_file import read_class_file
    from groupvit_mmseg.text.vocabulary import parse_class_names

    port = int(number(args, 'port', int, 0, 65535))
    defaults = Defaults(
        class_file=read_class_file(args.classes) if args.classes else None,
        background_words=parse_class_names(args.background) if args.background else (),
        bg_thresh=None if args.bg_thresh is None else number(args, 'bg-thresh', float, 0, 1),
        form=args.form,
    )
    outlining = Outlining(
        min_area=int(number(args, 'min-area', int, 0, 10**9)),
        tolerance=number(args, 'tolerance', float, 0, 1000),
    )
    inferencer = GroupViTInferencer.from_pretrained(args.model, device=args.device)
    # Of the path of a file only its name: Label Studio shows it.
    model = SharedModel(inferencer, Path(args.model).name)
    app = make_app(Backend(model, defaults, outlining))
    print(f'Serving {args.model} to Label Studio at http://{args.host}:{port}', flush=True)
    app.run(host=args.host, port=port, threaded=True)


if __name__ == '__main__':
    sys.exit(main())
