"""Studies: variants of one training, several seeds each, compared in one table.

A study is a config file with the fields of :class:`Study`; ``tools/study.py`` runs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from groupvit_mmseg.config_files import read_config, shipped_file

FIELDS = {
    'title',
    'question',
    'config',
    'variants',
    'seeds',
    'baseline',
    'metrics',
    'evaluations',
}


class Variant(NamedTuple):
    """One variant of a study.

    Attributes:
        config (Path): The config that is changed.
        options (Mapping[str, object]): Changes with dotted keys, as ``--cfg-options`` takes them.
        weights_of (str, optional): Variant whose weights of the same seed are evaluated with these
            changes; None for a training. Defaults to None.
        max_epochs (int, optional): Length of the training, to which the schedule is fitted; None
            for the config's. Defaults to None.
        starts_from (str, optional): Variant whose weights of the same seed the training starts
            from; None for the config's ``load_from``, or random ones. Defaults to None.
    """

    config: Path
    options: Mapping[str, object]
    weights_of: str | None = None
    max_epochs: int | None = None
    starts_from: str | None = None


class Study(NamedTuple):
    """The content of a study file.

    Attributes:
        title (str): Title of its table.
        question (str): The question that it answers, one sentence.
        variants (Mapping[str, Variant]): By name, in the order of the table.
        seeds (tuple[int, ...]): Seeds of each variant.
        baseline (str): The variant that the others are compared with.
        metrics (tuple[str, ...]): Names of the metrics in the table: ``'mIoU'``, ``'oracle/mIoU'``,
            and ``'NAME: mIoU'`` for one of ``evaluations``.
        evaluations (Mapping[str, Mapping[str, object]]): Further evaluations of each run: changes
            of its config by name. Their key ``calibrate`` contains the changes that lead to the
            images on which the background threshold is chosen.
    """

    title: str
    question: str
    variants: Mapping[str, Variant]
    seeds: tuple[int, ...]
    baseline: str
    metrics: tuple[str, ...]
    evaluations: Mapping[str, Mapping[str, object]]

    def source(self, name: str) -> str:
        """Return the variant whose training gives the weights of a variant."""
        return self.variants[name].weights_of or name

    def needed(self, name: str) -> set[str]:
        """Return a variant and those whose weights it needs, directly or not."""
        own = self.variants[name]
        before = {each for each in (own.weights_of, own.starts_from) if each is not None}
        return {name}.union(*(self.needed(each) for each in before))


def find_study(name: str | Path) -> Path:
    """Return the path of a study: a file, or the name of one in ``configs/studies``.

    Raises:
        FileNotFoundError: If there is none.
    """
    if Path(name).suffix == '.py':
        return Path(name)
    return shipped_file(f'configs/studies/{name}.py')


def read_study(path: str | Path) -> Study:
    """Read a study file; paths of configs in it are relative to its folder.

    Args:
        path (str | Path): The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a field is missing or unknown, or a variant refers to one that is not before
            it.

    Example:
        >>> study = read_study(find_study('assignment'))
        >>> study.baseline, study.seeds
        ('hard', (0, 1, 2))
    """
    content = read_config(path).to_dict()
    _check_fields(content, path)
    folder = Path(path).parent
    variants: dict[str, Variant] = {}
    for name, changes in content['variants'].items():
        variants[name] = _variant(name, changes, folder, content['config'], variants)
    study = Study(
        title=content['title'],
        question=content['question'],
        variants=variants,
        seeds=tuple(content.get('seeds', (0, 1, 2))),
        baseline=content.get('baseline') or next(iter(variants)),
        metrics=tuple(content['metrics']),
        evaluations=content.get('evaluations', {}),
    )
    if study.baseline not in variants:
        raise ValueError(f'The study {path} has no variant {study.baseline}, its baseline.')
    return study


def _check_fields(content: Mapping[str, object], path: str | Path) -> None:
    """Refuse a study file without a field, or with an unknown one."""
    missing = sorted({'title', 'question', 'config', 'variants', 'metrics'} - set(content))
    unknown = sorted(set(content) - FIELDS)
    if missing or unknown or not content['variants']:
        raise ValueError(
            f'The study {path} needs title, question, config, variants and metrics, and may have '
            f'seeds, baseline and evaluations: correct '
            f'{", ".join(missing + unknown) or "variants"}.'
        )


def _variant(
    name: str,
    changes: Mapping[str, object],
    folder: Path,
    config: str,
    earlier: Mapping[str, Variant],
) -> Variant:
    """Read one variant; ``earlier`` are those before it."""
    options = dict(changes)
    own_config, weights_of = options.pop('config', None), options.pop('weights_of', None)
    epochs, starts_from = options.pop('max_epochs', None), options.pop('starts_from', None)
    given = starts_from if weights_of is None else weights_of
    source = earlier.get(str(given))
    if given is not None and (source is None or source.weights_of is not None):
        raise ValueError(
            f'Variant {name} takes the weights of {given}, which is no training before it.'
        )
    if source is None or weights_of is None:
        path = folder / str(own_config or config)
        length = None if epochs is None else int(str(epochs))
        return Variant(path, options, None, length, None if source is None else str(starts_from))
    others = sorted(key for key in options if not key.startswith('val_'))
    if own_config or epochs or starts_from is not None or others:
        raise ValueError(
            f'Variant {name} takes the weights of {weights_of} and is not trained: it can change '
            f'val_cfg and val_dataloader alone, not {", ".join(others) or "its training"}.'
        )
    both = {**source.options, **options}
    return source._replace(options=both, weights_of=str(weights_of))


def chosen(names: Sequence[str] | None, study: Study) -> list[str]:
    """Return the variants of a run, in the study's order, with those whose weights they need.

    Raises:
        ValueError: If there is no such variant.
    """
    unknown = sorted(set(names or []) - set(study.variants))
    if unknown:
        raise ValueError(
            f'The study has no variant {", ".join(unknown)}: it has {", ".join(study.variants)}.'
        )
    wanted = set().union(*(study.needed(name) for name in names or study.variants))
    return [name for name in study.variants if name in wanted]
