"""Evaluates a checkpoint: mIoU and the IoU of every class, printed and, with --out, written.

python tools/test.py CONFIG CHECKPOINT [--out FILE.json]
python tools/test.py CHECKPOINT --cfg-options test_dataloader.dataset.data_root=FOLDER
python tools/test.py CONFIG CHECKPOINT --metrics boundary oracle probing
python tools/test.py CONFIG CHECKPOINT --tta

CONFIG is a zero-shot config, a pretraining config whose val_cfg names a segmentor, or the config of
a head that learns from masks; CHECKPOINT is a checkpoint as training writes it, official or
Hugging Face's weights, or the name of released ones. Without CONFIG the structure is read off the
weights, and Pascal VOC is evaluated as the config in them segments, or else by the paper's
protocol.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import RUNNERS

from groupvit_mmseg.benchmark.report import evaluation_report, write_json
from groupvit_mmseg.command_line import (
    INPUT_ERRORS,
    add_config_and_checkpoint_arguments,
    add_config_options_argument,
    add_launcher_arguments,
    check_config_and_checkpoint,
    export_local_rank,
    report_error,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.config_files import merge_options
from groupvit_mmseg.datasets.listing import checked_loader
from groupvit_mmseg.engine import leave_process_group
from groupvit_mmseg.engine.hooks.segmentation_checks_hook import SegmentationChecksHook
from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model
from groupvit_mmseg.inference import segmentation_config
from groupvit_mmseg.inference.config import read_model_config
from groupvit_mmseg.models import GroupViTZeroShotHead
from groupvit_mmseg.output_paths import check_folder, check_output
from groupvit_mmseg.registry import type_name

METRICS = {
    'foreground': 'ForegroundIoUMetric',
    'boundary': 'BoundaryIoUMetric',
    'oracle': 'OracleIoUMetric',
    'probing': 'MaskProbingMetric',
}
NEED_GROUPS = {'oracle', 'probing'}
WINDOWS = ('crop_size', 'stride')
# A wrong setting of a config can raise these too while everything is built from it.
SETUP_ERRORS = (*INPUT_ERRORS, AssertionError, AttributeError, LookupError, TypeError)
# What a wrong image, mask or metric raises during the test.
DATA_ERRORS = (AssertionError, OSError, KeyError, ValueError)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_config_and_checkpoint_arguments(parser)
    parser.add_argument('--work-dir', help='folder of the logs (default: work_dirs/CONFIG)')
    parser.add_argument('--out', metavar='FILE.json', help='write the result and its protocol')
    parser.add_argument(
        '--metrics',
        nargs='+',
        default=[],
        choices=METRICS,
        help='further metrics; oracle and probing take whole images instead of windows',
    )
    parser.add_argument(
        '--tta', action='store_true', help='average over the sizes and flips of tta_pipeline'
    )
    parser.add_argument('--show-dir', help='draw every prediction into this folder')
    add_config_options_argument(parser)
    add_launcher_arguments(parser)
    args = parser.parse_intermixed_args(argv)  # an optional argument before another needs it
    export_local_rank(args)
    return args


def load_config(args: argparse.Namespace) -> Config:
    """Return the segmentation config with the command line applied; check it before the run."""
    check_config_and_checkpoint(args.config, args.checkpoint)
    cfg = read_model_config(args.config, args.checkpoint)
    if args.cfg_options:
        merge_options(cfg, args.cfg_options)
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
    check_output(args.out, reads=[args.config or '', args.checkpoint, *list_files(cfg)])
    if args.show_dir:
        check_folder(args.show_dir, name='--show-dir')
    check_windows(args)
    cfg.launcher, cfg.load_from, cfg.resume = args.launcher, args.checkpoint, False
    default_dir = Path('work_dirs', Path(args.config or args.checkpoint).stem)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(default_dir)
    add_metrics(cfg, args.metrics)
    if args.tta:
        augment(cfg, args.metrics)
    draw_into(cfg, args.show_dir)
    return cfg


def check_data(dataset: ConfigDict) -> None:
    """Raise an error that names the folder or list that is missing."""
    root = Path(dataset.get('data_root') or '')
    places = [*(dataset.get('data_prefix') or {}).values(), dataset.get('ann_file') or '']
    for place in places:
        if '://' not in str(root / place) and not (root / place).exists():
            raise FileNotFoundError(
                f'{dataset.type} finds no {root / place}: prepare the data as '
                'docs/evaluation.md describes, or name its place with '
                '--cfg-options test_dataloader.dataset.data_root=FOLDER.'
            )
    checked_loader(dict(dataset=dataset))


def check_windows(args: argparse.Namespace) -> None:
    """Refuse settings of windows together with metrics that take whole images."""
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


def list_files(cfg: Config) -> list[Path]:
    """Return the file that lists the images, if there is one."""
    dataset = cfg.test_dataloader.dataset
    return [Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')]


def add_metrics(cfg: Config, names: Sequence[str]) -> None:
    """Add metrics to the evaluator; segment whole images where a metric needs the segments."""
    evaluator = cfg.test_evaluator
    metrics = list(evaluator) if isinstance(evaluator, list) else [evaluator]
    present = {type_name(metric) for metric in metrics}
    kinds = dict.fromkeys(METRICS[name] for name in names)
    cfg.test_evaluator = [*metrics, *(dict(type=kind) for kind in kinds if kind not in present)]
    if NEED_GROUPS & set(names):
        test_cfg = dict(cfg.model.get('test_cfg') or {})
        others = {option: value for option, value in test_cfg.items() if option not in WINDOWS}
        cfg.model.test_cfg = {**others, 'mode': 'whole', 'with_group_map': True}


def augment(cfg: Config, metrics: Sequence[str]) -> None:
    """Average the probabilities over several sizes of each image, also flipped."""
    need_groups = sorted(NEED_GROUPS & set(metrics))
    if need_groups:
        raise ValueError(
            f'--metrics {" ".join(need_groups)} look at the segments of one pass, and --tta '
            'averages several: leave one out.'
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


def draw_into(cfg: Config, folder: str | None) -> None:
    """Draw predictions with MMSeg's hook, or remove the hook if there is no folder."""
    hooks = cfg.setdefault('default_hooks', {})
    if not folder:
        hooks.pop('visualization', None)
        return
    hooks['visualization'] = dict(type='SegVisualizationHook', draw=True, interval=1)
    cfg.visualizer = dict(
        type='SegLocalVisualizer', name='test', vis_backends=[dict(type='LocalVisBackend')]
    )
    cfg.visualizer['save_dir'] = folder


def print_background(background: object) -> None:
    """Print how the background is decided: numbers can only be compared together with it."""
    if isinstance(background, dict) and background['with_background']:
        source = background['preset'] or 'the config, no preset'
        words = f', words: {", ".join(background["words"])}' if background['words'] else ''
        print(f'background threshold {background["threshold"]} ({source}){words}')


def build_runner(cfg: Config) -> Runner:
    """Build the runner and load the weights, so that misfits show before the data is read."""
    if 'runner_type' in cfg:
        runner: Runner = RUNNERS.build(cfg)  # type: ignore[arg-type]  # mmengine takes a Config
    else:  # MMEngine's runner, with the checks of GroupViTRunner
        loader = checked_loader(cfg.test_dataloader)
        runner = Runner.from_cfg(Config({**cfg.to_dict(), 'test_dataloader': loader}))
        runner.register_hook(SegmentationChecksHook())
    runner.load_or_resume()
    head = segmentor(runner).eval().decode_head
    if isinstance(head, GroupViTZeroShotHead):
        head.encode_classes()
    return runner


def segmentor(runner: Runner) -> EncoderDecoder:
    """Return the model without a distributed wrapper and without test-time augmentation."""
    model = unwrap_model(runner.model)
    if not isinstance(model, EncoderDecoder):
        raise TypeError(f'The model is a {type(model).__name__}: give an EncoderDecoder.')
    return model


def evaluate(cfg: Config, runner: Runner, out: str | None = None) -> dict | None:
    """Run the test loop, and write the report to ``out``; the main process returns it."""
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


@tool_main(errors=DATA_ERRORS)
def main(argv: Sequence[str] | None = None) -> int:
    """Set up, then test."""
    args = parse_args(argv)
    try:
        cfg = load_config(args)
        runner = build_runner(cfg)
    except SETUP_ERRORS as error:
        return report_error(error)
    evaluate(cfg, runner, args.out)
    leave_process_group()
    return 0


if __name__ == '__main__':
    sys.exit(main())
