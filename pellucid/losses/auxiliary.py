"""The cross-entropy of a network with auxiliary classifiers."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_range
from pellucid.losses.base import Loss
from pellucid.losses.softmax_cross_entropy import SoftmaxCrossEntropy


@dataclass(frozen=True)
class AuxiliaryCrossEntropy(Loss):
    """The cross-entropy of the main output plus weighted auxiliary cross-entropies: C = C_0 + w (C_1 + C_2 + ...).

    y is (logits, auxiliary logits, ...), each (N, C) and without a softmax, as googlenet(auxiliary=True) outputs them;
    dy is the tuple of their gradients; w is `weight`. Each C_k is SoftmaxCrossEntropy(label_smoothing, class_weights).
    Evaluation and `predict` use the main output only. If y is a single tensor, it is the main output.
    Source: Szegedy et al. 2015, section 5, with weight 0.3; torchvision trains Inception-v3 with 0.4.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    weight: float = 0.3
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Raise PellucidError for a weight that is not above 0, and for arguments invalid for SoftmaxCrossEntropy."""
        check_range(self, exclude_low=True, weight=self.weight)
        self.each()

    def each(self) -> SoftmaxCrossEntropy:
        """Return the loss that is applied to each output."""
        return SoftmaxCrossEntropy(self.label_smoothing, self.class_weights)

    def compute(self, y: Tensor | tuple[Tensor, ...], target: Tensor) -> tuple[Tensor, Any]:
        """Return (value, dy), where dy is a tuple if y is a tuple."""
        each = self.each()
        if not isinstance(y, tuple):
            return each(y, target)
        value, dmain = each(y[0], target)
        dy = [dmain]
        for logits in y[1:]:
            cost, dlogits = each(logits, target)
            value = value + self.weight * cost
            dy.append(self.weight * dlogits)
        return value, tuple(dy)

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Raise PellucidError for a single output, and for targets that are invalid for one of the outputs."""
        if not outputs or not all(isinstance(shape, tuple) for shape in outputs):
            raise PellucidError(
                f"AuxiliaryCrossEntropy: the network has one output {outputs}, no auxiliary ones; build it with "
                "auxiliary=True, or use the loss softmax_cross_entropy"
            )
        for shape in outputs:
            self.each().check(shape, targets)

    def draw(self, count: int, outputs: Any, inputs: Any, rng: torch.Generator) -> Tensor | None:
        """Return random class indices (count,), the targets of all outputs."""
        self.check(outputs, torch.zeros(1, dtype=torch.int64))
        return super().draw(count, outputs[0], inputs, rng)

    def total_weight(self, target: Tensor) -> float | Tensor:
        """Return the weight of a batch in a mean over batches, which is equal for all outputs."""
        return self.each().total_weight(target)

    def main_output(self, y: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Return the main output, the first one of a tuple."""
        return y[0] if isinstance(y, tuple) else y

    def predict(self, y: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Return the probability of each class from the main output."""
        return self.each().predict(self.main_output(y))
