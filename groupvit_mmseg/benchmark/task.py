"""One row of the table: a set, its protocol, the images done so far, and the result of all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmpretrain.datasets.categories import IMAGENET_SIMPLE_CATEGORIES

from groupvit_mmseg.benchmark.image_files import ImageFiles
from groupvit_mmseg.benchmark.journal import Journal
from groupvit_mmseg.benchmark.option_checks import check_class_file, check_options_are_used
from groupvit_mmseg.benchmark.protocols import PRESETS, protocol
from groupvit_mmseg.benchmark.report import PACKAGES, versions
from groupvit_mmseg.benchmark.run_set import (
    apply_protocol,
    build_dataset,
    digest,
    run_classification,
    run_segmentation,
)
from groupvit_mmseg.benchmark.scores import accuracy_scores, iou_scores
from groupvit_mmseg.benchmark.sets import Benchmark, chosen_sets
from groupvit_mmseg.datasets.segmentation_checks import check_set
from groupvit_mmseg.text.class_file import read_class_file
from groupvit_mmseg.text.templates import get_templates

IMAGENET_TEMPLATES = {'imagenet_7': 'subset', 'imagenet_80': 'full'}


@dataclass(frozen=True)
class EvaluationSettings:
    """What all rows of an evaluation share.

    Attributes:
        out (Path): Folder of the results; the journals lie below it.
        configs (Path): The folder ``configs`` of the project.
        weights (Mapping[str, Any]): Of ``describe_checkpoint``.
        data_root (Path): Holds the sets.
        roots (Mapping[str, str]): Other places, by set.
        protocol (str): Preset.
        changes (Mapping[str, Any]): Fields of the protocol to change.
        class_files (Mapping[str, str]): Class files, by set.
        model (str): What tells configs of the model apart.
        precision (str): ``fp32`` or ``bf16``.
        device (str): Where the model is.
        batch_size (int): Images that share batches of windows.
        limit (int | None): Images to stop at.
    """

    out: Path
    configs: Path
    weights: Mapping[str, Any]
    data_root: Path = Path('data')
    roots: Mapping[str, str] = field(default_factory=dict)
    protocol: str = 'official'
    changes: Mapping[str, Any] = field(default_factory=dict)
    class_files: Mapping[str, str] = field(default_factory=dict)
    model: str = ''
    precision: str = 'fp32'
    device: str = 'cpu'
    batch_size: int = 1
    limit: int | None = None

    def folder(self, benchmark: Benchmark) -> Path:
        """Where the files of a set lie."""
        return Path(self.roots.get(benchmark.name, benchmark.folder(self.data_root)))


class EvaluationTask:
    """A set to evaluate, its results on disk.

    Args:
        benchmark (Benchmark): The set.
        settings (EvaluationSettings): What all rows share.
        name (str, optional): Of the row and its files; None takes the set's. Defaults to None.
        templates (str, optional): Prompt templates in the place of the protocol's.
            Defaults to None.

    Attributes:
        protocol (Protocol): How the set is evaluated.
        dataset (Any): Its images.
        num_images (int): Images to evaluate.
        journal (Journal): What they gave.

    Raises:
        FileNotFoundError: If the folder or the class file does not exist.
        ValueError: If the protocol does not fit, or the folder of results is of other settings.
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
        given = self._given_background()
        changes = {**settings.changes}
        if templates is not None:  # they are what tells this row from another
            given['templates'] = changes['templates'] = templates
        self.preset = protocol(settings.protocol, benchmark.class_set, **given)
        self.protocol = protocol(settings.protocol, benchmark.class_set, **(given | changes))
        if not self.is_classification:
            check_class_file(benchmark, self.classes)
        self.prompted = self._prompted()
        root = settings.folder(benchmark)
        self.dataset = build_dataset(benchmark, root, self.protocol, configs=settings.configs)
        if not self.is_classification:
            check_set(self.dataset, len(self.prompted['class_names']))
        self.num_images = min(len(self.dataset), settings.limit or len(self.dataset))
        self.digests = dict(
            classes=digest([*self.names, json.dumps(self.prompted), *self._label_options()]),
            images=digest([Path(path).name for path in self._image_paths()]),
        )
        depends_on = dict(
            set=self.name,
            protocol=self.protocol.fields(),
            pipeline=[repr(step) for step in self.dataset.pipeline.transforms],
            model=settings.model,
            weights=settings.weights['sha256'],
            precision=settings.precision,
            device=settings.device.partition(':')[0],
            batch_size=settings.batch_size,
            versions={k: v for k, v in versions().items() if k in PACKAGES},
            **self.digests,
        )
        folder, files = settings.out / 'journal', ImageFiles(self.dataset)
        self.journal = Journal(folder, name=self.name, settings=depends_on, files=files)

    def _label_options(self) -> list[str]:
        """What the config of a set of the user's own says of labels besides their names."""
        if self.benchmark.num_images is not None:
            return []
        usual = dict(ignore_index=255, reduce_zero_label=False)
        found = {name: getattr(self.dataset, name, value) for name, value in usual.items()}
        return [f'{name}={value}' for name, value in found.items() if value != usual[name]]

    def _given_background(self) -> dict[str, Any]:
        """What tells the background where the preset does not: a part of it, and no change."""
        file, changes = self.classes, self.settings.changes
        given: dict[str, Any] = {}
        if (
            file is not None
            and file['with_background']
            and not ('background_words' in changes and not file['background_words'])
        ):
            given['background_words'] = file['background_words']
        if self.benchmark.class_set in PRESETS[self.settings.protocol].thresholds:
            return given
        background = ('bg_thresh', 'background_words')
        return given | {k: v for k, v in changes.items() if k in background}

    def _prompted(self) -> dict[str, Any]:
        """All that is prompted, by name; raises before any image what would be raised after."""
        if self.is_classification:
            if self.classes:
                raise ValueError(f'{self.benchmark.name} takes no class file: leave it out.')
            sentences = get_templates(self.protocol.templates)
            return dict(class_names=IMAGENET_SIMPLE_CATEGORIES, templates=sentences)
        found = self.protocol.class_list(self.benchmark.class_set, self.classes)._asdict()
        return found | dict(alias_pooling=self.protocol.alias_pooling)

    def _image_paths(self) -> list[str]:
        """Files of the images, in order."""
        infos = (self.dataset.get_data_info(index) for index in range(len(self.dataset)))
        return [str(info['img_path']) for info in infos]

    @property
    def names(self) -> Sequence[str]:
        """What the metric calls the classes."""
        return self.dataset.metainfo['classes']

    @property
    def is_classification(self) -> bool:
        """Whether images are classified, not segmented."""
        return self.benchmark.name == 'imagenet'

    def set_up(self, segmentor: Any, logit_scale: float) -> None:
        """Make a segmentor look for the classes as the protocol says."""
        apply_protocol(
            segmentor, self.protocol, self.benchmark.class_set, logit_scale, self.classes
        )

    def run(
        self,
        segmentor: Any,
        logit_scale: float,
        *,
        rank: int = 0,
        world: int = 1,
        num_workers: int = 0,
    ) -> Iterator[int]:
        """Do the images of one process that are not done yet; yield the index of each.

        Args:
            segmentor (Any): A ``GroupViTSegmentor`` with the weights.
            logit_scale (float): The checkpoint's.
            rank (int): Of this process. Defaults to 0.
            world (int): Number of processes. Defaults to 1.
            num_workers (int): Processes that load images. Defaults to 0.
        """
        share: dict[str, Any] = dict(rank=rank, world=world, num_workers=num_workers)
        share.update(batch_size=self.settings.batch_size, limit=self.settings.limit)
        if self.is_classification:
            share.update(names=IMAGENET_SIMPLE_CATEGORIES, templates=self.protocol.templates)
            yield from run_classification(segmentor, self.dataset, self.journal, **share)
            return
        self.set_up(segmentor, logit_scale)
        yield from run_segmentation(segmentor, self.dataset, self.journal, **share)

    def result(self) -> dict[str, Any]:
        """The result file's content.

        Raises:
            RuntimeError: If images are missing.
        """
        images = [line for index, line in self.journal.results().items() if index < self.num_images]
        if len(images) != self.num_images:
            raise RuntimeError(
                f'{self.name} has {len(images)} of {self.num_images} images: a process ended '
                'early; the same command goes on.'
            )
        scores = accuracy_scores if self.is_classification else iou_scores
        return dict(
            set=self.benchmark.name,
            **scores(images, self.names),
            protocol=dict(
                name=self.protocol.name,
                source=self.protocol.source,
                caveat=self.protocol.caveat,
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
    """All rows, and a note on each set of ``all`` that is not there.

    Whatever else is wrong with a folder comes up before the first image.

    Args:
        names (Sequence[str]): What :func:`.chosen_sets` takes.
        settings (EvaluationSettings): What all rows share.

    Raises:
        FileNotFoundError: If none of the sets is there.
        ValueError: If an option is given that none of the sets uses.
    """
    tasks, missing = [], []
    chosen = chosen_sets(names)
    check_options_are_used(chosen, settings)
    for benchmark in chosen:
        folder = settings.folder(benchmark)
        if 'all' in names and not folder.is_dir():
            missing.append(f'{benchmark.title}: left out, there is no {folder}.')
        elif benchmark.name == 'imagenet':
            tasks += [
                EvaluationTask(benchmark, settings, name=name, templates=templates)
                for name, templates in IMAGENET_TEMPLATES.items()
            ]
        else:
            tasks.append(EvaluationTask(benchmark, settings))
    if not tasks:
        raise FileNotFoundError(
            f'{settings.data_root} holds none of the sets: name the folder that does with '
            '--data-root.'
        )
    return tasks, missing
