"""Zero-shot segmentation as the validation of pretraining."""

from typing import Any

import torch
from mmengine.dist import broadcast, is_distributed
from mmengine.runner import ValLoop
from mmseg.registry import LOOPS, MODELS

from groupvit_mmseg.checkpoints.loading import load_weights
from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model
from groupvit_mmseg.engine.sharding import full_state_dict


@LOOPS.register_module()
class ZeroShotValLoop(ValLoop):
    """Evaluates the pretrainer's current weights in a segmentor.

    The segmentor is built once. Every evaluation copies the pretrainer's weights into it after
    hooks such as EMAHook have put theirs in place, so what is measured is what is saved.

    Args:
        runner (Runner): The runner of the pretraining.
        dataloader (DataLoader | dict): Images and masks.
        evaluator (Evaluator | dict | list): Metrics, such as MMSeg's ``IoUMetric``.
        segmentor (dict): Config of a :class:`GroupViTSegmentor` with the pretrainer's towers.
    """

    def __init__(self, runner: Any, dataloader: Any, evaluator: Any, *, segmentor: dict) -> None:
        super().__init__(runner, dataloader, evaluator)
        device = next(runner.model.parameters()).device
        self.segmentor: Any = MODELS.build(segmentor).to(device).eval()

    def run(self) -> dict[str, float]:
        """Evaluate.

        Returns:
            dict: Metric names to values.
        """
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
        """Give the segmentor rank 0's weights and buffers, those that a checkpoint holds."""
        pretrainer = unwrap_model(self.runner.model)  # also of mmengine's own Runner
        if is_distributed():
            for buffer in pretrainer.buffers():  # BN statistics differ per rank without SyncBN
                broadcast(buffer)
        load_weights(self.segmentor, full_state_dict(pretrainer), source='The pretrainer')
        self.segmentor.decode_head.encode_classes()

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Segment one batch of images and hand it to the metrics."""
        self.runner.call_hook('before_val_iter', batch_idx=idx, data_batch=data_batch)
        outputs = self.segmentor.val_step(data_batch)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook(
            'after_val_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs
        )
