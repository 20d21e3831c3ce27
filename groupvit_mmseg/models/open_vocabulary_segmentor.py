"""Segmentor around a model of other origin, under the same procedure as GroupViT.

Shapes: ``B`` images, ``W`` words, ``K`` classes, ``H, W`` pixels, ``h, w`` pixels of a window.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from groupvit_mmseg.models.backbone_precision import warn_of_emulation
from groupvit_mmseg.models.checked_segmentor import CheckedSegmentor
from groupvit_mmseg.models.class_scores import pool_words
from groupvit_mmseg.models.encoded_windows import run_windows
from groupvit_mmseg.models.open_vocabulary_model import ACTIVATIONS, OpenVocabularyModel
from groupvit_mmseg.models.original_size import resize_scores_to_image
from groupvit_mmseg.models.windows import CHUNK_BYTES, best_channels, confidence_of, crop_windows
from groupvit_mmseg.out_of_memory import memory_sentence
from groupvit_mmseg.text.class_list import ClassList, make_class_list

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from groupvit_mmseg.text.class_list import ClassOptions


@MODELS.register_module()
class OpenVocabularySegmentor(CheckedSegmentor):
    """Segments with any :class:`.OpenVocabularyModel`.

    Logits of a window are resized to it and averaged over the windows of an image, as
    MMSegmentation does; the softmax over all words (or the sigmoid) makes them scores, which are
    pooled over the words of a class, refined and resized to the image. A pixel whose best score is
    below the threshold is background.

    Args:
        model (dict): Config of the model.
        data_preprocessor (dict, optional): Config with the model's mean and standard deviation, as
            everywhere in MMSegmentation. Defaults to None.
        test_cfg (dict, optional): Fields of :class:`.InferenceOptions`. Defaults to None.
        init_cfg (dict, optional): Initialisation config of mmengine. Defaults to None.

    Raises:
        TypeError: If the model is no :class:`.OpenVocabularyModel`.
        ValueError: If ``test_cfg`` has an option that does not exist, a value out of its range, or
            asks for groups, or the model has another activation.

    Example:
        >>> from groupvit_mmseg.models.open_vocabulary_model import OpenVocabularyModel
        >>> class Constant(OpenVocabularyModel):
        ...     def embed_prompts(self, prompts):
        ...         return torch.arange(float(len(prompts)))
        ...     def forward(self, images, prompt_embeds):
        ...         return prompt_embeds[None, :, None, None].expand(len(images), -1, 2, 2)
        >>> segmentor = OpenVocabularySegmentor(Constant())
        >>> segmentor.set_classes(['cat', 'dog'])
        >>> segmentor.predict(torch.zeros(1, 3, 4, 5))[0].pred_sem_seg.data.unique()
        tensor([1])
    """

    def __init__(
        self,
        model: dict | OpenVocabularyModel,
        *,
        data_preprocessor: dict | None = None,
        test_cfg: Mapping[str, object] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.model = MODELS.build(model) if isinstance(model, dict) else model
        if not isinstance(self.model, OpenVocabularyModel):
            raise TypeError(
                f'{type(self.model).__name__} is no OpenVocabularyModel: derive the adapter from '
                'it.'
            )
        if self.model.activation not in ACTIVATIONS:
            raise ValueError(
                f'{type(self.model).__name__}.activation is {self.model.activation!r}, none of '
                f'{", ".join(ACTIVATIONS)}.'
            )
        self.test_cfg = test_cfg
        self._check_precision()
        if self.options.with_group_map:
            raise ValueError(
                'with_group_map=True needs a GroupViTSegmentor: other models have no groups.'
            )
        self.logit_scale: float | None = None
        self.set_classes(['thing'])

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes, the background included."""
        return self.classes.class_names

    def set_classes(
        self,
        class_names: ClassList | str | Sequence[str],
        **class_options: Unpack[ClassOptions],
    ) -> None:
        """Set the classes to segment, as :meth:`.GroupViTZeroShotHead.set_classes`."""
        self.classes = make_class_list(class_names, **class_options)
        self.prompt_embeds: Tensor | None = None

    @torch.no_grad()
    def encode_classes(self) -> Tensor:
        """Encode and keep the prompts of the present classes.

        Raises:
            ValueError: If the model returns another number of rows.
        """
        embeds = self.model.embed_prompts(self.classes.prompts)
        if len(embeds) != len(self.classes.prompts):
            raise ValueError(
                f'{type(self.model).__name__}.embed_prompts returned {len(embeds)} rows for '
                f'{len(self.classes.prompts)} prompts: return one for each.'
            )
        self.prompt_embeds = embeds
        return embeds

    def train(self, mode: bool = True) -> OpenVocabularySegmentor:
        """Set the mode; drop the embeddings if training can change the weights."""
        if mode:
            self.prompt_embeds = None
        super().train(mode)
        return self

    @torch.no_grad()
    def predict(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: Sequence[SegDataSample] | None = None,
    ) -> list[SegDataSample]:
        """Segment a batch; see :meth:`.GroupViTSegmentor.predict`."""
        samples = list(data_samples) if data_samples is not None else [None] * len(inputs)
        scores = (self.word_scores(logits) for logits in self.pixel_logits(inputs))
        with memory_sentence(lambda: self.too_large(inputs)):
            return [self._labelled(*one) for one in zip(scores, inputs, samples, strict=True)]

    def pixel_logits(self, images: Tensor | Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the logits ``(W, H, W)`` of each image, averaged over its windows."""
        for image in images:
            size = (image.shape[1], image.shape[2])
            windows, views = crop_windows(size, self.test_cfg), self.options.views
            count = image.new_zeros(size)
            total: Tensor | None = None
            for indices, of_windows in run_windows(
                self._window_logits,
                [image],
                [windows],
                self.options.window_batch_size,
                views=views,
                fitting=self.fitting,
            ):
                for (_, number), logits in zip(indices, of_windows, strict=True):
                    rows, columns = windows[number // len(views)]
                    shape = count[rows, columns].shape
                    logits = views[number % len(views)].undo_logits(logits, shape)
                    total = logits.new_zeros(len(logits), *size) if total is None else total
                    total[:, rows, columns] += logits
                    count[rows, columns] += 1
            assert total is not None
            yield total.div_(count)

    def _window_logits(self, crops: Tensor) -> Tensor:
        """Compute logits ``(B, W, h, w)`` of windows ``(B, 3, h, w)``."""
        embeds = self.encode_classes() if self.prompt_embeds is None else self.prompt_embeds
        self._check_precision()
        reduced = self.options.precision == 'bf16' and not self.training
        if reduced:
            warn_of_emulation(crops.device)
        with torch.autocast(crops.device.type, torch.bfloat16) if reduced else nullcontext():
            logits = self.model(crops, embeds)
        if logits.ndim != 4 or logits.shape[:2] != (len(crops), len(embeds)):
            raise ValueError(
                f'{type(self.model).__name__} returned logits of shape {tuple(logits.shape)} for '
                f'{len(crops)} windows and {len(embeds)} prompts: return '
                f'({len(crops)}, {len(embeds)}, height, width).'
            )
        if logits.isnan().any():  # infinite ones may exclude words
            raise ValueError(f'{type(self.model).__name__} returned logits that are not numbers.')
        size = crops.shape[-2:]
        return F.interpolate(logits.float(), size=size, mode='bilinear', align_corners=False)

    def _check_precision(self) -> None:
        """Refuse precisions that are implemented for GroupViT alone."""
        if self.options.precision in ('int8', 'auto'):
            raise ValueError(
                f'precision {self.options.precision!r} needs a GroupViTSegmentor: take '
                "'fp32' or 'bf16'."
            )

    def word_scores(self, logits: Tensor) -> Tensor:
        """Turn logits ``(W, ...)`` into scores."""
        if self.model.activation == 'identity':
            return logits
        if self.model.activation == 'sigmoid':
            return logits.sigmoid()
        return (logits * (self.logit_scale or self.model.logit_scale)).softmax(dim=0)

    def class_scores(self, word_scores: Tensor) -> Tensor:
        """Pool scores of words ``(W, H, W)`` to classes ``(K, H, W)``, the background first."""
        classes = self.classes
        foreground = pool_words(word_scores.movedim(0, -1), classes).movedim(-1, 0)
        if not classes.with_background:
            return foreground
        background = torch.zeros_like(word_scores[:1])
        if classes.background_words:
            background = word_scores[-len(classes.background_words) :].amax(0, keepdim=True)
        return torch.cat([background, foreground])

    def _labelled(
        self, word_scores: Tensor, image: Tensor, sample: SegDataSample | None
    ) -> SegDataSample:
        """Add the label of each pixel, and the scores if requested, to the sample."""
        result = SegDataSample() if sample is None else sample
        scores = self.refiner(image)(self.class_scores(word_scores))  # (K, H, W)
        thresholds = scores.new_zeros(self.num_classes)
        thresholds[int(self.classes.with_background) :] = scores.new_tensor(self.classes.thresholds)

        def finished(channels: list[int]) -> Tensor:
            of_image = resize_scores_to_image(scores[channels], result)
            limits = thresholds[channels][:, None, None]
            return of_image.where(of_image >= limits, 0.0) if limits.any() else of_image

        pixels = scores[0].numel() + int(torch.tensor(result.metainfo.get('ori_shape', 0)).prod())
        at_a_time = CHUNK_BYTES // (2 * scores.element_size() * pixels)
        best, labels = best_channels(finished, list(range(self.num_classes)), at_a_time)
        if self.classes.bg_thresh is not None:
            labels = labels.masked_fill(best < self.classes.bg_thresh, 0)
        if self.classes.class_thresholds:
            labels = labels.masked_fill(best <= 0, 0)
        if self.options.with_confidence:
            foreground = list(range(int(self.classes.with_background), self.num_classes))
            highest = best_channels(finished, foreground, at_a_time)[0]
            confidence = confidence_of(labels, highest, self.classes.with_background)
            result.seg_confidence = PixelData(data=confidence[None])
        if self.options.with_scores:
            result.seg_logits = PixelData(data=finished(list(range(self.num_classes))))
        result.pred_sem_seg = PixelData(data=labels[None].long())
        return result

    def extract_feat(self, inputs: Tensor) -> Tensor:  # type: ignore[override]
        """Compute logits ``(B, W, H, W)`` of whole images."""
        return self._window_logits(inputs)

    def encode_decode(  # type: ignore[override]  # as its callers call it
        self, inputs: Tensor, batch_img_metas: list[dict]
    ) -> Tensor:
        """Compute logits ``(B, W, H, W)`` of whole images."""
        return self._window_logits(inputs)

    def _forward(  # type: ignore[override]  # as the EncoderDecoder's
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None
    ) -> Tensor:
        """Compute logits ``(B, W, H, W)`` of whole images."""
        return self._window_logits(inputs)

    def loss(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict:
        """Refuse to train.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError('OpenVocabularySegmentor evaluates: train the model elsewhere.')
