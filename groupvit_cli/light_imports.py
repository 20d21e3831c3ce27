"""Imports OpenMMLab without packages that only training needs: seconds less until the first image.

OpenMMLab's packages import ``transformers`` for an optimiser and ``torch.distributed.optim`` for
another; SciPy for losses, data augmentation and a matching; torchvision imports the compiler of
PyTorch for one function. A command that trains nothing calls none of these.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType, ModuleType

UNUSED = ('transformers', 'torch.distributed.optim')
"""tuple[str, ...]: Packages that mmengine leaves out where they cannot be imported."""
LAZY: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        'scipy.interpolate': (),
        'scipy.ndimage': ('distance_transform_edt', 'gaussian_filter'),
        'scipy.optimize': ('linear_sum_assignment',),
        'torch._dynamo.utils': ('is_compile_supported',),
    }
)
"""Mapping[str, Sequence[str]]: Modules that are imported when one of these functions is called, or
when anything else of them is used."""


class LazyModule(ModuleType):
    """A module that is imported when it is used, or its functions are called.

    Args:
        name (str): The module.
        functions (Sequence[str]): Functions that may be imported from it without importing it.
    """

    def __init__(self, name: str, functions: Sequence[str]) -> None:
        super().__init__(name)
        self._functions = frozenset(functions)

    def __getattr__(self, name: str) -> object:
        if name.startswith('__'):  # __path__ and others, which the import system asks for
            raise AttributeError(f'{self.__name__} has no {name}')
        return self._function(name) if name in self._functions else getattr(self._load(), name)

    def _function(self, name: str) -> Callable[..., object]:
        """Return a function that imports another and calls it."""

        def call(*args: object, **kwargs: object) -> object:
            return getattr(self._load(), name)(*args, **kwargs)

        return call

    def _load(self) -> ModuleType:
        """Import the module itself, in place of this one."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return importlib.import_module(self.__name__)


@contextlib.contextmanager
def light_imports() -> Iterator[None]:
    """Let ``groupvit_mmseg`` and OpenMMLab be imported without these packages.

    Packages that are imported already stay. After the block all can be imported as ever; only the
    optimisers ``Adafactor`` and ``ZeroRedundancyOptimizer`` are missing in the registries.

    Example:
        >>> with light_imports():
        ...     import groupvit_mmseg
    """
    placeholders: dict[str, ModuleType | None] = dict.fromkeys(UNUSED)
    placeholders |= {name: LazyModule(name, functions) for name, functions in LAZY.items()}
    placeholders = {name: each for name, each in placeholders.items() if name not in sys.modules}
    sys.modules.update(placeholders)  # type: ignore[arg-type]  # None: it cannot be imported
    try:
        yield
    finally:
        for name, placeholder in placeholders.items():
            if name in sys.modules and sys.modules[name] is placeholder:
                del sys.modules[name]
