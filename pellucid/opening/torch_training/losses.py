"""Losses of PyTorch as losses of this library, with the same value and gradient."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from pellucid.base.errors import PellucidError
from pellucid.base.text import first_line, note
from pellucid.losses import (
    L1,
    BinaryCrossEntropy,
    Hinge,
    Huber,
    Loss,
    NegativeLogLikelihood,
    ProbabilityCrossEntropy,
    Quadratic,
    SoftmaxCrossEntropy,
)
from pellucid.opening.torch_training.targets import NestedTargets
from pellucid.verify.modules import criterion_gradients, output_tensors

OWN_LOSS = (
    "write its value and its gradient as a pellucid.Loss with one method, compute (docs: your own parts), and give that"
)
# Functions that are given in place of the module with the same default arguments.
MODULES: dict[Callable[..., Any], type[nn.Module]] = {
    F.cross_entropy: nn.CrossEntropyLoss,
    F.nll_loss: nn.NLLLoss,
    F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
    F.binary_cross_entropy: nn.BCELoss,
    F.mse_loss: nn.MSELoss,
    F.l1_loss: nn.L1Loss,
    F.smooth_l1_loss: nn.SmoothL1Loss,
    F.huber_loss: nn.HuberLoss,
    F.multi_margin_loss: nn.MultiMarginLoss,
    F.multilabel_soft_margin_loss: nn.MultiLabelSoftMarginLoss,
}
ELEMENTWISE = (Quadratic, L1, Huber, BinaryCrossEntropy, ProbabilityCrossEntropy)  # of outputs and as many targets
MAX_ROUNDING_ERROR = 1e-3  # of a loss, relative to its value


@dataclass(frozen=True)
class TorchCriterion(Loss):
    """A criterion that PyTorch computes from (outputs, targets), with its gradient with respect to the outputs only.

    structure: what the network returns, such as a tuple or a dict, with the class Tensor in place of each tensor.
    targets: the structure of targets that are not one tensor.
    """

    indivisible: ClassVar[str] = "PyTorch computes the loss of a batch"

    criterion: Callable[..., Any]  # of outputs and targets; returns the loss as a tensor
    structure: Any = Tensor
    targets: NestedTargets | None = None

    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return the value and the gradient of each output; raises PellucidError if the criterion fails."""

        def value_of(leaves: list[Tensor]) -> Tensor:
            remaining = iter(leaves)
            outputs = tree_map(lambda leaf: next(remaining) if leaf is Tensor else leaf, self.structure)
            target_copy = target.clone()  # no tensor of the inference mode
            targets = target_copy if self.targets is None else self.targets.split(target_copy)
            try:
                return self.criterion(outputs, targets)
            except Exception as error:  # the criterion's own code may raise any error
                raise PellucidError(
                    f"from_torch: the loss {_name_of(self.criterion)} raises {type(error).__name__}: "
                    f"{first_line(error):.300}; outputs: {_shapes(leaves)}, targets: {_shapes(output_tensors(targets))}"
                ) from error

        value, gradients = criterion_gradients(value_of, y if isinstance(y, tuple) else (y,))
        return value, tuple(gradients) if isinstance(y, tuple) else gradients[0]

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Accept all targets that the criterion accepts."""

    def draw(self, count: int, outputs: Any, inputs: Any, rng: torch.Generator) -> None:
        """Return None: which targets are valid is unknown."""


def _name_of(criterion: Any) -> str:
    return (
        type(criterion).__name__
        if isinstance(criterion, nn.Module)
        else getattr(criterion, "__name__", type(criterion).__name__)
    )


def _shapes(tensors: list[Tensor]) -> str:
    return ", ".join(f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}" for tensor in tensors)


def training_loss(criterion: Any, structure: Any, targets: NestedTargets | None = None) -> Loss:
    """Return the loss of a criterion, one that PyTorch computes, with a note, for a criterion without a counterpart.

    structure, targets: see `TorchCriterion`. Raises PellucidError for a criterion with parameters, and for targets that
    are not one tensor unless PyTorch computes the criterion.
    """
    is_known = isinstance(criterion, Loss) or type(criterion) in CONVERSIONS or criterion in [*MODULES]
    if is_known and targets is not None:
        raise PellucidError(
            f"from_torch: targets are {targets}, and {_name_of(criterion)} takes one tensor; give it, or a function of "
            "(outputs, targets) as the loss"
        )
    if is_known or not callable(criterion):
        return loss_of(criterion)
    name = _name_of(criterion)
    # the gradient with respect to its parameters would be missing, as only the outputs' is computed
    if isinstance(criterion, nn.Module) and next(criterion.parameters(), None) is not None:
        raise PellucidError(f"from_torch: the loss {name} has parameters, which are not trained here; {OWN_LOSS}")
    note(
        f"from_torch: PyTorch computes the loss {name} and its gradient with respect to the outputs; the backward pass "
        "of the network is that of its layers here"
    )
    return TorchCriterion(criterion, structure, targets)


def loss_of(criterion: Any) -> Loss:
    """Return the loss that has the value and the gradient of a criterion of PyTorch, or a Loss unchanged.

    Raises PellucidError for a criterion without a counterpart, and for options that the counterpart lacks.
    """
    if isinstance(criterion, Loss):
        return criterion
    module = criterion
    for function, module_class in MODULES.items():  # compared, since a criterion may have no hash
        if criterion is function:
            module = module_class()
    name = type(module).__name__
    convert = CONVERSIONS.get(type(module))
    if convert is None:
        raise PellucidError(f"from_torch: the loss {_name_of(criterion)} is not translated; {OWN_LOSS}")
    if module.reduction not in ("mean", "sum"):
        raise PellucidError(
            f"from_torch: {name}(reduction={module.reduction!r}) has no single value; give it with 'mean' or 'sum', as "
            "your loop reduces it"
        )
    return convert(module)


def check_shapes(loss: Loss, y: Any, target: Tensor) -> None:
    """Raise PellucidError where PyTorch would repeat outputs or targets until their shapes are equal.

    Also for weights of classes unless outputs are (N, C): elsewhere PyTorch's belong to the last axis, ours to axis 1.
    """
    if isinstance(loss, BinaryCrossEntropy | ProbabilityCrossEntropy) and isinstance(y, Tensor) and y.dim() != 2:
        pos_weight = loss.pos_weight if isinstance(loss, BinaryCrossEntropy) else 1.0
        if any(isinstance(weights, tuple) and len(weights) > 1 for weights in (loss.class_weights, pos_weight)):
            raise PellucidError(
                f"from_torch: outputs of shape {tuple(y.shape)}: PyTorch gives weights to the last axis, not to the "
                f"classes on axis 1; {OWN_LOSS}"
            )
    if not isinstance(y, Tensor) or y.shape == target.shape:
        return
    if not (isinstance(loss, ELEMENTWISE) or (isinstance(loss, TorchCriterion) and _compares_all(loss, y, target))):
        return
    raise PellucidError(
        f"from_torch: outputs of shape {tuple(y.shape)} and targets of shape {tuple(target.shape)}: PyTorch repeats "
        "both to one shape, so that outputs are compared with the targets of other examples; give targets of the shape "
        "of the outputs, such as target[:, None]"
    )


def _compares_all(loss: TorchCriterion, y: Tensor, target: Tensor) -> bool:
    """Return whether a criterion compares the outputs of each example with the targets of all examples."""
    count = len(target)
    if loss.targets is not None or y.numel() != target.numel() or len(y) != count:
        return False
    try:
        whole = float(loss(y, target)[0])
        pairs = torch.tensor(
            [[float(loss(y[i : i + 1], target[k : k + 1])[0]) for k in range(count)] for i in range(count)]
        )
    except PellucidError:  # it takes no single examples
        return False
    of_all, of_own = (torch.stack([one.sum(), one.mean()]) for one in (pairs, pairs.diagonal()))
    is_of_all, is_of_own = ((one - whole).abs() < MAX_ROUNDING_ERROR * abs(whole) for one in (of_all, of_own))
    return bool(is_of_all.any()) and not bool(is_of_own.any())


def _cross_entropy(module: nn.CrossEntropyLoss) -> Loss:
    return SoftmaxCrossEntropy(
        label_smoothing=module.label_smoothing,
        class_weights=_class_weights(module, module.weight),
        ignore=module.ignore_index,
        reduction=_reduction(module),
    )


def _nll(module: nn.NLLLoss) -> Loss:
    return NegativeLogLikelihood(
        class_weights=_class_weights(module, module.weight), ignore=module.ignore_index, reduction=_reduction(module)
    )


def _bce_with_logits(module: nn.BCEWithLogitsLoss) -> Loss:
    pos_weight = _class_weights(module, module.pos_weight, "pos_weight")
    if pos_weight is not None and len(pos_weight) == 1:
        pos_weight = pos_weight[0]
    return BinaryCrossEntropy(
        pos_weight=1.0 if pos_weight is None else pos_weight,
        reduction=_reduction(module),
        class_weights=_class_weights(module, module.weight),
    )


def _bce(module: nn.BCELoss) -> Loss:
    return ProbabilityCrossEntropy(class_weights=_class_weights(module, module.weight), reduction=_reduction(module))


def _mse(module: nn.MSELoss) -> Loss:
    return Quadratic(reduction=_reduction(module), factor=1.0)


def _l1(module: nn.L1Loss) -> Loss:
    return L1(reduction=_reduction(module))


def _smooth_l1(module: nn.SmoothL1Loss) -> Loss:
    """Return the Huber loss of (y - target) / s with s² = β: e² / 2β for |e| < β, else |e| - β/2."""
    if not module.beta:
        return L1(reduction=_reduction(module))
    root = math.sqrt(module.beta)
    return Huber(delta=root, scale=root, reduction=_reduction(module))


def _huber(module: nn.HuberLoss) -> Loss:
    return Huber(delta=module.delta, reduction=_reduction(module))


def _multi_margin(module: nn.MultiMarginLoss) -> Loss:
    if module.p == 2 and module.weight is not None:
        raise PellucidError(f"from_torch: MultiMarginLoss with p=2 and weight is not translated; {OWN_LOSS}")
    if module.reduction == "sum":
        raise _mean_over_classes("MultiMarginLoss")
    power: Any = module.p  # 1 or 2
    return Hinge(
        margin=module.margin,
        power=power,
        class_weights=_class_weights(module, module.weight),
        reduction=_reduction(module),
    )


def _multilabel_soft_margin(module: nn.MultiLabelSoftMarginLoss) -> Loss:
    """Return the binary cross-entropy, whose mean over the outputs of each example this loss is."""
    if module.reduction == "sum":
        raise _mean_over_classes("MultiLabelSoftMarginLoss")
    return BinaryCrossEntropy(reduction="mean", class_weights=_class_weights(module, module.weight))


CONVERSIONS: dict[type[nn.Module], Callable[[Any], Loss]] = {
    nn.CrossEntropyLoss: _cross_entropy,
    nn.NLLLoss: _nll,
    nn.BCEWithLogitsLoss: _bce_with_logits,
    nn.BCELoss: _bce,
    nn.MSELoss: _mse,
    nn.L1Loss: _l1,
    nn.SmoothL1Loss: _smooth_l1,
    nn.HuberLoss: _huber,
    nn.MultiMarginLoss: _multi_margin,
    nn.MultiLabelSoftMarginLoss: _multilabel_soft_margin,
}


def _mean_over_classes(name: str) -> PellucidError:
    return PellucidError(
        f"from_torch: {name}(reduction='sum') is a mean over classes and a sum over examples; give it with 'mean'"
    )


def _reduction(module: Any) -> Any:
    return module.reduction


def _class_weights(module: nn.Module, weights: Tensor | None, name: str = "weight") -> Any:
    """Return weights of classes as a tuple of numbers; raises PellucidError for weights of single values."""
    if weights is None:
        return None
    if weights.dim() > 1:
        raise PellucidError(
            f"from_torch: {type(module).__name__}: {name} of shape {tuple(weights.shape)} is not one number for each "
            f"class; {OWN_LOSS}"
        )
    return tuple(float(weight) for weight in weights.flatten().tolist())
