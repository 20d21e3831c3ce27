"""The scope ``groupvit_mmseg``, in which OpenMMLab's names stand for this plugin's classes.

A few tools of OpenMMLab compare or replace the name of a type: ``tools/train.py --amp`` of
MMSegmentation requires ``OptimWrapper`` and replaces it by ``AmpOptimWrapper``. A config with
``dict(type='OptimWrapper', _scope_='groupvit_mmseg')`` has the guarded wrapper and works with them;
configs without the scope are not affected. Names that are not registered here are looked up in
MMSegmentation's registries.
"""

from mmengine.registry import Registry
from mmseg.registry import OPTIM_WRAPPERS as MMSEG_OPTIM_WRAPPERS

SCOPE = 'groupvit_mmseg'

OPTIM_WRAPPERS = Registry(
    'optim_wrapper',
    parent=MMSEG_OPTIM_WRAPPERS,
    scope=SCOPE,
    locations=['groupvit_mmseg.engine'],
)
