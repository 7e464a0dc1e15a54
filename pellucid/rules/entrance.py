"""Which layers read a network's input, found by the way that values take in a forward pass."""

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from pellucid.combine.base import Combinator
from pellucid.layers.base import Cache, Layer, Params, Trait
from pellucid.rules.outputs import OutputRule, apply_rule
from pellucid.sweep import Rule, Rules


class Entrance:
    """A watch for `sweep.forward` that tells apart the uses of layers with weights that nothing with weights precedes.

    `Entrance(x)`, given as `watch` of the forward pass of x, then knows a use by its cache: `cache in entrance`. One
    layer may be used twice, once on the input and once on what it made of it; the first use only is an entrance.
    What has no weights, such as padding, pooling and normalization, still counts as the input; the sum of the input and
    of something else does not. `paths` name the layers.
    """

    def __init__(self, x: Any) -> None:
        self.paths: set[str] = set()
        self._caches: list[Cache] = []
        self._early = _tensors(x)  # values that no weights have touched

    def __call__(self, path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        """Take note of one layer's pass."""
        if isinstance(layer, Combinator) or not all(any(one is early for early in self._early) for one in _tensors(x)):
            return
        if Trait.WEIGHTED in layer.traits:
            self.paths.add(path)
            self._caches.append(cache)
        else:
            self._early += _tensors(y)

    def __contains__(self, cache: object) -> bool:
        """Return whether the use that left this cache is an entrance."""
        return any(one is cache for one in self._caches)


@dataclass(frozen=True)
class AtEntrance(OutputRule):
    """One rule for the uses of a layer that are an entrance, and the usual one for its others."""

    entrance: Entrance
    rule: Rule
    usual: Rule

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Any, y: Tensor | None = None
    ) -> tuple[Any, Params]:
        """Propagate back through a layer by the rule of its use."""
        return apply_rule(self.rule if cache in self.entrance else self.usual, layer, params, cache, dy, y)


def at_entrance(entrance: Entrance, rule: Rule, rules: Rules) -> Rules:
    """Return `rules`, but `rule` for the uses that are an entrance."""

    def choose(path: str, layer: Layer) -> Rule:
        usual = rules(path, layer)
        return AtEntrance(entrance, rule, usual) if Trait.WEIGHTED in layer.traits else usual

    return choose


def _tensors(x: Any) -> list[Any]:
    return [one for part in cast("tuple[Any, ...]", x) for one in _tensors(part)] if isinstance(x, tuple) else [x]
