"""The scope ``groupvit_mmseg``, in which OpenMMLab's names stand for this plugin's classes.

A few tools of OpenMMLab compare or replace the name of a type: ``tools/train.py --amp`` of
MMSegmentation wants ``OptimWrapper`` and makes it ``AmpOptimWrapper``. A config that says
``dict(type='OptimWrapper', _scope_='groupvit_mmseg')`` has the guarded wrapper and works with them;
configs that do not name the scope are not touched. What is not registered here is looked up in
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
