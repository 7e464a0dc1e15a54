"""A softmax over an axis that is not that of the classes, in the loss or at the end of the network."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import prod

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pellucid.base.errors import PellucidError
from pellucid.data.seeds import generator
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.inputs import subsample
from pellucid.doctor.remedies import with_layers_at
from pellucid.layers import Identity, Layer, LogSoftmax, Softmax
from pellucid.losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from pellucid.network.ending import last_layers, only_moves

NO_AXIS = -1  # that could be at fault alone, since no output has any effect
MAX_EXAMPLES = 128
N_DRAWS = 2  # of random outputs
TOLERANCE = 1e-4  # of the loss, of gradients relative to the largest, and of a sum of probabilities
CERTAIN_LOGIT, MAX_LOWEST = 20.0, 0.3  # of outputs that equal the targets, and their loss relative to random ones
MAX_SUM_ERROR = 0.01  # of targets that are probabilities
MIN_PROBABILITIES = 0.5  # fraction of the sums of targets along an axis that are 1; positions without any have sum 0

LossWithGradient = tuple[Tensor, Tensor]  # a loss and its gradient


def find(case: Case) -> list[Finding]:
    """Find the axis by the sums of the outputs, or by random outputs to which random numbers are added along an axis.

    A softmax over this axis leaves the loss and its gradient the same.
    """
    batch = subsample(case.train, MAX_EXAMPLES, case.model.seed)
    outputs = case.initial(batch.x)
    if not isinstance(outputs, Tensor) or not outputs.dim() or len(batch) < 2:
        return []
    paths = [path for path, layer in _ends(case.model.net).items() if isinstance(layer, Softmax | LogSoftmax)]
    axis = _axis_of_network(outputs, batch.y) if paths else _axis_of_loss(case, outputs, batch.y)
    has_known_softmax = bool(paths) or isinstance(case.model.loss, SoftmaxCrossEntropy)
    is_wrong_output = axis == NO_AXIS and has_known_softmax and case.model.output_shape[:1] == (1,)
    return [] if axis is None or is_wrong_output else [_finding(case, axis, outputs, paths[0] if paths else "loss")]


def _ends(net: Layer) -> dict[str, Layer]:
    return last_layers(net, only_moves)


def _axis_of_network(outputs: Tensor, y: Tensor) -> int | None:
    """Return the axis along which the outputs of a softmax sum to 1 if it is wrong; NO_AXIS if all outputs are 1."""
    probabilities = outputs.exp() if float(outputs.max()) <= 0 else outputs
    if bool((probabilities == 1).all()):
        return NO_AXIS
    for axis in range(1, outputs.dim()):
        is_softmax = float((probabilities.sum(axis) - 1).abs().max()) < TOLERANCE
        if is_softmax and _is_wrong(axis, outputs, y):
            return axis
    return None


def _axis_of_loss(case: Case, outputs: Tensor, y: Tensor) -> int | None:
    """Return the wrong axis of a softmax in the loss, if there is one; NO_AXIS if the loss is the same for all outputs.

    None for a loss that takes no random outputs.
    """
    loss, rng = partial(case.model.loss, target=y), generator(case.model.seed)
    draws = [torch.randn(outputs.shape, generator=rng) for _ in range(N_DRAWS)]
    try:
        results = [loss(draw) for draw in draws]
        is_constant = _are_equal(*results) and not bool(results[0][1].any())
        has_one_target = len(y.unique()) == 1 and (y.is_floating_point() or int(y.min()) < 0)
        may_have_no_targets = has_one_target and not bool(results[0][0])  # all may be ignored
        if is_constant and not may_have_no_targets and (1 in outputs.shape[1:] or bool(results[0][0])):
            return NO_AXIS
        for axis in range(outputs.dim()):
            added = torch.randn(outputs.narrow(axis, 0, 1).shape, generator=rng)
            shifted = [loss(draw + added) for draw in draws] if _is_wrong(axis, outputs, y) else []
            is_softmax = bool(shifted) and all(_are_equal(*pair) for pair in zip(results, shifted, strict=True))
            if is_softmax and not _is_lowest_at_targets(loss, draws[0], y):
                return axis
    except (PellucidError, RuntimeError, AttributeError, TypeError):
        return None
    return None


def _are_equal(first: LossWithGradient, second: LossWithGradient) -> bool:
    """Return whether two losses are equal, and so are their gradients."""
    limits = [TOLERANCE * float(one.abs().max()) for one in first]
    return all(float((a - b).abs().max()) <= limit for a, b, limit in zip(first, second, limits, strict=True))


def _is_wrong(axis: int, outputs: Tensor, y: Tensor) -> bool:
    """Return whether the targets are no probabilities, or no classes, along an axis of the outputs."""
    shape = tuple(outputs.shape)
    if shape[axis] < 2:
        return False
    if not y.is_floating_point() and y.dim() == outputs.dim() - 1:
        class_axes = [k for k in range(1, len(shape)) if shape[:k] + shape[k + 1 :] == tuple(y.shape)]
        return bool(class_axes) and axis not in class_axes
    if y.numel() != outputs.numel() or not bool(((y >= 0) & (y <= 1)).all()):
        return False
    is_binary = bool(((y == 0) | (y == 1)).all())
    sums = y.reshape(shape).double().sum(axis)
    has_other_sums = float(((sums - 1).abs() < MAX_SUM_ERROR).double().mean()) < MIN_PROBABILITIES
    return has_other_sums and (is_binary or (axis > 0 and outputs.dim() > 2))


def _is_lowest_at_targets(loss: Callable[[Tensor], LossWithGradient], draw: Tensor, y: Tensor) -> bool:
    """Return whether outputs that are sure of all targets have almost no loss, as of ranks and distances of outputs."""
    shape = tuple(draw.shape)
    if y.numel() == draw.numel():
        targets = y.reshape(shape)
    else:
        axis = next(k for k in range(1, len(shape)) if shape[:k] + shape[k + 1 :] == tuple(y.shape))
        labels = y.long().clamp(0, shape[axis] - 1)  # others, such as -1, are of positions that the loss ignores
        targets = one_hot(labels, shape[axis]).movedim(-1, axis)
    value = loss(CERTAIN_LOGIT * (2.0 * targets - 1))[0]
    return bool(value <= MAX_LOWEST * loss(draw)[0].abs())


def _finding(case: Case, axis: int, outputs: Tensor, path: str) -> Finding:
    """Return the finding of a softmax over an axis, or, for NO_AXIS, of a loss that is the same for all outputs."""
    y, shape = case.train.y, tuple(outputs.shape[1:])
    evidence: Evidence = {"outputs": str(shape), "targets": str(tuple(y.shape[1:]))}
    if axis == NO_AXIS:
        reason = ", as of a softmax over an axis of one output, which is always 1" if 1 in shape else ""
        cause = (
            f"the loss is the same for all outputs, so that its gradient is always 0{reason}"
            if path == "loss"
            else "a softmax over an axis of one output is always 1, so the gradient is always 0"
        )
        fix = (
            "use binary_cross_entropy_with_logits (or a sigmoid) on one output, or give the network one output for "
            "each class"
        )
        return Finding(NAME, path, evidence, cause, fix, _remedy(case, shape))
    are_labels = axis > 0 and (len(shape) == 1 or (axis == 1 and y.is_floating_point()))
    competing = "labels of which several or none can be present" if are_labels else "positions"
    cause = (
        f"{'the loss takes a softmax' if path == 'loss' else 'the network ends with a softmax'} over axis {axis} of "
        f"the outputs (N, {', '.join(map(str, shape))}), which is that of "
        f"{competing if axis else 'the examples of a batch'}: these compete with each other, since all probabilities "
        "along this axis sum to 1"
    )
    fix = (
        "use binary_cross_entropy_with_logits, without a softmax"
        if y[0].numel() == outputs[0].numel()
        else "let the softmax or log_softmax run over the axis of the classes, as cross_entropy does over axis 1"
    )
    return Finding(NAME, path, {**evidence, "axis": axis}, cause, fix, _remedy(case, shape))


def _remedy(case: Case, shape: tuple[int, ...]) -> Remedy | None:
    """Return the remedy of a plain loss for these targets and outputs of a shape; None for other targets."""
    y = case.train.y
    has_own_targets = y[0].numel() == prod(shape)
    if not has_own_targets:
        are_classes = not y.is_floating_point() and shape[1:] == tuple(y.shape[1:]) and len(shape) > 0 and shape[0] > 1
        loss: Loss = SoftmaxCrossEntropy()
    else:
        are_classes = bool(((y >= 0) & (y <= 1)).all())
        loss = BinaryCrossEntropy(reduction="mean")
    if not are_classes:
        return None

    def apply(case: Case) -> Case:
        ends = _ends(case.model.net).items()
        softmax_paths = [path for path, layer in ends if path and isinstance(layer, Softmax | LogSoftmax)]
        new = with_layers_at(case, softmax_paths, lambda _: Identity(), keep_weights=True, loss=loss)
        if not has_own_targets:
            return new
        train, validation = (
            part and replace(part, y=part.y.float().reshape(-1, *shape)) for part in (case.train, case.validation)
        )
        return replace(new, train=train, validation=validation)

    return Remedy(f"{type(loss).__name__} on the outputs", apply, f"plain-{type(loss).__name__}")


NAME = "softmax-axis"
CHECK = Check(NAME, find, finds_faults=True, explains=("replaced-weights", "underfitting", "overfitting"))
