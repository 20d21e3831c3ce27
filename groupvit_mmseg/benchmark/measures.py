"""Measures beside mIoU, by image: boundaries, confidence, one class against everything else.

``predictions`` is none: it keeps the label maps, for a page that compares two results.

Each adds a few whole numbers to the line of an image in the journal, so that interrupted and
divided evaluations give the same result. Letters: ``K`` classes, ``H, W`` pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from groupvit_mmseg.benchmark.result_types import ImageResult, JournalLine
from groupvit_mmseg.benchmark.stored_predictions import encode_labels
from groupvit_mmseg.datasets.label_maps import IGNORED
from groupvit_mmseg.evaluation.reliability import Reliability, count_confidence, reliability
from groupvit_mmseg.evaluation.shape_metrics import boundary_areas
from groupvit_mmseg.inference.loading import EvaluatedSegmentor
from groupvit_mmseg.models.encoded_windows import EmbeddedClasses, encode_windows
from groupvit_mmseg.models.open_vocabulary_segmentor import OpenVocabularySegmentor
from groupvit_mmseg.text.class_list import ClassList
from groupvit_mmseg.text.vocabulary import fold_word

MEASURES = ('boundary', 'calibration', 'single-query', 'predictions')
OTHER = ('other',)
"""tuple[str, ...]: Words that a single query competes with."""


class MeasureScores(NamedTuple):
    """Scores of the measures of a set.

    Attributes:
        metrics (dict[str, float]): ``boundary_mIoU``, ``ECE`` or ``query_mIoU``, in percent.
        details (dict[str, object]): By measure: IoU by class, or the bins of the confidence.
    """

    metrics: dict[str, float]
    details: dict[str, object]


class ImageMeasures:
    """Counts what the measures need, of one image at a time.

    Args:
        segmentor (EvaluatedSegmentor): Set up for the set and the protocol.
        names (Sequence[str]): Some of ``MEASURES``.
        classes (ClassList): Classes of the set.
        other (Sequence[str]): Words that a single query competes with. Defaults to ``OTHER``.
        ignored (int): Label that does not count. Defaults to 255.
    """

    def __init__(
        self,
        segmentor: EvaluatedSegmentor,
        names: Sequence[str],
        classes: ClassList,
        *,
        other: Sequence[str] = OTHER,
        ignored: int = IGNORED,
    ) -> None:
        self.ignored = ignored
        self.segmentor, self.names, self.classes = segmentor, names, classes
        self.queries: list[EmbeddedClasses] = []
        if 'single-query' in names:
            self.queries = [self._embedded(name, other) for name in classes.foreground]
            self._restore()
        if 'calibration' in names:
            segmentor.test_cfg = {**segmentor.test_cfg, 'with_confidence': True}

    def _embedded(self, name: str, other: Sequence[str]) -> EmbeddedClasses:
        """Return the class list of a query with its embeddings."""
        own = {fold_word(word) for word in (name, *self.classes.aliases.get(name, ()))}
        words = [word for word in other if fold_word(word) not in own] or ['everything else']
        query = self.classes.looking_for([name], background_words=words)
        if isinstance(self.segmentor, OpenVocabularySegmentor):
            self.segmentor.set_classes(query)
            return EmbeddedClasses(query, self.segmentor.encode_classes())
        return EmbeddedClasses(query, self.segmentor.decode_head.embed_classes(query))

    def _restore(self) -> None:
        """Let the segmentor have the classes of the set again."""
        if isinstance(self.segmentor, OpenVocabularySegmentor):
            self.segmentor.set_classes(self.classes)
            self.segmentor.encode_classes()

    def __call__(self, image: Tensor, sample: SegDataSample) -> ImageResult:
        """Return the counts of one image.

        Args:
            image (Tensor): As the data set returns it, ``(3, H, W)``.
            sample (SegDataSample): With mask and prediction.
        """
        label_map = sample.gt_sem_seg.get('data')[0].cpu()
        predicted = sample.pred_sem_seg.get('data')[0].cpu()
        result = ImageResult()
        if 'boundary' in self.names:
            areas = boundary_areas(
                predicted, label_map, len(self.classes.class_names), ignore_index=self.ignored
            )
            counts = torch.stack([areas.intersect, areas.union], dim=1).long()  # (K, 2)
            present = counts[:, 1].nonzero().flatten()
            result['edges'] = torch.cat([present[:, None], counts[present]], dim=1).tolist()
        if 'calibration' in self.names:
            confidence = sample.get('seg_confidence').get('data')[0].cpu()
            result['confidence'] = count_confidence(
                confidence, predicted, label_map, ignore_index=self.ignored
            )
        if 'predictions' in self.names:
            result['prediction'] = encode_labels(predicted.numpy())
        if self.queries:
            result['queries'] = self._query(image, sample, label_map)
        return result

    def _query(self, image: Tensor, sample: SegDataSample, label_map: Tensor) -> list[list[int]]:
        """Return class, intersection and union of each query that is in mask or prediction."""
        data = dict(inputs=[image], data_samples=[SegDataSample(metainfo=sample.metainfo)])
        pixels = self.segmentor.data_preprocessor(data, False)['inputs'][0]
        first, valid, lines = int(self.classes.with_background), label_map != self.ignored, []
        for label, predicted in enumerate(self._query_maps(pixels, sample), start=first):
            found = (predicted.cpu() == 1) & valid
            labelled = label_map == label
            union = int((found | labelled).sum())
            if union:
                lines.append([label, int((found & labelled).sum()), union])
        return lines

    def _query_maps(self, image: Tensor, sample: SegDataSample) -> list[Tensor]:
        """Segment one image for each query, ``(H, W)`` with 1 for its class."""
        segmentor = self.segmentor
        empty = [SegDataSample(metainfo=sample.metainfo) for _ in self.queries]
        if not isinstance(segmentor, OpenVocabularySegmentor):
            windows = encode_windows(segmentor, image)  # once for all queries
            scored = (windows.scored(segmentor.decode_head, query) for query in self.queries)
            labelled = [
                segmentor.label_windows(*one) for one in zip(scored, [image] * len(empty), empty)
            ]
            return [each.pred_sem_seg.get('data')[0] for each in labelled]
        maps = []
        for query, sample in zip(self.queries, empty, strict=True):
            segmentor.set_classes(query.classes)
            segmentor.prompt_embeds = query.class_embeds
            maps.append(segmentor.predict([image], [sample])[0].pred_sem_seg.get('data')[0])
        self._restore()
        return maps


def make_measures(
    segmentor: EvaluatedSegmentor,
    names: Sequence[str],
    other: Sequence[str],
    *,
    ignored: int = IGNORED,
) -> ImageMeasures | None:
    """Make the measures of a segmentor that is set up; None without any."""
    if not names:
        return None
    return ImageMeasures(segmentor, names, segmentor.classes, other=other, ignored=ignored)


def measure_scores(
    images: Sequence[JournalLine], names: Sequence[str], class_names: Sequence[str]
) -> MeasureScores:
    """Return the scores of some measures.

    Args:
        images (Sequence[JournalLine]): Lines of all images.
        names (Sequence[str]): Some of ``MEASURES``.
        class_names (Sequence[str]): Names of the classes, the background included.

    Example:
        >>> lines = [dict(edges=[[1, 1, 4]]), dict(edges=[[0, 2, 2], [1, 1, 4]])]
        >>> measure_scores(lines, ['boundary'], ['wall', 'cat']).metrics
        {'boundary_mIoU': 62.5}
    """
    metrics: dict[str, float] = {}
    details: dict[str, object] = {}
    if 'boundary' in names:
        lines = [line['edges'] for line in images]
        metrics['boundary_mIoU'], details['boundary'] = _class_iou(lines, class_names)
    if 'calibration' in names:
        bins = bins_of(images)
        metrics['ECE'], details['calibration'] = 100 * bins.error, bins._asdict()
    if 'single-query' in names:
        lines = [line['queries'] for line in images]
        metrics['query_mIoU'], details['single-query'] = _class_iou(lines, class_names)
    return MeasureScores(metrics, details)


def bins_of(images: Sequence[JournalLine]) -> Reliability:
    """Return the reliability of the confidence over all images."""
    return reliability([line['confidence'] for line in images])


def _class_iou(
    images: Sequence[list[list[int]]], class_names: Sequence[str]
) -> tuple[float, dict[str, float]]:
    """Return the mean IoU, and that of each class that occurs, in percent."""
    areas = torch.zeros(len(class_names), 2, dtype=torch.int64)
    for lines in images:
        for label, intersect, union in lines:
            areas[label] += torch.tensor([intersect, union])
    by_class = {
        name: 100 * intersect / union
        for name, (intersect, union) in zip(class_names, areas.tolist(), strict=True)
        if union
    }
    return sum(by_class.values()) / max(len(by_class), 1), by_class
