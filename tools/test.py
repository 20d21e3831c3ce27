"""Evaluates a checkpoint: mIoU and the IoU of every class, printed and, with --out, written.

python tools/test.py CONFIG CHECKPOINT [--out FILE.json]
python tools/test.py CONFIG CHECKPOINT --metrics boundary oracle probing
python tools/test.py CONFIG CHECKPOINT --tta

CONFIG is one of the zero-shot configs, a pretraining config whose val_cfg names a segmentor, or one
of a head that learns from masks; CHECKPOINT is what training wrote, as it is.
"""

import argparse
import os
import pickle
import sys
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from mmseg.registry import RUNNERS

from groupvit_mmseg.benchmark.report import evaluation_report, write_json
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.datasets.listing import checked_loader
from groupvit_mmseg.engine import leave_process_group
from groupvit_mmseg.engine.hooks.segmentation_checks_hook import SegmentationChecksHook
from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model
from groupvit_mmseg.error_messages import error_line, error_text
from groupvit_mmseg.inference import segmentation_config
from groupvit_mmseg.key_values import KeyValueAction
from groupvit_mmseg.models import GroupViTZeroShotHead
from groupvit_mmseg.output_paths import check_folder, check_output

METRICS = {
    'foreground': 'ForegroundIoUMetric',
    'boundary': 'BoundaryIoUMetric',
    'oracle': 'OracleIoUMetric',
    'probing': 'MaskProbingMetric',
}
NEED_GROUPS = {'oracle', 'probing'}
WINDOWS = ('crop_size', 'stride')
# What a wrong config, checkpoint or folder raises while everything is set up.
SETUP_ERRORS = (
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)
# What a wrong image, mask or metric raises on the way.
DATA_ERRORS = (AssertionError, OSError, KeyError, ValueError)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='segmentation or pretraining config')
    parser.add_argument('checkpoint', help='checkpoint of a pretrainer or a segmentor')
    parser.add_argument('--work-dir', help='folder of the logs; work_dirs/CONFIG otherwise')
    parser.add_argument('--out', metavar='FILE.json', help='write the result and its protocol')
    parser.add_argument(
        '--metrics',
        nargs='+',
        default=[],
        choices=METRICS,
        help='to measure besides; oracle and probing take whole images instead of windows',
    )
    parser.add_argument(
        '--tta', action='store_true', help='average over the sizes and flips of tta_pipeline'
    )
    parser.add_argument('--show-dir', help='draw every prediction into this folder')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValueAction,
        help='settings of the config to change, key=value; lists as key="[a,b]" or key=a,b',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def load_config(args):
    """The segmentation config with the command line applied; checks what can be checked early."""
    if not Path(args.config).is_file():
        raise FileNotFoundError(f'There is no config at {args.config}.')
    if not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f'There is no checkpoint at {args.checkpoint}.')
    cfg = read_config(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    if 'model' not in cfg:
        raise ValueError(
            f'{args.config} has no model: a set of your own is named by --sets of '
            'tools/evaluate.py.'
        )
    cfg = segmentation_config(cfg)
    if not cfg.get('test_dataloader') or not cfg.get('test_evaluator'):
        missing = 'test_evaluator' if cfg.get('test_dataloader') else 'test_dataloader'
        raise ValueError(f'{args.config} has no {missing}: give one.')
    check_data(cfg.test_dataloader.dataset)
    check_output(args.out, reads=[args.config, args.checkpoint, *listed(cfg)])
    if args.show_dir:
        check_folder(args.show_dir, name='--show-dir')
    check_windows(args)
    cfg.launcher, cfg.load_from, cfg.resume = args.launcher, args.checkpoint, False
    default_dir = Path('work_dirs', Path(args.config).stem)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(default_dir)
    add_metrics(cfg, args.metrics)
    if args.tta:
        augment(cfg, args.metrics)
    draw_into(cfg, args.show_dir)
    return cfg


def check_data(dataset):
    """Say which folder or list is missing, and how to name another place."""
    root = Path(dataset.get('data_root') or '')
    places = [*(dataset.get('data_prefix') or {}).values(), dataset.get('ann_file') or '']
    for place in places:
        if '://' not in str(root / place) and not (root / place).exists():
            raise FileNotFoundError(
                f'{dataset.type} finds no {root / place}: prepare the data as '
                'docs/data_preparation.md says, or name its place with '
                '--cfg-options test_dataloader.dataset.data_root=FOLDER.'
            )
    checked_loader(dict(dataset=dataset))


def check_windows(args):
    """Refuse windows that are asked for together with metrics that take whole images."""
    windows = [
        key
        for key, value in (args.cfg_options or {}).items()
        if 'test_cfg.' in key and key.rsplit('.')[-1] in (*WINDOWS, 'mode') and value != 'whole'
    ]
    whole = sorted(NEED_GROUPS & set(args.metrics))
    if whole and windows:
        raise ValueError(
            f'{" and ".join(whole)} take whole images, so {", ".join(windows)} would change '
            'nothing: leave out one of the two.'
        )


def listed(cfg):
    """The file that lists the images, if there is one."""
    dataset = cfg.test_dataloader.dataset
    return [Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')]


def add_metrics(cfg, names):
    """Have more measured, in the same pass; segments exist of whole images only."""
    given = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    there = {metric['type'] for metric in given}
    added = [
        dict(type=kind) for kind in dict.fromkeys(METRICS[n] for n in names) if kind not in there
    ]
    cfg.test_evaluator = [*given, *added]
    if NEED_GROUPS & set(names):
        given, windows = cfg.model.get('test_cfg') or {}, ('crop_size', 'stride')
        kept = {option: value for option, value in given.items() if option not in windows}
        cfg.model.test_cfg = {**kept, 'mode': 'whole', 'with_group_map': True}


def augment(cfg, metrics):
    """Have each image segmented in several sizes, also flipped, and the probabilities averaged."""
    needy = sorted(NEED_GROUPS & set(metrics))
    if needy:
        raise ValueError(
            f'--metrics {" ".join(needy)} look at the segments of one pass, and --tta averages '
            'several: leave one out.'
        )
    if not cfg.get('tta_pipeline'):
        raise ValueError(
            '--tta finds no tta_pipeline, and test_dataloader.dataset has no pipeline to make one '
            'from: add one to the config, as configs/_base_/datasets/zero_shot_448.py has it.'
        )
    if 'test_cfg' in cfg.model:
        # What is averaged is scores; only GroupViTSegmentor has these two entries.
        left_out = ('with_scores', 'with_group_map')
        cfg.model.test_cfg = {k: v for k, v in cfg.model.test_cfg.items() if k not in left_out}
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.model = dict(cfg.tta_model, module=cfg.model)


def draw_into(cfg, folder):
    """Turn MMSeg's drawing of predictions on, or without a folder leave its hook out."""
    hooks = cfg.setdefault('default_hooks', {})
    if not folder:
        hooks.pop('visualization', None)
        return
    hooks['visualization'] = dict(type='SegVisualizationHook', draw=True, interval=1)
    cfg.visualizer = dict(
        type='SegLocalVisualizer', name='test', vis_backends=[dict(type='LocalVisBackend')]
    )
    cfg.visualizer['save_dir'] = folder


def print_background(background):
    """How the background was told, for a number that cannot be compared without it."""
    if background and background['with_background']:
        source = background['preset'] or 'the config, no preset'
        words = f', words: {", ".join(background["words"])}' if background['words'] else ''
        print(f'background threshold {background["threshold"]} ({source}){words}')


def build_runner(cfg):
    """The runner with the weights loaded: whatever does not fit comes up before the data does."""
    if 'runner_type' in cfg:
        runner = RUNNERS.build(cfg)
    else:  # MMEngine's runner, with the checks that ours brings along
        loader = checked_loader(cfg.test_dataloader)
        runner = Runner.from_cfg(Config({**cfg.to_dict(), 'test_dataloader': loader}))
        runner.register_hook(SegmentationChecksHook())
    runner.load_or_resume()
    head = segmentor(runner).eval().decode_head
    if isinstance(head, GroupViTZeroShotHead):
        head.encode_classes()
    return runner


def segmentor(runner):
    """The runner's model without a distributed wrapper and without test-time augmentation."""
    return unwrap_model(runner.model)


def evaluate(cfg, runner, out=None):
    """Run the test loop and return the report; write it to ``out``."""
    metrics = runner.test()
    if not is_main_process():
        return None
    report = evaluation_report(
        cfg, segmentor(runner).decode_head, metrics, runner.test_evaluator.metrics
    )
    print_background(report['background'])
    if out:
        write_json(report, out)
        print(f'wrote {out}')
    return report


def main(argv=None):
    args = parse_args(argv)
    try:
        cfg = load_config(args)
        runner = build_runner(cfg)
    except SETUP_ERRORS as error:
        print(f'error: {error_line(error)}', file=sys.stderr)
        return 2
    try:
        evaluate(cfg, runner, args.out)
    except DATA_ERRORS as error:
        print(f'error: {error_text(error)}', file=sys.stderr)
        return 2
    leave_process_group()
    return 0


if __name__ == '__main__':
    sys.exit(main())
