"""Trains a model, with the arguments of MMSegmentation.

python tools/train.py CONFIG [--work-dir DIR] [--amp] [--resume] [--deterministic]
python tools/train.py CONFIG --cfg-options load_from=groupvit-gcc-yfcc
"""

import argparse
import errno
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import RUNNERS

from groupvit_mmseg.checkpoints.released import find_released
from groupvit_mmseg.checkpoints.sources import is_remote
from groupvit_mmseg.command_line import (
    INPUT_ERRORS,
    add_config_options_argument,
    add_launcher_arguments,
    export_local_rank,
    report_error,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.config_files import merge_options, read_config
from groupvit_mmseg.engine import leave_process_group
from groupvit_mmseg.engine.preemption import (
    EXIT_STATUS,
    Preempted,
    PreemptionHook,
    signals_caught,
)
from groupvit_mmseg.engine.training_faults import (
    is_lost_process,
    report_lost_process,
    sentence_of_fault,
)

LOST = 1  # status of a process that has lost another one
# What a disk raises that is full or fails, at any time.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
# What missing data and foreign files raise until the first step is done.
DATA_ERRORS = (FileNotFoundError, ValueError, UnpicklingError)
# A wrong setting of a config can raise these too while everything is built from it.
SETUP_ERRORS = (
    *INPUT_ERRORS,
    AssertionError,
    AttributeError,
    FloatingPointError,
    LookupError,
    MemoryError,
    SyntaxError,
    TypeError,
)


class Start(Hook):
    """Records the iteration at which training begins, after everything is set up."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.iteration: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Record the iteration."""
        self.iteration = runner.iter

    def is_input_error(self, error: Exception, runner: Runner | None) -> bool:
        """Whether wrong input raised the error: in the set-up, or in the data of the first step."""
        if self.iteration is None or runner is None:
            return True
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            return True
        return isinstance(error, DATA_ERRORS) and runner.iter == self.iteration


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='config of a training')
    parser.add_argument(
        '--work-dir', help='folder of logs and checkpoints (default: work_dirs/CONFIG)'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from CHECKPOINT, or from the latest one in the work dir',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        choices=['auto', 'bfloat16', 'float16'],
        help='mixed precision; auto: bfloat16 if the hardware has it, else float16 (CPUs: float32)',
    )
    parser.add_argument(
        '--deterministic',
        action='store_true',
        help='the same bits each time on a GPU as well; an operation that cannot raises an error',
    )
    add_config_options_argument(parser)
    add_launcher_arguments(parser)
    args = parser.parse_args(argv)
    export_local_rank(args)
    return args


def load_config(args: argparse.Namespace) -> Config:
    """Return the config with command-line overrides applied."""
    if not Path(args.config).is_file():
        raise FileNotFoundError(
            f'There is no config {args.config}; configs/ holds those that ship.'
        )
    cfg = read_config(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        check_options(args.cfg_options)
        merge_options(cfg, args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(args.config).stem))
    if args.amp:
        cfg.optim_wrapper.type = 'mmseg.MixedPrecisionOptimWrapper'  # in any scope
        cfg.optim_wrapper.dtype = args.amp
    if args.deterministic:
        cfg.randomness = {**(cfg.get('randomness') or {}), 'deterministic': True}
    cfg.setdefault('runner_type', 'GroupViTRunner')
    resume(cfg, args.resume)
    return cfg


def check_options(options: Mapping[str, object]) -> None:
    """Refuse dicts, which mmengine reads as text or as lists of their pieces."""
    for name, value in options.items():
        first = value[0] if isinstance(value, list | tuple) and value else value
        if str(first).startswith(('{"', "{'")):  # not {000..331}.tar
            raise ValueError(
                f'--cfg-options {name} is a dict: give its values one by one, as in '
                f'{name}.key=value, or write a list of dicts into a config that has this one as '
                'its _base_.'
            )


def resume(cfg: Config, checkpoint: str | None) -> None:
    """Set the checkpoint to resume from: a file, or with ``auto`` the newest of the work dir."""
    cfg.resume = checkpoint is not None
    if checkpoint == 'auto' and 'GroupViTRunner' in str(cfg.runner_type):
        cfg.resume = 'auto'  # others would resume from the config's load_from
    elif checkpoint not in (None, 'auto'):
        is_path = not is_remote(checkpoint)
        if is_path and not Path(checkpoint).exists() and find_released(checkpoint):
            raise ValueError(
                f'{checkpoint} names released weights, which hold no optimiser state to resume: to '
                f'start from them, give --cfg-options load_from={checkpoint} without --resume.'
            )
        if is_path and not Path(checkpoint).is_file():
            raise FileNotFoundError(
                f'There is no checkpoint {checkpoint} to resume from; check the path.'
            )
        cfg.load_from = checkpoint


def name_work_dir(error: Exception, cfg: Config | None) -> Exception:
    """Return an error of the disk with the work dir where it names no file, as logs raise it."""
    if cfg is None or not isinstance(error, OSError) or error.errno not in DISK_ERRORS:
        return error
    if error.filename is not None:
        return error
    return OSError(error.errno, f'{error.strerror} (in the work dir)', cfg.work_dir)


@tool_main(errors=(), interrupted='Interrupted: --resume goes on from the last checkpoint.')
def main(argv: Sequence[str] | None = None) -> int:
    """Set up, then train; errors of the training itself keep their traceback."""
    args = parse_args(argv)
    cfg: Config | None = None
    runner: Runner | None = None
    start = Start()
    try:
        cfg = load_config(args)
        runner = RUNNERS.build(cfg)  # type: ignore[arg-type]  # mmengine takes a Config
        runner.register_hook(start)
        runner.register_hook(PreemptionHook())
        with signals_caught():
            runner.train()
    except Preempted as end:
        leave_process_group()
        report_error(end)
        return EXIT_STATUS
    except SETUP_ERRORS as error:
        if is_lost_process(error):
            report_lost_process()
            os._exit(LOST)  # destroying the process group would wait for the others
        if sentence := sentence_of_fault(error, runner):
            return report_error(RuntimeError(sentence))
        if not start.is_input_error(error, runner):
            raise
        return report_error(name_work_dir(error, cfg))
    leave_process_group()
    return 0


if __name__ == '__main__':
    sys.exit(main())
