"""GroupViTRunner: mmengine's Runner with safe reads, whole writes and checked keys."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_distributed, is_main_process
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.runner import Runner
from mmengine.runner.checkpoint import weights_to_cpu
from mmseg.registry import RUNNERS
from torch import nn

from groupvit_mmseg.atomic_files import save_checkpoint
from groupvit_mmseg.checkpoints.loading import Checkpoint, load_weights, read_checkpoint
from groupvit_mmseg.checkpoints.module_settings import check_checkpoint
from groupvit_mmseg.datasets.listing import checked_loader
from groupvit_mmseg.engine.hooks.block_hook import blocks_of, compile_blocks
from groupvit_mmseg.engine.hooks.checkpoint_hook import AtomicCheckpointHook
from groupvit_mmseg.engine.hooks.freeze_hook import freeze_configured
from groupvit_mmseg.engine.hooks.segmentation_checks_hook import SegmentationChecksHook
from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model
from groupvit_mmseg.engine.runner.checkpoint_meta import checkpoint_meta
from groupvit_mmseg.engine.runner.find_checkpoint import latest_whole_checkpoint
from groupvit_mmseg.engine.runner.resume_check import check_resumable
from groupvit_mmseg.engine.runner.serialization import history_from_plain, to_plain
from groupvit_mmseg.engine.runner.train_loop import RESUMABLE_LOOPS, resumable
from groupvit_mmseg.engine.sharding import full_state_dict, full_tensors, is_sharded, shard_weights


@RUNNERS.register_module()
class GroupViTRunner(Runner):
    """Runner whose checkpoints are read safely, must fit, are whole, and resume exactly.

    A checkpoint is a dict of plain values and tensors, which ``torch.load(weights_only=True)``
    accepts as it is: ``meta`` (config text, seed, epoch, iteration, place in an unfinished epoch,
    kinds of optimiser and schedules, time, versions, the classes that are segmented as
    ``dataset_meta``, ``train_metainfo``), ``state_dict``, ``message_hub`` (log histories, best
    score, names of kept files), and where the hook asks for them ``optimizer`` and
    ``param_schedulers``; ``ema_state_dict`` with an EMAHook.
    """

    _load_from: str | None
    _resume: bool | str
    _has_loaded: bool
    named_checkpoint: str | None = None  # what the run was told to read, not what it found
    _wanted: Mapping[str, bool] = {}

    @classmethod
    def from_cfg(cls, cfg: Any) -> 'GroupViTRunner':
        """Build the runner; without a GPU, processes talk through gloo and BN stays local."""
        cfg = copy.deepcopy(cfg)
        if not torch.cuda.is_available():
            cfg.setdefault('env_cfg', {}).setdefault('dist_cfg', {})['backend'] = 'gloo'
            cfg['sync_bn'] = None  # SyncBatchNorm refuses CPU tensors
        return super().from_cfg(cfg)

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        """Build a loader; the files of segmentation sets are checked, their masks read exactly."""
        return Runner.build_dataloader(checked_loader(dataloader), *args, **kwargs)

    def register_hooks(self, *args: Any, **kwargs: Any) -> None:
        """Register the config's hooks, and the one that checks masks."""
        super().register_hooks(*args, **kwargs)
        self.register_hook(SegmentationChecksHook())

    @property
    def unwrapped_model(self) -> nn.Module:
        """The model without a distributed wrapper and without test-time augmentation."""
        return unwrap_model(self.model)

    def setup_env(self, env_cfg: dict) -> None:
        """Start the process group on gloo where there is no GPU; the rest is mmengine's.

        mmengine's own initialisation chooses a CUDA device whatever the backend.

        Raises:
            ValueError: If processes without GPUs were not started by torchrun.
        """
        if self.distributed and not torch.cuda.is_available() and not is_distributed():
            if self.launcher != 'pytorch':
                raise ValueError(
                    f'The launcher {self.launcher!r} needs GPUs and there are none; '
                    'start processes on CPUs with tools/dist_train.sh.'
                )
            torch.distributed.init_process_group('gloo')
        super().setup_env(env_cfg)

    def build_model(self, model: Any) -> nn.Module:
        """Build the model; a SyncBatchNorm of its config is a BatchNorm where there are no GPUs."""
        model = super().build_model(model)
        has_sync_norms = any(isinstance(m, nn.SyncBatchNorm) for m in model.modules())
        if torch.cuda.is_available() or not has_sync_norms:
            return model
        self.logger.info('SyncBatchNorm needs GPUs: here each process normalises its own batch.')
        return revert_sync_batchnorm(model)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for several processes; on CPUs without a device of its own.

        What a FreezeHook freezes is frozen before: a wrapper waits for the gradients of the rest.
        """
        freeze_configured(self.cfg, model)
        compile_blocks(model, self.cfg.get('compile'))
        if not self.distributed or torch.cuda.is_available() or model_wrapper_cfg is not None:
            return super().wrap_model(model_wrapper_cfg, model)
        find_unused = self.cfg.get('find_unused_parameters', False)
        return MMDistributedDataParallel(
            module=model, broadcast_buffers=False, find_unused_parameters=find_unused
        )

    def build_val_loop(self, loop: Any) -> Any:
        """Build the validation loop; the segmentor of one may be compiled too."""
        loop = super().build_val_loop(loop)
        compile_blocks(getattr(loop, 'segmentor', None), self.cfg.get('compile'))
        return loop

    def _maybe_compile(self, target: str) -> None:
        """Compile a whole ``target`` only of a model that has no blocks: it breaks into pieces."""
        if not any(blocks_of(self.unwrapped_model)):
            super()._maybe_compile(target)

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        """Register the hooks but one that shall draw nothing, which would only warn of that."""
        kept = {name: hook for name, hook in (hooks or {}).items() if not draws_nothing(hook)}
        super().register_default_hooks(kept)

    def _init_model_weights(self) -> None:
        """Initialise the weights; sharded ones were before they were cut."""
        if not is_sharded(self.unwrapped_model):
            super()._init_model_weights()

    def build_train_loop(self, loop: Any) -> Any:
        """Build the training loop; mmengine's two become those that resume at any step."""
        return super().build_train_loop(resumable(loop) if isinstance(loop, dict) else loop)

    def load_or_resume(self) -> None:
        """Load or resume; ``resume='auto'`` takes the newest whole checkpoint before others."""
        if self._has_loaded:
            return
        found = None
        if self._resume == 'auto' or (self._resume and not self._load_from):
            found = self._newest_checkpoint()
            start = f'from the weights of {self._load_from}' if self._load_from else 'anew'
            told = found or f'nothing, there is no checkpoint: training starts {start}'
            self.logger.info(f'Resuming from {told}.')
            self._resume, self._load_from = found is not None, found or self._load_from
        self.named_checkpoint = None if found else self._load_from
        super().load_or_resume()

    def _newest_checkpoint(self) -> str | None:
        """The newest whole checkpoint of this run's folder."""
        for hook in self.hooks:
            if isinstance(hook, AtomicCheckpointHook):
                return hook.newest(self.work_dir)
        return latest_whole_checkpoint(self.work_dir)

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: Any = 'default',
    ) -> None:
        """Resume weights, optimiser, schedules, histories and the place in the epoch.

        Args:
            filename (str): File or http(s) address.
            resume_optimizer (bool): Whether to take over the optimiser. Defaults to True.
            resume_param_scheduler (bool): Whether to take over schedules. Defaults to True.
            map_location (Any): Where tensors go. Defaults to 'default', the device of training.

        Raises:
            ValueError: If the run could not go on from the file as from its own.
        """
        self._resume = True  # hooks look at it
        self._wanted = dict(with_optimizer=resume_optimizer, with_schedules=resume_param_scheduler)
        resume_param_scheduler &= self.param_schedulers is not None
        super().resume(filename, resume_optimizer, resume_param_scheduler, map_location)
        if isinstance(self.train_loop, RESUMABLE_LOOPS):
            self.train_loop.resume(self._loaded_meta)

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: dict | None = None) -> None:
        """Scale the learning rate to the batch, also the one that is logged as ``base_lr``."""
        super().scale_lr(optim_wrapper, auto_scale_lr)
        logged = getattr(optim_wrapper, 'base_param_settings', None)
        if logged is not None:
            logged['lr'] = max(group['lr'] for group in optim_wrapper.optimizer.param_groups)

    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = 'cpu',
        strict: bool = True,
        revise_keys: Any = None,
    ) -> Checkpoint:
        """Load weights; every key must fit.

        Args:
            filename (str): File or http(s) address.
            map_location (Any): Where tensors go. Defaults to 'cpu'.
            strict (bool): Only True is supported; the argument is mmengine's. Defaults to True.
            revise_keys (Any): Not supported; models rename their own keys. Defaults to None.

        Returns:
            dict: The whole checkpoint, log histories restored.

        Raises:
            RuntimeError: If the keys do not fit; lists them.
            ValueError: If the run resumes, and could not go on from the file as from its own, or
                if the weights were trained with other attention heads.
        """
        if not strict or revise_keys:
            raise ValueError('GroupViTRunner loads every key as it is; convert the file instead.')
        checkpoint = read_checkpoint(filename, map_location=map_location)
        if self._resume:
            check_resumable(self, checkpoint, source=str(filename), **self._wanted)
        self._restore(checkpoint)
        self._loaded_meta = checkpoint.get('meta', {})
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        state_dict = checkpoint['state_dict']
        if is_sharded(self.unwrapped_model):
            state_dict = shard_weights(self.unwrapped_model, state_dict)
        load_weights(self.unwrapped_model, state_dict, source=str(filename))
        check_checkpoint(self.unwrapped_model, checkpoint, source=str(filename))
        self._has_loaded = True
        self.logger.info(f'Loaded checkpoint {filename}')
        return checkpoint

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Undo :func:`to_plain` where mmengine needs its own types, in place."""
        scalars = checkpoint.get('message_hub', {}).get('log_scalars', {})
        for name, history in scalars.items():
            scalars[name] = history_from_plain(history)
        if not self._resume:
            return
        # mmengine compares pickles, which differ for equal objects; equal ones become identical.
        current = getattr(self.train_dataloader.dataset, 'metainfo', None)
        meta = checkpoint.setdefault('meta', {})
        if meta.get('train_metainfo', meta.get('dataset_meta')) == to_plain(current):
            meta['dataset_meta'] = current

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
        """Rank 0 writes ``out_dir/filename`` atomically; arguments as in mmengine's Runner.

        All ranks must call it: those of a sharded model bring their parts.

        Args:
            out_dir (str): A local folder.
            filename (str): Name of the file in it.
            file_client_args (dict, optional): Must be None: local files only.
            save_optimizer (bool): Whether to keep the optimiser's state. Defaults to True.
            save_param_scheduler (bool): Whether to keep the schedules' state. Defaults to True.
            meta (dict, optional): More entries for ``meta``. Defaults to None.
            by_epoch (bool): Whether a whole epoch has just ended. Defaults to True.
            backend_args (dict, optional): Must be None: local files only.
        """
        if file_client_args or backend_args:
            raise ValueError('GroupViTRunner writes local files; drop file_client/backend_args.')
        state_dict = full_state_dict(self.unwrapped_model)
        optimizer = full_tensors(self.optim_wrapper.state_dict()) if save_optimizer else None
        if not is_main_process():
            return
        checkpoint: Checkpoint = {
            'meta': checkpoint_meta(self, dict(meta or {}), by_epoch=by_epoch),
            'state_dict': weights_to_cpu(state_dict),
            'message_hub': to_plain(self.message_hub.state_dict()),
        }
        if save_optimizer:
            checkpoint['optimizer'] = to_plain(optimizer)
        if save_param_scheduler and self.param_schedulers is not None:
            states = [scheduler.state_dict() for scheduler in self.param_schedulers]
            checkpoint['param_schedulers'] = to_plain(states)
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        save_checkpoint(checkpoint, Path(out_dir) / filename)


def draws_nothing(hook: Any) -> bool:
    """Whether a hook's config is MMSegmentation's ``SegVisualizationHook`` without ``draw``."""
    kind = hook.get('type') if isinstance(hook, dict) else None
    return kind == 'SegVisualizationHook' and not hook.get('draw')
