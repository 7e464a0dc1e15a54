"""Import of Zennit that also works without torchvision."""

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def zennit() -> Any:
    """Return the package zennit with its submodules.

    Zennit imports two classes of torchvision. If torchvision is not installed, empty classes replace them during the
    import.
    """
    placeholders: dict[str, ModuleType] = {}
    if "zennit" not in sys.modules and find_spec("torchvision") is None:
        placeholders = {
            name: ModuleType(name) for name in ("torchvision", "torchvision.models", "torchvision.models.resnet")
        }
        for name in ("Bottleneck", "BasicBlock"):
            setattr(placeholders["torchvision.models.resnet"], name, type(name, (), {}))
    sys.modules.update(placeholders)
    try:
        import zennit
        import zennit.attribution
        import zennit.canonizers
        import zennit.composites
        import zennit.layer
        import zennit.rules
    finally:
        for name in placeholders:
            del sys.modules[name]
    return zennit
