"""One training step: forward, loss, sweep, regularize, update."""

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from pellucid.combine.base import buffer_paths, join, walk
from pellucid.fuse import Rate, freeze, fuse
from pellucid.layers import Conv2d, Dense
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses import Loss
from pellucid.optim import SGD, MaxNorm, Optimizer, Regularizer, clip_by_norm
from pellucid.optim.regularizers import L2, in_order
from pellucid.sweep import backward
from pellucid.train.parameter_groups import ParameterGroup, parameter_groups, penalize, update
from pellucid.train.precision import HalfCopy, to_float32, usable_precision
from pellucid.tree import flatten, leaves


class Step:
    """What one training step needs, resolved once: `step(x, target, lr)` learns from one batch.

    The network runs in its fused form over the same parameters, which are updated in place; 4-d weights are laid
    out channels-last. `regularizers` act on what layers call `decayed`, with `examples` as their n; `clip` limits
    the joint norm of all gradients. In a step, their cost terms enter the gradient first, then it is clipped, then the
    decoupled ones shrink the weights and the optimizer moves them, and MaxNorm comes last. `paths` and `weights` are
    all that is learned; `state` is the optimizer's. `frozen` are paths that do not learn; layers all of whose values
    are frozen run as in evaluation. `rates` are factors of the learning rate by path, 1 for all others.

    Under plain SGD with nothing between sweep and update, Dense layers and convolutions learn in the sweep itself.
    What must see all gradients first (clipping, another optimizer, one day the sum over machines) turns that off, and
    then `gradients` returns them all.
    """

    def __init__(
        self,
        net: Layer,
        params: Params,
        loss: Loss,
        optimizer: Optimizer,
        *,
        examples: int,
        regularizers: tuple[Regularizer | MaxNorm, ...] = (),
        clip: float | None = None,
        precision: str = "float32",
        frozen: Collection[str] = (),
        rates: Mapping[str, float] | None = None,
    ) -> None:
        self.precision, self.note = usable_precision(precision)
        self.loss = loss
        self.optimizer = optimizer
        self._examples = examples
        self._clip = clip
        channels_last(params)
        flat = flatten(params)
        kept = buffer_paths(net) | set(frozen)
        self.paths = [path for path in flat if path not in kept]
        self.weights = [flat[path] for path in self.paths]
        self.state = optimizer.init(self.weights)
        self._half = HalfCopy(net, params, frozen) if self.precision == "bf16" else None
        self._params = self._half.params if self._half else params
        self._factors = dict(rates or {})
        plain = learns_in_sweep(optimizer, regularizers, clip, self.precision, frozen, self._factors)
        self._rate = Rate() if plain else None
        self._net = fuse(freeze(net, params, frozen), self._rate)
        self._regularizers = in_order(regularizers)
        self._limits = [one for one in regularizers if isinstance(one, MaxNorm)]
        self._order: list[int] | None = None  # of the sweep's gradients, by place in `_rest`
        self._rest = self.weights  # what is not learned in the sweep
        self._zeros: list[Tensor] = []  # gradients of what no output depends on
        self._by_path = dict(zip(self.paths, self.weights, strict=True))
        self._decayed = owned(net)
        self._groups: list[ParameterGroup] = []  # of `_rest`, by learning rate
        units = owned(net, (Dense, Conv2d))  # whose weights have a unit along the first axis
        self._bounded = [weight for path, weight in self._by_path.items() if path in units]

    def __call__(self, x: Tensor, target: Tensor, lr: float, rng: torch.Generator | None = None) -> Tensor:
        """Learn from one batch, and return the loss before the update."""
        if self._rate is not None:
            self._rate.set(lr, shrinkage(self._regularizers, self._examples, lr))
        value, grads = self.gradients(x, target, rng)
        if not grads:
            return value
        penalize(self._groups, self._regularizers, grads, self._examples)
        if self._clip is not None:
            clip_by_norm(grads, self._clip)
        update(self._groups, self.optimizer, self._regularizers, grads, self.state, lr)
        for limit in self._limits:
            limit.after_update(self._bounded)
        return value

    def forward(self, x: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Cache]:
        """Run the network in training mode, in the step's precision and memory format."""
        if self._half is not None:
            self._half.refresh()
            x = x.bfloat16()
        if x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return self._net.forward(self._params, x, Mode(True, rng))

    def gradients(self, x: Tensor, target: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, list[Tensor]]:
        """Return the loss, and the gradients of what is not learned in the sweep."""
        y, cache = self.forward(x, rng)
        value, dy = self.loss(y, target)
        del y
        _, dparams = backward(self._net, self._params, cache, dy, consume=True)
        if self._order is None:
            self._order = self._align(dparams)
        if not self._order:
            return value, []
        swept = leaves(dparams) + self._zeros
        grads = [swept[place] for place in self._order]
        return value, to_float32(grads) if self._half is not None else grads

    def _align(self, dparams: Params) -> list[int]:
        """Return the order that brings the gradients, last layer first, into that of the weights they belong to.

        What has none because no output depends on it gets zeros, so that optimizers see the same weights each time.
        """
        places = {path: place for place, path in enumerate(flatten(dparams))}
        if self._rate is None:  # else what is missing has learned in the sweep
            dead = [path for path in self.paths if path not in places]
            places |= {path: len(places) + place for place, path in enumerate(dead)}
            self._zeros = [torch.zeros_like(self._by_path[path]) for path in dead]
        rest = [path for path in self.paths if path in places]
        self._rest = [self._by_path[path] for path in rest]
        self._groups = parameter_groups(rest, self._rest, self._decayed, self._factors)
        return [places[path] for path in rest]


def learns_in_sweep(
    optimizer: Optimizer,
    regularizers: Sequence[Regularizer | MaxNorm],
    clip: float | None,
    precision: str,
    frozen: Collection[str],
    rates: Mapping[str, float],
) -> bool:
    """Return whether layers learn in the sweep: plain SGD with nothing but L2 between the gradients and the update."""
    alone = clip is None and precision == "float32" and not frozen and not rates
    return alone and type(optimizer) is SGD and all(type(one) is L2 for one in regularizers)


def shrinkage(regularizers: Sequence[Regularizer], examples: int, lr: float) -> float:
    """Return by how much a step of plain gradient descent shrinks each weight under L2 terms, (1 - s) w - lr g.

    w ← Π (1 - lr λ) w - lr (g + Σ λ/n w): the product over the decoupled terms, the sum over the others.
    """
    terms = [one for one in regularizers if isinstance(one, L2)]
    kept = math.prod(1 - lr * one.lam for one in terms if one.decoupled)
    return 1 - kept + sum(lr * one.lam / examples for one in terms if not one.decoupled)


def owned(net: Layer, kinds: tuple[type[Layer], ...] = (Layer,)) -> set[str]:
    """Return the paths of what regularizers act on, in layers of these kinds."""
    return {join(path, name) for path, layer in walk(net) if isinstance(layer, kinds) for name in layer.decayed}


def channels_last(params: Params) -> None:
    """Lay the 4-d tensors of `params` out channels-last, the order that CPU convolutions are fastest in."""
    for name, value in params.items():
        if isinstance(value, dict):
            channels_last(value)
        elif value.dim() == 4:
            params[name] = torch.empty_like(value, memory_format=torch.channels_last).copy_(value)
