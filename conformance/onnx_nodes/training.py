"""Nodes of ONNX's optimizers: one step from a given state."""

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
    """Return the outputs of an Adam node, computed by Adam: alpha is beta1, beta is beta2.

    ONNX adds epsilon before the bias correction, we after it, so our epsilon is epsilon / √(1 - beta^T). At step 0
    ONNX corrects no bias; this is our step 1 with a learning rate that cancels the correction.
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
    """Return the outputs of an Adagrad node, computed by Adagrad; the learning rate is rate / (1 + T decay_factor)."""
    params, grads, squares = _split_tensors(tensors, 3, norm_coefficient)
    lr = float(rate) / (1 + int(step) * decay_factor)
    Adagrad(lr, epsilon).update(params, grads, {"square_sum": squares}, lr)
    return *params, *squares


def momentum(
    rate: Tensor, step: Tensor, *tensors: Tensor, alpha: float, beta: float, mode: str, norm_coefficient: float
) -> Outputs:
    """Return the outputs of a Momentum node, computed by Momentum, or by Nesterov in the mode "nesterov".

    alpha is the momentum. From step 1 on, ONNX multiplies the gradient by beta, which must be 1 for our optimizers.
    """
    params, grads, velocity = _split_tensors(tensors, 3, norm_coefficient)
    if int(step) > 0 and beta != 1:
        raise SkipCase("attribute beta")
    kind = Nesterov if mode == "nesterov" else Momentum
    kind(float(rate), alpha).update(params, grads, {"velocity": velocity}, float(rate))
    return *params, *velocity


def _split_tensors(tensors: Sequence[Tensor], kinds: int, norm_coefficient: float) -> list[list[Tensor]]:
    """Return copies of the tensors as `kinds` lists: parameters, gradients, then each kind of state.

    The gradients include that of the L2 penalty `norm_coefficient`.
    """
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
