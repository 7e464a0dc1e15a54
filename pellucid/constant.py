"""Values that an objective holds constant in its gradients, declared for verification."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from torch import Tensor

from pellucid.base.errors import PellucidError

ConstantT = TypeVar("ConstantT")
CHANGED_MESSAGE = (
    "verify: the values that the objective declares constant differ from pass to pass; declare the same ones"
)


class Constants:
    """The values that an objective declares by `constant` in one computation of its gradients.

    In the first computation inside `in_use` they are recorded; in later ones the recorded values replace the new ones.
    """

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._index: int | None = None  # index of the next value to replace; None while recording

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Record or replace the constants of the objective that is computed inside this context."""
        # a context variable, since losses and assignments, which declare constants, get no `Mode`
        token = _CONSTANTS.set(self)
        try:
            yield
        finally:
            _CONSTANTS.reset(token)
            index, self._index = self._index, 0
        if index not in (None, len(self._values)):
            raise PellucidError(CHANGED_MESSAGE)

    def record_or_replace(self, value: Any) -> Any:
        """Record a value and return it in the first computation; return the recorded value in later ones."""
        if self._index is None:
            self._values.append(copy.deepcopy(value))
            return value
        recorded: Any = self._values[self._index] if self._index < len(self._values) else None
        if type(recorded) is not type(value) or (isinstance(value, Tensor) and recorded.shape != value.shape):
            raise PellucidError(CHANGED_MESSAGE)
        self._index += 1
        return copy.deepcopy(recorded)


_CONSTANTS: ContextVar[Constants | None] = ContextVar("constants", default=None)


def constant(value: ConstantT) -> ConstantT:
    """Declare a value that `Objective.gradients` holds constant although it depends on the parameters; return it.

    Examples: region proposals, the outputs of a teacher that is trained at the same time, an IoU used as a target.
    value: a tensor, or a tuple, list or dataclass of tensors. It is returned unchanged. Only `verify` uses
    the declaration: it computes `gradients` several times with the same constants.
    """
    constants = _CONSTANTS.get()
    return value if constants is None else constants.record_or_replace(value)


def with_gradient_of(value: Tensor, trained: Tensor) -> Tensor:
    """Return `value`, the reported value of a loss, and declare that `gradients` computes the gradient of `trained`.

    `value` is returned unchanged; only `verify` uses the declaration.
    """
    return value if _CONSTANTS.get() is None else trained + constant(value - trained)
