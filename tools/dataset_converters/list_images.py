"""Lists the images of a split that has folders of its own below the condition or the town.

python tools/dataset_converters/list_images.py FOLDER --suffix _rgb_anon.png --out val.txt

--only PATTERN leaves others out, such as "*/val/*/*" of ACDC. Writes one name per line, relative to
the folder and without the suffix, as ann_file of a data set of MMSegmentation has them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.output_paths import check_output


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('folder', type=Path, help='folder of the images')
    parser.add_argument('--suffix', required=True, help='how their names end, such as .jpg')
    parser.add_argument('--only', default='*', metavar='PATTERN', help='paths to list (default: *)')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.txt', help='file to write')
    return parser.parse_args(argv)


def list_names(folder: Path, suffix: str, pattern: str) -> list[str]:
    """Return the names of the images without the suffix, in order.

    Raises:
        FileNotFoundError: If there is no such folder or image.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'There is no folder {folder}.')
    paths = (path.relative_to(folder) for path in folder.rglob(f'*{suffix}'))
    names = sorted(path.as_posix().removesuffix(suffix) for path in paths if path.match(pattern))
    if not names:
        raise FileNotFoundError(f'{folder} has no image that ends in {suffix} at {pattern}.')
    return names


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """List and write."""
    args = parse_args(argv)
    check_output(args.out)
    names = list_names(args.folder, args.suffix, args.only)
    write_text(args.out, ''.join(f'{name}\n' for name in names))
    print(f'{args.out}: {len(names)} images.')


if __name__ == '__main__':
    sys.exit(main())
