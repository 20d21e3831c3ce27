"""``groupvit doctor``: the facts that a maintainer asks for, and what is wrong with them."""

from __future__ import annotations

import importlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

PACKAGES = ('mmengine', 'mmcv', 'mmsegmentation', 'mmpretrain')
OTHERS = ('numpy', 'transformers', 'huggingface_hub', 'safetensors', 'webdataset', 'onnxruntime')


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        level (str): ``'ok'``, ``'note'`` or ``'problem'``.
        text (str): The fact; of a problem also what to do.
    """

    level: str
    text: str


def run() -> int:
    """Print all findings.

    Returns:
        int: 0, or 1 if there is a problem.
    """
    problems = 0
    for check in CHECKS:
        try:
            for finding in check():
                problems += finding.level == 'problem'
                print(f'{finding.level:8} {finding.text}', flush=True)
        except Exception as error:  # a broken installation raises anything: the report goes on
            problems += 1
            name = check.__name__.removeprefix('check_')
            print(f'problem  {name}: {type(error).__name__}: {error}', flush=True)
    plural = '' if problems == 1 else 's'
    print(f'{problems or "no"} problem{plural} found')
    return 1 if problems else 0


def check_python() -> Iterator[Finding]:
    """Interpreter and system."""
    text = f'Python {platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores'
    yield Finding('ok' if sys.version_info >= (3, 10) else 'problem', text)


def check_torch() -> Iterator[Finding]:
    """PyTorch and a torchvision that belongs to it."""
    torch = importlib.import_module('torch')
    yield Finding('ok', f'torch {torch.__version__}, {torch.get_num_threads()} threads')
    try:
        vision = importlib.import_module('torchvision')
    except RuntimeError as error:
        if 'torchvision::nms' not in str(error):
            raise
        yield Finding(
            'problem',
            f'torchvision {installed("torchvision")} does not belong to torch {torch.__version__}; '
            'run: pip install --upgrade torch torchvision',
        )
    else:
        yield Finding('ok', f'torchvision {vision.__version__}')


def check_openmmlab() -> Iterator[Finding]:
    """One build of the OpenMMLab packages, whole."""
    for name in PACKAGES:
        builds = {each: installed(each) for each in (name, f'onedl-{name}')}
        there = {each: number for each, number in builds.items() if number}
        text = ' and '.join(f'{each} {number}' for each, number in there.items())
        if not there:
            yield Finding('problem', f'{name} is missing; run: pip install "groupvit-mmseg[onedl]"')
        elif len(there) > 1:
            yield Finding(
                'problem',
                f'{text} are both installed and overwrite each other; run: pip uninstall '
                f'{" ".join(there)}, and install one build again',
            )
        else:
            yield Finding('ok', text)
    try:
        importlib.import_module('mmcv.ops')
    except (ImportError, OSError):
        yield Finding(
            'note', 'mmcv has no compiled operators; GroupViT needs none, other models do'
        )


def check_others() -> Iterator[Finding]:
    """Versions of other packages."""
    versions = {name: installed(name) for name in OTHERS}
    yield Finding('ok', ', '.join(f'{name} {number or "-"}' for name, number in versions.items()))


def check_plugin() -> Iterator[Finding]:
    """The plugin itself and the time that importing it takes."""
    start = time.perf_counter()
    plugin = importlib.import_module('groupvit_mmseg')
    seconds = time.perf_counter() - start
    folder = Path(plugin.__file__ or '').parent
    yield Finding(
        'ok', f'groupvit-mmseg {plugin.__version__} in {folder}, imported in {seconds:.1f} s'
    )


def check_devices() -> Iterator[Finding]:
    """The CPU and GPUs, their memory and whether they have instructions for bfloat16."""
    import torch

    from groupvit_mmseg.torch_versions import has_bfloat16_products

    half = 'bf16' if has_bfloat16_products('cpu') else 'no bf16: mixed precision on it is float32'
    yield Finding('ok', f'cpu, {half}')
    if not torch.cuda.is_available():
        built = (
            f'built for CUDA {torch.version.cuda}' if torch.version.cuda else 'built for the CPU'
        )
        yield Finding('note', f'no CUDA device (torch is {built})')
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        half = 'bf16' if has_bfloat16_products(f'cuda:{index}') else 'no bf16'
        memory = facts.total_memory / 2**30
        yield Finding('ok', f'cuda:{index} {facts.name}, {memory:.0f} GiB, {half}')
    if torch.backends.mps.is_available():
        yield Finding('ok', 'Apple MPS')


def check_weights() -> Iterator[Finding]:
    """The cache of released weights."""
    from groupvit_mmseg.checkpoints.released import RELEASED, cache_folder, is_offline

    folder = cache_folder()
    for weights in RELEASED.values():
        there = (folder / weights.file).is_file()
        yield Finding(
            'ok' if there else 'note', f'{weights.name}: {"in" if there else "not in"} {folder}'
        )
    yield writable(folder, 'set GROUPVIT_HOME to another folder')
    if is_offline():
        yield Finding('note', 'downloads are switched off by HF_HUB_OFFLINE or GROUPVIT_OFFLINE')


def check_folders() -> Iterator[Finding]:
    """Folders that runs write to."""
    yield writable(Path(tempfile.gettempdir()), 'set TMPDIR to another folder')
    yield writable(Path.cwd(), 'runs write work_dirs here: change to another folder')


def check_segmentation() -> Iterator[Finding]:
    """A model of the paper's size, with random weights, on an image that is drawn here."""
    import numpy as np

    from groupvit_mmseg.inference import GroupViTInferencer

    image = np.random.default_rng(0).integers(0, 255, (448, 448, 3), dtype=np.uint8)
    inferencer = GroupViTInferencer.untrained(class_names=['cat', 'dog', 'grass'])
    inferencer(image)
    start = time.perf_counter()
    result = inferencer(image)
    seconds = time.perf_counter() - start
    level = 'ok' if result.label_map.shape == (448, 448) else 'problem'
    yield Finding(
        level,
        f'an image of 448 x 448 pixels is segmented in {seconds:.2f} s on the CPU, in '
        f'{inferencer.precision}',
    )


def installed(name: str) -> str | None:
    """Return the version of an installed distribution."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def writable(folder: Path, remedy: str) -> Finding:
    """Return whether a folder, or the nearest one above it that exists, can be written."""
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return Finding('ok', f'{folder} can be written')
    return Finding('problem', f'{folder} cannot be written: {remedy}')


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_python,
    check_torch,
    check_openmmlab,
    check_others,
    check_plugin,
    check_devices,
    check_weights,
    check_folders,
    check_segmentation,
)
