"""Losses that compare numbers: quadratic, absolute, Huber, and the yes-or-no cross-entropy."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.losses import L1, BinaryCrossEntropy, Huber, Quadratic
from pellucid.losses.base import Loss, shares
from pellucid.losses.targets import by_class, numbers
from pellucid.trace.deltas.base import Pieces, difference, number, plain, share
from pellucid.trace.explanation import Factor


def quadratic(loss: Loss, y: Tensor, target: Tensor) -> Pieces:
    """∂C/∂a = (a - t) / n: Nielsen 2015, equation 6."""
    assert isinstance(loss, Quadratic)
    t, n = numbers(loss, y, target), shares(loss.reduction, y)

    def factors(place: int) -> tuple[Factor, ...]:
        return (_error(y, t, place), *share(n))

    words = "the quadratic loss: how far the output is off" + (f", over n = {n}" if n > 1 else "")
    cost = (y - t) ** 2 / (2 * n)
    return Pieces(
        {"targets": t, "error": y - t}, cost, factors, words, r"\frac{\partial C}{\partial a} = \frac{a - t}{n}"
    )


def absolute(loss: Loss, y: Tensor, target: Tensor) -> Pieces:
    """∂C/∂y = sign(y - t) / n."""
    assert isinstance(loss, L1)
    t, n = numbers(loss, y, target), shares(loss.reduction, y)

    def factors(place: int) -> tuple[Factor, ...]:
        return (plain("sign(y - t)", number((y - t).sign(), place), "error"), *share(n))

    words = "the absolute error: only on which side of the target the output lies"
    formula = r"\frac{\partial C}{\partial y} = \frac{\mathrm{sign}(y - t)}{n}"
    return Pieces({"targets": t, "error": y - t}, (y - t).abs() / n, factors, words, formula)


def huber(loss: Loss, y: Tensor, target: Tensor) -> Pieces:
    """∂C/∂y = d / n with d = y - t cut off at ±delta."""
    assert isinstance(loss, Huber)
    t, n, delta = numbers(loss, y, target), shares(loss.reduction, y), loss.delta
    cut = (y - t).clamp(-delta, delta)

    def factors(place: int) -> tuple[Factor, ...]:
        inside = abs(number(y - t, place)) <= delta
        error = _error(y, t, place) if inside else plain("±delta", number(cut, place), "error")
        return (error, *share(n))

    words = f"the Huber loss: how far the output is off, at most {delta:g}"
    formula = r"\frac{\partial C}{\partial y} = \frac{\mathrm{clamp}(y - t, \pm\Delta)}{n}"
    return Pieces({"targets": t, "error": y - t}, cut * ((y - t) - cut / 2) / n, factors, words, formula)


def binary_cross_entropy(loss: Loss, y: Tensor, target: Tensor) -> Pieces:
    """∂C/∂y = (a - t) / n with a = sigmoid(y): Nielsen 2015, equation 67; with weights w (a (p t + 1 - t) - p t)."""
    assert isinstance(loss, BinaryCrossEntropy)
    t, n, a = numbers(loss, y, target), shares(loss.reduction, y), y.sigmoid()
    positive = loss.pos_weight
    p = by_class(loss, positive, y, "pos_weight") if isinstance(positive, tuple) else torch.tensor(positive).to(y)
    w = torch.ones_like(y) if loss.class_weights is None else by_class(loss, loss.class_weights, y).expand_as(y)
    yes, no = t * p, 1 - t
    cost = w * (yes * F.softplus(-y, threshold=50) + no * F.softplus(y, threshold=50)) / n
    factors = partial(_plain if loss.pos_weight == 1 else _leaning, a, t, yes, no, n, w, loss.class_weights is not None)
    return Pieces(
        {"probabilities": a, "targets": t},
        cost,
        factors,
        "sigmoid and cross-entropy together: the probability a of yes minus the target t"
        + (f", over n = {n}" if n > 1 else ""),
        r"\frac{\partial C}{\partial y} = \frac{a - t}{n}"
        if loss.pos_weight == 1
        else r"\frac{\partial C}{\partial y} = \frac{w}{n}\left(a\,(p t + 1 - t) - p t\right)",
    )


def _error(y: Tensor, t: Tensor, place: int) -> Factor:
    return difference("y - t", plain("y", number(y, place), "output"), plain("t", number(t, place), "target"))


def _plain(
    a: Tensor, t: Tensor, yes: Tensor, no: Tensor, n: int, w: Tensor, weighted: bool, place: int
) -> tuple[Factor, ...]:
    error = difference("a - t", plain("a", number(a, place), "probability"), plain("t", number(t, place), "target"))
    return (error, *_weight(w, weighted, place), *share(n))


def _leaning(
    a: Tensor, t: Tensor, yes: Tensor, no: Tensor, n: int, w: Tensor, weighted: bool, place: int
) -> tuple[Factor, ...]:
    first = plain("a (p t + 1 - t)", number(a, place) * (number(yes, place) + number(no, place)), "probability")
    error = difference("a (p t + 1 - t) - p t", first, plain("p t", number(yes, place), "target"))
    return (error, *_weight(w, weighted, place), *share(n))


def _weight(w: Tensor, weighted: bool, place: int) -> tuple[Factor, ...]:
    return (plain("class weight", number(w, place), "weight"),) if weighted else ()
