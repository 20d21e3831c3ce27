"""Segmentation of one image by class names; the demo and other front ends build on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from groupvit_mmseg.checkpoints.loading import load_weights
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.conversion.model_configs import PAPER, zero_shot_voc_config
from groupvit_mmseg.conversion.open_model import open_model
from groupvit_mmseg.inference.config import segmentation_config
from groupvit_mmseg.inference.encoded_image import make_result
from groupvit_mmseg.inference.image_encoder import ImageEncoder
from groupvit_mmseg.inference.loading import check_device, load_checkpoint
from groupvit_mmseg.inference.preparation import PreparedImage, RGBImage, array_pipeline
from groupvit_mmseg.models.original_size import resize_to_image
from groupvit_mmseg.models.segmentor import GroupViTSegmentor
from groupvit_mmseg.results import InferenceResult
from groupvit_mmseg.text.class_changes import change_classes
from groupvit_mmseg.text.class_list import ClassList, ClassOptions

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class GroupViTInferencer(ImageEncoder):
    """Segments images by any class names.

    Args:
        config (str | Path | Config): Config of a segmentor, or of pretraining that evaluates one.
        checkpoint (str | Path | Mapping[str, Tensor], optional): Weights of a pretrainer or a
            segmentor, as :func:`.read_checkpoint` takes them, or a state dict; None for those of
            the config's ``init_cfg``, or random ones if it has none. Defaults to None.
        class_names (ClassList | str | Sequence[str], optional): Classes to segment; None for those
            of the config. Defaults to None.
        device (str): Device to compute on. Defaults to 'cpu'.
        **class_options: Other arguments of :meth:`set_classes`, such as ``bg_thresh``.

    Attributes:
        segmentor (GroupViTSegmentor): In evaluation mode.

    Raises:
        ValueError: As :meth:`set_classes`, or if there is no such device.

    Example:
        >>> import numpy as np
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
        checkpoint: str | Path | Mapping[str, Tensor] | None = None,
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
        if isinstance(checkpoint, Mapping):
            load_weights(self.segmentor, checkpoint, source='The state dict')
        elif checkpoint is not None:
            load_checkpoint(self.segmentor, checkpoint)
        elif any(getattr(module, 'init_cfg', None) for module in self.segmentor.modules()):
            self.segmentor.init_weights()
        self.segmentor.to(device).eval()
        self.set_options()
        self._pipeline_config = cfg.test_dataloader.dataset.pipeline
        self._pipeline = array_pipeline(self._pipeline_config)
        self.set_classes(class_names, **class_options)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        class_names: ClassList | str | Sequence[str] | None = None,
        config: str | Path | Config | None = None,
        device: str = 'cpu',
        **class_options: Unpack[ClassOptions],
    ) -> Self:
        """Open weights by name, file, folder or address, without a config of their model.

        Nothing that the file contains is executed.

        Args:
            source (str | Path): The name of released weights such as ``'groupvit-gcc-yfcc'``, a
                file of the plugin's or the official format, a file or folder of Hugging Face's,
                ``hf://OWNER/NAME``, or an http(s) address.
            class_names (ClassList | str | Sequence[str], optional): Classes to segment. They have
                a background only if an option adds one, or there is one class alone; see
                :meth:`set_classes`. None for Pascal VOC's with the official background threshold
                (0.5 for another affinity than the paper's), or for those of ``config``. Defaults to
                None.
            config (str | Path | Config, optional): Config of the model, with which all arguments
                mean what they mean in the constructor. None derives it from the weights, and from
                the config that the plugin's own contain. Defaults to None.
            device (str): Device to compute on. Defaults to 'cpu'.
            **class_options: Other arguments of :meth:`set_classes`, such as ``bg_thresh``.

        Raises:
            FileNotFoundError: If there is no such file or name, or it cannot be downloaded.
            UnpicklingError: If the file is damaged, or not one of weights.
            ValueError: If it has no whole GroupViT, or as the constructor.
        """
        check_device(device)
        if config is not None:
            return cls(config, source, class_names=class_names, device=device, **class_options)
        model = open_model(source)
        inferencer = cls(model.config, model.tensors, device=device)
        inferencer._set_other_classes(class_names, **class_options)
        return inferencer

    @classmethod
    def untrained(
        cls,
        *,
        class_names: ClassList | str | Sequence[str] | None = None,
        device: str = 'cpu',
        **class_options: Unpack[ClassOptions],
    ) -> Self:
        """Make the paper's model with random weights, to try an installation or measure speed.

        Args:
            class_names (ClassList | str | Sequence[str], optional): As in :meth:`from_pretrained`.
            device (str): Device to compute on. Defaults to 'cpu'.
            **class_options: Other arguments of :meth:`set_classes`, such as ``bg_thresh``.
        """
        inferencer = cls(zero_shot_voc_config(PAPER), device=device)
        inferencer._set_other_classes(class_names, **class_options)
        return inferencer

    def _set_other_classes(
        self,
        class_names: ClassList | str | Sequence[str] | None,
        **class_options: Unpack[ClassOptions],
    ) -> None:
        """Set classes other than those of the config: its threshold belongs to its own."""
        if class_names is not None:
            self.set_classes(with_background=False)
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

        One class alone, without a background, would be the label of every pixel. It gets a
        background, class 0, of everything that is nearer to one of the 80 COCO objects
        (``background_words``) whose names share no word with the class or its aliases. Words of
        the same meaning among them have to be aliases: ``aliases={'man': ['person']}``.

        Args:
            class_names (ClassList | str | Sequence[str], optional): A whole list, which is not
                changed; or the names, without a background: a known set, a text with commas, or a
                list. None keeps the present ones. Defaults to None.
            **class_options: Fields of a :class:`ClassList` to change; None and fields left out keep
                the present ones. ``bg_thresh``, ``background_words``, ``class_thresholds`` and
                ``negative_words`` add a background as class 0 if there is none. Negative words are
                added to the background words, those of one class alone included.

        Raises:
            ValueError: If the names or an option cannot be used; the classes stay as they are.
        """
        head = self.segmentor.decode_head
        stated = {name: value for name, value in class_options.items() if value is not None}
        changes = cast(ClassOptions, stated)
        if isinstance(class_names, ClassList):
            head.set_classes(class_names, **changes)
        elif class_names is not None or changes:
            head.set_classes(change_classes(head.classes, class_names, changes))

    def __call__(self, image: str | Path | RGBImage) -> InferenceResult:
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
        (result,) = self.batch([image])
        return result

    @torch.no_grad()
    def batch(
        self, images: Sequence[str | Path | RGBImage | PreparedImage]
    ) -> list[InferenceResult]:
        """Segment several images of any sizes, which share batches of windows.

        Args:
            images (Sequence[str | Path | NDArray | PreparedImage]): Files, RGB ``(H, W, 3)``
                uint8, or images from :meth:`~.ImageEncoder.prepare`.

        Returns:
            list[InferenceResult]: One per image, up to rounding as that of the image alone.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If an image cannot be used; none is segmented then.
        """
        prepared = [
            image if isinstance(image, PreparedImage) else self.prepare(image) for image in images
        ]
        pairs = [self._inputs(each) for each in prepared]
        inputs, samples = [one for one, _ in pairs], [sample for _, sample in pairs]
        results = self.segmentor.predict(inputs, samples)
        arrays = [each.image for each in prepared]
        return [self._result(*each) for each in zip(arrays, inputs, results, strict=True)]

    def _result(self, image: RGBImage, inputs: Tensor, sample: SegDataSample) -> InferenceResult:
        """Collect the maps of an image from the segmentor's sample."""
        if 'pred_group_map' in sample:
            group_map = sample.get('pred_group_map').get('data')  # (1, H, W)
        else:  # the segments of one pass over the whole image
            output = self.segmentor.extract_feat(inputs[None])
            group_map = resize_to_image(output.group_map()[0], sample)  # (1, H, W)
        return make_result(
            image,
            self.segmentor.decode_head.classes,
            scores=sample.seg_logits.get('data'),
            group_map=group_map[0].cpu().numpy(),
            labels=sample.pred_sem_seg.get('data')[0],
        )
