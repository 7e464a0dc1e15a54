"""Nodes of ONNX's optimizers: one step, from a state that the node is given."""

import math
from collections.abc import Sequence

from torch import Tensor

from conformance.case import SkipCase
from conformance.onnx_nodes.operator import Operator, Outputs
from pellucid.optim import Adagrad, Adam, Momentum, Nesterov
from pellucid.optim.regularizers import L2

TRAINING = "ai.onnx.preview.training"


def adam(
    rate: Tensor,
    step: Tensor,
    *tensors: Tensor,
    alpha: float = 0.9,
    beta: float = 0.999,
    epsilon: float = 0.0,
    norm_coefficient: float = 0.0,
    norm_coefficient_post: float = 0.0,
) -> Outputs:
    """Put a node of Adam to Adam: alpha is beta1, beta is beta2.

    ONNX adds epsilon before it undoes the start at 0, ours after, so that ours is epsilon / √(1 - beta^T). Step 0,
    where ONNX undoes nothing, is our step 1 with a learning rate that does it again.
    """
    params, grads, means, squares = _split_tensors(tensors, 4, norm_coefficient)
    count = int(step)
    t = max(count, 1)
    root = math.sqrt(1 - beta**t)
    lr = float(rate) if count else float(rate) * (1 - alpha) / root
    state = {"mean": means, "square_mean": squares, "step": t - 1}
    Adam(lr, alpha, beta, epsilon / root).update(params, grads, state, lr)
    return *_decayed(params, norm_coefficient_post), *means, *squares


def adagrad(
    rate: Tensor,
    step: Tensor,
    *tensors: Tensor,
    decay_factor: float = 0.0,
    epsilon: float = 0.0,
    norm_coefficient: float = 0.0,
) -> Outputs:
    """Put a node of Adagrad to Adagrad, with the learning rate rate / (1 + T decay_factor)."""
    params, grads, squares = _split_tensors(tensors, 3, norm_coefficient)
    lr = float(rate) / (1 + int(step) * decay_factor)
    Adagrad(lr, epsilon).update(params, grads, {"square_sum": squares}, lr)
    return *params, *squares


def momentum(
    rate: Tensor, step: Tensor, *tensors: Tensor, alpha: float, beta: float, mode: str, norm_coefficient: float
) -> Outputs:
    """Put a node of Momentum to Momentum, or to Nesterov in the mode of that name; alpha is the momentum.

    From step 1 on, beta weakens the gradient, which ours does not do.
    """
    params, grads, velocity = _split_tensors(tensors, 3, norm_coefficient)
    if int(step) > 0 and beta != 1:
        raise SkipCase("attribute beta")
    kind = Nesterov if mode == "nesterov" else Momentum
    kind(float(rate), alpha).update(params, grads, {"velocity": velocity}, float(rate))
    return *params, *velocity


def _split_tensors(tensors: Sequence[Tensor], kinds: int, norm_coefficient: float) -> list[list[Tensor]]:
    """Return copies of all parameters, all gradients, then all of each further kind; L2 adds to the gradients."""
    n = len(tensors) // kinds
    groups = [[tensor.clone() for tensor in tensors[k * n : (k + 1) * n]] for k in range(kinds)]
    L2(norm_coefficient).add_gradient(groups[0], groups[1], 1)
    return groups


def _decayed(params: list[Tensor], coefficient: float) -> list[Tensor]:
    L2(coefficient, decoupled=True).shrink(params, 1.0)
    return params


OPERATORS = {
    "Adam": Operator(Adam, adam, domain=TRAINING),
    "Adagrad": Operator(Adagrad, adagrad, domain=TRAINING),
    "Momentum": Operator(Momentum, momentum, domain=TRAINING, variants={("mode", "nesterov"): Nesterov}),
}
