"""The contract of every loss: its value and its gradient, side by side."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from pellucid.calls import Checked
from pellucid.errors import PellucidError

Reduction = Literal["mean", "batch", "sum"]
HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Loss(metaclass=Checked):
    """What a network is trained to make small: a frozen value that holds hyperparameters only.

    A user-defined loss needs `compute` alone. `metrics` names what is measured beside it unless a model says so.
    """

    metrics: ClassVar[tuple[str, ...]] = ()

    def __call__(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return the loss as a 0-d tensor, and its gradient with respect to `y` in y's shape and dtype.

        y is (N, ...), or the tuple of a network's several outputs where the loss takes them; dy is a tuple then too.
        Half-precision outputs are compared in float32, and so is the value. Nothing is written into `y` or `target`.
        Raises PellucidError where the target's shape or a class index does not fit, and for a batch
        without examples: its mean would be 0/0, and a 0 would hide that there is nothing to learn from.
        """
        if isinstance(y, tuple):
            return self.compute(y, target)
        if not y.numel():
            raise PellucidError(f"{type(self).__name__}: a batch without examples has no loss; leave it out")
        if y.dtype in HALF:
            value, dy = self.compute(y.float(), target)
            return value, dy.to(y.dtype)
        return self.compute(y, target)

    @abstractmethod
    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return (value, dy) for outputs in float32 or float64."""

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Raise PellucidError unless all `targets` (n, ...) of a data set suit a network that outputs `outputs`.

        `outputs` is the shape without the batch axis, a tuple of shapes for several outputs. Called once for each
        data set, because it reads every target. Unless a loss says more, targets must be finite, and one integer for
        each position of several outputs must be a class that exists.
        """
        if targets.is_floating_point() and not bool(targets.isfinite().all()):
            raise PellucidError(f"{type(self).__name__}: targets must be finite; look for NaN and infinity in the data")
        several = len(outputs) > 0 and isinstance(outputs[0], int) and outputs[0] > 1
        classes = several and not targets.is_floating_point() and targets.shape[1:] == outputs[1:]
        if classes and not bool(((targets >= 0) & (targets < outputs[0])).all()):
            raise out_of_range(self, targets, outputs[0])

    def predict(self, y: Any) -> Tensor:
        """Return what the network's output means to people: numbers, probabilities or scores; y itself by default."""
        return y

    def counted(self, target: Tensor) -> float:
        """Return what a batch's loss counts in a mean over batches: its examples, or the sum of their weights."""
        return float(len(target))

    def kept(self, target: Tensor) -> Tensor | None:
        """Return which examples (n,) the loss does not leave out, as booleans; None for all. Metrics see no others."""
        return None

    def judged(self, y: Any) -> Any:
        """Return what evaluation judges of a network's output: all of it, unless some is for training only."""
        return y


def check_reduction(loss: Loss, reduction: str) -> None:
    """Require one of the known reductions."""
    if reduction not in get_args(Reduction):
        known = ", ".join(get_args(Reduction))
        raise PellucidError(f"{type(loss).__name__}: reduction must be one of {known}, not {reduction!r}")


def check_positive(loss: Loss, **values: float) -> None:
    """Require numbers above 0."""
    for name, value in values.items():
        if not (is_number(value) and 0 < value < float("inf")):
            raise PellucidError(f"{type(loss).__name__}: {name} must be a number above 0, not {value!r}")


def is_number(value: object) -> bool:
    """Return whether a value is an int or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def shares(reduction: str, y: Tensor) -> int:
    """Return by how many the sum over all outputs of all examples is divided."""
    if reduction == "batch":
        return y.shape[0]
    return y.numel() if reduction == "mean" else 1


def positions(reduction: str, y: Tensor) -> int:
    """Return by how many the sum over all positions of y (N, C, ...) is divided, if each counts 1."""
    return y.numel() // y.shape[1] if reduction == "mean" else shares(reduction, y)


@lru_cache(maxsize=64)
def fraction(numerator: float, denominator: int, dtype: torch.dtype) -> Tensor:
    """Return numerator / denominator as a 0-d tensor on the CPU, which every device takes for a plain number.

    Kept between calls: PyTorch multiplies by such a tensor twice as fast as by a Python number, which it would wrap
    anew each time.
    """
    with torch.inference_mode(False):  # usable inside and outside inference mode
        return torch.tensor(numerator / denominator, dtype=dtype)


def out_of_range(loss: object, targets: Tensor, classes: int) -> PellucidError:
    """Say which classes do not exist."""
    return PellucidError(
        f"{type(loss).__name__}: the targets hold classes {int(targets.min())} to {int(targets.max())}, "
        f"but the network has outputs for 0 to {classes - 1}; number the classes from 0 or give it more outputs"
    )
