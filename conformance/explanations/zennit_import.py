"""Zennit, also where torchvision is not installed."""

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def zennit() -> Any:
    """Return the package, with its modules.

    It reads two classes of torchvision, to name them; without torchvision, empty ones stand in while it does.
    """
    stand_ins: dict[str, ModuleType] = {}
    if "zennit" not in sys.modules and find_spec("torchvision") is None:
        stand_ins = {
            name: ModuleType(name) for name in ("torchvision", "torchvision.models", "torchvision.models.resnet")
        }
        for name in ("Bottleneck", "BasicBlock"):
            setattr(stand_ins["torchvision.models.resnet"], name, type(name, (), {}))
    sys.modules.update(stand_ins)
    try:
        import zennit
        import zennit.attribution
        import zennit.canonizers
        import zennit.composites
        import zennit.layer
        import zennit.rules
    finally:
        for name in stand_ins:
            del sys.modules[name]
    return zennit
