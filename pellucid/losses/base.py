"""The interface of losses, which compute their value and their gradient together."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from pellucid.base.deprecated import accept_renamed_methods
from pellucid.base.errors import PellucidError
from pellucid.base.settings.arguments import Checked
from pellucid.base.text import value_range

Reduction = Literal["mean", "batch", "sum"]
REDUCTIONS = get_args(Reduction)
HALF_DTYPES = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Loss(metaclass=Checked):
    """A function of outputs and targets that training minimizes: a frozen dataclass of hyperparameters.

    A user-defined loss only needs to define `compute`. `metrics` names the default metrics of models with this loss.
    `multilabel`: whether outputs are independent, so that targets of their shape are multi-label in the accuracy.
    `indivisible` is the reason why the loss of a batch is neither the sum nor a mean of the losses of its parts, or "".
    """

    metrics: ClassVar[tuple[str, ...]] = ()
    multilabel: ClassVar[bool] = False
    indivisible: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        """Accept the names that methods had before release 0.3."""
        super().__init_subclass__()
        accept_renamed_methods(cls, "0.4", kept="valid_mask", counted="total_weight", judged="main_output")

    def __call__(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return the loss as a 0-d tensor, and its gradient with respect to `y` in y's shape and dtype.

        y is (N, ...), or a tuple of outputs if the loss accepts tuples; the gradient is then also a tuple. For
        half-precision outputs the loss is computed in float32. `y` and `target` are not modified.
        Raises PellucidError for an unexpected target shape, a class index out of range, and a batch without examples.
        """
        if isinstance(y, tuple):
            return self.compute(y, target)
        if not y.numel():
            raise PellucidError(f"{type(self).__name__}: a batch without examples has no loss; leave it out")
        if y.dtype in HALF_DTYPES:
            value, dy = self.compute(y.float(), target)
            return value, dy.to(y.dtype)
        return self.compute(y, target)

    @abstractmethod
    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return (value, dy) for outputs in float32 or float64."""

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Raise PellucidError unless all `targets` (n, ...) of a data set are valid for outputs of shape `outputs`.

        `outputs` is the shape without the batch axis, or a tuple of shapes for a tuple of outputs. The method is called
        once for each data set, because it reads every target. By default, targets must be finite, and integer targets
        without the class axis must be class indices in range.
        """
        if targets.is_floating_point() and not bool(targets.isfinite().all()):
            raise PellucidError(f"{type(self).__name__}: targets must be finite; look for NaN and infinity in the data")
        is_multiclass = len(outputs) > 0 and isinstance(outputs[0], int) and outputs[0] > 1
        are_classes = is_multiclass and not targets.is_floating_point() and targets.shape[1:] == outputs[1:]
        if are_classes and not bool(((targets >= 0) & (targets < outputs[0])).all()):
            raise class_range_error(self, targets, outputs[0])

    def draw(self, count: int, outputs: Any, inputs: Any, rng: torch.Generator) -> Tensor | None:
        """Return random valid targets (count, ...), by default class indices; None unless there is one output tensor.

        outputs, inputs: shapes without the batch axis.
        """
        has_one_output = len(outputs) > 0 and isinstance(outputs[0], int)
        return torch.randint(max(2, outputs[0]), (count, *outputs[1:]), generator=rng) if has_one_output else None

    def predict(self, y: Any) -> Tensor:
        """Return predictions for the network's output: values, probabilities or scores; y unchanged by default."""
        return y

    def total_weight(self, target: Tensor) -> float | Tensor:
        """Return the weight of a batch in a mean over batches: its number of examples, or the sum of their weights.

        The result is a float or, for targets on an accelerator, a 0-d tensor, since reading its value would synchronize
        with the device.
        """
        return float(len(target))

    @property
    def is_sum(self) -> bool:
        """Whether the loss is a sum over the examples of a batch (`reduction` is "sum"); otherwise it is a mean."""
        return getattr(self, "reduction", "mean") == "sum"

    def valid_mask(self, target: Tensor) -> Tensor | None:
        """Return a mask (n,) of the examples that the loss and metrics include, or None for all examples."""
        return None

    def main_output(self, y: Any) -> Any:
        """Return the part of the network's output that is used in evaluation, by default the output unchanged."""
        return y


def upcast_half(y: Tensor) -> Tensor:
    """Return y, converted to float32 if it is in half precision."""
    return y.float() if y.dtype in HALF_DTYPES else y


def divisor(reduction: str, y: Tensor) -> int:
    """Return the divisor of the sum over all outputs of all examples: N for "batch", all outputs for "mean", else 1."""
    if reduction == "batch":
        return y.shape[0]
    return y.numel() if reduction == "mean" else 1


def position_divisor(reduction: str, y: Tensor) -> int:
    """Return the divisor of the sum over all positions of y (N, C, ...), without weights."""
    return y.numel() // y.shape[1] if reduction == "mean" else divisor(reduction, y)


@lru_cache(maxsize=64)
def fraction_tensor(numerator: float, denominator: int, dtype: torch.dtype) -> Tensor:
    """Return numerator / denominator as a 0-d tensor on the CPU, which combines with tensors on every device.

    The tensor is cached: PyTorch multiplies by it twice as fast as by a Python number, which it would convert to a
    tensor in each call.
    """
    with torch.inference_mode(False):  # so the cached tensor is usable inside and outside inference mode
        return torch.tensor(numerator / denominator, dtype=dtype)


def class_range_error(loss: object, targets: Tensor, n_classes: int) -> PellucidError:
    """Return the PellucidError for class indices that are not in 0 to n_classes - 1."""
    return PellucidError(
        f"{type(loss).__name__}: the targets contain {value_range('class', 'classes', targets)}, "
        f"but the network has outputs for 0 to {n_classes - 1}; number the classes from 0 or give it more outputs"
    )
