"""The models of the page: opened once, used by one request at a time."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from groupvit_mmseg.checkpoints.released import LICENSE, find_released
from groupvit_mmseg.checkpoints.sources import is_remote
from groupvit_mmseg.inference import GroupViTInferencer
from groupvit_mmseg.text.class_list import ClassList
from groupvit_web.deadline import Deadline
from groupvit_web.default_words import default_words

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
        mode (str): ``'whole'`` or ``'slide'`` as it was opened.
        num_stages (int): Number of grouping stages.
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
        self.mode = segmentor.options.mode
        self.num_stages = len(getattr(segmentor.backbone, 'num_output_groups', ()))
        self._inferencer, self._lock = inferencer, threading.Lock()

    @classmethod
    def open(
        cls, source: str | Path, *, config: str | Path | None = None, device: str = 'cpu'
    ) -> PageModel:
        """Open a model.

        Args:
            source (str | Path): A name, file, folder or address, as
                :meth:`.GroupViTInferencer.from_pretrained` takes it.
            config (str | Path, optional): Config of the model; None derives it from the weights.
                Defaults to None.
            device (str): Device to compute on. Defaults to 'cpu'.

        Raises:
            OSError: If there is no such file or name, or it cannot be downloaded.
            ValueError: If it is no whole GroupViT, or there is no such device.
            UnpicklingError: If the file is damaged, or not one of weights.
        """
        inferencer = GroupViTInferencer.from_pretrained(source, config=config, device=device)
        path = None if config is None else Path(config)
        words = () if path else default_words(source)
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
