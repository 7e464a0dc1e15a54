"""Names of earlier releases, which work as before and warn."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")


def renamed_fields(removed_in: str, **new_names: str) -> Callable[[type[T]], type[T]]:
    """Return a decorator of classes that accepts old names of arguments and attributes, with a DeprecationWarning.

    removed_in: the release that removes the old names. new_names: the new name of each old one.
    """

    def warn(cls: type, old: str) -> str:
        new = new_names[old]
        message = f"{cls.__name__}: {old} is named {new}; the old name will be removed in {removed_in}"
        warnings.warn(message, DeprecationWarning, stacklevel=3)
        return new

    def decorate(cls: type[T]) -> type[T]:
        initialize = cast(Any, cls).__init__

        @functools.wraps(initialize)
        def __init__(self: T, *args: Any, **values: Any) -> None:  # noqa: N807
            initialize(self, *args, **{warn(cls, name) if name in new_names else name: values[name] for name in values})

        cast(Any, cls).__init__ = __init__
        for old in new_names:
            setattr(cls, old, property(lambda self, old=old: getattr(self, warn(cls, old))))
        return cls

    return decorate


def accept_renamed_methods(cls: type, removed_in: str, **new_names: str) -> None:
    """Give the methods that a user's class defines under old names the new ones, with a DeprecationWarning.

    Without this, a subclass written for an earlier release would silently use the methods of its base class.
    removed_in, new_names: see `renamed_fields`.
    """
    for old, new in new_names.items():
        if old in vars(cls):
            message = f"{cls.__name__}.{old} is named {new}; the old name will be removed in {removed_in}"
            warnings.warn(message, DeprecationWarning, stacklevel=3)
            setattr(cls, new, vars(cls)[old])
