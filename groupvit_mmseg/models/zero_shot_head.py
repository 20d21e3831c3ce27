"""The zero-shot decode head: segments x class embeddings -> pixel scores (paper: section 3.3)."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from groupvit_mmseg.models.micro_batching import distinct_texts
from groupvit_mmseg.models.outputs import GroupViTOutput
from groupvit_mmseg.models.similarity import clamped_exp, new_logit_scale, normalize
from groupvit_mmseg.text import get_templates, tokenize
from groupvit_mmseg.text.class_list import ClassList, make_class_list

WORDS_AT_A_TIME = 256
"""int: Words whose sentences exist together; their number limits the memory, not the result."""
TEXTS_PER_BATCH = 128
"""int: Sentences that go through the text encoder in one call."""


def _of_the_class_list(field: str) -> property:
    """A field of ``self.classes`` to read; ``set_classes`` changes it."""
    return property(lambda head: getattr(head.classes, field))


@MODELS.register_module()
class GroupViTZeroShotHead(BaseModule):
    """Names segments by the words whose embeddings they are near.

    Class embeddings are a function of weights, class names and templates. They are computed by
    :meth:`encode_classes` and dropped whenever one of the three changes: on loading weights, on
    :meth:`set_classes`, and on entering training mode.

    Args:
        text_encoder (dict): config of the text tower.
        image_projector (dict): config of the image tower's projector.
        text_projector (dict): config of the text tower's projector.
        class_names (str | Sequence[str]): name of a known set (``'pascal_voc'``) or the names in
            order; with a background, that is index 0 and never prompted.
        top_k (int): classes that the image as a whole lets through per crop. Defaults to 5.
        init_cfg (dict, optional): mmengine's initialisation config. Defaults to None.
        **class_options: the other fields of a :class:`ClassList`: ``with_background``,
            ``bg_thresh``, ``background_words``, ``templates``, ``aliases``, ``class_templates``
            and ``alias_pooling``, as :func:`.make_class_list` takes them.

    Raises:
        ValueError: as :meth:`set_classes`, or if no class is let through.
    """

    class_embeds: Tensor | None
    class_names = _of_the_class_list('class_names')
    with_background = _of_the_class_list('with_background')
    bg_thresh = _of_the_class_list('bg_thresh')
    background_words = _of_the_class_list('background_words')
    templates = _of_the_class_list('templates')

    def __init__(
        self,
        text_encoder: dict,
        *,
        image_projector: dict,
        text_projector: dict,
        class_names: str | Sequence[str],
        top_k: int = 5,
        init_cfg: dict | None = None,
        **class_options: Any,
    ) -> None:
        super().__init__(init_cfg)
        if not isinstance(top_k, int) or top_k < 1:
            raise ValueError(f'top_k = {top_k} lets no class through: give a positive number.')
        self.text_encoder = MODELS.build(text_encoder)
        self.image_projector = MODELS.build(image_projector)
        self.text_projector = MODELS.build(text_projector)
        self.logit_scale = new_logit_scale(0.07)
        self.align_corners = False
        self.top_k = top_k
        self.register_buffer('class_embeds', None, persistent=False)
        self.set_classes(class_names, **class_options)

    def set_classes(
        self, class_names: ClassList | str | Sequence[str], **class_options: Any
    ) -> None:
        """Segment other classes from now on.

        Of names, options that are not given take their defaults; of a :class:`ClassList`, such as
        ``head.classes``, they stay as they are: ``head.set_classes(head.classes, bg_thresh=0.3)``.

        Args:
            class_names (ClassList | str | Sequence[str]): a whole list, or names as in the
                constructor.
            **class_options: as in the constructor.

        Raises:
            ValueError: for an unknown option, an empty list, an empty name, a name given twice, an
                unknown set of classes or templates, or a threshold or background words that do not
                fit.
        """
        self.classes = make_class_list(class_names, **class_options)
        self.prompted_names, self.word_classes = self.classes.words, self.classes.word_classes
        self.class_embeds = None

    @property
    def num_classes(self) -> int:
        """Classes, the background included."""
        return len(self.classes.class_names)

    @property
    def out_channels(self) -> int:
        """Channels of the scores."""
        return self.num_classes

    @torch.no_grad()
    def encode_classes(self) -> Tensor:
        """Compute and keep the class embeddings of the present weights, names and templates.

        Returns:
            Tensor: ``(K, D)``, a row per prompted name: classes but the background, then
            background words.

        Raises:
            RuntimeError: in training mode, where BatchNorm would mix the classes.
        """
        prompts = [(prompt.word, prompt.templates) for prompt in self.classes.prompts]
        self.class_embeds = self._embed_words(prompts)
        return self.class_embeds

    @torch.no_grad()
    def embed_names(
        self, names: Sequence[str], templates: str | Sequence[str] | None = None
    ) -> Tensor:
        """Embeddings of any names: the mean over their projected templates, then normalised.

        Args:
            names (Sequence[str]): ``K`` names.
            templates (str | Sequence[str], optional): as in the constructor; None takes the
                head's. Defaults to None.

        Returns:
            Tensor: ``(K, D)``.

        Raises:
            RuntimeError: in training mode, where BatchNorm would mix the names.
        """
        sentences = self.templates if templates is None else get_templates(templates)
        return self._embed_words([(name, sentences) for name in names])

    def _embed_words(self, prompts: Sequence[tuple[str, Sequence[str]]]) -> Tensor:
        """Embed words, each with its templates, ``(K, D)``."""
        if self.training:
            raise RuntimeError('Class embeddings need evaluation mode: call eval() on the model.')
        means: list[Tensor] = []
        for start in range(0, len(prompts), WORDS_AT_A_TIME):
            some = prompts[start : start + WORDS_AT_A_TIME]
            texts = [template.format(word) for word, templates in some for template in templates]
            embeds = self._embed_texts(texts)  # (all templates of all words, D)
            per_word = embeds.split([len(templates) for _, templates in some])  # (T, D) each
            means += [rows.mean(dim=0) for rows in per_word]
        (embeds,) = normalize(torch.stack(means))  # (K, D)
        return embeds

    def _embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Project texts, not normalised, ``(T, D)``: equal ones once, in batches of like length."""
        token_ids = tokenize(texts, self.text_encoder.context_length)  # (T, L)
        rows, index = distinct_texts(token_ids.to(self.logit_scale.device))  # (U, L), (T,)
        batches = rows.split(TEXTS_PER_BATCH)
        return torch.cat([self.text_projector(self.text_encoder(b)) for b in batches])[index]

    def train(self, mode: bool = True) -> 'GroupViTZeroShotHead':
        """Training changes the weights, so the class embeddings are dropped."""
        if mode:
            self.class_embeds = None
        super().train(mode)
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """New weights: the class embeddings are dropped."""
        self.class_embeds = None
        super()._load_from_state_dict(*args, **kwargs)

    def forward(self, output: GroupViTOutput) -> Tensor:
        """Pixel scores at the size of the images; see :meth:`predict`."""
        scores = self.segment_scores(self.segment_affinity(output))
        group_map = output.group_map()
        batch = torch.arange(len(scores), device=scores.device)[:, None, None]
        return scores[batch, group_map].permute(0, 3, 1, 2)

    def predict(
        self, output: GroupViTOutput, batch_img_metas: list[dict], test_cfg: dict
    ) -> Tensor:
        """What ``EncoderDecoder`` asks of a decode head.

        Args:
            output (GroupViTOutput): of one crop of ``B`` images.
            batch_img_metas (list[dict]): not used: the output knows its size.
            test_cfg (dict): not used.

        Returns:
            Tensor: ``(B, num_classes, H, W)``: a pixel's score is its segment's affinity to the
            class; channel 0 is the background where there is one.
        """
        return self(output)

    def loss(self, *args: Any, **kwargs: Any) -> dict:
        """Nothing is learned here.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            'GroupViTZeroShotHead learns nothing from masks: pretrain with GroupViTPretrainer and '
            'load its checkpoint.'
        )

    def segment_affinity(self, output: GroupViTOutput) -> Tensor:
        """Affinity of every segment to every prompted name.

        The image's ``top_k`` best names are let through, and the softmax over those is multiplied
        by the softmax over all.

        Args:
            output (GroupViTOutput): of one crop of ``B`` images.

        Returns:
            Tensor: ``(B, S, K)`` in [0, 1].
        """
        class_embeds = self.class_embeds if self.class_embeds is not None else self.encode_classes()
        image_embeds = self.image_projector(torch.cat([output.pooled[:, None], output.segments], 1))
        (image_embeds,) = normalize(image_embeds)
        class_embeds = class_embeds.to(image_embeds.dtype)
        logits = clamped_exp(self.logit_scale) * image_embeds @ class_embeds.T
        image_logits, segment_logits = logits[:, :1], logits[:, 1:]  # (B, 1, K), (B, S, K)
        top = image_logits.topk(min(self.top_k, logits.shape[-1]), dim=-1).indices
        # 0 and not False: torch.jit's tracer, which counts FLOPs, knows no scatter of a bool.
        hidden = torch.ones_like(image_logits, dtype=torch.bool).scatter(-1, top, 0)
        let_through = segment_logits.masked_fill(hidden, float('-inf')).softmax(dim=-1)
        return let_through * segment_logits.softmax(dim=-1)

    def segment_scores(self, affinity: Tensor) -> Tensor:
        """Affinities ``(B, S, K)`` to class scores ``(B, S, num_classes)``, background applied.

        The threshold is never above the best affinity of the image to a class, so that something
        is always seen.
        """
        foreground = self.foreground_affinity(affinity)
        if not self.with_background:
            return foreground
        num_words = len(self.prompted_names) - len(self.background_words)
        background = affinity.new_zeros(*affinity.shape[:2], 1)
        if self.background_words:
            background = affinity[..., num_words:].amax(dim=-1, keepdim=True)
        if self.bg_thresh is not None:
            best = foreground.amax(dim=-1, keepdim=True)  # (B, S, 1)
            threshold = best.amax(dim=1, keepdim=True).clamp(max=self.bg_thresh)
            background = torch.where(best < threshold, 1.0, background)
        return torch.cat([background, foreground], dim=-1)

    def foreground_affinity(self, affinity: Tensor) -> Tensor:
        """Affinities to words ``(B, S, K)`` pooled to those to the classes but the background."""
        labels = self.word_classes
        first = int(self.with_background)
        if len(labels) - len(self.background_words) == self.num_classes - first:
            return affinity[..., : self.num_classes - first]
        words_of: dict[int, list[int]] = defaultdict(list)
        for word, label in enumerate(labels):
            words_of[label].append(word)
        pool = torch.amax if self.classes.alias_pooling == 'max' else torch.mean
        columns = [
            pool(affinity[..., words_of[label]], dim=-1) for label in range(first, self.num_classes)
        ]
        return torch.stack(columns, dim=-1)
