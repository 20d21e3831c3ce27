"""Embeddings of words, each computed once."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from groupvit_mmseg.models.encoded_windows import EmbeddedClasses
from groupvit_mmseg.models.zero_shot_head import GroupViTZeroShotHead
from groupvit_mmseg.text.class_list import ClassList, Prompt
from groupvit_web.byte_cache import ByteCache
from groupvit_web.deadline import Deadline

CAPACITY = 16 * 2**20
"""int: Bytes that are kept: 1 kB per word of the paper's model."""
TEXTS_AT_A_TIME = 64
"""int: Sentences between two checks of the time limit."""


class WordEmbeddings:
    """Embeds words with one model, and keeps them: a new word does not embed the others again.

    Args:
        head (GroupViTZeroShotHead): Head of the model, in evaluation mode.
    """

    def __init__(self, head: GroupViTZeroShotHead) -> None:
        self.head = head
        self._kept = ByteCache[Tensor](CAPACITY)

    def embed(self, classes: ClassList, deadline: Deadline) -> EmbeddedClasses:
        """Embed the words of classes; only during a turn of the model.

        Args:
            classes (ClassList): The classes.
            deadline (Deadline): Time limit of the request.
        """
        rows = {each: self._kept.get((each.word, each.templates)) for each in classes.prompts}
        by_templates: dict[tuple[str, ...], list[Prompt]] = defaultdict(list)
        for prompt, row in rows.items():
            if row is None:
                by_templates[prompt.templates].append(prompt)
        for templates, missing in by_templates.items():
            step = max(1, TEXTS_AT_A_TIME // len(templates))
            for start in range(0, len(missing), step):
                deadline.check()
                rows.update(self._embed(missing[start : start + step], templates))
        embeds = torch.stack([row for row in rows.values() if row is not None])  # (K, D)
        return EmbeddedClasses(classes, embeds)

    def _embed(self, prompts: list[Prompt], templates: tuple[str, ...]) -> dict[Prompt, Tensor]:
        """Embed words and keep them."""
        embeds = self.head.embed_names([prompt.word for prompt in prompts], templates)
        rows = {}
        for prompt, row in zip(prompts, embeds, strict=True):
            rows[prompt] = row.clone()  # without the others' memory
            num_bytes = row.numel() * row.element_size()
            self._kept.put((prompt.word, templates), rows[prompt], num_bytes)
        return rows
