"""ZeroShotValLoop: validation of a pretraining by zero-shot segmentation."""

from collections.abc import Sequence

import torch
from mmengine.dist import broadcast, is_distributed
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner, ValLoop
from mmseg.registry import LOOPS, MODELS
from torch.utils.data import DataLoader

from groupvit_mmseg.checkpoints.loading import load_weights
from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model
from groupvit_mmseg.engine.sharding import full_state_dict
from groupvit_mmseg.models import GroupViTSegmentor


@LOOPS.register_module()
class ZeroShotValLoop(ValLoop):
    """Evaluates the pretrainer's current weights in a segmentor.

    The segmentor is built once. Every evaluation copies the pretrainer's weights into it after
    hooks such as EMAHook have replaced them, so the evaluated weights are those of checkpoints.

    Args:
        runner (Runner): The runner of the pretraining.
        dataloader (DataLoader | dict): Images and masks.
        evaluator (Evaluator | dict | list): Metrics, such as MMSeg's ``IoUMetric``.
        segmentor (dict): Config of a :class:`GroupViTSegmentor` with the pretrainer's towers.

    Example:
        >>> segmentor = dict(type='GroupViTSegmentor', backbone=..., decode_head=...)
        >>> val_cfg = dict(type='ZeroShotValLoop', segmentor=segmentor)
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        *,
        segmentor: dict,
    ) -> None:
        super().__init__(runner, dataloader, evaluator)
        device = next(runner.model.parameters()).device
        self.segmentor: GroupViTSegmentor = MODELS.build(segmentor).to(device).eval()

    def run(self) -> dict[str, float]:
        """Evaluate; return the values of the metrics by name."""
        self.runner.call_hook('before_val')
        self.runner.call_hook('before_val_epoch')
        self.runner.model.eval()
        self.copy_weights()
        for index, data_batch in enumerate(self.dataloader):
            self.run_iter(index, data_batch)
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        self.runner.call_hook('after_val_epoch', metrics=metrics)
        self.runner.call_hook('after_val')
        return metrics

    def copy_weights(self) -> None:
        """Copy rank 0's weights and buffers, which checkpoints hold, to the segmentor."""
        pretrainer = unwrap_model(self.runner.model)
        if is_distributed():
            for buffer in pretrainer.buffers():  # BN statistics differ per rank without SyncBN
                broadcast(buffer)
        load_weights(self.segmentor, full_state_dict(pretrainer), source='The pretrainer')
        self.segmentor.decode_head.encode_classes()

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Segment a batch of images and pass the result to the metrics."""
        self.runner.call_hook('before_val_iter', batch_idx=idx, data_batch=data_batch)
        outputs = self.segmentor.val_step(data_batch)  # type: ignore[arg-type]  # loaders give dicts
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook(
            'after_val_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs
        )
