"""Runner, loop, hooks and optimiser construction: only what mmengine lacks."""

from groupvit_mmseg.checkpoints.training_files import load_weights, read_checkpoint
from groupvit_mmseg.checkpoints.writing import save_checkpoint
from groupvit_mmseg.engine.block_hook import TransformerBlocksHook
from groupvit_mmseg.engine.checkpoint_hook import AtomicCheckpointHook
from groupvit_mmseg.engine.freeze_hook import FreezeHook
from groupvit_mmseg.engine.gradient_compression import GradientCompressionHook
from groupvit_mmseg.engine.group_diagnostics import GroupMapHook, GroupUsageHook
from groupvit_mmseg.engine.guarded_optim_wrapper import GuardedOptimWrapper
from groupvit_mmseg.engine.hooks import RunSummaryHook, StepSeedHook, ThroughputHook
from groupvit_mmseg.engine.optim_constructor import GroupViTOptimConstructor
from groupvit_mmseg.engine.optim_wrapper import MixedPrecisionOptimWrapper
from groupvit_mmseg.engine.runner import GroupViTRunner, leave_process_group
from groupvit_mmseg.engine.segmentation_checks_hook import SegmentationChecksHook
from groupvit_mmseg.engine.sharding import FullyShardedModel
from groupvit_mmseg.engine.train_loop import ResumableIterTrainLoop, ResumableTrainLoop
from groupvit_mmseg.engine.zero_shot_val_loop import ZeroShotValLoop

__all__ = [
    'AtomicCheckpointHook',
    'FreezeHook',
    'FullyShardedModel',
    'GradientCompressionHook',
    'GroupMapHook',
    'GroupUsageHook',
    'GroupViTOptimConstructor',
    'GroupViTRunner',
    'GuardedOptimWrapper',
    'MixedPrecisionOptimWrapper',
    'ResumableIterTrainLoop',
    'ResumableTrainLoop',
    'RunSummaryHook',
    'SegmentationChecksHook',
    'StepSeedHook',
    'ThroughputHook',
    'TransformerBlocksHook',
    'ZeroShotValLoop',
    'leave_process_group',
    'load_weights',
    'read_checkpoint',
    'save_checkpoint',
]
