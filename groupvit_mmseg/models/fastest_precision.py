"""The choice of ``precision='auto'``: the fastest precision of this CPU whose labels agree."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from groupvit_mmseg.datasets.scenes import draw_scene
from groupvit_mmseg.models.backbone_precision import encode_in, precisions_of, weights_version
from groupvit_mmseg.models.inference_options import PRECISIONS
from groupvit_mmseg.models.measurement_cache import kept, machine
from groupvit_mmseg.models.onednn import AVAILABLE
from groupvit_mmseg.torch_versions import is_compiling

if TYPE_CHECKING:
    from groupvit_mmseg.models.outputs import GroupViTOutput
    from groupvit_mmseg.models.segmentor import GroupViTSegmentor

VARIABLE = 'GROUPVIT_PRECISION'
"""str: Environment variable with the precision that ``'auto'`` has on CPUs, without measuring."""
MARGIN = 0.1
"""float: Share of the time of PyTorch's own float32 that another precision has to save."""
AGREEMENT = 0.995
"""float: Share of the pixels whose label bfloat16 has to keep. With trained weights 0.999 were
measured (docs/measurements.md), with nearly untrained ones 0.993."""
ROUNDS = 5
LEAST_ROUNDS = 2
SECONDS = 0.7
"""float: Time after which no further round of a measurement begins."""
WINDOWS = 4
"""int: Windows in which labels are compared; times are those of the first."""


class PrecisionChoice:
    """The choice for a segmentor, made when it is first used and again after its weights change.

    Copies and pickles of the segmentor leave it out.
    """

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._classes: object = None
        self._name = ''

    def of(self, segmentor: GroupViTSegmentor) -> str:
        """Return the precision of a segmentor: float32 in training, and where it is traced."""
        if segmentor.training or is_compiling() or torch.jit.is_tracing():
            return 'fp32'
        stated, threads = os.environ.get(VARIABLE), torch.get_num_threads()
        key = (stated, threads, weights_version(segmentor.backbone))
        if key != self._key or segmentor.classes is not self._classes:
            self._name, self._key = fastest_precision(segmentor), key
            self._classes = segmentor.classes
        return self._name

    def __deepcopy__(self, memo: dict) -> PrecisionChoice:
        """Return one that has not chosen."""
        return PrecisionChoice()

    def __reduce__(self) -> tuple[type[PrecisionChoice], tuple[()]]:
        """Pickle one that has not chosen."""
        return PrecisionChoice, ()


def fastest_precision(segmentor: GroupViTSegmentor) -> str:
    """Return the precision that ``'auto'`` stands for.

    On a CPU the backbone encodes drawn scenes in the size that it was trained on. PyTorch's own
    float32 stays unless another precision saves more than :data:`MARGIN` of its time; bfloat16 has
    to give :data:`AGREEMENT` of the pixels the same label, of the present classes. Times are kept
    for the CPU, the number of threads, the version of PyTorch and the shape of the model; the
    agreement for its weights and classes as well.

    Args:
        segmentor (GroupViTSegmentor): In evaluation mode, with its weights and classes.

    Raises:
        ValueError: If ``GROUPVIT_PRECISION`` names no precision.
    """
    backbone = segmentor.backbone
    if next(backbone.parameters()).device.type != 'cpu':
        return 'fp32'
    stated = os.environ.get(VARIABLE)
    if stated:
        return _checked(stated)
    windows = drawn_windows(segmentor)
    key = {**machine(), 'window': list(windows.shape[2:]), 'model': _shape_of(backbone)}
    seconds = kept(key, lambda: least_seconds(_runs(backbone, windows[:1])))

    def agreement() -> float:
        words = hashlib.sha256(repr(segmentor.classes).encode()).hexdigest()[:16]
        of_weights = {**key, 'weights': _fingerprint(segmentor), 'words': words}
        return kept(of_weights, lambda: {'bf16': _agreement(segmentor, windows)})['bf16']

    return choose(seconds, agreement)


def choose(seconds: Mapping[str, float], agreement: Callable[[], float]) -> str:
    """Choose a precision.

    Args:
        seconds (Mapping[str, float]): Time of each precision, ``'fp32-plain'`` among them.
        agreement (Callable[[], float]): Returns the share of pixels whose label bfloat16 keeps, in
            [0, 1]; it is called only if bfloat16 is the fastest.

    Example:
        >>> choose({'fp32-plain': 1.0, 'fp32': 0.95, 'bf16': 0.5}, lambda: 0.999)
        'bf16'
        >>> choose({'fp32-plain': 1.0, 'fp32': 0.95, 'bf16': 0.5}, lambda: 0.9)
        'fp32-plain'
    """
    limit = (1 - MARGIN) * seconds['fp32-plain']
    for name in sorted(seconds, key=lambda each: seconds[each]):
        if seconds[name] < limit and (name != 'bf16' or agreement() >= AGREEMENT):
            return name
    return 'fp32-plain'


def least_seconds(
    runs: Mapping[str, Callable[[], object]], clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the least time of each run in rounds that alternate; the first warms up.

    Args:
        runs (Mapping[str, Callable[[], object]]): What is measured, by name.
        clock (Callable[[], float]): Seconds. Defaults to ``time.perf_counter``.
    """
    for run in runs.values():
        run()
    least = dict.fromkeys(runs, math.inf)
    start = clock()
    for index in range(ROUNDS):
        if index >= LEAST_ROUNDS and clock() - start > SECONDS:
            break
        for name, run in runs.items():
            begin = clock()
            run()
            least[name] = min(least[name], clock() - begin)
    return least


def _runs(backbone: nn.Module, window: Tensor) -> dict[str, Callable[[], GroupViTOutput]]:
    """Return the precisions that this CPU has, each as a function that encodes a window."""
    names = [name for name in precisions_of('cpu') if AVAILABLE or name != 'fp32']

    @torch.no_grad()
    def run(precision: str) -> GroupViTOutput:
        return encode_in(precision, backbone, window)

    return {name: partial(run, name) for name in names}


@torch.no_grad()
def _agreement(segmentor: GroupViTSegmentor, windows: Tensor) -> float:
    """Return the share of the pixels whose label in float32 and in bfloat16 is the same."""

    def labels(precision: str) -> Tensor:
        output = encode_in(precision, segmentor.backbone, windows)
        if segmentor.with_neck:
            output = segmentor.neck(output, windows)
        head = segmentor.decode_head
        of_segments = head.segment_scores(head.segment_affinity(output)).argmax(dim=-1)  # (B, S)
        return of_segments.gather(1, output.group_map().flatten(1))  # (B, H * W)

    return (labels('fp32-plain') == labels('bf16')).float().mean().item()


def drawn_windows(segmentor: GroupViTSegmentor) -> Tensor:
    """Return scenes as windows of the segmentor, ``(4, 3, H, W)``, normalised.

    The side is that of the images that the backbone was trained on; 224 pixels for a backbone that
    does not say.
    """
    backbone = segmentor.backbone
    patch_size = getattr(backbone, 'patch_size', 1)
    side = min(getattr(backbone, 'grid_shape', (224 // patch_size,))) * patch_size
    images = [
        torch.from_numpy(draw_scene(seed, size=side).image[..., ::-1].copy()).permute(2, 0, 1)
        for seed in range(WINDOWS)
    ]  # BGR (3, H, W), as OpenMMLab's pipelines give them
    return segmentor.data_preprocessor(dict(inputs=images), False)['inputs']


def _shape_of(backbone: nn.Module) -> str:
    """Return the type of a backbone and a digest of the names and shapes of its weights."""
    shapes = repr([(name, tuple(each.shape)) for name, each in backbone.named_parameters()])
    return f'{type(backbone).__name__} {hashlib.sha256(shapes.encode()).hexdigest()[:16]}'


def _fingerprint(model: nn.Module) -> str:
    """Return a digest of the first values of every weight: enough to tell checkpoints apart."""
    digest = hashlib.sha256()
    for weight in model.parameters():
        digest.update(weight.detach().flatten()[:16].float().numpy().tobytes())
    return digest.hexdigest()[:16]


def _checked(name: str) -> str:
    """Return the precision of the environment variable if there is such a one."""
    allowed = [each for each in PRECISIONS if each != 'auto']
    if name not in allowed:
        raise ValueError(f'{VARIABLE}={name} is none of {", ".join(allowed)}.')
    return name
