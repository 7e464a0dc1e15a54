"""One forward and one backward pass: the basis of all gradient and relevance methods."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.explain.target import Aim, Region, Target, aim, predicted_region
from pellucid.fuse import by_kernel
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.rules import Composite, Entrance, Guided, Origins, Outputs, Rule, Rules, own
from pellucid.sweep import BackwardWatch, ForwardWatch, backward, forward

# Function of the outputs and the mask (see ForwardPass) that returns the gradient or relevance of the outputs, with
# which the backward pass starts.
InitialGradient = Callable[[Tensor, Tensor], Tensor]


def ones_at_target(y: Tensor, mask: Tensor) -> Tensor:
    """Return 1 (or the weight) for the explained outputs; the backward pass then computes gradients."""
    return mask


def values_at_target(y: Tensor, mask: Tensor) -> Tensor:
    """Return the values of the explained outputs; the backward pass then distributes them as relevance."""
    return y * mask


def gradient_rules(path: str, layer: Layer) -> Rule:
    """Return the rule that computes a layer's dx, without gradients of its parameters."""
    return own


def rules_with_kernels(rules: Rules) -> Rules:
    """Return rules for which PyTorch's kernels compute the gradients of single layers, where a rule uses these."""

    def rule_for(path: str, layer: Layer) -> Rule:
        rule = rules(path, layer)
        return by_kernel(rule) if rule is own or isinstance(rule, Guided) else rule

    return rule_for


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """A forward pass up to a target, for backward passes."""

    net: Layer
    params: Params
    y: Tensor
    mask: Tensor  # 1 or a weight for each explained output, else 0
    cache: Cache

    @torch.no_grad()
    def propagate_back(
        self,
        rules: Rules = gradient_rules,
        initial_gradient: InitialGradient = ones_at_target,
        watch: BackwardWatch | None = None,
        consume: bool = True,
    ) -> Any:
        """Return the gradient or relevance of the input by `rules`; consume: release the caches during the pass."""

        dy = initial_gradient(self.y, self.mask)
        return backward(self.net, self.params, self.cache, dy, rules_with_kernels(rules), watch, consume=consume)[0]


@torch.no_grad()
def forward_to(net: Layer, params: Params, x: Any, target: Target, watch: ForwardWatch | None = None) -> ForwardPass:
    """Run `net` on x in evaluation mode up to the target; raise PellucidError if the target does not fit."""
    selection = aim(net, target, n_examples(x))
    y, cache = forward(selection.net, params, x, Mode(), watch)
    return ForwardPass(selection.net, params, y, selection.mask(y), cache)


@torch.no_grad()
def scores(net: Layer, params: Params, x: Any, target: Target) -> Tensor:
    """Return the target's score (N,), which relevance propagation distributes over the input."""
    selection = aim(net, target, n_examples(x))
    y, _ = forward(selection.net, params, x, Mode(keep=False))
    return (y * selection.mask(y)).flatten(1).sum(1)


@torch.no_grad()
def fix_target(net: Layer, params: Params, x: Any, target: Target) -> Target:
    """Return the target to use for variants of x: None becomes the class with the largest score of each example of x.

    For scores of each pixel, a class becomes the Region of the pixels of x that are predicted as this class.
    """
    if isinstance(target, (str, Region)):
        return target
    y, _ = forward(net, params, x, Mode(keep=False))
    if target is None:
        return Aim(net).mask(y).argmax(1)
    return predicted_region(y, target) if isinstance(y, Tensor) and y.dim() == 4 else target


def backward_by_composite(
    net: Layer, params: Params, x: Any, target: Target, composite: Composite,
    initial_gradient: InitialGradient = ones_at_target, backward_watch: BackwardWatch | None = None,
) -> Tensor:  # fmt: skip
    """Return the gradient or relevance of x, propagated back by the rules of a composite.

    The forward pass records which layers receive the input, because composites may have a different rule for them
    (Entrance); the outputs of layers with weights, for rules that divide by them (Outputs); and which factors of
    products are constant (Origins).
    backward_watch: see `pellucid.sweep.backward`.
    """
    entrance = Entrance(x)
    outputs = Outputs()
    origins = Origins()

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        entrance(path, layer, x, y, cache)
        outputs(path, layer, x, y, cache)
        origins(path, layer, x, y, cache)

    run = forward_to(net, params, x, target, watch)
    rules = outputs.inform(origins.inform(rules_with_kernels(composite(entrance))))
    return run.propagate_back(rules, initial_gradient, backward_watch)


def n_examples(x: Any) -> int:
    """Return the number of examples of a batch."""
    return n_examples(x[0]) if isinstance(x, tuple) else len(x)
