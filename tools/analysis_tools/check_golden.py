"""Check the models against golden values of the official implementation, array by array.

    python tools/analysis_tools/check_golden.py tests/data/golden/golden_two_stage.npz

A golden file holds inputs and outputs, not weights: a rule draws those from a seed and the tensors'
names. The model is built from the file's own ``meta/config``. Exit status 0 only if every array of
the file was checked and met its tolerance.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (registers the models)

# isort: split
from groupvit_mmseg.benchmark.golden_checks import Check
from groupvit_mmseg.benchmark.golden_segmentation import check_file
from groupvit_mmseg.command_line import tool_main, tool_parser


def print_table(checks: Sequence[Check]) -> None:
    """Print a line per array, then the verdict."""
    width = max(len(check.name) for check in checks)
    print(f'{"array":{width}}  {"shape":>18}  {"worst":>9}  {"limit":>7}')
    for check in checks:
        shape = 'x'.join(map(str, check.shape)) or 'scalar'
        verdict = 'ok' if check.passed else 'FAILED'
        print(
            f'{check.name:{width}}  {shape:>18}  {check.error:9.1e}  {check.limit:7.0e}  '
            f'{verdict}  {check.note}'
        )
    failures = sum(not check.passed for check in checks)
    print(f'{len(checks) - failures} of {len(checks)} arrays within tolerance')


@tool_main()
def main(argv: Sequence[str] | None = None) -> int:
    """Check the file that the command line names."""
    parser = tool_parser(__doc__)
    parser.add_argument('file', type=Path, help='golden values, .npz')
    checks = check_file(parser.parse_args(argv).file)
    print_table(checks)
    return 0 if all(check.passed for check in checks) else 1


if __name__ == '__main__':
    sys.exit(main())
