"""Train: ``python tools/train.py CONFIG [--work-dir DIR] [--amp] [--resume] ...``."""

import argparse
import os
import pickle
import sys
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from mmengine.hooks import Hook
from mmseg.registry import RUNNERS

from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.engine import leave_process_group
from groupvit_mmseg.error_messages import error_line
from groupvit_mmseg.key_values import KeyValueAction

# What missing data and foreign files raise until the first step is done.
DATA_ERRORS = (FileNotFoundError, ValueError, pickle.UnpicklingError)
# What wrong settings, folders and checkpoints raise while everything is set up.
SETUP_ERRORS = (*DATA_ERRORS, OSError, RuntimeError, ImportError, LookupError)
SETUP_ERRORS += (AssertionError, AttributeError, SyntaxError, TypeError)


class Start(Hook):
    """Notes the iteration at which training begins, once all is set up."""

    priority = 'LOWEST'

    def __init__(self):
        self.iteration = None

    def before_train(self, runner):
        self.iteration = runner.iter

    def explains(self, error, runner):
        """Whether an error behind it is still one of the data: before the first step is done."""
        return isinstance(error, DATA_ERRORS) and runner.iter == self.iteration


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description='Train, with the arguments of MMSegmentation.')
    parser.add_argument('config', help='train config file')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from the latest checkpoint in the work dir, or from the one given',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        choices=['auto', 'bfloat16', 'float16'],
        help='mixed precision: bfloat16 where there is hardware for it, else float16',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValueAction,
        help='override settings of the config: key=value pairs, nested keys with dots, '
        'lists as key="[a,b]" or key=a,b',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def load_config(args):
    """The config with command-line overrides applied."""
    if not Path(args.config).is_file():
        raise FileNotFoundError(
            f'There is no config {args.config}; configs/ holds those that ship.'
        )
    cfg = read_config(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        check_options(args.cfg_options)
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(args.config).stem))
    if args.amp:
        cfg.optim_wrapper.type = 'mmseg.MixedPrecisionOptimWrapper'  # in any scope
        cfg.optim_wrapper.dtype = args.amp
    cfg.setdefault('runner_type', 'GroupViTRunner')
    resume(cfg, args.resume)
    return cfg


def check_options(options):
    """Refuse dicts, which mmengine takes for text or for lists of their pieces."""
    for name, value in options.items():
        first = value[0] if isinstance(value, list | tuple) and value else value
        if str(first).startswith(('{"', "{'")):  # not {000..331}.tar
            raise ValueError(
                f'--cfg-options {name} is a dict: give its values one by one, as in '
                f'{name}.key=value.'
            )


def resume(cfg, wish):
    """What to read first: the file given, else the newest of the work dir, else ``load_from``."""
    cfg.resume = wish is not None
    if wish == 'auto' and 'GroupViTRunner' in str(cfg.runner_type):
        cfg.resume = 'auto'  # others would resume from the config's load_from
    elif wish not in (None, 'auto'):
        if not Path(wish).is_file():
            raise FileNotFoundError(
                f'There is no checkpoint {wish} to resume from; check the path.'
            )
        cfg.load_from = wish


def main(argv=None):
    args = parse_args(argv)
    runner, start = None, Start()
    try:
        cfg = load_config(args)
        runner = RUNNERS.build(cfg)
        runner.register_hook(start)
        runner.train()
    except SETUP_ERRORS as error:
        if start.iteration is not None and not start.explains(error, runner):
            raise
        print(f'error: {error_line(error)}', file=sys.stderr)
        return 2
    leave_process_group()
    return 0


if __name__ == '__main__':
    sys.exit(main())
