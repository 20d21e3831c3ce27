"""The scope ``groupvit_mmseg``: registries whose parents are those of MMSegmentation.

The plugin registers its classes in MMSegmentation's registries, so configs need no scope. The scope
serves two purposes:

- ``MMSegInferencer(..., scope='groupvit_mmseg')`` reads this plugin's metafiles, and builds every
  part of the model under this scope. Without a registry here mmengine warns and uses its root.
- A few tools of OpenMMLab compare or replace the name of a type: ``tools/train.py --amp`` of
  MMSegmentation requires ``OptimWrapper`` and replaces it by ``AmpOptimWrapper``. A config with
  ``dict(type='OptimWrapper', _scope_='groupvit_mmseg')`` has the guarded wrapper and works with
  them; configs without the scope are not affected.

Names that are not registered here are looked up in MMSegmentation's registries, then in mmengine's.
"""

from collections.abc import Mapping

import mmengine.registry as mmengine
import mmseg.registry as mmseg
from mmengine.registry import Registry

SCOPE = 'groupvit_mmseg'


def type_name(config: Mapping) -> str:
    """Return the name of a config's ``type`` without its scope or module, be it text or a class.

    Example:
        >>> type_name(dict(type='mmseg.Resize')), type_name(dict(type=Registry)), type_name({})
        ('Resize', 'Registry', '')
    """
    kind = config.get('type', '')
    return getattr(kind, '__name__', str(kind)).rpartition('.')[2]


def _child(parent: Registry, location: str) -> Registry:
    """Return a registry of the scope; ``location`` is imported before its first look-up."""
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=[location])


RUNNERS = _child(mmseg.RUNNERS, 'groupvit_mmseg.engine')
RUNNER_CONSTRUCTORS = _child(mmseg.RUNNER_CONSTRUCTORS, 'groupvit_mmseg.engine')
LOOPS = _child(mmseg.LOOPS, 'groupvit_mmseg.engine')
HOOKS = _child(mmseg.HOOKS, 'groupvit_mmseg.engine')
STRATEGIES = _child(mmengine.STRATEGIES, 'groupvit_mmseg.engine')

DATASETS = _child(mmseg.DATASETS, 'groupvit_mmseg.datasets')
DATA_SAMPLERS = _child(mmseg.DATA_SAMPLERS, 'groupvit_mmseg.datasets')
TRANSFORMS = _child(mmseg.TRANSFORMS, 'groupvit_mmseg.datasets')
FUNCTIONS = _child(mmengine.FUNCTIONS, 'groupvit_mmseg.datasets')

MODELS = _child(mmseg.MODELS, 'groupvit_mmseg.models')
MODEL_WRAPPERS = _child(mmseg.MODEL_WRAPPERS, 'groupvit_mmseg.engine')
WEIGHT_INITIALIZERS = _child(mmseg.WEIGHT_INITIALIZERS, 'groupvit_mmseg.models')
TASK_UTILS = _child(mmseg.TASK_UTILS, 'groupvit_mmseg.models')

OPTIMIZERS = _child(mmseg.OPTIMIZERS, 'groupvit_mmseg.engine')
OPTIM_WRAPPERS = _child(mmseg.OPTIM_WRAPPERS, 'groupvit_mmseg.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(mmseg.OPTIM_WRAPPER_CONSTRUCTORS, 'groupvit_mmseg.engine')
PARAM_SCHEDULERS = _child(mmseg.PARAM_SCHEDULERS, 'groupvit_mmseg.engine')

METRICS = _child(mmseg.METRICS, 'groupvit_mmseg.evaluation')
EVALUATOR = _child(mmseg.EVALUATOR, 'groupvit_mmseg.evaluation')

# MMSegmentation registers its own when this module is imported.
VISUALIZERS = _child(mmseg.VISUALIZERS, 'mmseg.visualization')
VISBACKENDS = _child(mmseg.VISBACKENDS, 'mmseg.visualization')
LOG_PROCESSORS = _child(mmseg.LOG_PROCESSORS, 'mmseg.visualization')
INFERENCERS = _child(mmseg.INFERENCERS, 'mmseg.apis')
