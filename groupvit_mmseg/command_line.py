"""What the command-line tools share: errors, exit statuses and the arguments that repeat."""

from __future__ import annotations

import argparse
import functools
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import NoReturn, ParamSpec

import torch
from mmengine.config import Config

from groupvit_mmseg.checkpoints.sources import check_source
from groupvit_mmseg.config_files import merge_options, read_config
from groupvit_mmseg.error_messages import error_line
from groupvit_mmseg.key_values import KeyValueAction
from groupvit_mmseg.launch_record import end_with_launcher, record_sentence

# What a wrong file, option, disk or installation raises; any other error is a fault of the tool.
INPUT_ERRORS = (ImportError, KeyError, OSError, RuntimeError, ValueError, UnpicklingError)
# Exit statuses: as argparse for wrong input, as a shell reports SIGINT and SIGPIPE.
WRONG_INPUT, INTERRUPTED, BROKEN_PIPE = 2, 130, 141

Arguments = ParamSpec('Arguments')


def tool_main(
    *, errors: tuple[type[Exception], ...] = INPUT_ERRORS, interrupted: str = 'Interrupted.'
) -> Callable[[Callable[Arguments, int | None]], Callable[Arguments, int]]:
    """Decorate the ``main`` of a tool, so that wrong input ends it with one sentence.

    Args:
        errors (tuple[type[Exception], ...]): Types that mean wrong input: their message is printed
            to the standard error and the status is 2. Others keep their traceback. Defaults to
            ``INPUT_ERRORS``.
        interrupted (str): Printed on Ctrl-C, where the status is 130. Defaults to
            ``'Interrupted.'``.

    Returns:
        Callable: A decorator; the decorated function returns the exit status, 0 where ``main``
        returns None.

    Example:
        >>> @tool_main()
        ... def main(number):
        ...     print(10 / int(number))
        >>> main('4')
        2.5
        0
        >>> main('four')  # prints "error: invalid literal for int() ..."
        2
    """

    def decorate(main: Callable[Arguments, int | None]) -> Callable[Arguments, int]:
        @functools.wraps(main)
        def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
            try:
                status = main(*args, **kwargs)
                sys.stdout.flush()  # a closed pipe shows here, not when the interpreter ends
            except Exception as error:
                if isinstance(error, BrokenPipeError) and output_is_closed():
                    return drop_output()
                if not isinstance(error, errors):
                    raise
                return report_error(error)
            except KeyboardInterrupt:
                print(interrupted, file=sys.stderr)
                return INTERRUPTED
            return status or 0

        return run

    return decorate


def report_error(error: BaseException) -> int:
    """Print the sentence of an error, or let the launcher print it; return the exit status."""
    sentence = error_line(error)
    if not record_sentence(sentence):
        print(f'error: {sentence}', file=sys.stderr)
    return WRONG_INPUT


def output_is_closed() -> bool:
    """Return whether the reader of the standard output has ended, as after ``| head``."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # replaced by an object in memory
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def drop_output() -> int:
    """Send the rest of the standard output nowhere, and return the exit status of that."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


class ToolParser(argparse.ArgumentParser):
    """A parser whose errors are printed once, also in several processes."""

    def error(self, message: str) -> NoReturn:
        """End with status 2 and the message, which a launcher prints."""
        if record_sentence(message):
            self.exit(WRONG_INPUT)
        super().error(message)


def tool_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that prints the docstring of a tool as it is written.

    Options are written out: an abbreviation would change its meaning with a new option.
    """
    return ToolParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_checkpoint_argument(parser: argparse.ArgumentParser) -> None:
    """Add the positional argument ``checkpoint``."""
    parser.add_argument(
        'checkpoint',
        help='weights of a pretrainer or a segmentor: a checkpoint of training, an official file, '
        "a file or folder of Hugging Face's, a name such as groupvit-gcc-yfcc, hf://OWNER/NAME or "
        'https://...',
    )


def add_config_and_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``config`` and ``checkpoint``; a single positional argument is the checkpoint.

    The parser has to read the command line with ``parse_intermixed_args``.
    """
    parser.add_argument(
        'config',
        nargs='?',
        help="segmentation or pretraining config (default: read off the weights, with the paper's "
        'protocol for Pascal VOC)',
    )
    add_checkpoint_argument(parser)


def check_config_and_checkpoint(config: str | None, checkpoint: str) -> None:
    """Raise an error for files that do not exist, and for a config alone.

    Args:
        config (str, optional): As :func:`add_config_and_checkpoint_arguments` reads it.
        checkpoint (str): The checkpoint, in every form that tools take.

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
        ValueError: If the checkpoint is a config.
    """
    if config is None and checkpoint.endswith('.py'):
        raise ValueError(f'{checkpoint} is a config: give a checkpoint after it.')
    if config is not None and not Path(config).is_file():
        raise FileNotFoundError(f'There is no config at {config}.')
    check_source(checkpoint)


def add_model_config_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``, the config of the model that the checkpoint fills."""
    parser.add_argument(
        '--config',
        type=Path,
        metavar='FILE.py',
        help='segmentation or pretraining config of the model (default: read off the weights)',
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, a GPU where there is one."""
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='device that computes, such as cpu or cuda:1 (default: a GPU if there is one)',
    )


def add_workers_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``, the worker processes of a data loader."""
    parser.add_argument(
        '--workers',
        type=int,
        default=2,
        metavar='N',
        help='worker processes that load images (default: 2)',
    )


def add_config_options_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, settings of a config to change."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValueAction,
        metavar='KEY=VALUE',
        help='settings of the config to change; nested keys have dots, lists are written as '
        'KEY="[a,b]" or KEY=a,b',
    )


def add_pretraining_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``config``, ``--shards`` and ``--cfg-options``, which ``pretraining_config`` reads."""
    parser.add_argument('config', help='pretraining config with a train_dataloader')
    parser.add_argument(
        '--shards', metavar='GLOB', help='tar shards to read in place of those of the config'
    )
    add_config_options_argument(parser)


def pretraining_config(args: argparse.Namespace) -> Config:
    """Return the config of the command line with ``--cfg-options`` and ``--shards`` applied.

    Raises:
        ValueError: If the config has no ``train_dataloader``.
    """
    cfg = read_config(args.config)
    if 'train_dataloader' not in cfg:
        raise ValueError(f'"{cfg.filename}" has no `train_dataloader`: give a pretraining config.')
    merge_options(cfg, args.cfg_options or {})
    if args.shards:
        cfg.train_dataloader.dataset.sources = [dict(shards=args.shards)]
    return cfg


def add_launcher_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments with which the launchers of several processes call a tool."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='launcher of several processes; dist_*.sh and slurm_*.sh pass it (default: none)',
    )
    parser.add_argument(
        '--local_rank',
        '--local-rank',
        type=int,
        default=0,
        help='number of this process on its machine; the launcher passes it',
    )


def export_local_rank(args: argparse.Namespace) -> None:
    """Set ``LOCAL_RANK``, which mmengine reads, where the launcher has not; end with it."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.launcher == 'pytorch':
        end_with_launcher()
