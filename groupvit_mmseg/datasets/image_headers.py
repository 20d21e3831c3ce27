"""The name of an image's member in a shard, by its header, or the reason why it has none."""

import io
import warnings

from PIL import Image

from groupvit_mmseg.datasets.image_text_transforms import LoadImageText
from groupvit_mmseg.datasets.shard_stream import BadSample

# Formats that training reads with every build of OpenCV. Some cameras and phones write MPO: a JPEG
# with further images after it.
MEMBERS = {'JPEG': 'jpg', 'MPO': 'jpg', 'PNG': 'png', 'WEBP': 'webp'}


def image_member(data: bytes, *, max_pixels: int | None = None) -> str:
    """Find the extension under which an image belongs in a shard.

    Args:
        data (bytes): Content of the file; only the header is read.
        max_pixels (int, optional): Defaults to the limit of ``LoadImageText``.

    Returns:
        str: 'jpg', 'png' or 'webp'; the file's name does not matter.

    Raises:
        BadSample: If it is no image, of another format or too large.
    """
    if not data:
        raise BadSample('the file is empty')
    header = _open(data)
    name = header.format or 'an unknown format'
    if name not in MEMBERS:
        raise BadSample(f'the format is {name}: convert it to JPEG, PNG or WebP')
    limit = LoadImageText().max_pixels if max_pixels is None else max_pixels
    if header.width * header.height > limit:
        raise BadSample(f'more than {limit:,} pixels, the limit of training')
    return MEMBERS[name]


def check_image(data: bytes, member: str) -> None:
    """Decode an image as training does; raises ``BadSample`` where training could not use it."""
    members = {member: data, 'txt': b'an image'}
    try:
        LoadImageText().transform(dict(key='', members=members, error=None))
    # Decoders raise errors of many types for damaged data; they are counted under one reason.
    except Exception as error:
        raise BadSample('damaged: training cannot decode it') from error


def _open(data: bytes) -> Image.Image:
    """Open an image; only the header is read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise BadSample('more pixels than Pillow opens') from error
    # The plugins of Pillow raise errors of many types for damaged headers.
    except Exception as error:
        raise BadSample('not an image, or its header is damaged') from error
