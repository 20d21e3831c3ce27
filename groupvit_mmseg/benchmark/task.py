"""Rows of the table: each is a set with its protocol, its journal and its result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmpretrain.datasets.categories import IMAGENET_SIMPLE_CATEGORIES

from groupvit_mmseg.benchmark.apply_protocol import apply_protocol
from groupvit_mmseg.benchmark.evaluation_settings import EvaluationSettings
from groupvit_mmseg.benchmark.image_files import ImageFiles
from groupvit_mmseg.benchmark.journal import Journal
from groupvit_mmseg.benchmark.measures import make_measures, measure_scores
from groupvit_mmseg.benchmark.option_checks import check_class_file, check_options_are_used
from groupvit_mmseg.benchmark.protocols import PRESETS, protocol
from groupvit_mmseg.benchmark.report import PACKAGES, versions
from groupvit_mmseg.benchmark.result_types import ProtocolFields, SetResult
from groupvit_mmseg.benchmark.run_set import (
    Share,
    build_dataset,
    digest,
    ignored_of,
    run_classification,
    run_segmentation,
)
from groupvit_mmseg.benchmark.scores import accuracy_scores, iou_scores
from groupvit_mmseg.benchmark.sets import IMAGENET_TEMPLATES, Benchmark, select_sets
from groupvit_mmseg.datasets.segmentation_checks import check_set
from groupvit_mmseg.inference.loading import EvaluatedSegmentor
from groupvit_mmseg.text.class_file import read_class_file
from groupvit_mmseg.text.class_list import ClassList
from groupvit_mmseg.text.templates import get_templates


class EvaluationTask:
    """Evaluation of one set, with results on disk.

    Args:
        benchmark (Benchmark): The set.
        settings (EvaluationSettings): Settings that all rows share.
        name (str, optional): Name of the row and its files; None for that of the set. Defaults to
            None.
        templates (str, optional): Prompt templates instead of the protocol's. Defaults to None.

    Attributes:
        protocol (Protocol): Settings of the evaluation.
        dataset (BaseDataset): The images.
        num_images (int): Number of images to evaluate.
        journal (Journal): Results of the images.

    Raises:
        FileNotFoundError: If the folder or the class file does not exist.
        ValueError: If the protocol does not fit, or the folder has results of other settings.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        settings: EvaluationSettings,
        *,
        name: str | None = None,
        templates: str | None = None,
    ) -> None:
        self.benchmark, self.settings = benchmark, settings
        self.name = name or benchmark.name
        file = settings.class_files.get(benchmark.name)
        self.classes = read_class_file(file) if file else None
        defaults = self._background_defaults()
        changes: ProtocolFields = {**settings.changes}
        if templates is not None:  # rows of one set differ in them: they are no change
            defaults['templates'] = changes['templates'] = templates
        origin = (settings.protocol, benchmark.class_set, benchmark.neighbour)
        self.preset = protocol(*origin, **defaults)
        fields: ProtocolFields = {**defaults, **changes}
        self.protocol = protocol(*origin, **fields)
        if not self.is_classification:
            check_class_file(benchmark, self.classes)
        self.prompted, root = self._prompted(), settings.folder(benchmark)
        self.dataset = build_dataset(benchmark, root, self.protocol, configs=settings.configs)
        if not self.is_classification:
            check_set(self.dataset, len(self._class_list().class_names))
        self.num_images = min(len(self.dataset), settings.limit or len(self.dataset))
        self.digests = dict(
            classes=digest([*self.names, json.dumps(self.prompted), *self._label_options()]),
            images=digest([Path(path).name for path in self._image_paths()]),
        )
        folder, files = settings.out / 'journal', ImageFiles(self.dataset)
        self.journal = Journal(folder, name=self.name, settings=self._depends_on(), files=files)

    def _depends_on(self) -> dict[str, object]:
        """Return everything that the results of the images depend on, JSON values."""
        return dict(
            set=self.name,
            protocol=self.protocol.fields(),
            pipeline=[repr(step) for step in self.dataset.pipeline.transforms],
            model=self.settings.model,
            weights=self.settings.weights['sha256'],
            precision=self.settings.precision,
            device=self.settings.device.partition(':')[0],
            batch_size=self.settings.batch_size,
            versions={k: v for k, v in versions().items() if k in PACKAGES},
            **self.digests,
            **self._measures(),
        )

    def _measures(self) -> dict[str, object]:
        """Return the measures, and the words of single queries; nothing without measures."""
        names = () if self.is_classification else self.settings.measures
        words = {'query_other': self.settings.query_other} if 'single-query' in names else {}
        return {**({'measures': sorted(names)} if names else {}), **words}

    def _label_options(self) -> list[str]:
        """Return unusual options of the labels in the config of a user's set."""
        if self.benchmark.num_images is not None:
            return []
        usual = dict(ignore_index=255, reduce_zero_label=False)
        options = {name: getattr(self.dataset, name, value) for name, value in usual.items()}
        return [f'{name}={value}' for name, value in options.items() if value != usual[name]]

    def _background_defaults(self) -> ProtocolFields:
        """Return fields of the background that the preset lacks; they do not count as changes."""
        file, changes = self.classes, self.settings.changes
        fields: ProtocolFields = {}
        if (
            file is not None
            and file['with_background']
            and not ('background_words' in changes and not file['background_words'])
        ):
            fields['background_words'] = file['background_words']
        if self.benchmark.class_set in PRESETS[self.settings.protocol].thresholds:
            return fields
        if 'bg_thresh' in changes:
            fields['bg_thresh'] = changes['bg_thresh']
        if 'background_words' in changes:
            fields['background_words'] = changes['background_words']
        return fields

    def _class_list(self) -> ClassList:
        """Return the prompts of a segmentation."""
        return self.protocol.class_list(self.benchmark.class_set, self.classes)

    def _prompted(self) -> dict[str, object]:
        """Return everything that is prompted, by name; raise errors of classes before any image."""
        if self.is_classification:
            if self.classes:
                raise ValueError(f'{self.benchmark.name} takes no class file: leave it out.')
            sentences = get_templates(self.protocol.templates)
            return dict(class_names=IMAGENET_SIMPLE_CATEGORIES, templates=sentences)
        return {**self._class_list()._asdict(), 'alias_pooling': self.protocol.alias_pooling}

    def _image_paths(self) -> list[str]:
        """List the files of the images in order."""
        data = self.dataset
        return [str(data.get_data_info(index)['img_path']) for index in range(len(data))]

    @property
    def names(self) -> Sequence[str]:
        """Names of the classes in the metrics."""
        return self.dataset.metainfo['classes']

    @property
    def is_classification(self) -> bool:
        """Whether images are classified instead of segmented."""
        return self.benchmark.name == 'imagenet'

    def set_up(self, segmentor: EvaluatedSegmentor, logit_scale: float) -> None:
        """Set a segmentor's classes and options to those of the set and the protocol."""
        apply_protocol(
            segmentor, self.protocol, self.benchmark.class_set, logit_scale, self.classes
        )

    def run(
        self,
        segmentor: EvaluatedSegmentor,
        logit_scale: float,
        *,
        rank: int = 0,
        world: int = 1,
        num_workers: int = 0,
    ) -> Iterator[int]:
        """Run the images of one process that are not in the journal; yield the index of each.

        Args:
            segmentor (EvaluatedSegmentor): With weights.
            logit_scale (float): Scale of the checkpoint.
            rank (int): Index of this process. Defaults to 0.
            world (int): Number of processes. Defaults to 1.
            num_workers (int): Worker processes that load images. Defaults to 0.
        """
        share = Share(
            rank=rank,
            world=world,
            num_workers=num_workers,
            batch_size=self.settings.batch_size,
            limit=self.settings.limit,
        )
        if self.is_classification:
            names, templates = IMAGENET_SIMPLE_CATEGORIES, self.protocol.templates
            yield from run_classification(
                segmentor, self.dataset, self.journal, names=names, templates=templates, **share
            )
            return
        self.set_up(segmentor, logit_scale)
        other, ignored = self.settings.query_other, ignored_of(self.dataset)
        measure = make_measures(segmentor, self.settings.measures, other, ignored=ignored)
        yield from run_segmentation(segmentor, self.dataset, self.journal, measure=measure, **share)

    def _caveat(self) -> str:
        """Return how the evaluation differs from the source of its protocol."""
        parts = [self.protocol.caveat]
        if not self.settings.has_image_embeds:
            parts += self.protocol.unmet_by_adapters()
        return '; '.join(part for part in parts if part)

    def result(self) -> SetResult:
        """Return the content of the result file.

        Raises:
            RuntimeError: If images are missing.
        """
        images = [line for index, line in self.journal.results().items() if index < self.num_images]
        if len(images) != self.num_images:
            raise RuntimeError(
                f'{self.name} has {len(images)} of {self.num_images} images: a process ended '
                'early; the same command goes on.'
            )
        compute = accuracy_scores if self.is_classification else iou_scores
        names = () if self.is_classification else self.settings.measures
        scores, measures = compute(images, self.names), measure_scores(images, names, self.names)
        return SetResult(
            set=self.benchmark.name,
            metrics={**scores['metrics'], **measures.metrics},
            class_iou=scores['class_iou'],
            measures=measures.details,
            protocol=dict(
                name=self.protocol.name,
                source=self.protocol.source,
                caveat=self._caveat(),
                changes=self.protocol.changes_from(self.preset),
                fields=self.protocol.fields(),
            ),
            images=dict(
                evaluated=self.num_images, files=len(self.dataset), digest=self.digests['images']
            ),
            classes=dict(
                count=len(self.names),
                digest=self.digests['classes'],
                changed=self.classes,
                prompted=self.prompted,
            ),
            checkpoint=self.settings.weights,
            precision=self.settings.precision,
            batch_size=self.settings.batch_size,
            versions=versions(),
        )


def make_tasks(
    names: Sequence[str], settings: EvaluationSettings
) -> tuple[list[EvaluationTask], list[str]]:
    """Make all rows, and check their folders before the first image.

    Args:
        names (Sequence[str]): Argument of :func:`.select_sets`.
        settings (EvaluationSettings): Settings that all rows share.

    Returns:
        tuple[list[EvaluationTask], list[str]]: The rows, and a note on each set of ``all`` whose
        folder does not exist.

    Raises:
        FileNotFoundError: If the folders of all sets are missing.
        ValueError: If none of the sets uses an option, or a folder is unusable.
    """
    tasks, missing = [], []
    sets = select_sets(names)
    check_options_are_used(sets, settings)
    for benchmark in sets:
        folder = settings.folder(benchmark)
        if 'all' in names and not folder.is_dir():
            missing.append(f'{benchmark.title}: left out, there is no {folder}.')
        elif benchmark.name == 'imagenet' and not settings.has_image_embeds:
            if 'all' not in names:
                raise ValueError('The model has no embedding of an image: leave imagenet out.')
            missing.append(f'{benchmark.title}: left out, the model embeds no image.')
        elif benchmark.name == 'imagenet':
            tasks += [
                EvaluationTask(benchmark, settings, name=name, templates=templates)
                for name, templates in IMAGENET_TEMPLATES.items()
            ]
        else:
            tasks.append(EvaluationTask(benchmark.with_classes(folder), settings))
    if not tasks:
        raise FileNotFoundError(
            f'{settings.data_root} holds none of the sets: name the folder that does with '
            '--data-root.'
        )
    return tasks, missing
