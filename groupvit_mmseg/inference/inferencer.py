"""Segmentation of one image by class names; the demo and other front ends build on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from numpy.typing import NDArray
from torch import Tensor

from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.datasets.image_decoding import load_image
from groupvit_mmseg.inference.config import segmentation_config
from groupvit_mmseg.inference.loading import check_device, load_checkpoint
from groupvit_mmseg.models.original_size import resize_to_image
from groupvit_mmseg.models.segmentor import GroupViTSegmentor
from groupvit_mmseg.picture_size import TOO_THIN, check_picture_size, too_thin
from groupvit_mmseg.text.class_list import ClassList, ClassOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

SKIPPED_TRANSFORMS = ('LoadImageFromFile', 'LoadAnnotations', 'LoadLabelMap')


class InferenceResult(NamedTuple):
    """Segmentation of one image of ``H × W`` pixels.

    Attributes:
        label_map (NDArray): Class of every pixel, int64 ``(H, W)``.
        group_map (NDArray): Segment of every pixel, int64 ``(H, W)``; from one pass over the whole
            image, even if the labels come from sliding windows.
        scores (NDArray): Score of every class at every pixel, float32 ``(K, H, W)``.
        class_names (tuple[str, ...]): The ``K`` names; index 0 is the background, if there is one.
    """

    label_map: NDArray[np.int64]
    group_map: NDArray[np.int64]
    scores: NDArray[np.float32]
    class_names: tuple[str, ...]


class GroupViTInferencer:
    """Segments images by any class names.

    Args:
        config (str | Path | Config): Config of a segmentor, or of pretraining that evaluates one.
        checkpoint (str | Path, optional): Weights of a pretrainer or a segmentor; None for those of
            the config's ``init_cfg``, or random ones if it has none. Defaults to None.
        class_names (ClassList | str | Sequence[str], optional): Classes to segment; None for those
            of the config. Defaults to None.
        device (str): Device to compute on. Defaults to 'cpu'.
        **class_options: Other arguments of :meth:`set_classes`, such as ``bg_thresh``.

    Raises:
        ValueError: As :meth:`set_classes`, or if there is no such device.

    Example:
        >>> projector = dict(
        ...     type='GroupViTProjector', in_channels=12, hidden_channels=8, out_channels=8
        ... )
        >>> head = dict(
        ...     type='GroupViTZeroShotHead',
        ...     text_encoder=dict(type='GroupViTTextEncoder', embed_dims=12, num_heads=2),
        ...     image_projector=projector,
        ...     text_projector=projector,
        ... )
        >>> model = dict(
        ...     type='GroupViTSegmentor',
        ...     data_preprocessor=dict(type='SegDataPreProcessor'),
        ...     backbone=dict(type='GroupViT', embed_dims=12),
        ...     decode_head=dict(head, class_names=['cat']),
        ... )
        >>> pipeline = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
        >>> loader = dict(dataset=dict(pipeline=pipeline))
        >>> cfg = Config(dict(model=model, test_dataloader=loader))  # or a path, and a checkpoint
        >>> inferencer = GroupViTInferencer(cfg, class_names='cat, dog')
        >>> result = inferencer(np.zeros((48, 64, 3), np.uint8))
        >>> result.label_map.shape, result.scores.shape, result.class_names
        ((48, 64), (2, 48, 64), ('cat', 'dog'))
        >>> inferencer.set_classes('sky, sea', bg_thresh=0.9)
        >>> inferencer.class_names
        ('background', 'sky', 'sea')
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | None = None,
        *,
        class_names: ClassList | str | Sequence[str] | None = None,
        device: str = 'cpu',
        **class_options: Unpack[ClassOptions],
    ) -> None:
        check_device(device)
        cfg = config if isinstance(config, Config) else read_config(config)
        cfg = segmentation_config(cfg)
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        self.segmentor: GroupViTSegmentor = MODELS.build(cfg.model)
        if checkpoint is not None:
            load_checkpoint(self.segmentor, checkpoint)
        elif any(getattr(module, 'init_cfg', None) for module in self.segmentor.modules()):
            self.segmentor.init_weights()
        self.segmentor.to(device).eval()
        # A result has scores and a group map; all other options are those of the config.
        is_whole = self.segmentor.test_cfg.get('mode', 'whole') == 'whole'
        outputs = dict(with_scores=True, with_group_map=is_whole)
        self.segmentor.test_cfg = {**self.segmentor.test_cfg, **outputs}
        self._pipeline = _array_pipeline(cfg.test_dataloader.dataset.pipeline)
        self.set_classes(class_names, **class_options)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; index 0 is the background, if there is one."""
        return self.segmentor.decode_head.class_names

    def set_classes(
        self,
        class_names: ClassList | str | Sequence[str] | None = None,
        **class_options: Unpack[ClassOptions],
    ) -> None:
        """Set the classes to segment from now on.

        Args:
            class_names (ClassList | str | Sequence[str], optional): A whole list; or the names,
                without a background: a known set, a text with commas, or a list. None keeps the
                present ones. Defaults to None.
            **class_options: Fields of a :class:`ClassList` to change; None and fields left out keep
                the present ones. ``bg_thresh`` or ``background_words`` add a background as class 0
                if there is none.

        Raises:
            ValueError: If the names or an option cannot be used; the classes stay as they are.
        """
        head = self.segmentor.decode_head
        stated = {name: value for name, value in class_options.items() if value is not None}
        changes = cast(ClassOptions, stated)
        if isinstance(class_names, ClassList):
            head.set_classes(class_names, **changes)
        elif class_names is not None or changes:
            head.set_classes(head.classes.looking_for(class_names, **changes))

    @torch.no_grad()
    def __call__(self, image: str | Path | NDArray[np.uint8]) -> InferenceResult:
        """Segment one image.

        Args:
            image (str | Path | NDArray): A file, or RGB ``(H, W, 3)`` uint8.

        Returns:
            InferenceResult: Maps and scores at the size of the image.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the image cannot be read, or is smaller than a patch as it is or as the
                pipeline resizes it.
        """
        batch = pseudo_collate([self._prepare(image)])
        batch = self.segmentor.data_preprocessor(batch, False)
        inputs = torch.stack(list(batch['inputs']))
        (sample,) = self.segmentor.predict(inputs, batch['data_samples'])
        if 'pred_group_map' in sample:
            group_map = sample.get('pred_group_map').get('data')  # (1, H, W)
        else:
            group_map = self._whole_group_map(inputs, sample)  # (1, H, W)
        return InferenceResult(
            label_map=sample.pred_sem_seg.get('data')[0].cpu().numpy(),
            group_map=group_map[0].cpu().numpy(),
            scores=sample.seg_logits.get('data').float().cpu().numpy(),
            class_names=self.class_names,
        )

    def _prepare(self, image: str | Path | NDArray[np.uint8]) -> dict:
        """Run the pipeline on an image; errors name it."""
        name = 'The image' if isinstance(image, np.ndarray) else str(image)
        results, backbone = _as_results(image), self.segmentor.backbone
        check_picture_size(results['img'].shape[:2], backbone, name=name)
        data: dict
        try:
            data = self._pipeline(results)  # type: ignore[assignment]  # no transform drops images
        except cv2.error as error:
            reason = TOO_THIN if too_thin(error) else str(error).strip()
            raise ValueError(f'{name} cannot be used: {reason}.') from error
        check_picture_size(data['inputs'].shape[-2:], backbone, name=f'{name}, resized,')
        return data

    def _whole_group_map(self, inputs: Tensor, sample: SegDataSample) -> Tensor:
        """Return the segments ``(1, H, W)`` of one pass over the whole image."""
        output = self.segmentor.extract_feat(inputs)
        return resize_to_image(output.group_map()[0], sample)


def _array_pipeline(pipeline: Sequence[dict]) -> Compose:
    """Build the test pipeline for an array instead of files."""
    transforms = [step for step in pipeline if step['type'] not in SKIPPED_TRANSFORMS]
    return Compose([dict(type='mmseg.LoadImageFromNDArray'), *transforms])


def _as_results(image: str | Path | NDArray[np.uint8]) -> dict:
    """Return an image as the input of OpenMMLab's pipelines: BGR."""
    array = image if isinstance(image, np.ndarray) else load_image(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(
            f'The image must be RGB (H, W, 3) uint8, got {array.shape} {array.dtype}: convert it.'
        )
    return dict(img=np.ascontiguousarray(array[..., ::-1]))
