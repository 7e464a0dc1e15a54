"""The losses of a softmax: cross-entropy, whose ∂C/∂y = (a - t) / n, focal and Dice."""

from functools import partial

import torch
from torch import Tensor

from pellucid.losses import AuxiliaryCrossEntropy, Dice, Focal, NegativeLogLikelihood, SoftmaxCrossEntropy
from pellucid.losses.base import Loss, positions
from pellucid.losses.targets import numbers, pick
from pellucid.trace.deltas.base import Pieces, difference, number, plain
from pellucid.trace.explanation import Factor

FOCAL = r"\frac{\partial C}{\partial y_c} = w p f'(p) (t_c - a_c), f(p) = -(1 - p)^\gamma \ln p"
DICE = r"\frac{\partial C}{\partial y_c} = p_c (d_c - \sum_k p_k d_k), d = \frac{\partial C}{\partial p}"


def softmax_cross_entropy(loss: Loss, y: Tensor, target: Tensor) -> Pieces:
    """Return probabilities, targets, log_likelihood (ln a at the class of each example) and each position's cost.

    wanted: how much -ln a of each class costs, all averaging and weighting included: C = -Σ wanted ln a.
    """
    assert isinstance(loss, SoftmaxCrossEntropy)
    log_a = y.log_softmax(1)
    a = log_a.exp()
    t, wanted = _targets(loss, y, target)
    named = {"probabilities": a, "targets": t}
    if target.is_floating_point():
        named["log_likelihood"] = (t * log_a).sum(1)
    else:
        named["log_likelihood"] = log_a.gather(1, _classes(loss, target).unsqueeze(1)).squeeze(1)
    named["wanted"] = wanted
    per_position = wanted.sum(1, keepdim=True).expand_as(wanted)  # what a counts
    simple = loss.class_weights is None and not target.is_floating_point()  # then the targets sum to 1, or to 0
    factors = partial(_shared if simple else _weighted, a, t if simple else wanted, per_position)
    words = "softmax and cross-entropy together: the probability a that the network gives minus the target t" + (
        ", times what the example counts" if bool((per_position != 1).any()) else ""
    )
    formula = (
        r"\frac{\partial C}{\partial y} = \frac{a - t}{n}"
        if simple
        else (r"\frac{\partial C}{\partial y_c} = a_c \sum_k w_k t_k - w_c t_c")
    )
    return Pieces(named, -(wanted * log_a).sum(1), factors, words, formula)


def nll(loss: Loss, y: Tensor, target: Tensor) -> Pieces:
    """Return what each position counts; y holds log-probabilities already."""
    assert isinstance(loss, NegativeLogLikelihood)
    picks = pick(loss, y, target, loss.class_weights, loss.ignore)
    counts = picks.weight / picks.total(loss.reduction)  # (N, 1, ...)
    wanted = torch.zeros_like(y).scatter_(1, picks.classes, counts)
    named = {"log_likelihood": y.gather(1, picks.classes).squeeze(1), "wanted": wanted}

    def factors(place: int) -> tuple[Factor, ...]:
        return (plain("-w" if number(wanted, place) else "0", -number(wanted, place), "error"),)

    words = "only the right class counts: minus its share of the mean"
    return Pieces(named, -(wanted * y).sum(1), factors, words, r"\frac{\partial C}{\partial y_c} = -\frac{t_c}{n}")


def focal(loss: Loss, y: Tensor, target: Tensor) -> Pieces:
    """Return probabilities, and each position's cost."""
    assert isinstance(loss, Focal)
    it = loss.pieces(y, target)
    a, t = it.log_a.exp(), torch.zeros_like(y).scatter_(1, it.classes, 1)
    slope = it.slope.expand_as(y)

    def factors(place: int) -> tuple[Factor, ...]:
        error = difference("t - a", plain("t", number(t, place), "target"), plain("a", number(a, place), "probability"))
        return plain("w p f'(p)", number(slope, place)), error

    words = "the target minus the probability a, times how much the cost falls as the probability p of the class rises"
    return Pieces({"probabilities": a, "targets": t}, it.cost, factors, words, FOCAL)


def dice(loss: Loss, y: Tensor, target: Tensor) -> Pieces:
    """Return probabilities, and each class's cost."""
    assert isinstance(loss, Dice)
    it = loss.pieces(y, target)

    def factors(place: int) -> tuple[Factor, ...]:
        return plain("p", number(it.p, place), "probability"), plain("dp - Σ p dp", number(it.slope, place), "error")

    words = "the probability p, times how much more the cost rises with p than with the other classes' mean"
    return Pieces({"probabilities": it.p}, it.cost.flatten(), factors, words, DICE)


def auxiliary(loss: Loss, part: int) -> tuple[SoftmaxCrossEntropy, float]:
    """Return the loss of one output and its weight."""
    assert isinstance(loss, AuxiliaryCrossEntropy)
    return loss.each(), loss.weight if part else 1.0


def _targets(loss: SoftmaxCrossEntropy, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return t, smoothed and (N, C, ...), and what -ln a of each class counts."""
    e, classes = loss.label_smoothing, y.shape[1]
    weights = torch.ones_like(y) if loss.class_weights is None else _row(loss.class_weights, y)
    if target.is_floating_point():
        t = target.to(y.dtype) * (1 - e) + e / classes if e else target.to(y.dtype)
        return t, t * weights / positions(loss.reduction, y)
    picks = pick(loss, y, target, loss.class_weights, loss.ignore)
    t = numbers(loss, y, _classes(loss, target)) * picks.keep
    t = t * (1 - e) + e / classes * picks.keep if e else t
    return t, t * weights / picks.total(loss.reduction)


def _classes(loss: SoftmaxCrossEntropy, target: Tensor) -> Tensor:
    """Return the classes, 0 where they are ignored."""
    target = target.long()
    return target if loss.ignore is None else target.masked_fill(target == loss.ignore, 0)


def _row(weights: tuple[float, ...], y: Tensor) -> Tensor:
    return torch.tensor(weights, dtype=y.dtype).view(1, -1, *(1,) * (y.dim() - 2)).expand_as(y)


def _shared(a: Tensor, t: Tensor, counts: Tensor, place: int) -> tuple[Factor, ...]:
    """(a - t) x what the position counts; a position that is ignored counts 0."""
    error = difference("a - t", plain("a", number(a, place), "probability"), plain("t", number(t, place), "target"))
    counted = number(counts, place)
    if counted == 1:
        return (error,)
    whole = counted > 0 and abs(1 / counted - round(1 / counted)) < 1e-6
    return error, plain(f"1/{round(1 / counted)}" if whole else "share", counted)


def _weighted(a: Tensor, wanted: Tensor, counts: Tensor, place: int) -> tuple[Factor, ...]:
    """a Σ w t - w t."""
    all_weights = number(a, place) * number(counts, place)
    first, second = plain("a Σ w t", all_weights, "probability"), plain("w t", number(wanted, place), "target")
    return (difference("a Σ w t - w t", first, second),)
