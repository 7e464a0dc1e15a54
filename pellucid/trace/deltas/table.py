"""Which pieces belong to which loss; one that is not here says its gradient as one number."""

from typing import Any

from torch import Tensor

from pellucid import losses
from pellucid.losses.base import Loss
from pellucid.probe import tensors
from pellucid.trace.deltas.base import Dissect, Pieces, number, plain
from pellucid.trace.deltas.cross_entropy import auxiliary, dice, focal, nll, softmax_cross_entropy
from pellucid.trace.deltas.hinge import hinge
from pellucid.trace.deltas.numbers import absolute, binary_cross_entropy, huber, quadratic
from pellucid.trace.explanation import Factor

PIECES: dict[type[Loss], Dissect] = {
    losses.SoftmaxCrossEntropy: softmax_cross_entropy,
    losses.NegativeLogLikelihood: nll,
    losses.Quadratic: quadratic,
    losses.L1: absolute,
    losses.Huber: huber,
    losses.BinaryCrossEntropy: binary_cross_entropy,
    losses.Hinge: hinge,
    losses.Focal: focal,
    losses.Dice: dice,
}


def dissect(loss: Loss, y: Any, target: Tensor, value: Tensor, dy: Any) -> list[Pieces]:
    """Return the loss in pieces, for each of the network's outputs."""
    outputs, deltas = tensors(y), tensors(dy)
    if isinstance(loss, losses.AuxiliaryCrossEntropy):
        return [_scaled(*auxiliary(loss, part), one, target) for part, one in enumerate(outputs)]
    explain = PIECES.get(type(loss))
    if explain is not None and len(outputs) == 1:
        return [explain(loss, outputs[0], target)]
    return [_unknown(loss, part, value, one) for part, one in enumerate(deltas)]


def _scaled(loss: Loss, weight: float, y: Tensor, target: Tensor) -> Pieces:
    pieces = softmax_cross_entropy(loss, y, target)
    if weight == 1:
        return pieces

    def factors(place: int) -> tuple[Factor, ...]:
        return (*pieces.factors(place), plain("weight of this output", weight, "weight"))

    words = f"{pieces.words}, times the weight {weight:g} of an auxiliary output"
    return Pieces(pieces.named, weight * pieces.cost, factors, words, pieces.formula)


def _unknown(loss: Loss, part: int, value: Tensor, dy: Tensor) -> Pieces:
    def factors(place: int) -> tuple[Factor, ...]:
        return (plain("its gradient", number(dy, place), "error"),)

    words = f"{type(loss).__name__} says this derivative itself"
    cost = value.reshape(1) if part == 0 else value.new_zeros(1)
    return Pieces({}, cost, factors, words, r"\frac{\partial C}{\partial y}")
