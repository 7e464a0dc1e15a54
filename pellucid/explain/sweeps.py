"""One pass forward and one back, which every explanation by gradients is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.explain.target import Aim, Target, aim
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.rules import Composite, Entrance, Outputs, Rule, Rules, own
from pellucid.sweep import BackwardWatch, ForwardWatch, backward, forward

# (the outputs, 1 where they are explained and else 0) -> what is sent back from the top
Seed = Callable[[Tensor, Tensor], Tensor]


def ones(y: Tensor, mask: Tensor) -> Tensor:
    """Send back 1 from what is explained: the way of gradients."""
    return mask


def values(y: Tensor, mask: Tensor) -> Tensor:
    """Send back what is explained itself: the way of relevance, which shares it out."""
    return y * mask


def gradients(path: str, layer: Layer) -> Rule:
    """Give every layer its own dx, without the gradients of its parameters."""
    return own


@dataclass(frozen=True, eq=False)
class Ahead:
    """A forward pass as far as a target, from which sweeps go back: `mask` is 1 where y is explained, else 0."""

    net: Layer
    params: Params
    y: Tensor
    mask: Tensor
    cache: Cache

    @torch.no_grad()
    def back(
        self, rules: Rules = gradients, seed: Seed = ones, watch: BackwardWatch | None = None, last: bool = True
    ) -> Any:
        """Return what reaches the input by `rules`; the `last` sweep releases the caches as it passes them."""
        dy = seed(self.y, self.mask)
        return backward(self.net, self.params, self.cache, dy, rules, watch, consume=last)[0]


@torch.no_grad()
def ahead(net: Layer, params: Params, x: Any, target: Target, watch: ForwardWatch | None = None) -> Ahead:
    """Run `net` on x in evaluation mode, as far as the target; raises PellucidError for one that does not fit."""
    meant = aim(net, target, examples(x))
    y, cache = forward(meant.net, params, x, Mode(), watch)
    return Ahead(meant.net, params, y, meant.mask(y), cache)


@torch.no_grad()
def scores(net: Layer, params: Params, x: Any, target: Target) -> Tensor:
    """Return the score (N,) that the target has: what relevance adds up to where nothing is lost."""
    meant = aim(net, target, examples(x))
    y, _ = forward(meant.net, params, x, Mode(keep=False))
    return (y * meant.mask(y)).flatten(1).sum(1)


@torch.no_grad()
def fixed(net: Layer, params: Params, x: Any, target: Target) -> Target:
    """Return the target, with the best class of each example in place of None."""
    if target is not None:
        return target
    y, _ = forward(net, params, x, Mode(keep=False))
    return Aim(net).mask(y).argmax(1)


def swept(net: Layer, params: Params, x: Any, target: Target, composite: Composite, seed: Seed = ones) -> Tensor:
    """Return what reaches x from the target by the rules of a composite."""
    entrance, outputs = Entrance(x), Outputs()

    def watch(*passed: Any) -> None:
        entrance(*passed)
        outputs(*passed)

    return ahead(net, params, x, target, watch).back(outputs.inform(composite(entrance)), seed)


def examples(x: Any) -> int:
    """Return how many examples a batch holds."""
    return examples(x[0]) if isinstance(x, tuple) else len(x)
