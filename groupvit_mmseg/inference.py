"""One picture and some words to masks; the demo and every other front end call this."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from numpy.typing import NDArray
from torch import Tensor

from groupvit_mmseg.checkpoints.loading import load_weights, read_checkpoint
from groupvit_mmseg.checkpoints.module_settings import check_checkpoint
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.datasets.image_decoding import load_image
from groupvit_mmseg.models.original_size import resize_to_image
from groupvit_mmseg.openmmlab_entries import add_openmmlab_entries
from groupvit_mmseg.picture_size import TOO_THIN, check_picture_size, too_thin
from groupvit_mmseg.text.class_list import ClassList

PRETRAINING_PARTS = (
    'train_cfg',
    'train_dataloader',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'model_wrapper_cfg',
    'val_cfg',
    'val_dataloader',
    'val_evaluator',
)
SKIPPED_TRANSFORMS = ('LoadImageFromFile', 'LoadAnnotations', 'LoadLabelMap')


__all__ = [
    'GroupViTInferencer',
    'InferenceResult',
    'load_image',
    'load_segmentor',
    'segmentation_config',
]


class InferenceResult(NamedTuple):
    """What the model sees in one image of ``H × W`` pixels.

    Attributes:
        label_map (NDArray): Class of every pixel, int64 ``(H, W)``.
        group_map (NDArray): Segment of every pixel, int64 ``(H, W)``; of one pass over the whole
            image, also where the labels come from sliding windows.
        scores (NDArray): Score of every class at every pixel, float32 ``(K, H, W)``.
        class_names (tuple[str, ...]): The ``K`` names; index 0 is the background, if there is one.
    """

    label_map: NDArray[np.int64]
    group_map: NDArray[np.int64]
    scores: NDArray[np.float32]
    class_names: tuple[str, ...]


def segmentation_config(cfg: Config) -> Config:
    """The evaluation that a config describes, as an ordinary segmentation config.

    Args:
        cfg (Config): Of a segmentor, or of pretraining whose ``val_cfg`` holds a segmentor.

    Returns:
        Config: A copy whose ``model`` is the segmentor, whose test loop is MMSeg's, and which has
        what MMSeg's tools and ``mmseg.apis`` read.

    Raises:
        ValueError: If the config has no segmentor.
    """
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    if not isinstance(cfg.get('model'), dict):
        raise ValueError(f'{cfg.filename} has no model: name the config of a model.')
    segmentor = (cfg.get('val_cfg') or {}).get('segmentor')
    if 'decode_head' in cfg.model and segmentor is not None:
        raise ValueError(
            f'{cfg.filename} has a decode_head in model and a segmentor in val_cfg: change '
            'val_cfg.segmentor.decode_head, the one that is evaluated.'
        )
    if 'decode_head' in cfg.model:
        add_openmmlab_entries(cfg)
        return cfg
    if segmentor is None:
        raise ValueError(
            f'{cfg.filename} describes no segmentation: name a segmentor in val_cfg, or use one of '
            'the zero-shot configs.'
        )
    cfg.model = segmentor
    # What was said of the test loader, on the command line say, is said of the validation's.
    cfg.merge_from_dict(dict(val_dataloader=cfg.get('test_dataloader') or {}))
    cfg.test_dataloader = cfg.val_dataloader
    cfg.test_evaluator = cfg.get('test_evaluator') or cfg.val_evaluator
    cfg.test_cfg = dict(type='TestLoop')
    # Checkpoints already hold the averaged weights as `state_dict`.
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks', []) if hook['type'] != 'EMAHook']
    for part in PRETRAINING_PARTS:
        cfg.pop(part, None)
    add_openmmlab_entries(cfg)
    return cfg


def load_segmentor(
    config: str | Path | Config, checkpoint: str | Path, *, device: str = 'cpu', **test_cfg: Any
) -> Any:
    """Build a segmentor and load weights; its classes are set later.

    Args:
        config (str | Path | Config): Of a segmentor, or of pretraining that evaluates one.
        checkpoint (str | Path): Weights of a pretrainer or a segmentor.
        device (str): Where to compute. Defaults to 'cpu'.
        **test_cfg: How it segments; whole images unless told otherwise, else as the config says.

    Returns:
        Any: A ``GroupViTSegmentor`` in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
        ValueError: If there is no such device or option of ``test_cfg``, or a value is out of its
            range.
    """
    check_device(device)
    if not isinstance(config, Config):
        if not Path(config).is_file():
            raise FileNotFoundError(f'There is no config at {config}.')
        config = read_config(config)
    init_default_scope('mmseg')
    model = segmentation_config(config).model
    for option in set(ClassList._fields) - {'templates', 'alias_pooling'}:  # of no class
        model.decode_head.pop(option, None)
    model.decode_head.class_names = ['thing']
    model.test_cfg = {**(model.get('test_cfg') or {}), 'mode': 'whole', **test_cfg}
    segmentor = MODELS.build(model)
    _load_checkpoint(segmentor, checkpoint)
    return segmentor.to(device).eval()


def check_device(device: str) -> str:
    """The device, if PyTorch has it here.

    Raises:
        ValueError: If it does not.
    """
    try:
        torch.empty(0, device=device)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip('.')
        raise ValueError(f'PyTorch cannot use the device {device!r} here: {reason}.') from error
    return device


def _load_checkpoint(segmentor: Any, checkpoint: str | Path) -> None:
    """Load weights of which every key fits, into towers of the heads they were trained with."""
    content = read_checkpoint(checkpoint)
    load_weights(segmentor, content['state_dict'], source=str(checkpoint))
    check_checkpoint(segmentor, content, source=str(checkpoint))


class GroupViTInferencer:
    """Segments any picture by any words.

    Args:
        config (str | Path | Config): Of a segmentor, or of pretraining that evaluates one.
        checkpoint (str | Path, optional): Weights of a pretrainer or a segmentor; None takes those
            of the config's ``init_cfg``, or leaves the random ones. Defaults to None.
        class_names (ClassList | str | Sequence[str], optional): What to look for; None keeps the
            config's classes. Defaults to None.
        device (str): Where to compute. Defaults to 'cpu'.
        **class_options: What else :meth:`set_classes` takes, ``bg_thresh`` say.

    Raises:
        ValueError: As :meth:`set_classes`, or if there is no such device.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | None = None,
        *,
        class_names: ClassList | str | Sequence[str] | None = None,
        device: str = 'cpu',
        **class_options: Any,
    ) -> None:
        check_device(device)
        cfg = config if isinstance(config, Config) else read_config(config)
        cfg = segmentation_config(cfg)
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        self.segmentor: Any = MODELS.build(cfg.model)
        if checkpoint is not None:
            _load_checkpoint(self.segmentor, checkpoint)
        elif any(getattr(module, 'init_cfg', None) for module in self.segmentor.modules()):
            self.segmentor.init_weights()
        self.segmentor.to(device).eval()
        # What a result holds; everything else is as the config says.
        whole = self.segmentor.test_cfg.get('mode', 'whole') == 'whole'
        holds = dict(with_scores=True, with_group_map=whole)
        self.segmentor.test_cfg = {**self.segmentor.test_cfg, **holds}
        self._pipeline = _array_pipeline(cfg.test_dataloader.dataset.pipeline)
        self.set_classes(class_names, **class_options)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes looked for; index 0 is the background, if there is one."""
        return self.segmentor.decode_head.class_names

    def set_classes(
        self, class_names: ClassList | str | Sequence[str] | None = None, **class_options: Any
    ) -> None:
        """Look for other things from now on; what is not given stays as it is.

        Args:
            class_names (ClassList | str | Sequence[str], optional): A whole list; or the names,
                without a background: a known set, a text with commas, or a list. None keeps them.
                Defaults to None.
            **class_options: Fields of a :class:`ClassList` to change; None keeps one. Where there
                is no background yet, ``bg_thresh`` or ``background_words`` add one as class 0.

        Raises:
            ValueError: If the names or an option cannot be used; the present ones stay.
        """
        head = self.segmentor.decode_head
        changes = {name: value for name, value in class_options.items() if value is not None}
        if isinstance(class_names, ClassList):
            head.set_classes(class_names, **changes)
        elif class_names is not None or changes:
            head.set_classes(head.classes.looking_for(class_names, **changes))

    @torch.no_grad()
    def __call__(self, image: str | Path | NDArray[np.uint8]) -> InferenceResult:
        """Segment one picture.

        Args:
            image (str | Path | NDArray): A file, or RGB ``(H, W, 3)`` uint8.

        Returns:
            InferenceResult: Maps and scores at the size of the picture.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the picture cannot be read, or is smaller than a patch as it is or as
                the pipeline resizes it.
        """
        batch = pseudo_collate([self._prepare(image)])
        batch = self.segmentor.data_preprocessor(batch, False)
        inputs = torch.stack(list(batch['inputs']))
        (sample,) = self.segmentor.predict(inputs, batch['data_samples'])
        if 'pred_group_map' in sample:
            group_map = sample.pred_group_map.data
        else:
            group_map = self._whole_group_map(inputs, sample)
        return InferenceResult(
            sample.pred_sem_seg.data[0].cpu().numpy(),
            group_map[0].cpu().numpy(),
            sample.seg_logits.data.float().cpu().numpy(),
            self.class_names,
        )

    def _prepare(self, image: str | Path | NDArray[np.uint8]) -> dict:
        """The picture as the pipeline makes it ready; errors name it."""
        name = 'The picture' if isinstance(image, np.ndarray) else str(image)
        results, backbone = _as_results(image), self.segmentor.backbone
        check_picture_size(results['img'].shape[:2], backbone, name=name)
        try:
            data = self._pipeline(results)
        except cv2.error as error:
            reason = TOO_THIN if too_thin(error) else str(error).strip()
            raise ValueError(f'{name} cannot be used: {reason}.') from error
        check_picture_size(data['inputs'].shape[-2:], backbone, name=f'{name}, resized,')
        return data

    def _whole_group_map(self, inputs: Tensor, sample: Any) -> Tensor:
        """Segments ``(1, H, W)`` of one pass over the whole image."""
        output = self.segmentor.extract_feat(inputs)
        return resize_to_image(output.group_map()[0], sample)


def _array_pipeline(pipeline: Sequence[dict]) -> Compose:
    """The test pipeline, fed with an array instead of files."""
    kept = [step for step in pipeline if step['type'] not in SKIPPED_TRANSFORMS]
    return Compose([dict(type='mmseg.LoadImageFromNDArray'), *kept])


def _as_results(image: str | Path | NDArray[np.uint8]) -> dict:
    """The picture as OpenMMLab's pipelines begin with it: BGR."""
    array = image if isinstance(image, np.ndarray) else load_image(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(
            f'The image must be RGB (H, W, 3) uint8, got {array.shape} {array.dtype}: convert it.'
        )
    return dict(img=np.ascontiguousarray(array[..., ::-1]))
