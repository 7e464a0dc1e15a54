"""The ledger of relevance: how much of the score distributed by LRP each layer absorbs, and for which cause."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.brief import screen_repr
from pellucid.base.text import plural
from pellucid.combine.base import uses_flow
from pellucid.explain.embedded import at_embeddings
from pellucid.explain.functions import is_function
from pellucid.explain.lrp import lrp
from pellucid.explain.sweeps import relevance_to_distribute, scores
from pellucid.explain.target import Target
from pellucid.layers import Softmax
from pellucid.layers.base import Layer, Params, Trait
from pellucid.operators import AffineMap, Attention, Fixed, Learned, Length, MaskedFill, Pad, Unfold, Variance
from pellucid.sweep import BackwardWatch

BIAS = "bias"
PARAMETER = "parameter"
CONSTANT = "constant"
SOFTMAX = "softmax"
STABILIZER = "stabilizer"
RULE = "rule"
MAX_ROUNDING_ULPS = 8  # in units in the last place: change of relevance that counts as a rounding error
MAX_LAYERS = 8  # number of layers in the text of a ledger


@dataclass(frozen=True)
class Absorbed:
    """The relevance that one layer absorbed for one cause.

    cause: "bias"; "parameter", an input such as a position embedding or a class token; "constant", such as a mask, the
        shift of AffineMap, padding or the value of masked entries; "softmax", the constant term of its linearization;
        "stabilizer", the term added to denominators; or "rule", the relevance that a rule without a stabilizer drops.
    """

    path: str
    layer: str  # its type
    cause: str
    relevance: float


@dataclass(frozen=True, eq=False)
class Ledger:
    """The distribution of the score by LRP over the input and the layers; relevances are sums over the examples.

    map: the relevance of the input, as `lrp` returns it.
    score: the target's score.
    input: the sum of the map.
    absorbed: by layer and cause, from the last layer to the first.
    """

    map: Tensor
    score: float
    input: float
    absorbed: tuple[Absorbed, ...]
    __repr__ = screen_repr

    @property
    def gap(self) -> float:
        """The score minus the input's relevance and all absorbed relevance: 0 up to rounding errors."""
        return self.score - self.input - sum(absorbed.relevance for absorbed in self.absorbed)

    def by_cause(self) -> dict[str, float]:
        """Return the absorbed relevance by cause."""
        sums: dict[str, float] = {}
        for absorbed in self.absorbed:
            sums[absorbed.cause] = sums.get(absorbed.cause, 0.0) + absorbed.relevance
        return sums

    def __str__(self) -> str:
        """Return the ledger as text: the relevance by cause, and the layers that absorb most."""
        rows = [("input", self.input), *self.by_cause().items()]
        largest = sorted(self.absorbed, key=lambda entry: -abs(entry.relevance))
        unlisted = len(largest) - MAX_LAYERS
        return "\n".join(
            [
                f"score {self.score:.6g}",
                *(f"  {name:<12}{value:>12.6g}" for name, value in rows),
                f"  {'gap':<12}{self.gap:>12.2g}",
                *(
                    f"{entry.path} ({entry.layer}), {entry.cause}: {entry.relevance:.6g}"
                    for entry in largest[:MAX_LAYERS]
                ),
                *([f"and {plural(unlisted, 'smaller entry', 'smaller entries')}"] if unlisted > 0 else []),
            ]
        )


def ledger(
    net: Layer, params: Params, x: Any, target: Target = None, watch: BackwardWatch | None = None, **options: Any
) -> Ledger:
    """Explain by `lrp`, and return the relevance of the input and the relevance that each layer absorbed, by cause.

    target, watch, options: see `lrp`. The score is the sum of the map and of all absorbed relevance, up to rounding
    errors. The relevance that a layer absorbs is the relevance of its output minus the relevance of its input. The part
    of it that the bias absorbs is computed by the layer's rule.
    """
    embedded = at_embeddings(net, params, x)
    if embedded is not None:
        embedded_ledger = ledger(embedded.net, params, embedded.x, target, watch, **options)
        return replace(embedded_ledger, map=embedded.explained_maps(embedded_ledger.map))
    absorbed: list[Absorbed] = []

    def record(path: str, layer: Layer, dy: Any, dx: Any, dparams: Params) -> None:
        if watch is not None:
            watch(path, layer, dy, dx, dparams)
        if not uses_flow(layer):
            absorbed.extend(_absorbed_by_layer(path, layer, dy, dx, dparams))

    map_ = lrp(net, params, x, target, watch=record, **options)
    score = float(scores(net, params, x, target).double().sum())
    if is_function(target):  # LRP distributes the part that is linear in the outputs
        distributed = float(relevance_to_distribute(net, params, x, target).double().sum())
        absorbed.insert(0, Absorbed("target", "OutputScore", CONSTANT, score - distributed))
    return Ledger(map_, score, _nested_sum(map_), tuple(absorbed))


def absorbed_text(by_cause: Mapping[str, float]) -> str:
    """Return the absorbed relevance by cause as text, "bias 1.2, stabilizer 1e-06"."""
    return ", ".join(f"{cause} {relevance:.3g}" for cause, relevance in by_cause.items())


def _absorbed_by_layer(path: str, layer: Layer, dy: Any, dx: Any, dparams: Params) -> Iterable[Absorbed]:
    """Yield the relevance absorbed by one run of a layer: by its bias, whose relevance is in dparams, and the rest."""
    name = type(layer).__name__
    bias_relevance = _nested_sum(dparams)
    other_relevance = _nested_sum(dy) - _nested_sum(dx) - bias_relevance
    if bias_relevance:
        yield Absorbed(path, name, BIAS, bias_relevance)
    cause = _cause(layer, dx)
    if other_relevance and (
        cause != RULE
        or abs(other_relevance) > MAX_ROUNDING_ULPS * torch.finfo(dy.dtype).eps * float(dy.double().abs().sum())
    ):
        yield Absorbed(path, name, cause, other_relevance)


def _cause(layer: Layer, dx: Any) -> str:
    """Return the cause of the relevance that a layer absorbs other than by its bias."""
    if isinstance(layer, Learned):
        return PARAMETER
    if isinstance(layer, Fixed | Pad | Unfold | AffineMap | MaskedFill):
        return CONSTANT
    if isinstance(layer, Softmax) or (isinstance(layer, Attention) and dx[0] is not None):
        return SOFTMAX
    has_stabilizer = layer.traits & (Trait.WEIGHTED | Trait.ADDITIVE | Trait.NORM | Trait.MULTIPLE_INPUTS)
    return STABILIZER if has_stabilizer or isinstance(layer, Length | Variance) else RULE


def _nested_sum(value: Any) -> float:
    """Return the sum of all values of tensors in tuples or dicts, in float64; None counts as 0."""
    if value is None:
        return 0.0
    if isinstance(value, dict | tuple):
        parts = cast("Iterable[Any]", value.values() if isinstance(value, dict) else value)
        return sum(_nested_sum(child) for child in parts)
    return float(value.double().sum())
