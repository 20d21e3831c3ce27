"""Runner, loops, hooks and optimiser wrappers that extend those of mmengine."""

from groupvit_mmseg.atomic_files import save_checkpoint
from groupvit_mmseg.checkpoints.loading import load_weights, read_checkpoint
from groupvit_mmseg.engine.hooks.block_hook import TransformerBlocksHook
from groupvit_mmseg.engine.hooks.checkpoint_hook import AtomicCheckpointHook
from groupvit_mmseg.engine.hooks.freeze_hook import FreezeHook
from groupvit_mmseg.engine.hooks.group_diagnostics import GroupMapHook, GroupUsageHook
from groupvit_mmseg.engine.hooks.loader_workers_hook import LoaderWorkersHook
from groupvit_mmseg.engine.hooks.run_hooks import RunSummaryHook, StepSeedHook, ThroughputHook
from groupvit_mmseg.engine.hooks.segmentation_checks_hook import SegmentationChecksHook
from groupvit_mmseg.engine.optimizers.guarded_optim_wrapper import GuardedOptimWrapper
from groupvit_mmseg.engine.optimizers.muon import MuonAdamW
from groupvit_mmseg.engine.optimizers.optim_constructor import GroupViTOptimConstructor
from groupvit_mmseg.engine.optimizers.optim_wrapper import MixedPrecisionOptimWrapper
from groupvit_mmseg.engine.runner.process_group import leave_process_group
from groupvit_mmseg.engine.runner.runner import GroupViTRunner
from groupvit_mmseg.engine.runner.train_loop import ResumableIterTrainLoop, ResumableTrainLoop
from groupvit_mmseg.engine.runner.zero_shot_val_loop import ZeroShotValLoop
from groupvit_mmseg.engine.sharding import FullyShardedModel

__all__ = [
    'AtomicCheckpointHook',
    'FreezeHook',
    'FullyShardedModel',
    'GroupMapHook',
    'GroupUsageHook',
    'GroupViTOptimConstructor',
    'GroupViTRunner',
    'GuardedOptimWrapper',
    'LoaderWorkersHook',
    'MixedPrecisionOptimWrapper',
    'MuonAdamW',
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
