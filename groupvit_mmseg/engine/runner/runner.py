"""GroupViTRunner: mmengine's Runner with safe reading, atomic writing and exact resuming."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import is_distributed
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.runner.base_loop import BaseLoop
from mmseg.registry import RUNNERS
from torch import nn
from torch.utils.data import DataLoader

from groupvit_mmseg.atomic_files import save_checkpoint
from groupvit_mmseg.checkpoints.loading import load_weights, read_checkpoint
from groupvit_mmseg.checkpoints.module_settings import check_checkpoint
from groupvit_mmseg.checkpoints.pretrained import weights_for
from groupvit_mmseg.checkpoints.types import Checkpoint, CheckpointMeta
from groupvit_mmseg.datasets.listing import checked_loader
from groupvit_mmseg.engine.hooks.block_hook import blocks_of, compile_blocks
from groupvit_mmseg.engine.hooks.checkpoint_hook import AtomicCheckpointHook
from groupvit_mmseg.engine.hooks.freeze_hook import freeze_configured
from groupvit_mmseg.engine.hooks.loader_workers_hook import LoaderWorkersHook
from groupvit_mmseg.engine.hooks.segmentation_checks_hook import SegmentationChecksHook
from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model
from groupvit_mmseg.engine.runner.checkpoint_content import gather_checkpoint, restore_types
from groupvit_mmseg.engine.runner.find_checkpoint import latest_complete_checkpoint
from groupvit_mmseg.engine.runner.repeatable import RepeatableRunner
from groupvit_mmseg.engine.runner.resume_check import check_resumable
from groupvit_mmseg.engine.runner.train_loop import RESUMABLE_LOOPS, resumable
from groupvit_mmseg.engine.sharding import is_sharded, shard_weights
from groupvit_mmseg.openmmlab_entries import draws_nothing


@RUNNERS.register_module()
class GroupViTRunner(RepeatableRunner):
    """Runner that reads checkpoints safely, checks their keys, and writes and resumes them exactly.

    A checkpoint (:class:`.Checkpoint`) consists of plain values and tensors, which
    ``torch.load(weights_only=True)`` accepts: ``meta`` identifies the run, its progress and the
    classes of the model (:class:`.CheckpointMeta`); ``state_dict`` holds the weights,
    ``message_hub`` log histories, the best score and paths of files; ``optimizer`` and
    ``param_schedulers`` are present unless the checkpoint hook excludes them, ``ema_state_dict``
    with an EMAHook.

    Attributes:
        user_checkpoint (str, optional): File that the user named to resume or to start from; None
            if the run searched for its newest checkpoint.
    """

    _load_from: str | None
    _resume: bool | str  # type: ignore[assignment]  # mmengine annotates bool, here also 'auto'
    _has_loaded: bool
    _resume_options: Mapping[str, bool] = {}
    user_checkpoint: str | None = None

    @classmethod
    def from_cfg(cls, cfg: Config | ConfigDict | dict) -> 'GroupViTRunner':
        """Build the runner; without a GPU, it uses the backend gloo and no SyncBatchNorm."""
        cfg = copy.deepcopy(cfg)
        if not torch.cuda.is_available():
            cfg.setdefault('env_cfg', {}).setdefault('dist_cfg', {})['backend'] = 'gloo'
            cfg['sync_bn'] = None  # SyncBatchNorm refuses CPU tensors
        return cast(GroupViTRunner, super().from_cfg(cfg))  # mmengine builds an instance of cls

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a loader; check the files of segmentation sets and read their masks exactly."""
        return RepeatableRunner.build_dataloader(checked_loader(dataloader), seed, diff_rank_seed)

    def register_hooks(
        self,
        default_hooks: dict[str, Hook | dict] | None = None,
        custom_hooks: list[Hook | dict] | None = None,
    ) -> None:
        """Register the config's hooks, and two that every run has."""
        super().register_hooks(default_hooks, custom_hooks)
        self.register_hook(SegmentationChecksHook())
        self.register_hook(LoaderWorkersHook())

    @property
    def unwrapped_model(self) -> nn.Module:
        """The model without wrappers for several processes or for test-time augmentation."""
        return unwrap_model(self.model)

    def setup_env(self, env_cfg: dict) -> None:
        """Set up the environment; without a GPU, start the process group with the backend gloo.

        mmengine's own initialisation sets a CUDA device for every backend.

        Raises:
            ValueError: If processes without GPUs were not started by torchrun.
        """
        if self.distributed and not torch.cuda.is_available() and not is_distributed():
            if self.launcher != 'pytorch':
                raise ValueError(
                    f'The launcher {self.launcher!r} needs GPUs and there are none; '
                    'start the processes with tools/dist_train.sh.'
                )
            torch.distributed.init_process_group('gloo')
        super().setup_env(env_cfg)

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Build the model; without a GPU, replace SyncBatchNorm by BatchNorm."""
        model = super().build_model(model)
        has_sync_norms = any(isinstance(m, nn.SyncBatchNorm) for m in model.modules())
        if torch.cuda.is_available() or not has_sync_norms:
            return model
        self.logger.info(
            'SyncBatchNorm needs GPUs: without them each process normalises its own batch.'
        )
        return revert_sync_batchnorm(model)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for several processes, which on CPUs use no device index.

        The parameters of a FreezeHook are frozen before, because the wrapper waits for the
        gradients of all others.
        """
        freeze_configured(self.cfg, model)
        compile_blocks(model, self.cfg.get('compile'))
        if not self.distributed or torch.cuda.is_available() or model_wrapper_cfg is not None:
            return super().wrap_model(model_wrapper_cfg, model)
        find_unused = self.cfg.get('find_unused_parameters', False)
        return MMDistributedDataParallel(
            module=model, broadcast_buffers=False, find_unused_parameters=find_unused
        )

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the validation loop; compile its segmentor if the config says so."""
        loop = super().build_val_loop(loop)
        compile_blocks(getattr(loop, 'segmentor', None), self.cfg.get('compile'))
        return loop

    def _maybe_compile(self, target: str) -> None:
        """Compile a method of the model only if it has no transformer blocks to compile."""
        if not any(blocks_of(self.unwrapped_model)):
            super()._maybe_compile(target)

    def register_default_hooks(self, hooks: dict[str, Hook | dict] | None = None) -> None:
        """Register the hooks, without a SegVisualizationHook that draws nothing but warns of it."""
        useful = {name: hook for name, hook in (hooks or {}).items() if not draws_nothing(hook)}
        super().register_default_hooks(useful)

    def _init_model_weights(self) -> None:
        """Initialise the weights, unless they are sharded and so initialised already."""
        if not is_sharded(self.unwrapped_model):
            super()._init_model_weights()

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop; replace mmengine's two by those that resume at any step."""
        return super().build_train_loop(resumable(loop) if isinstance(loop, dict) else loop)

    def load_or_resume(self) -> None:
        """Load or resume; ``resume='auto'`` prefers the newest checkpoint to ``load_from``."""
        if self._has_loaded:
            return
        newest = None
        if self._resume == 'auto' or (self._resume and not self._load_from):
            newest = self._newest_checkpoint()
            weights = f'the weights of {self._load_from}' if self._load_from else 'initial weights'
            none = f'There is no checkpoint to resume from: training starts from {weights}.'
            self.logger.info(f'Resuming from {newest}.' if newest else none)
            self._resume, self._load_from = newest is not None, newest or self._load_from
        self.user_checkpoint = None if newest else self._load_from
        super().load_or_resume()

    def _newest_checkpoint(self) -> str | None:
        """Return the newest complete checkpoint of this run's folder."""
        for hook in self.hooks:
            if isinstance(hook, AtomicCheckpointHook):
                return hook.newest(self.work_dir)
        return latest_complete_checkpoint(self.work_dir)

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = 'default',
    ) -> None:
        """Resume weights, optimiser, schedules, log histories and the progress in the epoch.

        Args:
            filename (str): File or http(s) address.
            resume_optimizer (bool): Whether to resume the optimiser. Defaults to True.
            resume_param_scheduler (bool): Whether to resume the schedules. Defaults to True.
            map_location (str | Callable): Device of the tensors. Defaults to 'default', the device
                of training.

        Raises:
            ValueError: If the run would not continue like the checkpoint's run.
        """
        self._resume = True  # hooks read it
        self._resume_options = dict(
            with_optimizer=resume_optimizer, with_schedules=resume_param_scheduler
        )
        resume_param_scheduler &= self.param_schedulers is not None
        super().resume(filename, resume_optimizer, resume_param_scheduler, map_location)
        if isinstance(self.train_loop, RESUMABLE_LOOPS):
            self.train_loop.resume(self._loaded_meta)

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Scale the learning rate to the batch size, also the one that is logged as ``base_lr``."""
        super().scale_lr(optim_wrapper, auto_scale_lr)
        logged = getattr(optim_wrapper, 'base_param_settings', None)
        if logged is not None:
            logged['lr'] = max(group['lr'] for group in optim_wrapper.optimizer.param_groups)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = True,
        revise_keys: list | None = None,
    ) -> Checkpoint:
        """Load weights; every key must fit.

        Args:
            filename (str): As :func:`.read_checkpoint` takes it.
            map_location (str | Callable): Device of the tensors. Defaults to 'cpu'.
            strict (bool): mmengine's argument, of which only True is supported. Defaults to True.
            revise_keys (list, optional): mmengine's argument, which is not supported: models rename
                their own keys. Defaults to None.

        Returns:
            Checkpoint: The entire checkpoint, with log histories restored.

        Raises:
            RuntimeError: If the keys do not fit; the message lists them.
            ValueError: If the run resumes and would not continue like the checkpoint's run, or if
                the weights were trained with other attention heads.
        """
        if not strict or revise_keys:
            raise ValueError('GroupViTRunner loads every key as it is; convert the file instead.')
        checkpoint = read_checkpoint(filename, map_location=map_location)
        if self._resume:
            check_resumable(self, checkpoint, source=str(filename), **self._resume_options)
        checkpoint['state_dict'] = weights_for(
            self.unwrapped_model, checkpoint, source=str(filename)
        )
        restore_types(self, checkpoint)
        self._loaded_meta: CheckpointMeta = checkpoint.get('meta', {})
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        state_dict = checkpoint['state_dict']
        if is_sharded(self.unwrapped_model):
            state_dict = shard_weights(self.unwrapped_model, state_dict)
        load_weights(self.unwrapped_model, state_dict, source=str(filename))
        check_checkpoint(self.unwrapped_model, checkpoint, source=str(filename))
        self._has_loaded = True
        self.logger.info(f'Loaded checkpoint {filename}')
        return checkpoint

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = True,
        backend_args: dict | None = None,
    ) -> None:
        """Write ``out_dir/filename`` atomically on rank 0.

        The arguments are those of mmengine's Runner. All ranks must call it, because the shards of
        a sharded model are gathered.

        Args:
            out_dir (str): A local folder.
            filename (str): Name of the file in it.
            file_client_args (dict, optional): Must be None: only local files are supported.
            save_optimizer (bool): Whether to write the optimiser's state. Defaults to True.
            save_param_scheduler (bool): Whether to write the schedules' states. Defaults to True.
            meta (dict, optional): More entries of ``meta``. Defaults to None.
            by_epoch (bool): Whether an epoch has just ended. Defaults to True.
            backend_args (dict, optional): Must be None: only local files are supported.
        """
        if file_client_args or backend_args:
            raise ValueError('GroupViTRunner writes local files: remove file_client/backend_args.')
        checkpoint = gather_checkpoint(
            self,
            cast(CheckpointMeta, {**(meta or {})}),  # hooks may add any entries
            by_epoch=by_epoch,
            with_optimizer=save_optimizer,
            with_schedules=save_param_scheduler,
        )
        if checkpoint is None:
            return
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        save_checkpoint(checkpoint, Path(out_dir) / filename)
