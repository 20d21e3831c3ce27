"""Embeddings of all captions of a shard, by the text tower of a model."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.datasets.caption_passes import read_captions_of_shard
from groupvit_mmseg.datasets.shard_sizes import file_version, is_remote
from groupvit_mmseg.inference.loading import load_segmentor
from groupvit_mmseg.models import GroupViTSegmentor

CAPTION = ('{}',)


@functools.lru_cache(maxsize=1)
def _model(config: str | None, checkpoint: str, device: str) -> GroupViTSegmentor:
    """Load a model once for a process."""
    return load_segmentor(config, checkpoint, device=device)


@functools.lru_cache(maxsize=1)
def file_hash(file: str) -> str:
    """Return a hash of a file's content."""
    digest = hashlib.sha256()
    with open(file, 'rb') as stream:
        while data := stream.read(2**20):
            digest.update(data)
    return digest.hexdigest()


def _source(shard: str, captions: str) -> str:
    """Tell captions from those of other shards: by an address, or size and time of a file."""
    return f'{captions} of {shard if is_remote(shard) else file_version(shard)}'


class EmbeddedShard(TypedDict):
    """Name of the file of a shard, and numbers of its samples and captions."""

    file: str
    samples: int
    captions: int


def embed_captions(
    shard: str, folder: str, config: str | None, checkpoint: str, device: str, captions: str
) -> EmbeddedShard:
    """Write the embeddings of a shard's captions to ``NAME.npz``; a finished file stays.

    The file holds ``keys`` of the samples ``(S,)``, ``counts`` of their captions ``(S,)``,
    ``embeds`` of all captions in order, normalised, ``(C, D)`` in half precision, ``model``, a
    hash of the weights, and ``source``, which tells whether it is of this shard.

    Args:
        shard (str): Path or address.
        folder (str): Where the file is written.
        config (str | None): Config of the model; None reads the structure off the weights.
        checkpoint (str): The weights.
        device (str): Device that computes.
        captions (str): 'text' or 'json': the member to take where a sample has both.

    Returns:
        EmbeddedShard: The file.

    Raises:
        ValueError: If the shard is damaged, or the file there is one of another model, another
            shard or its other captions.
    """
    path = Path(folder, f'{Path(shard).name.split(".")[0]}.npz')
    digest = file_hash(checkpoint)
    if path.is_file():
        with np.load(path) as content:
            if str(content['model']) != digest:
                raise ValueError(f'"{path}" has embeddings of another model: choose a new folder.')
            if 'source' in content and str(content['source']) != _source(shard, captions):
                raise ValueError(
                    f'"{path}" has embeddings of another shard of that name, or of its other '
                    'captions: choose a new folder.'
                )
            samples, texts = len(content['keys']), int(content['counts'].sum())
        return {'file': path.name, 'samples': samples, 'captions': texts}
    found = list(read_captions_of_shard(shard, captions))
    texts_of_all = [text for sample in found for text in sample.captions]
    head = _model(config, checkpoint, device).decode_head
    with torch.inference_mode():
        embeds = head.embed_names(texts_of_all, CAPTION) if texts_of_all else torch.zeros(0, 0)
    write_atomically(
        path,
        lambda stream: np.savez(
            stream,
            keys=np.array([sample.key for sample in found], dtype=np.str_),
            counts=np.array([len(sample.captions) for sample in found], dtype=np.int64),
            embeds=embeds.cpu().numpy().astype(np.float16),
            model=np.array(digest),
            source=np.array(_source(shard, captions)),
        ),
    )
    return {'file': path.name, 'samples': len(found), 'captions': len(texts_of_all)}
