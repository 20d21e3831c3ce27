"""The models of the page: opened once, used by one request at a time."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from groupvit_mmseg.checkpoints.released import LICENSE, find_released
from groupvit_mmseg.checkpoints.sources import is_remote
from groupvit_mmseg.inference import GroupViTInferencer
from groupvit_mmseg.text.class_list import ClassList
from groupvit_web.deadline import Deadline
from groupvit_web.default_words import default_words
from groupvit_web.word_embeddings import WordEmbeddings

_NUMBERS = itertools.count()


class PageModel:
    """A model that several visitors use in turn; :meth:`open` makes it.

    Classes and options travel with every call; nothing that a request sets outlives its turn.

    Attributes:
        name (str): Name for the page.
        source (str): Name, file, folder or address of the weights, as ``--model`` takes it.
        config (Path, optional): The config that was given, as ``--config`` takes it.
        key (int): Number of the model in this process, for caches.
        is_released (bool): Whether these are weights that the authors of GroupViT released.
        license_line (str): Licence of the weights, or a sentence that they are not the released
            ones.
        default_words (tuple[str, ...]): Words to begin with.
        classes (ClassList): Its classes and templates as it was opened.
        options (InferenceOptions): Mode, windows and PAMR as it was opened.
        precision (str): Precision of the backbone; measured here where it is ``'auto'``.
    """

    def __init__(
        self,
        inferencer: GroupViTInferencer,
        source: str,
        *,
        config: Path | None = None,
        default_words: tuple[str, ...] = (),
    ) -> None:
        released = find_released(source)
        self.name = source if released or is_remote(source) else Path(source).stem
        self.source, self.config, self.key = source, config, next(_NUMBERS)
        self.is_released = released is not None
        self.license_line = (
            f'Weights released by the authors of GroupViT under {LICENSE}.'
            if released
            else 'These are not the released weights: what they were trained on decides what '
            'they know.'
        )
        segmentor = inferencer.segmentor
        self.classes: ClassList = segmentor.decode_head.classes
        self.default_words = default_words or self.classes.foreground
        self.options, self.precision = segmentor.options, inferencer.precision
        if self.options.crf_steps:
            raise ValueError(
                f'The page has no CRF, but {config} has crf_steps={self.options.crf_steps} in '
                'model.test_cfg: set it to 0.'
            )
        self.head = segmentor.decode_head
        self.words = WordEmbeddings(self.head)
        self._inferencer, self._lock = inferencer, threading.Lock()

    @classmethod
    def open(
        cls,
        source: str | Path,
        *,
        config: str | Path | None = None,
        device: str = 'cpu',
        precision: str | None = None,
    ) -> PageModel:
        """Open a model.

        Args:
            source (str | Path): A name, file, folder or address, as
                :meth:`.GroupViTInferencer.from_pretrained` takes it.
            config (str | Path, optional): Config of the model; None derives it from the weights.
                Defaults to None.
            device (str): Device to compute on. Defaults to 'cpu'.
            precision (str, optional): One of :data:`.PRECISIONS`; None for that of the config, or
                ``'auto'`` if it has none. Defaults to None.

        Raises:
            OSError: If there is no such file or name, or it cannot be downloaded.
            ValueError: If it is no whole GroupViT, or there is no such device.
            UnpicklingError: If the file is damaged, or not one of weights.
        """
        inferencer = GroupViTInferencer.from_pretrained(source, config=config, device=device)
        if precision is not None:
            inferencer.set_options(precision=precision)
        path = None if config is None else Path(config)
        words = default_words(source) if path is None else ()
        return cls(inferencer, str(source), config=path, default_words=words)

    @contextmanager
    def turn(self, deadline: Deadline) -> Iterator[GroupViTInferencer]:
        """Wait until the model is free, and use it.

        Args:
            deadline (Deadline): Time limit of the request.

        Yields:
            GroupViTInferencer: For this request alone.

        Raises:
            PageError: If the time is over before it is free.
            RequestCancelled: If nobody waits for the answer any more.
        """
        deadline.check()
        while not self._lock.acquire(timeout=0.05):
            deadline.check()
        try:
            yield self._inferencer
        finally:
            self._lock.release()

    def test_cfg(self, mode: str | None, pamr_steps: int | None = None) -> dict[str, object]:
        """Return the options of a segmentation; None takes those of the model.

        Args:
            mode (str, optional): ``'whole'`` or ``'slide'``.
            pamr_steps (int, optional): Steps of PAMR. Defaults to None.
        """
        stated = dict(mode=mode, pamr_steps=pamr_steps)
        changes = {name: value for name, value in stated.items() if value is not None}
        options = self._inferencer.options_with(precision=self.precision, **changes)
        return {'pamr_steps': 0, **options}

    @contextmanager
    def configured(
        self, inferencer: GroupViTInferencer, classes: ClassList, test_cfg: dict[str, object]
    ) -> Iterator[None]:
        """Set classes and options of the model for the time of a turn.

        Args:
            inferencer (GroupViTInferencer): From :meth:`turn`.
            classes (ClassList): The classes.
            test_cfg (dict[str, object]): From :meth:`test_cfg`.
        """
        segmentor = inferencer.segmentor
        before = segmentor.test_cfg, self.head.classes
        try:
            segmentor.test_cfg = test_cfg
            inferencer.set_classes(classes)
            yield
        finally:
            segmentor.test_cfg = before[0]
            inferencer.set_classes(before[1])


def give_each_a_name(models: Sequence[PageModel]) -> None:
    """Give models of files with the same name longer ones: ``a/epoch_30`` and ``b/epoch_30``.

    Args:
        models (Sequence[PageModel]): The models of a page, whose names are changed in place.

    Raises:
        ValueError: If a model is there twice.
    """
    paths = {
        model: Path(model.source).absolute().with_suffix('').parts
        for model in models
        if not model.is_released and not is_remote(model.source)
    }
    for length in range(2, 1 + max(map(len, paths.values()), default=0)):
        counts = Counter(model.name for model in models)
        for model, parts in paths.items():
            if counts[model.name] > 1:
                model.name = Path(*parts[-length:]).as_posix()
    for name, count in Counter(model.name for model in models).items():
        if count > 1:
            raise ValueError(f'The model {name} is named {count} times: name each once.')
