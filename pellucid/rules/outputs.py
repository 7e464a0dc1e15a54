"""Outputs of layers in the forward pass, cached for rules in the backward pass."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from pellucid.layers.base import Cache, Layer, Params, Trait
from pellucid.sweep import Rule, Rules


class OutputRule(ABC):
    """A rule that divides by the output of a layer with weights, and recomputes the output unless it is given."""

    @abstractmethod
    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Any, y: Tensor | None = None
    ) -> tuple[Any, Params]:
        """Propagate back through a layer; y: its output in the forward pass that returned `cache`, None if unknown."""


class Outputs:
    """A watch for `sweep.forward` that stores the output of each use of a layer with weights, by the cache of that use.

    This saves each rule a forward pass of its layer, but needs memory for outputs that would otherwise be freed.
    """

    def __init__(self) -> None:
        self._outputs: dict[int, tuple[Cache, Tensor]] = {}  # caches are kept alive so that no id is reused

    def __call__(self, path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        """Store one layer's output."""
        if Trait.WEIGHTED in layer.traits:
            self._outputs[id(cache)] = cache, y

    def inform(self, rules: Rules) -> Rules:
        """Return `rules` in which each OutputRule also receives the recorded output of its layer."""

        def rule_for(path: str, layer: Layer) -> Rule:
            rule = rules(path, layer)
            return lambda layer, params, cache, dy: apply_rule(rule, layer, params, cache, dy, self._output_of(cache))

        return rule_for

    def _output_of(self, cache: Cache) -> Tensor | None:
        return self._outputs.get(id(cache), (cache, None))[1]


def apply_rule(rule: Rule, layer: Layer, params: Params, cache: Cache, dy: Any, y: Tensor | None) -> tuple[Any, Params]:
    """Propagate back through a layer by a rule; an OutputRule also receives the layer's output y."""
    return rule(layer, params, cache, dy, y) if isinstance(rule, OutputRule) else rule(layer, params, cache, dy)
