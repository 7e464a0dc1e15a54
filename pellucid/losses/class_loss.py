"""What losses of one class for each position share: their checks, and which positions count."""

from torch import Tensor

from pellucid.layers.base import Shape
from pellucid.losses.base import Loss, Reduction
from pellucid.losses.targets import check_classes, counted, kept


class ClassLoss(Loss):
    """A loss of integer classes (N, ...), with weights by class, a class to ignore and a reduction as its fields."""

    class_weights: tuple[float, ...] | None
    ignore: int | None
    reduction: Reduction

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Require classes that exist."""
        check_classes(self, outputs, targets, self.class_weights, self.ignore)

    def counted(self, target: Tensor) -> float:
        """Return the examples, or for a mean the sum of their weights."""
        if self.reduction != "mean":
            return super().counted(target)
        return counted(target, self.class_weights, self.ignore)

    def kept(self, target: Tensor) -> Tensor | None:
        """Return the examples (n,) of other classes than `ignore`; None for all, and for several positions each."""
        return kept(target, self.ignore)
