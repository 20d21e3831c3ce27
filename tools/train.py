"""Train: ``python tools/train.py CONFIG [--work-dir DIR] [--amp] [--resume] ...``."""

import argparse
import os
import pickle
import sys
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from mmengine.config import Config, DictAction
from mmseg.registry import RUNNERS

from groupvit_mmseg.datasets.worker_errors import sentence
from groupvit_mmseg.engine import leave_process_group

# What wrong settings, missing data and foreign checkpoints raise before the first step.
SETUP_ERRORS = (FileNotFoundError, ValueError, pickle.UnpicklingError)


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
        action=DictAction,
        help='override settings of the config: key=value pairs, nested keys with dots, '
        'lists as key="[a,b]" or key=a,b',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def load_config(args):
    """The config with the command line's wishes in it."""
    if not Path(args.config).is_file():
        sys.exit(f'There is no config {args.config}; configs/ holds those that ship.')
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(args.config).stem))
    if args.amp:
        cfg.optim_wrapper.type = 'mmseg.MixedPrecisionOptimWrapper'  # in any scope
        cfg.optim_wrapper.dtype = args.amp
    cfg.resume = args.resume is not None
    if args.resume not in (None, 'auto'):
        if not Path(args.resume).is_file():
            sys.exit(f'There is no checkpoint {args.resume} to resume from; check the path.')
        cfg.load_from = args.resume
    return cfg


def main(argv=None):
    cfg = load_config(parse_args(argv))
    cfg.setdefault('runner_type', 'GroupViTRunner')
    runner = None
    try:
        runner = RUNNERS.build(cfg)
        runner.train()
    except SETUP_ERRORS as error:
        # Not `runner.iter`, which would build the loop that has just failed to be built.
        if getattr(getattr(runner, '_train_loop', None), 'iter', 0) > 0:
            raise
        sys.exit(f'error: {sentence(error)}')
    leave_process_group()


if __name__ == '__main__':
    main()
