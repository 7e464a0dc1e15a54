"""Products of matrices, attention and Einstein sums.

Fused form: FusedAttention (fuse/attention.py), of Attention in training and prediction.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.layers.base import Mode, Params, Trait
from pellucid.layers.dense import flatten_rows
from pellucid.layers.dropout import Dropout, DropoutCache
from pellucid.operators.base import TensorLayer, unbroadcast
from pellucid.operators.moves import InputsCache


@dataclass(frozen=True)
class MatMul(TensorLayer):
    """Multiply matrices, the last two axes of each input: y = a b; axes before them are broadcast."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.MULTIPLE_INPUTS

    def forward(self, params: Params, x: tuple[Tensor, Tensor], mode: Mode) -> tuple[Tensor, InputsCache]:
        """Compute y = a b."""
        return x[0] @ x[1], InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[Tensor, Tensor], Params]:
        """Compute da = dy bᵀ and db = aᵀ dy, summed over broadcast axes."""
        a, b = cache.xs
        return (unbroadcast(dy @ b.mT, a), unbroadcast(a.mT @ dy, b)), {}


@dataclass(frozen=True)
class LinearMap(TensorLayer):
    """Multiply by a weight matrix that is an input, and add a bias, an optional third input: y = x Wᵀ + b.

    x is (..., n_in), W is (n_out, n_in), b is (n_out,). Dense has its own weight; this layer is for weights that are
    computed, used several times, or not called "weight", as in nn.MultiheadAttention.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.MULTIPLE_INPUTS

    def forward(self, params: Params, x: tuple[Tensor, ...], mode: Mode) -> tuple[Tensor, InputsCache]:
        """Compute y = x Wᵀ + b."""
        return torch.nn.functional.linear(*x), InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[Tensor, ...], Params]:
        """Compute dx = dy W, dW = dyᵀ x, and db = the sum of dy over all rows."""
        x, weight, *bias = cache.xs
        x_rows, dy_rows = flatten_rows(x, dy)
        gradients = (dy @ weight, dy_rows.t() @ x_rows)
        return (*gradients, dy_rows.sum(0)) if bias else gradients, {}


class AttentionCache(NamedTuple):
    """Cache of Attention: its inputs, and the attention weights (..., queries, keys), whose rows have the sum 1."""

    xs: tuple[Tensor, ...]
    weights: Tensor  # before dropout
    dropout: DropoutCache | None = None  # of the weights; None if none are dropped

    def drop(self, x: Tensor) -> Tensor:
        """Return x (..., queries, keys) with dropout's factors: 1 / (1 - rate) for kept weights, 0 for dropped ones."""
        return x if self.dropout is None else x * self.dropout.mask * self.dropout.scale


@dataclass(frozen=True)
class Attention(TensorLayer):
    """Average the values with weights from queries and keys: y = softmax(s q kᵀ + mask) v.

    The inputs are q (..., T, d), k (..., S, d), v (..., S, d') and, optionally, masks that broadcast to (..., T, S):
    numbers that are added, or booleans that are False for masked keys. A query whose keys are all masked has y = 0.
    causal: whether query t uses only the keys up to t. scale: s, by default 1 / sqrt(d). rate: that of dropout of the
    attention weights in training mode, see Dropout.
    Source: Vaswani et al. 2017, equation 1.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.MULTIPLE_INPUTS

    causal: bool = False
    scale: float | None = None
    rate: float = 0.0

    def __post_init__(self) -> None:
        """Raise PellucidError for a rate that Dropout does not have."""
        Dropout(self.rate)

    def forward(self, params: Params, x: tuple[Tensor, ...], mode: Mode) -> tuple[Tensor, AttentionCache]:
        """Compute y = p v with p = softmax(s q kᵀ + mask), in training mode with dropout of p."""
        q, k, v, *masks = x
        scores = self._scale(q) * (q @ k.mT)  # (..., T, S)
        if self.causal:
            is_later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(is_later, -math.inf)
        for mask in masks:
            scores = scores.masked_fill(~mask, -math.inf) if mask.dtype is torch.bool else scores + mask
        weights = torch.softmax(scores, -1)
        if masks:  # the softmax of a query without keys is NaN
            weights = weights.masked_fill((scores == -math.inf).all(-1, keepdim=True), 0)
        if not (mode.train and self.rate):
            return weights @ v, AttentionCache(x, weights)
        dropped, dropout = Dropout(self.rate).forward({}, weights, mode)
        return dropped @ v, AttentionCache(x, weights, dropout)

    def backward(self, params: Params, cache: AttentionCache, dy: Tensor) -> tuple[tuple[Tensor | None, ...], Params]:
        """Compute dv = pᵀ dy, and with the softmax's ds = p (dp - Σ p dp), dp = dy vᵀ: dq = s ds k, dk = s dsᵀ q.

        p are the attention weights; the gradient of a mask of numbers is ds. With dropout, whose factors are m, it is
        dv = (m p)ᵀ dy and dp = m dy vᵀ.
        """
        q, k, v, *masks = cache.xs
        p, s = cache.weights, self._scale(cache.xs[0])
        dp = cache.drop(dy @ v.mT)
        ds = p * (dp - (p * dp).sum(-1, keepdim=True))
        dmask = [None if mask.dtype is torch.bool else unbroadcast(ds, mask) for mask in masks]
        dq, dk, dv = s * (ds @ k), s * (ds.mT @ q), cache.drop(p).mT @ dy
        return (unbroadcast(dq, q), unbroadcast(dk, k), unbroadcast(dv, v), *dmask), {}

    def _scale(self, q: Tensor) -> float:
        return 1 / math.sqrt(q.shape[-1]) if self.scale is None else self.scale


@dataclass(frozen=True)
class Einsum(TensorLayer):
    """Sum products over indices, in Einstein's notation, such as "nhij,nhjd->nhid".

    Each index is a letter, which occurs at most once in each input and in y.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.MULTIPLE_INPUTS

    equation: str

    def __post_init__(self) -> None:
        """Raise PellucidError unless the equation has "->" and a letter for each index of the inputs and of y."""
        parts = [part for side in self.equation.split("->") for part in side.split(",")]
        if self.equation.count("->") != 1 or not all(
            (part.isalpha() or not part) and len(set(part)) == len(part) for part in parts
        ):
            raise PellucidError(f"Einsum: {self.equation!r} must be letters, each once in an input, and '->'")

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Tensor, InputsCache]:
        """Compute the sums of products."""
        xs: tuple[Tensor, ...] = x if isinstance(x, tuple) else (x,)
        return torch.einsum(self.equation, *xs), InputsCache(xs)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[Any, Params]:
        """Compute, for each input, the sums of products of dy and the other inputs.

        The result is repeated along indices that occur only in this input, since y is a sum over them.
        """
        input_indices, output_indices = self.equation.split("->")[0].split(","), self.equation.split("->")[1]
        dxs: list[Tensor] = []
        for index, (letters, x) in enumerate(zip(input_indices, cache.xs, strict=True)):
            other_inputs = [i for i in range(len(input_indices)) if i != index]
            known_letters = set(output_indices).union(*(input_indices[i] for i in other_inputs))
            kept_letters = "".join(letter for letter in letters if letter in known_letters)
            gradient = torch.einsum(
                ",".join((output_indices, *(input_indices[i] for i in other_inputs))) + "->" + kept_letters,
                dy,
                *(cache.xs[i] for i in other_inputs),
            )
            sizes = [size if letter in known_letters else 1 for letter, size in zip(letters, x.shape, strict=True)]
            dxs.append(gradient.reshape(sizes).expand(x.shape))
        return dxs[0] if len(dxs) == 1 else tuple(dxs), {}
