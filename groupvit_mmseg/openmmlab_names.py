"""Names under which OpenMMLab's own loaders find the plugin's models and the released weights.

mmengine looks up a scope in ``MODULE2PACKAGE`` before it reads metafiles, and the address of a
checkpoint among the prefixes of its ``CheckpointLoader``; MMPretrain looks up a model in its
``ModelHub``. This module adds entries to all three.
"""

import contextlib
from pathlib import Path

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.runner import CheckpointLoader
from mmpretrain.apis.model import ModelHub

from groupvit_mmseg.checkpoints.hub import HUB_PREFIX
from groupvit_mmseg.checkpoints.loading import MapLocation, read_checkpoint
from groupvit_mmseg.checkpoints.released import RELEASED
from groupvit_mmseg.checkpoints.types import Checkpoint
from groupvit_mmseg.registry import SCOPE

CHECKPOINT_PREFIXES = (
    'https://github.com/xvjiarui/GroupViT-1/',
    'groupvit-gcc-',
    'nvidia/groupvit-',
    HUB_PREFIX,
    r'(.*[/\\])?group_vit_gcc_(yfcc|redcap)_30e',
)
"""tuple[str, ...]: Patterns of the checkpoints that mmengine's functions read by this plugin: the
released files by address, name, place on the hub, and as local files."""
CLASSIFICATION = 'configs/classification/metafile.yaml'


def register_names() -> None:
    """Add the plugin to the tables of mmengine and MMPretrain; a second call changes nothing."""
    MODULE2PACKAGE.setdefault(SCOPE, 'groupvit-mmseg')
    for prefix in CHECKPOINT_PREFIXES:
        with contextlib.suppress(KeyError):  # another package reads them, or they are registered
            CheckpointLoader.register_scheme(prefix, load_from_groupvit)
    register_classifiers()


def register_classifiers() -> None:
    """Add the classification configs to MMPretrain's models, for ``mmpretrain.get_model``."""
    root = model_index_folder()
    if root is not None:
        with contextlib.suppress(ValueError):  # the names are registered
            ModelHub.register_model_index(root / CLASSIFICATION, config_prefix=root)


def model_index_folder() -> Path | None:
    """Return the folder of ``model-index.yml``: the repository, ``.mim`` of an installed package.

    Returns:
        Path | None: None if the package was copied without both.
    """
    package = Path(__file__).parent
    folders = (package.parent, package / '.mim')
    return next((path for path in folders if (path / CLASSIFICATION).is_file()), None)


def load_from_groupvit(filename: str, map_location: MapLocation | None = None) -> Checkpoint:
    """Read a checkpoint for mmengine's ``load_checkpoint``, without running anything in it.

    mmengine's own loaders run the code that the official files contain.

    Args:
        filename (str): The name or the address of released weights, ``hf://OWNER/NAME``, or a file
            whose path begins like one of these.
        map_location (MapLocation, optional): Device of the tensors, as in ``torch.load``. Defaults
            to None, the CPU.

    Returns:
        Checkpoint: ``state_dict`` with the pretrainer's names, which a
        :class:`.GroupViTSegmentor` loads too, and ``meta``, whose ``dataset_meta`` is empty if the
        file names no classes.
    """
    source = released_name(filename) or filename
    checkpoint = read_checkpoint(source, map_location=map_location or 'cpu')
    # Without this entry MMSegmentation warns, and takes the classes of another data set.
    checkpoint.setdefault('meta', {}).setdefault('dataset_meta', {})
    return checkpoint


def released_name(address: str) -> str | None:
    """Return the name of released weights whose official address this is.

    Their name is read from a cache, a mirror or the hub, and their hash is checked.

    Example:
        >>> released_name(
        ...     'https://github.com/xvjiarui/GroupViT-1/releases/download/v1.0.0/'
        ...     'group_vit_gcc_yfcc_30e-879422e0.pth'
        ... )
        'groupvit-gcc-yfcc'
    """
    if not address.startswith(CHECKPOINT_PREFIXES[0]):
        return None
    file = address.rpartition('/')[2]
    return next((name for name, weights in RELEASED.items() if weights.file == file), None)
