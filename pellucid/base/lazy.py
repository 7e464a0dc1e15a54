"""Names of a package whose modules are imported when one of the names is first used."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any


def lazy_getattr(package: str, names: Sequence[str], modules: Sequence[str]) -> Callable[[str], Any]:
    """Return the function `__getattr__` of a package.

    For one of `names`, the function imports `modules` in turn until one defines that name. For any other name, it
    raises AttributeError, with the nearest name in the message.
    """

    def get_attribute(name: str) -> Any:
        if name in names:
            for module in modules:
                value = vars(import_module(module)).get(name)
                if value is not None:
                    setattr(sys.modules[package], name, value)
                    return value
        from pellucid.base.errors import nearest

        raise AttributeError(f"module {package!r} has no attribute {name!r}{nearest(name, names)}")

    return get_attribute
