"""Sets a segmentor up for a set and a protocol."""

from __future__ import annotations

import math

from groupvit_mmseg.benchmark.evaluation_protocol import ClassSet, Protocol
from groupvit_mmseg.inference.loading import EvaluatedSegmentor
from groupvit_mmseg.models.open_vocabulary_segmentor import OpenVocabularySegmentor
from groupvit_mmseg.text.class_file_yaml import ClassFile


def apply_protocol(
    segmentor: EvaluatedSegmentor,
    protocol: Protocol,
    class_set: ClassSet,
    logit_scale: float,
    classes: ClassFile | None = None,
) -> None:
    """Set a segmentor's classes and options to those of a set and a protocol.

    Args:
        segmentor (EvaluatedSegmentor): With weights.
        protocol (Protocol): Protocol of this set.
        class_set (str | tuple[str, ...]): A set that ``class_names`` knows, or names.
        logit_scale (float): Scale of the checkpoint, for protocols without one.
        classes (ClassFile, optional): Content of a class file, which replaces the set's own
            spellings. Defaults to None.

    Raises:
        ValueError: If the classes do not fit the set and the protocol.
    """
    segmentor.test_cfg = {**segmentor.test_cfg, **protocol.test_cfg()}
    if isinstance(segmentor, OpenVocabularySegmentor):
        pooling = segmentor.classes.alias_pooling
        segmentor.set_classes(protocol.class_list(class_set, classes, alias_pooling=pooling))
        segmentor.logit_scale = protocol.logit_scale or logit_scale
        segmentor.encode_classes()
        return
    head = segmentor.decode_head
    pooling = head.classes.alias_pooling
    head.set_classes(protocol.class_list(class_set, classes, alias_pooling=pooling))
    head.top_k, head.affinity = protocol.top_k, protocol.affinity
    head.image_weight = protocol.image_weight
    head.logit_scale.data.fill_(math.log(protocol.logit_scale or logit_scale))
    head.encode_classes()


def logit_scale_of(segmentor: EvaluatedSegmentor) -> float:
    """Return the factor on similarities that the weights have, for protocols without one."""
    if isinstance(segmentor, OpenVocabularySegmentor):
        return segmentor.model.logit_scale
    return segmentor.decode_head.logit_scale.exp().item()
