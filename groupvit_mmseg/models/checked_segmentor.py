"""What every segmentor of this package has: checked options, inputs of any size, refinement."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from mmengine.config import ConfigDict
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from groupvit_mmseg.dataset_meta import dataset_meta_of
from groupvit_mmseg.datasets.segmentation_checks import check_masks
from groupvit_mmseg.models.inference_options import InferenceOptions, read_options
from groupvit_mmseg.models.original_size import pixels_of
from groupvit_mmseg.models.refinement import affinities, dense_crf, load_library, refine
from groupvit_mmseg.out_of_memory import FittingSizes


class CheckedSegmentor(BaseSegmentor):
    """Base of segmentors whose ``test_cfg`` has the fields of :class:`InferenceOptions`.

    A class that derives from it has ``class_names``.
    """

    data_preprocessor: nn.Module
    _known_meta: Mapping[str, object] | None = None

    @property
    def test_cfg(self) -> ConfigDict:
        """Options of the segmentation; they are checked when set and when used."""
        return self._test_cfg

    @test_cfg.setter
    def test_cfg(self, test_cfg: Mapping[str, object] | None) -> None:
        self._test_cfg = ConfigDict(test_cfg or {})
        if self.options.crf_steps:
            load_library()

    @property
    def options(self) -> InferenceOptions:
        """``test_cfg`` with its defaults filled in.

        Raises:
            ValueError: If there is no such option, or a value is out of its range.
        """
        return read_options(self._test_cfg)

    @abstractmethod
    def predict(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: Sequence[SegDataSample] | None = None,
    ) -> list[SegDataSample]:
        """Segment images ``(B, 3, H, W)``, or ``B`` images of any sizes, normalised."""

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes, the background included."""
        raise NotImplementedError

    @property
    def num_classes(self) -> int:
        """Classes, the background included."""
        return len(self.class_names)

    @property
    def dataset_meta(self) -> dict[str, list]:
        """Names and colours of the current classes, for OpenMMLab's tools."""
        return dataset_meta_of(self.class_names, self._known_meta)

    @dataset_meta.setter
    def dataset_meta(self, meta: Mapping[str, object] | None) -> None:
        """Take a palette if it is of the same classes; OpenMMLab's tools may guess others."""
        self._known_meta = meta

    def test_step(self, data: dict | tuple | list) -> list[SegDataSample]:
        """Segment a batch as ``BaseModel`` does, after checking its masks; image sizes may differ.

        Raises:
            ValueError: If a mask has colours, or labels without a class.
        """
        inputs = data['inputs'] if isinstance(data, dict) else data[0]
        samples = data['data_samples'] if isinstance(data, dict) else data[1]
        check_masks(samples, self.num_classes)
        if isinstance(inputs, Tensor) or len({image.shape for image in inputs}) == 1:
            return super().test_step(data)
        batches = [  # of one image each
            self.data_preprocessor(dict(inputs=[image], data_samples=[sample]), False)
            for image, sample in zip(inputs, samples, strict=True)
        ]
        return self.predict(
            [one['inputs'][0] for one in batches], [one['data_samples'][0] for one in batches]
        )

    val_step = test_step

    @cached_property
    def fitting(self) -> FittingSizes:
        """Windows that fitted into the memory at a time after more did not."""
        return {}

    def too_large(self, images: Tensor | Sequence[Tensor]) -> str:
        """Return the sentence for images that the memory is too small for, even one by one."""
        height, width = max((image.shape[-2:] for image in images), key=lambda size: size.numel())
        return (
            f'Out of memory on {images[0].device}: an image of {height} x {width} pixels and '
            f'{self.num_classes} classes is too much, even with one window at a time: let the test '
            'pipeline resize to a smaller side, name fewer classes, or use another device.'
        )

    def refiner(
        self, image: Tensor, options: InferenceOptions | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Return a function that refines scores ``(C, H, W)`` by an image ``(3, H, W)``.

        Args:
            image (Tensor): Normalised.
            options (InferenceOptions, optional): None for those of ``test_cfg``. Defaults to None.
        """
        options = options or self.options
        pamr_steps, crf_steps = options.pamr_steps, options.crf_steps
        weights = affinities(image) if pamr_steps else None

        def refined(scores: Tensor) -> Tensor:
            if weights is not None:
                scores = refine(scores, weights, pamr_steps)
            if crf_steps:
                pixels = pixels_of(image, self.data_preprocessor)
                scores = dense_crf(scores, pixels, num_steps=crf_steps)
            return scores

        return refined
