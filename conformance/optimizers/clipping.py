"""Our gradient clipping compared with torch.nn.utils."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from conformance.case import Case, SkipCase, relative_error, torch_version
from conformance.optimizers.walks import PARAM_SHAPES, TOLERANCE, gradients, initial_params
from pellucid.optim import clip_by_norm, clip_by_value

EUCLIDEAN = 2.0


def cases() -> Iterator[Case]:
    """Yield the gradients and limits of PyTorch's test of clipping, and random gradients of all PARAM_SHAPES."""
    ramp, flat = torch.arange(1.0, 101).double().view(10, 10), torch.ones(10).double()
    torch_gradients = {"large": [ramp, flat / 1000], "small": [ramp / 1e6, flat / 500]}
    random_gradients = {tree: gradients(initial_params(tree), 0) for tree in PARAM_SHAPES}
    by_norm = [
        (name, grads, 2.0, norm) for name, grads in torch_gradients.items() for norm in (0.5, 1.5, 2.0, 4.0, torch.inf)
    ]
    by_norm += [
        (name, grads, limit, EUCLIDEAN) for name, grads in random_gradients.items() for limit in (0.01, 1.0, 1000.0)
    ]
    by_norm += [("NaN", [ramp, torch.full_like(flat, torch.nan)], 2.0, EUCLIDEAN)]
    for name, grads, limit, norm in by_norm:
        title, check = f"{name}, limit {limit}, norm {norm}", partial(_compare_clip_by_norm, grads, limit, norm)
        yield Case("torch.nn.utils clip_grad_norm_", torch_version(), title, clip_by_norm, check, TOLERANCE)
    by_value = [("tested", [(ramp - 51) / 5, 2 * flat], 2.5)]
    by_value += [(name, grads, limit) for name, grads in random_gradients.items() for limit in (0.01, 1.0, 1000.0)]
    for name, grads, limit in by_value:
        title, check = f"{name}, limit {limit}", partial(_compare_clip_by_value, grads, limit)
        yield Case("torch.nn.utils clip_grad_value_", torch_version(), title, clip_by_value, check, TOLERANCE)


def _compare_clip_by_norm(grads: list[Tensor], limit: float, norm: float) -> float:
    if norm != EUCLIDEAN:
        raise SkipCase("option norm_type")
    clipped, reference_params = _copies(grads), _with_gradients(grads)
    error = relative_error(
        "norm", clip_by_norm(clipped, limit), torch.nn.utils.clip_grad_norm_(reference_params, limit, norm)
    )
    return max(error, _max_error(clipped, reference_params))


def _compare_clip_by_value(grads: list[Tensor], limit: float) -> float:
    clipped, reference_params = _copies(grads), _with_gradients(grads)
    clip_by_value(clipped, limit)
    torch.nn.utils.clip_grad_value_(reference_params, limit)
    return _max_error(clipped, reference_params)


def _copies(grads: list[Tensor]) -> list[Tensor]:
    return [grad.clone() for grad in grads]


def _with_gradients(grads: list[Tensor]) -> list[Tensor]:
    params = [torch.zeros_like(grad) for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad.clone()
    return params


def _max_error(clipped: list[Tensor], reference_params: list[Tensor]) -> float:
    expected = [torch.zeros_like(param) if param.grad is None else param.grad for param in reference_params]
    return max(relative_error(f"gradient {k}", *pair) for k, pair in enumerate(zip(clipped, expected, strict=True)))
