"""One forward and one backward pass: the basis of all gradient and relevance methods."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.explain.functions import mapped
from pellucid.explain.target import Aim, Target, aim, weighted_sum
from pellucid.fuse import by_kernel
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.rules import Composite, Entrance, Guided, Origins, Outputs, Rule, Rules, own
from pellucid.sweep import BackwardWatch, ForwardWatch, backward, forward

# Function of the outputs and the gradient of the score (see ForwardPass) that returns the gradient or relevance of the
# outputs, with which the backward pass starts.
InitialGradient = Callable[[Any, Any], Any]


def gradient_of_score(y: Any, gradient: Any) -> Any:
    """Return 1 (or the weight) for the explained outputs; the backward pass then computes gradients."""
    return gradient


def values_in_score(y: Any, gradient: Any) -> Any:
    """Return the parts of the explained outputs in the score; the backward pass then distributes them as relevance."""
    return mapped(torch.mul, y, gradient)


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

    aim: Aim
    params: Params
    x: Any
    y: Any
    cache: Cache

    @property
    def score(self) -> Tensor:
        """The score of each example, (N,)."""
        return self.aim.score(self.y)

    @torch.no_grad()
    def propagate_back(
        self,
        rules: Rules = gradient_rules,
        initial_gradient: InitialGradient = gradient_of_score,
        watch: BackwardWatch | None = None,
        consume: bool = True,
    ) -> Any:
        """Return the gradient or relevance of the input by `rules`; consume: release the caches during the pass."""
        dy = initial_gradient(self.y, self.aim.gradient(self.y))
        dx, _ = backward(self.aim.net, self.params, self.cache, dy, rules_with_kernels(rules), watch, consume=consume)
        return mapped(lambda x, part: torch.zeros_like(x) if part is None else part, self.x, dx)


@torch.no_grad()
def forward_to(net: Layer, params: Params, x: Any, target: Target, watch: ForwardWatch | None = None) -> ForwardPass:
    """Run `net` on x in evaluation mode up to the target; raise PellucidError if the target does not fit."""
    selection = aim(net, target, n_examples(x))
    y, cache = forward(selection.net, params, x, Mode(), watch)
    return ForwardPass(selection, params, x, y, cache)


@torch.no_grad()
def scores(net: Layer, params: Params, x: Any, target: Target) -> Tensor:
    """Return the target's score (N,)."""
    selection = aim(net, target, n_examples(x))
    y, _ = forward(selection.net, params, x, Mode(keep=False))
    return selection.score(y)


@torch.no_grad()
def relevance_to_distribute(net: Layer, params: Params, x: Any, target: Target) -> Tensor:
    """Return the sum of the outputs, each times its gradient (N,): the score, unless that is a function of them."""
    selection = aim(net, target, n_examples(x))
    y, _ = forward(selection.net, params, x, Mode(keep=False))
    return weighted_sum(y, selection.gradient(y))


@torch.no_grad()
def fix_target(net: Layer, params: Params, x: Any, target: Target) -> Target:
    """Return the target to use for variants of x: the weights of the outputs in the score of x.

    So the class with the largest score, and the pixels that are predicted as a class, are those of x. Units and
    functions of the outputs are returned unchanged.
    """
    selection = aim(net, target, n_examples(x))
    if not selection.may_be_fixed:
        return target
    y, _ = forward(selection.net, params, x, Mode(keep=False))
    return selection.gradient(y)


def backward_by_composite(
    net: Layer, params: Params, x: Any, target: Target, composite: Composite,
    initial_gradient: InitialGradient = gradient_of_score, backward_watch: BackwardWatch | None = None,
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


def check_not_empty(method: str, x: Any) -> None:
    """Raise PellucidError for a batch without examples."""
    if not n_examples(x):
        raise PellucidError(f"{method}: the batch is empty; give at least one example")


def n_examples(x: Any) -> int:
    """Return the number of examples of a batch."""
    return n_examples(x[0]) if isinstance(x, tuple) else len(x)
