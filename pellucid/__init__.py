"""See-through neural networks for vision: every layer has an explicit forward and an explicit backward pass."""

import ast
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

# The modules of the public names, from the stub that editors and type checkers read. Each module is imported on the
# first use of one of its names, so that `import pellucid` is fast.
_stub = ast.parse(__spec__.loader.get_data(f"{__file__.rpartition('__init__')[0]}__init__.pyi"))  # pyright: ignore
_MODULES = {
    alias.name: node.module
    for node in _stub.body
    if isinstance(node, ast.ImportFrom) and node.module
    for alias in node.names
}
# `from pellucid import *` must not replace the built-in function `open`.
__all__ = [name for name in _MODULES if name not in ("open", "__version__")]  # pyright: ignore


def __getattr__(name: str) -> Any:
    """Import a public name on its first use; raises AttributeError, with the nearest name, for an unknown one."""
    if name in _MODULES:
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value
    from pellucid.base.errors import nearest

    hint = nearest(name, __all__)
    # `from pellucid import NAME` replaces the message of an AttributeError by its own, so raise an ImportError. That
    # statement calls this function from importlib's _handle_fromlist, before it tries to import a submodule NAME.
    if hint and sys._getframe(1).f_code.co_name == "_handle_fromlist" and find_spec(f"{__name__}.{name}") is None:
        raise ImportError(f"cannot import name {name!r} from 'pellucid'{hint}", name=__name__, path=__file__)
    raise AttributeError(f"module 'pellucid' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(_MODULES)


if "ipykernel" in sys.modules:  # in a notebook, display results as views of the studio
    import_module("pellucid.studio.display").register()
