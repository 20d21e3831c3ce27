"""Hook that ends the workers of data loaders with the run."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmseg.registry import HOOKS
from torch.utils.data import DataLoader


@HOOKS.register_module()
class LoaderWorkersHook(Hook):
    """Ends the persistent workers of the loaders after a run.

    PyTorch reports workers that end only with the process as killed: ``RuntimeError: DataLoader
    worker exited unexpectedly`` after a training that went well. :class:`GroupViTRunner` always has
    this hook.

    Example:
        >>> custom_hooks = [dict(type='LoaderWorkersHook')]  # for mmengine's own Runner
    """

    priority = 'LOWEST'

    def after_run(self, runner: Runner) -> None:
        """End the workers of all loops; an epoch that follows starts new ones."""
        for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
            if isinstance(loop, BaseLoop):
                stop_workers(loop.dataloader)


def stop_workers(loader: DataLoader) -> None:
    """End the persistent workers of a loader, if it has any now; its next epoch starts new ones."""
    iterator = getattr(loader, '_iterator', None)
    if iterator is not None:
        iterator._shutdown_workers()
        loader._iterator = None
