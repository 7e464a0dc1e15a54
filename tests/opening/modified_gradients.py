"""Relevance by automatic differentiation: x times the gradient of a module whose functions have modified gradients.

With R = x g, the rules modify gradients: f(x) / x for an elementwise function, one half for each factor of a product, a
detached σ in norms, and the plain gradient for linear functions and softmax. There is no stabilizer.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

ELEMENTWISE = {
    "gelu",
    "silu",
    "relu",
    "relu6",
    "leaky_relu",
    "hardswish",
    "hardsigmoid",
    "sigmoid",
    "tanh",
    "elu",
    "exp",
    "erf",
    "softplus",
    "abs",
    "log",
    "sin",
    "cos",
    "prelu",
}
ELEMENTWISE |= {f"{name}_" for name in ELEMENTWISE} | {"clamp", "pow", "sqrt", "__pow__", "square"}
GATES = {"sigmoid", "hardsigmoid", "softmax"}


class ModifiedGradients(TorchFunctionMode):
    """Gives PyTorch's functions the gradients of CP-LRP or AttnLRP; their values are unchanged.

    weights_are_constant: use CP-LRP, in which attention weights and gates are constant.
    decisions: for each product, which factors are variables, as recorded when only x required gradients; by default,
    those that require gradients.
    """

    def __init__(self, weights_are_constant: bool, decisions: list[tuple[bool, bool]] | None = None) -> None:
        super().__init__()
        self.weights_are_constant = weights_are_constant
        self.replay = None if decisions is None else list(decisions)
        self.decisions: list[tuple[bool, bool]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: PLR0911 - one for each function
        kwargs, name = kwargs or {}, func.__name__
        if name in ELEMENTWISE:
            return self._elementwise(func, name, args, kwargs)
        if name in ("mul", "__mul__", "__rmul__") and all(isinstance(one, Tensor) for one in args[:2]):
            return self._product(torch.mul, *args[:2])
        if name in ("matmul", "__matmul__"):
            return self._product(torch.matmul, *args[:2])
        if name in ("div", "__truediv__") and isinstance(args[1], Tensor):
            return args[0] / args[1].detach()
        if name == "softmax":
            y = func(*args, **kwargs)
            return y.detach() if self.weights_are_constant else y
        if name == "normalize":
            return args[0] / args[0].detach().norm(dim=kwargs["dim"], keepdim=True)
        if name == "einsum":
            return self._product(partial(torch.einsum, args[0]), *args[1:])
        if name == "var":  # homogeneous of degree 2
            return func(*args, **kwargs) / 2 + func(*args, **kwargs).detach() / 2
        if name in NORM_FUNCTIONS:
            return NORM_FUNCTIONS[name](*args, **kwargs)
        if name == "scaled_dot_product_attention":
            return self._attention(*args)
        return func(*args, **kwargs)

    def _elementwise(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:
        x, kwargs = args[0], {**kwargs, "inplace": False} if "inplace" in kwargs else kwargs
        y = func(x.detach().clone(), *args[1:], **kwargs)
        negative = name in ("pow", "__pow__") and args[1] < 0
        if negative or (self.weights_are_constant and name.rstrip("_") in GATES):
            return y
        return x * torch.where(x == 0, 0, y / x).detach() + torch.where(x == 0, y, 0)

    def _product(self, func: Callable[..., Tensor], a: Tensor, b: Tensor) -> Tensor:
        requires_grad = a.requires_grad, b.requires_grad
        requires_grad = self.replay.pop(0) if self.replay is not None else requires_grad
        self.decisions.append(requires_grad)
        if requires_grad == (True, True):
            return func(a, b.detach()) / 2 + func(a.detach(), b) / 2
        return func(
            a if requires_grad[0] or not any(requires_grad) else a.detach(),
            b if requires_grad[1] or not any(requires_grad) else b.detach(),
        )

    def _attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = self._product(torch.matmul, q, k.mT) / math.sqrt(q.shape[-1])
        weights = scores.softmax(-1)
        return self._product(torch.matmul, weights.detach() if self.weights_are_constant else weights, v)


def centered(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """Return x minus its mean, divided by its standard deviation, which is detached."""
    x = x - x.mean(axes, keepdim=True)
    return x / (x.detach().square().mean(axes, keepdim=True) + eps).sqrt()


def scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    x = x if weight is None else x * weight.detach().view(shape)
    return x if bias is None else x + bias.view(shape)


def layer_norm(x: Tensor, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    return scaled(centered(x, tuple(range(-len(shape), 0)), eps), weight, bias, tuple(shape))


def group_norm(x: Tensor, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    y = centered(x.reshape(len(x), groups, -1), (-1,), eps).view(x.shape)
    return scaled(y, weight, bias, (-1, *(1,) * (x.dim() - 2)))


def instance_norm(x: Tensor, *running: Any, eps: float = 1e-5, **others: Any) -> Tensor:
    return centered(x, (2, 3), eps)


def batch_norm(x: Tensor, mean: Any, var: Any, weight: Any = None, bias: Any = None, training: bool = False,
               momentum: float = 0.1, eps: float = 1e-5) -> Tensor:  # fmt: skip
    if not training:
        return torch.batch_norm(x, weight, bias, mean, var, False, momentum, eps, False)
    return scaled(centered(x, (0, *range(2, x.dim())), eps), weight, bias, (-1, *(1,) * (x.dim() - 2)))


NORM_FUNCTIONS: dict[str, Any] = {
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "batch_norm": batch_norm,
}


def plain_attention(self: nn.MultiheadAttention, q: Tensor, *others: Tensor, need_weights: bool) -> Any:
    """Compute self-attention as nn.MultiheadAttention does, with functions that ModifiedGradients replaces."""
    n, t, c = q.shape
    qkv = F.linear(q, self.in_proj_weight, self.in_proj_bias).view(n, t, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
    return self.out_proj(y.transpose(1, 2).reshape(n, t, c)), None


def relevance_of(
    network: nn.Module, x: Tensor, target: int, weights_are_constant: bool
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Return the relevance of x, that of each parameter, and the scores (N,) of the class; their sum is explained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.MultiheadAttention, "forward", plain_attention)
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        x = x.clone().requires_grad_()
        with ModifiedGradients(weights_are_constant) as mode:
            score = network(x)[:, target]
        (dx,) = torch.autograd.grad(score.sum(), x)
        weights = dict(network.named_parameters())
        for parameter in weights.values():
            parameter.requires_grad_(True)
        with ModifiedGradients(weights_are_constant, mode.decisions):
            score = network(x)[:, target]
        gradients = torch.autograd.grad(score.sum(), list(weights.values()), allow_unused=True)
        weight_relevance = {
            key: weight.detach() * gradient
            for (key, weight), gradient in zip(weights.items(), gradients, strict=True)
            if gradient is not None
        }
        return (x * dx).detach(), weight_relevance, score.detach()
