"""The entrance of a network: the first layers with weights, which receive its input, found in a forward pass."""

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from pellucid.combine.base import Combinator
from pellucid.layers.base import Cache, Layer, Params, Trait
from pellucid.operators import Convolve, LinearMap
from pellucid.rules.operators import AsWeighted
from pellucid.rules.outputs import OutputRule, apply_rule
from pellucid.sweep import Rule, Rules

WEIGHT_INPUT_LAYERS = (Convolve, LinearMap)  # layers whose weight is their second input


class Entrance:
    """A watch for `sweep.forward` that records which uses of layers with weights receive the network's input.

    No layer with weights precedes these entrance layers. Composites may have another rule for them, because inputs such
    as pixels are bounded and may be negative. After a forward pass of x with `Entrance(x)` as `watch`,
    `cache in entrance` returns whether the use of a layer that returned this cache is an entrance. If a layer is
    applied to the input and then to its own output, only the first use is an entrance. Outputs of layers without
    weights, such as padding, pooling and normalization, count as the input; a sum of the input and another value does
    not. For layers whose weight and bias are inputs, only the first input counts.
    `paths` contains the paths of the entrance layers.
    """

    def __init__(self, x: Any) -> None:
        self.paths: set[str] = set()
        self._caches: list[Cache] = []
        self._input_values = _tensors(x)  # the input, and values computed from it without weights

    def __call__(self, path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        """Record the forward pass of one layer."""
        has_weight_input = isinstance(layer, WEIGHT_INPUT_LAYERS)
        inputs = _tensors(x[0] if has_weight_input else x)
        reads_input = all(any(tensor is value for value in self._input_values) for tensor in inputs)
        if isinstance(layer, Combinator) or not reads_input:
            return
        if Trait.WEIGHTED in layer.traits or has_weight_input:
            self.paths.add(path)
            self._caches.append(cache)
        else:
            self._input_values += _tensors(y)

    def __contains__(self, cache: object) -> bool:
        """Return whether the use that returned this cache is an entrance."""
        return any(entrance_cache is cache for entrance_cache in self._caches)


@dataclass(frozen=True)
class AtEntrance(OutputRule):
    """One rule for the entrance uses of a layer, and another for its other uses."""

    entrance: Entrance
    rule: Rule
    other_rule: Rule

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Any, y: Tensor | None = None
    ) -> tuple[Any, Params]:
        """Propagate back through a layer by the rule of its use."""
        return apply_rule(self.rule if cache in self.entrance else self.other_rule, layer, params, cache, dy, y=y)


def at_entrance(entrance: Entrance, rule: Rule, rules: Rules) -> Rules:
    """Return `rules` with `rule` for the uses of layers that are an entrance."""

    def rule_for(path: str, layer: Layer) -> Rule:
        other_rule = rules(path, layer)
        if isinstance(layer, WEIGHT_INPUT_LAYERS):
            return AtEntrance(entrance, AsWeighted(rule), other_rule)
        return AtEntrance(entrance, rule, other_rule) if Trait.WEIGHTED in layer.traits else other_rule

    return rule_for


def _tensors(x: Any) -> list[Any]:
    """Return the tensors of a tensor or of nested tuples."""
    return [tensor for item in cast("tuple[Any, ...]", x) for tensor in _tensors(item)] if isinstance(x, tuple) else [x]
