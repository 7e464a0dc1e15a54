"""The derivative of each loss with respect to one output, as a product of named factors."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid import losses
from pellucid.losses.base import Loss, divisor, position_divisor
from pellucid.losses.targets import class_weights_like, position_targets, target_values
from pellucid.trace.explanation import Factor
from pellucid.verify.probe import tensors

# The derivative of each loss as LaTeX.
FOCAL = r"\frac{\partial C}{\partial y_c} = w p f'(p) (t_c - a_c), f(p) = -(1 - p)^\gamma \ln p"
DICE = r"\frac{\partial C}{\partial y_c} = p_c (d_c - \sum_k p_k d_k), d = \frac{\partial C}{\partial p}"
SOFTMAX = r"\frac{\partial C}{\partial y} = \frac{a - t}{n}"
WEIGHTED_SOFTMAX = r"\frac{\partial C}{\partial y_c} = a_c \sum_k w_k t_k - w_c t_c"
BINARY = r"\frac{\partial C}{\partial y} = \frac{w}{n}\left(a\,(p t + 1 - t) - p t\right)"
QUALITY = (
    r"\frac{\partial C}{\partial y} = |e|^\beta e + \beta |e|^{\beta - 1} \mathrm{sign}(e)\, a (1 - a)\, h, e = a - t"
)
GIOU = r"\frac{\partial C}{\partial y} = -\frac{\partial}{\partial y}\left(\frac{I}{U} - 1 + \frac{U}{C}\right)"
HINGE = r"\frac{\partial C}{\partial y_j} = \frac{[y_j > y_t - m]}{n},\quad"
HINGE += r"\frac{\partial C}{\partial y_t} = -\sum_j \frac{\partial C}{\partial y_j}"


@dataclass(frozen=True)
class LossPieces:
    """The intermediate results of a loss for one output y of the network, and the factors of its gradient."""

    intermediates: dict[str, Tensor]  # tensors by name (probabilities, log_likelihood ...)
    cost: Tensor  # values that add up to the loss
    # function of a flat index in y that returns the factors whose product is ∂C/∂y there
    factors: Callable[[int], tuple[Factor, ...]] = field(repr=False)
    words: str  # the rule for ∂C/∂y, as a sentence
    formula: str  # the same rule as LaTeX


def loss_pieces(loss: Loss, y: Any, target: Tensor, value: Tensor, dy: Any) -> list[LossPieces]:
    """Return the pieces of the loss for each output of the network; value, dy: the loss and its gradient."""
    outputs, deltas = tensors(y), tensors(dy)
    if (pieces_of_outputs := PIECES_BY_MULTI_OUTPUT_LOSS.get(type(loss))) is not None:
        return pieces_of_outputs(loss, outputs, target)
    pieces_of = PIECES_BY_LOSS.get(type(loss))
    if pieces_of is not None and len(outputs) == 1:
        return [pieces_of(loss, outputs[0], target)]
    return [_generic_pieces(loss, output_number, value, delta) for output_number, delta in enumerate(deltas)]


def softmax_cross_entropy(loss: losses.SoftmaxCrossEntropy, y: Tensor, target: Tensor) -> LossPieces:
    """Return the pieces: probabilities a, targets t, log_likelihood (ln a of each example's class) and `wanted`.

    wanted: the weight of -ln a for each class, including averaging and class weights: C = -Σ wanted ln a.
    """
    log_a = y.log_softmax(1)
    a, e = log_a.exp(), loss.label_smoothing
    if target.is_floating_point():
        t = target.to(y.dtype) * (1 - e) + e / y.shape[1]
        log_likelihood = (t * log_a).sum(1)
        denominator = position_divisor(loss.reduction, y)
    else:
        positions = position_targets(loss, y, target, loss.class_weights, loss.ignore)
        keep_mask = positions.keep_mask
        t = torch.zeros_like(y).scatter_(1, positions.classes, keep_mask) * (1 - e) + e / y.shape[1] * keep_mask
        log_likelihood = log_a.gather(1, positions.classes).squeeze(1)
        denominator = positions.divisor(loss.reduction)
    class_weights = 1.0 if loss.class_weights is None else class_weights_like(loss, loss.class_weights, y)
    target_weights = t * class_weights / denominator
    position_weights = target_weights.sum(1, keepdim=True).expand_as(target_weights)  # the weight of each position
    # For class indices without class weights, t sums to 1, or to 0 at an ignored position.
    targets_sum_to_one = loss.class_weights is None and not target.is_floating_point()

    def factors(index: int) -> tuple[Factor, ...]:
        if not targets_sum_to_one:
            first = Factor("a Σ w t", value_at(a, index) * value_at(position_weights, index), "probability")
            return (difference("a Σ w t - w t", first, Factor("w t", value_at(target_weights, index), "target")),)
        weight = value_at(position_weights, index)
        if weight == 1:
            return (_error_factor("a", "probability", a, t, index),)
        is_fraction = weight > 0 and abs(1 / weight - round(1 / weight)) < 1e-6
        name = f"1/{round(1 / weight)}" if is_fraction else "share"
        return _error_factor("a", "probability", a, t, index), Factor(name, weight)

    words = "softmax and cross-entropy together: the predicted probability a minus the target t" + (
        ", times the weight of the example" if bool((position_weights != 1).any()) else ""
    )
    intermediates = {"probabilities": a, "targets": t, "log_likelihood": log_likelihood, "wanted": target_weights}
    return LossPieces(
        intermediates,
        -(target_weights * log_a).sum(1),
        factors,
        words,
        SOFTMAX if targets_sum_to_one else WEIGHTED_SOFTMAX,
    )


def nll(loss: losses.NegativeLogLikelihood, y: Tensor, target: Tensor) -> LossPieces:
    """Return the pieces: the log-likelihood of each position, and its weight `wanted`; y contains log-probabilities."""
    positions = position_targets(loss, y, target, loss.class_weights, loss.ignore)
    weights = positions.weight / positions.divisor(loss.reduction)  # (N, 1, ...)
    target_weights = torch.zeros_like(y).scatter_(1, positions.classes, weights)
    intermediates = {"log_likelihood": y.gather(1, positions.classes).squeeze(1), "wanted": target_weights}

    def factors(index: int) -> tuple[Factor, ...]:
        return (Factor("-w" if value_at(target_weights, index) else "0", -value_at(target_weights, index), "error"),)

    words = "only the true class has a gradient: minus its weight in the mean"
    return LossPieces(
        intermediates, -(target_weights * y).sum(1), factors, words, r"\frac{\partial C}{\partial y_c} = -\frac{t_c}{n}"
    )


def focal(loss: losses.Focal, y: Tensor, target: Tensor) -> LossPieces:
    """Return the pieces: probabilities and targets."""
    pieces = loss.pieces(y, target)
    a, t = pieces.log_a.exp(), torch.zeros_like(y).scatter_(1, pieces.classes, 1)
    slope = pieces.slope.expand_as(y)

    def factors(index: int) -> tuple[Factor, ...]:
        first, second = Factor("t", value_at(t, index), "target"), Factor("a", value_at(a, index), "probability")
        return Factor("w p f'(p)", value_at(slope, index)), difference("t - a", first, second)

    words = "the target minus the probability a, times the cost's change with the probability p of the true class"
    return LossPieces({"probabilities": a, "targets": t}, pieces.cost, factors, words, FOCAL)


def dice(loss: losses.Dice, y: Tensor, target: Tensor) -> LossPieces:
    """Return the pieces: probabilities."""
    pieces = loss.pieces(y, target)

    def factors(index: int) -> tuple[Factor, ...]:
        probability = Factor("p", value_at(pieces.p, index), "probability")
        return probability, Factor("dp - Σ p dp", value_at(pieces.slope, index), "error")

    words = (
        "the probability p, times the cost's derivative by p minus the mean derivative, weighted by the probabilities"
    )
    return LossPieces({"probabilities": pieces.p}, pieces.cost.flatten(), factors, words, DICE)


def hinge(loss: losses.Hinge, y: Tensor, target: Tensor) -> LossPieces:
    """Return the pieces: the shortfall of each class's margin.

    Classes within the margin have positive gradients; the gradient of the true class is minus their sum.
    """
    n = divisor(loss.reduction, y)
    classes, _, weight = position_targets(loss, y, target, loss.class_weights)  # (N, 1)
    shortfall = (y - y.gather(1, classes) + loss.margin).clamp_min(0).scatter(1, classes, 0)  # (N, C)
    push = torch.where(shortfall > 0, torch.ones_like(shortfall) if loss.power == 1 else 2 * shortfall, 0)

    def factors(index: int) -> tuple[Factor, ...]:
        example, class_index = divmod(index, y.shape[1])
        weights = () if loss.class_weights is None else (Factor("class weight", value_at(weight, example), "weight"),)
        if class_index != int(classes[example]):
            name = "[too close]" if loss.power == 1 else "2 (margin - y_t + y_j)"
            return (Factor(name, value_at(push, index), "error"), *weights, *averaging_factors(1 / n))
        parts = tuple(
            Factor(f"-push of class {other_class}", -float(push[example, other_class]), "error")
            for other_class in range(y.shape[1])
            if other_class != class_index and float(push[example, other_class])
        )
        return (
            Factor("-Σ of the pushes", -float(push[example].double().sum()), "error", parts),
            *weights,
            *averaging_factors(1 / n),
        )

    cost = (shortfall if loss.power == 1 else shortfall * shortfall) * weight / n
    words = "the margin loss: each class within the margin of the true class is decreased, and the true class increased"
    return LossPieces({"shortfall": shortfall}, cost, factors, words, HINGE)


def quadratic(loss: losses.Quadratic, y: Tensor, target: Tensor) -> LossPieces:
    """∂C/∂a = (a - t) / n: Nielsen 2015, equation 6; for another factor than 1/2, n is divided by twice the factor."""
    t, n = target_values(loss, y, target), divisor(loss.reduction, y) / (2 * loss.factor)
    words = "the quadratic loss: the output minus the target" + (f", over n = {n:g}" if n != 1 else "")
    return _mean_pieces(
        {"targets": t, "error": y - t},
        (y - t) ** 2 / 2,
        n,
        lambda index: _error_factor("y", "output", y, t, index),
        words,
        r"\frac{\partial C}{\partial a} = \frac{a - t}{n}",
    )


def absolute(loss: losses.L1, y: Tensor, target: Tensor) -> LossPieces:
    """∂C/∂y = sign(y - t) / n."""
    t, n = target_values(loss, y, target), divisor(loss.reduction, y)
    sign = (y - t).sign()
    return _mean_pieces(
        {"targets": t, "error": y - t},
        (y - t).abs(),
        n,
        lambda index: Factor("sign(y - t)", value_at(sign, index), "error"),
        "the absolute error: the sign of the output minus the target",
        r"\frac{\partial C}{\partial y} = \frac{\mathrm{sign}(y - t)}{n}",
    )


def huber(loss: losses.Huber, y: Tensor, target: Tensor) -> LossPieces:
    """∂C/∂y = d / (n s) with d = (y - t) / s clamped to ±delta, for the scale s."""
    t = target_values(loss, y, target)
    n = divisor(loss.reduction, y)
    delta = loss.delta
    scale = torch.ones_like(y) * loss.scale_like(y)
    d = (y - t) / scale
    clamped = d.clamp(-delta, delta)
    is_scaled = loss.scale != 1

    def factors(index: int) -> tuple[Factor, ...]:
        inverse = 1 / value_at(scale, index)
        if abs(value_at(d, index)) > delta:
            error = (Factor("±delta", value_at(clamped, index), "error"),)
        else:
            error = (_error_factor("y", "output", y, t, index),)
            error += (Factor("1/scale", inverse),) if is_scaled else ()
        return (*error, *((Factor("1/scale", inverse),) if is_scaled else ()), *averaging_factors(1 / n))

    words = f"the Huber loss: the output minus the target, clamped to ±{delta:g}{' scales' * is_scaled}"
    formula = r"\frac{\partial C}{\partial y} = \frac{\mathrm{clamp}(y - t, \pm\Delta)}{n}"
    if is_scaled:
        formula = r"\frac{\partial C}{\partial y} = \frac{\mathrm{clamp}((y - t) / s, \pm\Delta)}{n s}"
    intermediates = {"targets": t, "error": y - t}
    return LossPieces(intermediates, clamped * (d - clamped / 2) / n, factors, words, formula)


def binary_cross_entropy(loss: losses.BinaryCrossEntropy, y: Tensor, target: Tensor) -> LossPieces:
    """∂C/∂y = (a - t) / n with a = sigmoid(y): Nielsen 2015, equation 67.

    With class weights w and positive weights p it is w (a (p t + 1 - t) - p t) / n.
    """
    t, n, a = target_values(loss, y, target), divisor(loss.reduction, y), y.sigmoid()
    positive = loss.pos_weight
    p = (
        class_weights_like(loss, positive, y, "pos_weight")
        if isinstance(positive, tuple)
        else torch.tensor(positive).to(y)
    )
    w = (
        torch.ones_like(y)
        if loss.class_weights is None
        else class_weights_like(loss, loss.class_weights, y).expand_as(y)
    )
    positive_part, negative_part = t * p, 1 - t

    def factors(index: int) -> tuple[Factor, ...]:
        error = _error_factor("a", "probability", a, t, index)
        if positive != 1:
            first = value_at(a, index) * (value_at(positive_part, index) + value_at(negative_part, index))
            second = Factor("p t", value_at(positive_part, index), "target")
            error = difference("a (p t + 1 - t) - p t", Factor("a (p t + 1 - t)", first, "probability"), second)
        weights = () if loss.class_weights is None else (Factor("class weight", value_at(w, index), "weight"),)
        return (error, *weights, *averaging_factors(1 / n))

    cost = w * (positive_part * F.softplus(-y, threshold=50) + negative_part * F.softplus(y, threshold=50)) / n
    words = "sigmoid and cross-entropy together: the predicted probability a minus the target t"
    words += f", over n = {n}" if n > 1 else ""
    return LossPieces({"probabilities": a, "targets": t}, cost, factors, words, SOFTMAX if positive == 1 else BINARY)


def quality_focal(loss: losses.QualityFocal, y: Tensor, target: Tensor) -> LossPieces:
    """Return the pieces: predicted probabilities (qualities) and targets."""
    t, n = target_values(loss, y, target), divisor(loss.reduction, y)
    cost, slope = loss.pieces(y, t)
    return _mean_pieces(
        {"probabilities": y.sigmoid(), "targets": t},
        cost,
        n,
        lambda index: Factor("d |e|^β h", value_at(slope, index), "error"),
        "the derivative of |e|^β times the cross-entropy h, with the error e = a - t: both depend on the output",
        QUALITY,
    )


def giou(loss: losses.GIoU, y: Tensor, target: Tensor) -> LossPieces:
    """Return the pieces: targets."""
    n = 1 if loss.reduction == "sum" else len(y)
    cost, slope = loss.pieces(y, target)
    return _mean_pieces(
        {"targets": target}, cost, n, lambda index: Factor("-dGIoU", value_at(slope, index), "error"),
        "the decrease of the boxes' generalized IoU as this coordinate increases", GIOU,
    )  # fmt: skip


def heat_maps(loss: losses.HeatMaps, y: Tensor, target: Tensor) -> LossPieces:
    """Return the pieces: the probability and the target of each cell."""
    pieces = loss.pieces(y, target)
    n_cells = y.shape[2] * y.shape[3]

    def factors(index: int) -> tuple[Factor, ...]:
        p, t, weight = value_at(pieces.p, index), value_at(pieces.t, index), value_at(pieces.weight, index // n_cells)
        error = difference("p - t", Factor("p", p, "probability"), Factor("t", t, "target"))
        if pieces.l1_slope is not None:
            pull = Factor("p l1 (centre - E) · sign(E - c)", p * value_at(pieces.l1_slope, index), "error")
            error = Factor("p - t + p pull", error.value + pull.value, "error", (*error.parts, pull))
        return error, *averaging_factors(weight)

    words = "the probability p of the cell minus its target t"
    words += "" if pieces.l1_slope is None else ", and the pull of the expected position towards the point"
    intermediates = {"probabilities": pieces.p, "targets": pieces.t}
    formula = r"\frac{\partial C}{\partial y} = \frac{p - t + \lambda p\,(k - E) \cdot \mathrm{sign}(E - c)}{n}"
    return LossPieces(intermediates, pieces.cost, factors, words, formula)


def coordinates(loss: losses.Coordinates, y: Tensor, target: Tensor) -> LossPieces:
    """∂C/∂y = sign(y - c) / n, n the number of labelled points."""
    pieces = loss.pieces(y, target)
    sign = pieces.error.sign()

    def factors(index: int) -> tuple[Factor, ...]:
        return Factor("sign(y - c)", value_at(sign, index), "error"), *averaging_factors(value_at(pieces.weight, index))

    words = "the absolute error of a coordinate: the sign of the output minus the coordinate"
    formula = r"\frac{\partial C}{\partial y} = \frac{\mathrm{sign}(y - c)}{n}"
    return LossPieces({"error": pieces.error}, pieces.error.abs() * pieces.weight, factors, words, formula)


def auxiliary(loss: losses.AuxiliaryCrossEntropy, outputs: list[Tensor], target: Tensor) -> list[LossPieces]:
    """Return the pieces of each output's cross-entropy; all but the first are multiplied by the loss's weight."""
    return [
        _weighted_pieces(loss.each(), loss.weight if output_number else 1.0, output, target)
        for output_number, output in enumerate(outputs)
    ]


# By the type of a loss: the function (loss, y or outputs, target) that returns its pieces.
PIECES_BY_MULTI_OUTPUT_LOSS: dict[type[Loss], Callable[[Any, list[Tensor], Tensor], list[LossPieces]]] = {
    losses.AuxiliaryCrossEntropy: auxiliary,
}
PIECES_BY_LOSS: dict[type[Loss], Callable[[Any, Tensor, Tensor], LossPieces]] = {
    losses.SoftmaxCrossEntropy: softmax_cross_entropy,
    losses.NegativeLogLikelihood: nll,
    losses.Quadratic: quadratic,
    losses.L1: absolute,
    losses.Huber: huber,
    losses.BinaryCrossEntropy: binary_cross_entropy,
    losses.Hinge: hinge,
    losses.Focal: focal,
    losses.Dice: dice,
    losses.QualityFocal: quality_focal,
    losses.GIoU: giou,
    losses.HeatMaps: heat_maps,
    losses.Coordinates: coordinates,
}


def value_at(tensor: Tensor, index: int) -> float:
    """Return the element of a tensor at a flat index."""
    return float(tensor.flatten()[index])


def difference(name: str, first: Factor, second: Factor) -> Factor:
    """Return first - second as one factor with two parts."""
    subtracted = Factor(f"-{second.name}", -second.value, second.role)
    return Factor(name, first.value - second.value, "error", (first, subtracted))


def averaging_factors(value: float) -> tuple[Factor, ...]:
    """Return the factor `value`, which is 1 / n, or 0 for a point without label; () if it is 1."""
    return () if value == 1 else (Factor(f"1/{round(1 / value, 3):.15g}" if value else "not labelled", value),)


def _error_factor(name: str, role: str, y: Tensor, t: Tensor, index: int) -> Factor:
    return difference(f"{name} - t", Factor(name, value_at(y, index), role), Factor("t", value_at(t, index), "target"))


def _mean_pieces(
    intermediates: dict[str, Tensor], cost: Tensor, n: float, error: Callable[[int], Factor], words: str, formula: str
) -> LossPieces:
    """Return the pieces of the mean of `cost` over n examples; factors: `error`, and 1 / n."""
    return LossPieces(intermediates, cost / n, lambda index: (error(index), *averaging_factors(1 / n)), words, formula)


def _weighted_pieces(loss: losses.SoftmaxCrossEntropy, weight: float, y: Tensor, target: Tensor) -> LossPieces:
    """Return the pieces of a loss that is multiplied by `weight`."""
    pieces = softmax_cross_entropy(loss, y, target)
    if weight == 1:
        return pieces

    def factors(index: int) -> tuple[Factor, ...]:
        return (*pieces.factors(index), Factor("weight of this output", weight, "weight"))

    words = f"{pieces.words}, times the weight {weight:g} of an auxiliary output"
    return LossPieces(pieces.intermediates, weight * pieces.cost, factors, words, pieces.formula)


def _generic_pieces(loss: Loss, output_number: int, value: Tensor, dy: Tensor) -> LossPieces:
    """Return the pieces of a loss without a rule in this module: its gradient is the only factor."""

    def factors(index: int) -> tuple[Factor, ...]:
        return (Factor("its gradient", value_at(dy, index), "error"),)

    words = f"{type(loss).__name__} computes this derivative itself"
    cost = value.reshape(1) if output_number == 0 else value.new_zeros(1)
    return LossPieces({}, cost, factors, words, r"\frac{\partial C}{\partial y}")
