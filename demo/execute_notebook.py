"""Runs groupvit.ipynb and writes it back with its outputs: ``make notebook``.

Outputs that depend on the machine, such as paths and warnings, are refused: the notebook is read on
code hosts.

Example::

    python demo/execute_notebook.py
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.command_line import tool_main, tool_parser

NOTEBOOK = Path(__file__).with_name('groupvit.ipynb')
LARGEST = 1_500_000
"""int: Bytes of the file; code hosts show larger ones late or not at all."""
METADATA = {
    'kernelspec': {'display_name': 'Python 3', 'language': 'python', 'name': 'python3'},
    'language_info': {'name': 'python'},
}


def execute(notebook: NotebookNode, folder: Path, *, seconds: int = 1800) -> None:
    """Run every cell in a new kernel; an error of a cell is raised.

    Args:
        notebook (NotebookNode): Gets the outputs.
        folder (Path): Where the kernel runs and the cells write.
        seconds (int): Time that a cell may take. Defaults to 1800.
    """
    resources = {'metadata': {'path': str(folder)}}
    NotebookClient(notebook, timeout=seconds, resources=resources).execute()


def clean(notebook: NotebookNode) -> None:
    """Remove what differs from run to run without a reader's noticing: times and versions."""
    notebook.metadata = NotebookNode(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop('execution', None)


def problems(notebook: NotebookNode, words: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each output that should not be published.

    Args:
        notebook (NotebookNode): The notebook with its outputs.
        words (Sequence[str]): Texts that no output may contain, such as names of folders.
    """
    for number, cell in enumerate(notebook.cells):
        for output in cell.get('outputs', []):
            if output.output_type == 'error' or output.get('name') == 'stderr':
                text = output.get('text') or output.get('evalue')
                yield f'Cell {number} printed an error or a warning: {str(text).strip()[:300]}'
            text = str({**output, 'data': without_images(output)})
            yield from (f'Cell {number} printed {word}.' for word in words if word in text)
    size = len(nbformat.writes(notebook).encode())
    if size > LARGEST:
        yield f'The notebook has {size} bytes, more than {LARGEST}: draw smaller figures.'


def without_images(output: NotebookNode) -> dict[str, str]:
    """Return the data of an output that are text."""
    data = output.get('data', {})
    return {kind: text for kind, text in data.items() if not kind.startswith('image/')}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        '--out', type=Path, default=NOTEBOOK, help='file to write (default: the notebook itself)'
    )
    return parser.parse_args(argv)


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Execute, check and write."""
    args = parse_args(argv)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder))
        found = list(problems(notebook, [folder, str(Path.home()), sys.prefix]))
    clean(notebook)
    if found:
        raise ValueError(' '.join(found))
    write_atomically(args.out, lambda stream: stream.write(nbformat.writes(notebook).encode()))
    print(f'{args.out}: {args.out.stat().st_size / 1e6:.2f} MB')


if __name__ == '__main__':
    sys.exit(main())
