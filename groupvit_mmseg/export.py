"""A segmentor with fixed class embeddings, for ``torch.export`` and ONNX, of any image size.

Shapes: ``H, W`` pixels, ``S`` segments, ``K`` classes.
"""

import copy
import io
import json
import logging
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from groupvit_mmseg.models.class_scores import threshold_distance
from groupvit_mmseg.models.groupvit import GroupViT
from groupvit_mmseg.models.inference_options import read_options, refuse_options
from groupvit_mmseg.models.segmentor import GroupViTSegmentor
from groupvit_mmseg.models.zero_shot_head import GroupViTZeroShotHead
from groupvit_mmseg.text.class_list import ClassList
from groupvit_mmseg.torch_versions import require_torch

OUTPUTS = ('class_map', 'group_map')
# Options of the segmentation that do not change the maps of one whole image.
CARRIED = ('window_batch_size', 'with_scores', 'with_confidence', 'with_group_map')
LARGEST_SIDE = 4096
EXPORTS_FROM = (2, 5)
"""tuple[int, int]: First PyTorch whose exporter follows the model."""


class FrozenSegmentor(nn.Module):
    """Segmentation of one whole image into class map and group map, with fixed class embeddings.

    It has no text tower, and it normalises the image itself.

    Args:
        segmentor (GroupViTSegmentor): A segmentor with its weights and classes.

    Raises:
        ValueError: If ``test_cfg`` has an option that the graph does not support, the patches are
            clustered, the backbone is no GroupViT or the head no zero-shot head.
    """

    backbone: GroupViT
    head: GroupViTZeroShotHead
    mean: Tensor
    std: Tensor

    def __init__(self, segmentor: GroupViTSegmentor) -> None:
        super().__init__()
        check_exportable(segmentor)
        frozen = copy.deepcopy(segmentor)
        frozen.cpu().eval().requires_grad_(False)
        assert isinstance(frozen.backbone, GroupViT)  # check_exportable refuses others
        frozen.decode_head.encode_classes()
        self.backbone, self.head = frozen.backbone, frozen.decode_head
        del self.head.text_encoder, self.head.text_projector
        self.eval()
        preprocessor = frozen.data_preprocessor
        self.reads_rgb = converts_bgr_to_rgb(preprocessor)
        mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
        self.register_buffer('mean', torch.zeros(3) if mean is None else mean.flatten())
        self.register_buffer('std', torch.ones(3) if std is None else std.flatten())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Segment an image.

        Args:
            image (Tensor): RGB uint8 ``(1, H, W, 3)``, at least two patches a side.

        Returns:
            tuple[Tensor, Tensor]: int64 ``(1, H, W)`` each: class and segment of every pixel.
        """
        scores, group_map = self.segment_scores(image)
        classes = scores.argmax(dim=-1)  # (1, S)
        return classes.gather(1, group_map.flatten(1)).view_as(group_map), group_map

    def segment_scores(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute class scores of segments ``(1, S, K)`` and the group map ``(1, H, W)``."""
        output = self.backbone.encode(self.normalised(image))
        scores = self.head.segment_scores(self.head.segment_affinity(output))
        return scores, output.group_map()

    def normalised(self, image: Tensor) -> Tensor:
        """Normalise RGB uint8 ``(1, H, W, 3)`` to the backbone's input ``(1, 3, H, W)``."""
        channels = image.float() if self.reads_rgb else image.float().flip(-1)
        return ((channels - self.mean) / self.std).permute(0, 3, 1, 2)


def check_exportable(
    segmentor: GroupViTSegmentor, test_cfg: Mapping[str, object] | None = None
) -> None:
    """Refuse a segmentor with parts or options that the graph does not support.

    Args:
        segmentor (GroupViTSegmentor): The segmentor.
        test_cfg (Mapping[str, object], optional): Options; None for those of the segmentor.
            Defaults to None.

    Raises:
        ValueError: With the name of the part or of the option.
    """
    if segmentor.with_neck or not isinstance(segmentor.backbone, GroupViT):
        raise ValueError(
            'Exports take a GroupViT without a neck: the graphs of other backbones are of one '
            'image size, and clustering is no graph.'
        )
    if not isinstance(segmentor.decode_head, GroupViTZeroShotHead):
        raise ValueError(
            'Exports take a GroupViTZeroShotHead: other heads have no words to freeze.'
        )
    options = segmentor.options if test_cfg is None else read_options(test_cfg)
    if options.precision in ('auto', 'fp32-plain'):  # a graph computes in float32
        options = options._replace(precision='fp32')
    refuse_options(options, CARRIED, 'Exports segment whole images')
    if getattr(segmentor.data_preprocessor, 'test_cfg', None):
        raise ValueError('Exports do not pad: leave test_cfg out of model.data_preprocessor.')


def converts_bgr_to_rgb(preprocessor: nn.Module) -> bool:
    """Return whether a data preprocessor converts BGR to RGB; mmseg and mmengine name it apart."""
    names = ('_channel_conversion', 'channel_conversion')
    return any(bool(getattr(preprocessor, name, False)) for name in names)


class ExportMetadata(NamedTuple):
    """Settings that a user of the exported file needs; stored in it as JSON texts.

    Attributes:
        classes (ClassList): Everything that is prompted; each field is an entry of the file.
        short_side (int): Pixels of the short side to which images are resized before.
        smallest_side (int): Least pixels of a side: two patches.
    """

    classes: ClassList
    short_side: int
    smallest_side: int

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by index in the class map."""
        return self.classes.class_names

    def texts(self) -> dict[str, str]:
        """Return every entry as JSON: the fields of the class list and the sizes, by name."""
        sizes = {'short_side': self.short_side, 'smallest_side': self.smallest_side}
        entries = {**self.classes._asdict(), **sizes}
        return {name: json.dumps(value) for name, value in entries.items()}


def metadata_of(segmentor: GroupViTSegmentor, short_side: int) -> ExportMetadata:
    """Collect the metadata of a segmentor."""
    return ExportMetadata(
        classes=segmentor.decode_head.classes,
        short_side=short_side,
        smallest_side=2 * segmentor.backbone.patch_size,
    )


def export_program(model: FrozenSegmentor) -> torch.export.ExportedProgram:
    """Export the model as a graph for any height and width.

    Raises:
        ImportError: If the installed PyTorch is too old.
    """
    require_torch(EXPORTS_FROM, 'An export')
    smallest = 2 * model.backbone.patch_size
    height = torch.export.Dim('height', min=smallest, max=LARGEST_SIDE)
    width = torch.export.Dim('width', min=smallest, max=LARGEST_SIDE)
    # Neither side is the native one, and they differ, so the graph does not contain them.
    example = torch.zeros(1, 3 * smallest + 3, 4 * smallest + 1, 3, dtype=torch.uint8)
    return torch.export.export(
        model, (example,), dynamic_shapes={'image': {1: height, 2: width}}, strict=False
    )


def to_pt2(program: torch.export.ExportedProgram, metadata: ExportMetadata) -> bytes:
    """Write the graph as a ``.pt2`` file for ``torch.export.load``; metadata as extra files."""
    stream = io.BytesIO()
    torch.export.save(program, stream, extra_files=metadata.texts())
    return stream.getvalue()


def to_onnx(program: torch.export.ExportedProgram, metadata: ExportMetadata) -> bytes:
    """Write the graph as an ``.onnx`` file; metadata as its properties.

    Raises:
        ImportError: If the ONNX packages are not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ImportError as error:
        raise ImportError(
            'Exporting to ONNX needs onnx and onnxscript; run: pip install "groupvit-mmseg[onnx]"'
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of torch.onnx about its own deprecated parts
        logging.getLogger('torch.onnx').setLevel(logging.ERROR)
        exported = torch.onnx.export(
            program, dynamo=True, input_names=['image'], output_names=list(OUTPUTS), verbose=False
        )
    assert exported is not None
    proto = exported.model_proto
    onnx.helper.set_model_props(proto, metadata.texts())
    for value in (*proto.graph.input, *proto.graph.output):
        for dim, name in zip(value.type.tensor_type.shape.dim[1:3], ('height', 'width')):
            dim.dim_param = name
    return proto.SerializeToString()


def onnx_maps(content: bytes, image: NDArray[np.uint8]) -> tuple[NDArray, NDArray]:
    """Run the content of an ``.onnx`` file; return class map and group map ``(1, H, W)``.

    Raises:
        ImportError: If onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            'Comparing with ONNX needs onnxruntime; run: pip install "groupvit-mmseg[onnx]"'
        ) from error
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    class_map, group_map = session.run(list(OUTPUTS), {'image': image[None]})
    return np.asarray(class_map), np.asarray(group_map)


class MapDifference(NamedTuple):
    """Difference between the maps of two implementations for one image.

    Attributes:
        pixels (int): Pixels whose class or group differs.
        unexplained (int): Pixels among them whose margin is not below the tolerance.
    """

    pixels: int
    unexplained: int


@torch.no_grad()
def difference(
    model: FrozenSegmentor,
    image: NDArray[np.uint8],
    maps: tuple[NDArray, NDArray],
    *,
    tolerance: float = 1e-4,
) -> MapDifference:
    """Compare another implementation's maps with the model's own.

    Args:
        model (FrozenSegmentor): The model in PyTorch.
        image (NDArray): RGB ``(H, W, 3)``.
        maps (tuple[NDArray, NDArray]): Class map and group map of the other implementation,
            ``(1, H, W)`` each.
        tolerance (float): Pixels whose margin is below it may differ. Defaults to 1e-4.
    """
    batch = torch.from_numpy(image.copy())[None]
    expected = model(batch)
    wrong = torch.zeros(expected[0].shape, dtype=torch.bool)  # (1, H, W)
    for ours, other in zip(expected, maps, strict=True):
        wrong |= ours != torch.from_numpy(other)
    return MapDifference(
        int(wrong.sum()), int((wrong & (margins(model, batch) >= tolerance)).sum())
    )


def margins(model: FrozenSegmentor, image: Tensor) -> Tensor:
    """Compute the margin of every pixel, ``(1, H, W)``: the least of its group's and its class's.

    The margin of a group or class is its score minus the second best; a class's is also at most the
    distance of affinities to the thresholds.
    """
    output = model.backbone.encode(model.normalised(image))
    probs = output.pixel_probs()  # (1, S, H, W)
    affinity = model.head.segment_affinity(output)
    classes = top_two_margin(model.head.segment_scores(affinity), dim=-1)  # (1, S)
    distance = threshold_distance(
        model.head.foreground_affinity(affinity),
        bg_thresh=model.head.bg_thresh,
        class_thresholds=model.head.classes.thresholds,
    )
    classes = torch.minimum(classes, distance)
    group_map = probs.argmax(dim=1)  # (1, H, W)
    of_pixels = classes.gather(1, group_map.flatten(1)).view_as(group_map)
    return torch.minimum(of_pixels, top_two_margin(probs, dim=1))


def top_two_margin(values: Tensor, dim: int) -> Tensor:
    """Return the best minus the second best value along an axis; infinite for one value."""
    if values.shape[dim] == 1:
        return torch.full_like(values.select(dim, 0), torch.inf)
    best, second = values.topk(2, dim=dim).values.unbind(dim)
    return best - second
