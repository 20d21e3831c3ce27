"""The zero-shot decode head: segments x class embeddings -> pixel scores (paper: section 3.3).

Shapes: ``B`` images of one crop, ``S`` segments, ``K`` prompted words, ``D`` channels of the common
space, ``H, W`` pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from groupvit_mmseg.models.class_embeddings import embed_words
from groupvit_mmseg.models.class_scores import score_classes, score_foreground
from groupvit_mmseg.models.image_embeddings import (
    affinity_of_similarity,
    embed_images,
    embed_segments,
)
from groupvit_mmseg.models.outputs import GroupViTOutput
from groupvit_mmseg.models.similarity import clamped_exp, new_logit_scale
from groupvit_mmseg.models.word_affinity import (
    check_affinity_options,
    hidden_words,
    mixed_with_image,
    softmax_affinity,
)
from groupvit_mmseg.text import get_templates
from groupvit_mmseg.text.class_list import ClassList, make_class_list

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from groupvit_mmseg.text.class_list import ClassOptions


def _of_the_class_list(field: str) -> property:
    """Make a read-only property of a field of ``self.classes``; ``set_classes`` changes it."""
    return property(lambda head: getattr(head.classes, field))


@MODELS.register_module()
class GroupViTZeroShotHead(BaseModule):
    """Classifier of segments by the words whose embeddings are nearest.

    Class embeddings are a function of weights, class names and templates. They are computed by
    :meth:`encode_classes` and dropped whenever one of the three changes: on loading weights, on
    :meth:`set_classes`, and on entering training mode.

    Args:
        text_encoder (dict): Config of the text tower.
        image_projector (dict): Config of the image tower's projector. With its ``pool_projected``,
            a segment's length counts in every ``cos`` below.
        text_projector (dict): Config of the text tower's projector.
        class_names (str | Sequence[str]): Name of a known set (``'pascal_voc'``) or the names in
            order; a background has index 0 and is never prompted.
        top_k (int): Number of words that a window may contain: those nearest to its image
            embedding, or to the mean of those of its views. Defaults to 5.
        affinity (str): Affinity of a segment to a word: ``'softmax'``, the paper's, compares the
            words with each other; ``'cosine'``, ``(1 + cos) / 2``, depends on no other word, so
            that a threshold tells things from what no word names; ``'contrast'``, ``(1 + cos -
            cos_bg) / 2`` with the nearest background word, if there is a ``bg_thresh``, of all
            words without ``top_k``. Defaults to 'softmax'.
        image_weight (float): Share of the window's own affinity in those of its segments, from 0 to
            below 1: the whole may know better *what* it shows. Defaults to 0, as in the paper.
        init_cfg (dict, optional): Initialisation config of mmengine. Defaults to None.
        **class_options: The other fields of a :class:`ClassList`, such as ``with_background`` and
            ``templates``, as :func:`.make_class_list` takes them.

    Raises:
        ValueError: As :meth:`set_classes`, or for an option out of its range.

    Example:
        >>> from groupvit_mmseg.models import GroupViTZeroShotHead
        >>> projector = dict(type='GroupViTProjector', hidden_channels=16, out_channels=8)
        >>> head = GroupViTZeroShotHead(
        ...     dict(type='GroupViTTextEncoder', embed_dims=16, num_layers=1),
        ...     image_projector=dict(projector, in_channels=24),
        ...     text_projector=dict(projector, in_channels=16),
        ...     class_names=['cat', 'dog'],
        ... ).eval()
        >>> head.encode_classes().shape
        torch.Size([2, 8])
        >>> head.set_classes(head.classes.changed(aliases={'cat': ['kitten']}))
        >>> head.num_classes, head.encode_classes().shape  # a row per word
        (2, torch.Size([3, 8]))
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
        affinity: str = 'softmax',
        image_weight: float = 0.0,
        init_cfg: dict | None = None,
        **class_options: Unpack[ClassOptions],
    ) -> None:
        super().__init__(init_cfg)
        check_affinity_options(top_k, affinity, image_weight)
        self.text_encoder = MODELS.build(text_encoder)
        self.image_projector = MODELS.build(image_projector)
        self.text_projector = MODELS.build(text_projector)
        self.logit_scale = new_logit_scale(0.07)
        self.align_corners, self.top_k = False, top_k
        self.affinity, self.image_weight = affinity, image_weight
        self.register_buffer('class_embeds', None, persistent=False)
        self.set_classes(class_names, **class_options)

    def set_classes(
        self,
        class_names: ClassList | str | Sequence[str],
        **class_options: Unpack[ClassOptions],
    ) -> None:
        """Set the classes to segment.

        With names, options that are missing take their defaults; with a :class:`ClassList`, such as
        ``head.classes``, they keep its values: ``head.set_classes(head.classes, bg_thresh=0.3)``.

        Args:
            class_names (ClassList | str | Sequence[str]): A class list, or names as in the
                constructor.
            **class_options: As in the constructor.

        Raises:
            ValueError: For an unknown option, an empty list, an empty name, a name given twice, an
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

    out_channels = num_classes  # MMSegmentation's name for it

    @torch.no_grad()
    def encode_classes(self) -> Tensor:
        """Compute and keep the class embeddings of the present weights, names and templates.

        Returns:
            Tensor: ``(K, D)``, a row per prompted word: of the classes, then of the background.

        Raises:
            RuntimeError: In training mode, where BatchNorm would mix the classes.
        """
        self.class_embeds = self.embed_classes(self.classes)
        return self.class_embeds

    @torch.no_grad()
    def embed_classes(self, classes: ClassList) -> Tensor:
        """Compute the embeddings of any classes, ``(K, D)``; the head's classes stay.

        Raises:
            RuntimeError: In training mode, where BatchNorm would mix the classes.
        """
        return self._embed_words([(prompt.word, prompt.templates) for prompt in classes.prompts])

    @torch.no_grad()
    def embed_names(
        self, names: Sequence[str], templates: str | Sequence[str] | None = None
    ) -> Tensor:
        """Embed any names: the normalised mean over their projected templates.

        Args:
            names (Sequence[str]): ``K`` names.
            templates (str | Sequence[str], optional): As in the constructor; None takes the
                head's. Defaults to None.

        Returns:
            Tensor: ``(K, D)``.

        Raises:
            RuntimeError: In training mode, where BatchNorm would mix the names.
        """
        sentences = self.templates if templates is None else get_templates(templates)
        return self._embed_words([(name, sentences) for name in names])

    def _embed_words(self, prompts: Sequence[tuple[str, Sequence[str]]]) -> Tensor:
        """Embed words, each with its templates, ``(K, D)``."""
        if self.training:
            raise RuntimeError('Class embeddings need evaluation mode: call eval() on the model.')
        return embed_words(prompts, self.text_encoder, self.text_projector)

    def train(self, mode: bool = True) -> GroupViTZeroShotHead:
        """Set the mode; drop the class embeddings if training can change the weights."""
        if mode:
            self.class_embeds = None
        super().train(mode)
        return self

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        """Load new weights and drop the class embeddings."""
        self.class_embeds = None
        super()._load_from_state_dict(*args, **kwargs)

    def forward(self, output: GroupViTOutput) -> Tensor:
        """Compute pixel scores at the size of the images; see :meth:`predict`."""
        scores = self.segment_scores(self.segment_affinity(output))  # (B, S, num_classes)
        group_map = output.group_map()  # (B, H, W)
        batch = torch.arange(len(scores), device=scores.device)[:, None, None]  # (B, 1, 1)
        return scores[batch, group_map].permute(0, 3, 1, 2)  # (B, H, W, K) to (B, K, H, W)

    def predict(
        self, output: GroupViTOutput, batch_img_metas: list[dict], test_cfg: dict
    ) -> Tensor:
        """Compute pixel scores; the method by which ``EncoderDecoder`` calls a decode head.

        Args:
            output (GroupViTOutput): Output for one crop of ``B`` images.
            batch_img_metas (list[dict]): Not used; the output contains the size.
            test_cfg (dict): Not used.

        Returns:
            Tensor: ``(B, num_classes, H, W)``: a pixel's score is its segment's affinity to the
            class; channel 0 is the background where there is one.
        """
        return self(output)

    def loss(self, *args: object, **kwargs: object) -> dict:
        """Raise ``NotImplementedError``: masks teach the head nothing."""
        raise NotImplementedError(
            'GroupViTZeroShotHead learns nothing from masks: pretrain with GroupViTPretrainer and '
            'load its checkpoint.'
        )

    def embed_images(self, output: GroupViTOutput) -> Tensor:
        """Return the projected embeddings of images, ``(B, D)``, not normalised."""
        return embed_images(output, self.image_projector)

    def word_logits(self, output: GroupViTOutput, class_embeds: Tensor | None = None) -> Tensor:
        """Compare the image, then every segment, with every prompted word.

        Args:
            output (GroupViTOutput): Output for one crop of ``B`` images.
            class_embeds (Tensor, optional): ``(K, D)``, as :meth:`embed_classes` returns them; None
                for those of the head's classes. Defaults to None.

        Returns:
            Tensor: Similarities times the logit scale, ``(B, 1 + S, K)``.
        """
        if class_embeds is None:
            class_embeds = self.encode_classes() if self.class_embeds is None else self.class_embeds
        embeds = embed_segments(output, self.image_projector)  # (B, 1 + S, D)
        return clamped_exp(self.logit_scale) * embeds @ class_embeds.to(embeds.dtype).T

    def word_affinity(self, logits: Tensor) -> Tensor:
        """Convert :meth:`word_logits` to affinities of segments, ``(B, S, K)`` in [0, 1].

        The softmax over the ``top_k`` words that are nearest to the image is multiplied by the
        softmax over all words. With ``affinity='cosine'`` each word has the cosine alone, as
        ``(1 + cos) / 2``, and 0 if it is none of the ``top_k``; with ``'contrast'`` never 0. The
        image's own affinity has the share ``image_weight``.
        """
        hidden = hidden_words(logits[:, :1], self.top_k)
        if self.affinity == 'softmax':
            affinity = softmax_affinity(logits, hidden)
        else:
            similarity = logits / clamped_exp(self.logit_scale)
            affinity = affinity_of_similarity(similarity, self.image_projector)
            if self.affinity == 'cosine':
                affinity = affinity.masked_fill(hidden, 0.0)
        return mixed_with_image(affinity, self.image_weight)

    def segment_affinity(
        self, output: GroupViTOutput, class_embeds: Tensor | None = None
    ) -> Tensor:
        """Compute :meth:`word_affinity` of windows that are seen once, ``(B, S, K)``."""
        return self.word_affinity(self.word_logits(output, class_embeds))

    def segment_scores(self, affinity: Tensor, classes: ClassList | None = None) -> Tensor:
        """Convert affinities ``(B, S, K)`` to class scores ``(B, S, num_classes)``.

        ``classes`` are those of the words, or the head's; :func:`.add_background` has thresholds.
        """
        classes = classes or self.classes
        return score_classes(affinity, classes, contrast=self.affinity == 'contrast')

    def foreground_affinity(self, affinity: Tensor, classes: ClassList | None = None) -> Tensor:
        """Pool affinities to words ``(B, S, K)`` over the words of each foreground class."""
        contrast = self.affinity == 'contrast'
        return score_foreground(affinity, classes or self.classes, contrast=contrast)
