"""Checks of the arguments of `Model` and `fit`."""

import math
import operator
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from pellucid.errors import PellucidError, nearest
from pellucid.layers.base import Layer
from pellucid.losses import LOSSES, Loss
from pellucid.losses.base import is_number
from pellucid.objective import Objective, Supervised
from pellucid.optim import OPTIMIZERS, MaxNorm, Optimizer, Regularizer
from pellucid.text import shown
from pellucid.training.step import optimizers_of

T = TypeVar("T")
LARGEST = 2**63 - 1
DEFAULT_LOSS = "softmax_cross_entropy"


def whole(value: Any, what: str, least: int, most: int = LARGEST) -> int:
    """Return a whole number from `least` to `most`; PellucidError, which calls it `what`, for anything else."""
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if not least <= number <= most:
        wanted = f"at most {most}" if number > most else f"at least {least}"
        raise PellucidError(f"{what} must be a whole number of {wanted}, not {shown(value)}")
    return number


def truth(value: Any, what: str) -> bool:
    """Return True or False for these, and for a whole number; PellucidError for anything else."""
    if not isinstance(value, bool | int):
        raise PellucidError(f"{what} must be True or False, not {shown(value)}")
    return bool(value)


def limit(value: Any, what: str) -> float | None:
    """Return None, or a number above 0; PellucidError, which calls it `what`, for anything else."""
    if value is None or (is_number(value) and 0 < value < math.inf):
        return value
    raise PellucidError(f"{what} must be a number above 0, or None for no limit, not {shown(value)}")


def decay(value: Any, what: str) -> float | None:
    """Return None, or a number above 0 and below 1; PellucidError, which calls it `what`, for anything else."""
    if value is None or (is_number(value) and 0 < value < 1):
        return value
    raise PellucidError(f"{what} must be a number between 0 and 1, such as 0.998, or None, not {shown(value)}")


def named(value: Any, base: type[T], known: Mapping[str, type[T]], what: str) -> T:
    """Return an object of the class `base`: `value` itself, or for a name in `known`, that class with its defaults."""
    if not isinstance(value, str):
        return instance(value, base, what)
    if value not in known:
        raise PellucidError(f"no {what} {value!r}; known: {', '.join(known)}{nearest(value, known)}")
    return known[value]()


def instance(value: Any, base: type[T] | tuple[type[T], ...], what: str) -> T:
    """Return `value` if it is an object of the class `base`, or of one of several."""
    if isinstance(value, base):
        return value
    if isinstance(value, type):
        name = value.__name__
        raise PellucidError(f"{what} is the class {name}; give an object of it, such as {name}(...)")
    kinds = " or ".join(one.__name__ for one in (base if isinstance(base, tuple) else (base,)))
    raise PellucidError(f"{what} must be of the class {kinds}, not {shown(value)}")


def several(values: Any, base: type[T], what: str) -> list[T]:
    """Return the objects of the class `base` in an iterable as a list."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise PellucidError(f"{what} takes a list, [{base.__name__}(...), ...], not {shown(values)}")
    return [instance(value, base, f"{what}[{place}]") for place, value in enumerate(cast(Iterable[Any], values))]


def objective_of(given: Any, loss: Any) -> Objective:
    """Return an Objective unchanged, and a network with its loss as a Supervised one."""
    if not isinstance(given, Objective):
        net = instance(given, (Layer, Objective), "the network")
        return Supervised(cast(Layer, net), named(loss, Loss, LOSSES, "loss"))
    if loss != DEFAULT_LOSS:
        raise PellucidError(f"{type(given).__name__} has its own losses; leave out loss={shown(loss)}")
    return given


def optimizers(given: Any, objective: Objective) -> tuple[Optimizer, dict[str, Optimizer]]:
    """Return the optimizer, or the first of several, and all of them by the networks' names if there are several."""
    if not isinstance(given, Mapping):
        return named(given, Optimizer, OPTIMIZERS, "optimizer"), {}
    pairs = cast(Mapping[Any, Any], given).items()
    each = {name: named(one, Optimizer, OPTIMIZERS, f"optimizer of {shown(name)}") for name, one in pairs}
    checked = optimizers_of(each, objective.nets)
    return next(iter(checked.values())), checked


def regularizers(given: Any) -> tuple[Regularizer | MaxNorm, ...]:
    """Return none, one or several regularizers as a tuple."""
    if given is None:
        return ()
    listed = cast(Sequence[Any], given) if isinstance(given, list | tuple) else (given,)
    return tuple(instance(one, (Regularizer, MaxNorm), "regularizer") for one in listed)


def class_names(value: Any) -> tuple[str, ...] | None:
    """Return the names of the classes, given as names or as a number of classes; None for None."""
    if value is None:
        return None
    if not isinstance(value, Sequence):
        return tuple(map(str, range(whole(value, "classes", 1))))
    names = cast(Sequence[Any], value)
    if isinstance(value, str) or not value or not all(isinstance(name, str) for name in names):
        raise PellucidError(f"classes must be their number or a list of their names, not {shown(names)}")
    doubled = [name for name, times in Counter(names).items() if times > 1]
    if doubled:
        raise PellucidError(f"classes: two are called {shown(doubled[0])}; give each its own name")
    return tuple(names)


def new_file(path: Any) -> Path:
    """Return the path of a file to write; PellucidError for a folder."""
    if not isinstance(path, str | os.PathLike):
        raise PellucidError(f"the file to write must be a path, not {shown(path)}")
    file = Path(cast("str | os.PathLike[str]", path))
    if not file.name or file.is_dir():
        raise PellucidError(f"{file} is a folder; give a file in it, such as {file / 'model.safetensors'}")
    return file
