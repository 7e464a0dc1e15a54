"""The origins of the inputs of products: the network's input, attention weights and gates, or constants."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, cast

from torch import Tensor

from pellucid.base.brief import brief_repr
from pellucid.combine.base import uses_flow
from pellucid.layers import HardSigmoid, Sigmoid, Softmax
from pellucid.layers.base import Cache, Layer, Params, Trait
from pellucid.operators import Power
from pellucid.sweep import Rule, Rules

WEIGHT_LAYERS = (HardSigmoid, Sigmoid, Softmax)  # layers whose outputs are weights of other values


class Origin(IntEnum):
    """What a value is computed from; a value that is computed from several values has the largest of their origins."""

    CONSTANT = 0  # from parameters and constants only, or a divisor such as 1 / sqrt(σ² + ε)
    WEIGHTS = 1  # from outputs of softmax, sigmoid or hard sigmoid, and constants
    INPUT = 2  # from the network's input, other than by weights only


@dataclass(frozen=True, eq=False)
class Use:
    """One use of a layer in a forward pass: its input, and the origin of each of its inputs."""

    x: Any
    origins: tuple[Origin, ...]
    __repr__ = brief_repr

    def factors(self, constant_weights: bool) -> list[bool]:
        """Return, for each input of a product, whether it receives relevance.

        Constants receive none, and neither do weights with `constant_weights`. If no input would receive relevance,
        weights do, and if there are only constants, all inputs do.
        """
        for min_origin in (Origin.INPUT, Origin.WEIGHTS) if constant_weights else (Origin.WEIGHTS,):
            receives = [origin >= min_origin for origin in self.origins]
            if any(receives):
                return receives
        return [True] * len(self.origins)


class UseRule(ABC):
    """A rule that needs the layer's `Use` in the forward pass, recorded by Origins, in addition to its cache."""

    @abstractmethod
    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Any, use: Use | None = None
    ) -> tuple[Any, Params]:
        """Propagate back through a layer; use: the Use whose forward pass returned `cache`, None if unknown."""


class Origins:
    """A watch for `sweep.forward` that records the uses of products and of softmax, for rules that need them."""

    def __init__(self) -> None:
        self._origins: dict[int, tuple[Tensor, Origin]] = {}  # by the id of a value; others have the origin INPUT
        self._uses: dict[int, tuple[Cache, Use]] = {}  # caches and values are kept alive so that no id is reused

    def __call__(self, path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        """Record the forward pass of one layer."""
        if uses_flow(layer):
            return
        inputs = cast("tuple[Any, ...]", x) if isinstance(x, tuple) else (x,)
        origins = tuple(self._origin_of(tensor) for tensor in inputs)
        if isinstance(layer, Softmax) or (Trait.MULTIPLE_INPUTS in layer.traits and Trait.ADDITIVE not in layer.traits):
            self._uses[id(cache)] = cache, Use(x, origins)
        origin = max(
            (input_origin for index, input_origin in enumerate(origins) if index not in layer.constants),
            default=Origin.CONSTANT,
        )
        if isinstance(layer, WEIGHT_LAYERS):
            origin = min(origin, Origin.WEIGHTS)
        elif isinstance(layer, Power) and layer.exponent < 0:
            origin = Origin.CONSTANT
        if origin is not Origin.INPUT and isinstance(y, Tensor):
            self._origins[id(y)] = y, origin

    def inform(self, rules: Rules) -> Rules:
        """Return `rules` in which each UseRule also receives the recorded use of its layer."""

        def rule_for(path: str, layer: Layer) -> Rule:
            rule = rules(path, layer)
            if not isinstance(rule, UseRule):
                return rule
            return lambda layer, params, cache, dy: rule(layer, params, cache, dy, self._uses[id(cache)][1])

        return rule_for

    def _origin_of(self, value: Any) -> Origin:
        return self._origins[id(value)][1] if id(value) in self._origins else Origin.INPUT
