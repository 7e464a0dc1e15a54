"""User-defined layers are explained by their backward pass."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.layers import Dense
from pellucid.layers.base import Layer, Mode, Params, Trait
from pellucid.trace.columns import LINEAR_WORDS, base
from tests.oracle import Sample
from tests.trace.oracle import assert_adds_up, draw_elements, trace_sample


class PrefixesCache(NamedTuple):
    """Cache of Prefixes: the input."""

    x: Tensor


@dataclass(frozen=True)
class Prefixes(Layer):
    """y_k = s_k (x_0 + ... + x_k)²: a nonlinear layer with a triangular Jacobian and a parameter s."""

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        return {"scale": torch.ones(shape)}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, PrefixesCache]:
        return params["scale"] * x.cumsum(1) ** 2, PrefixesCache(x)

    def backward(self, params: Params, cache: PrefixesCache, dy: Tensor) -> tuple[Tensor, Params]:
        sums = cache.x.cumsum(1)
        dsums = 2 * dy * params["scale"] * sums
        return dsums.flip(1).cumsum(1).flip(1), {"scale": (dy * sums**2).sum(0)}


def test_derivatives_of_user_defined_layers_are_exact() -> None:
    record = trace_sample(Sample(Sequential(Dense(6), Prefixes(), Dense(2)), (3,)))
    for element in draw_elements(record, per_tensor=3):
        for link in record.explain(element.label, top=None).to_json()["links"]:
            assert_adds_up(link)
    link = record.explain("dense1.y[1, 4]", top=None).links[0]
    assert link.count == 2, "only the two sums from there on depend on it"
    sums = record["dense1.y"].cumsum(1)
    slopes = {term.factors[0].name: term.factors[1].value for term in link.terms}
    for k in (4, 5):
        expected = 2 * float(record["prefixes1.scale"][k] * sums[1, k])
        assert slopes[f"∂C/∂prefixes1.y[1, {k}]"] == pytest.approx(expected, rel=1e-12)
    result = record.explain("prefixes1.y[0, 2]").made
    assert result is not None
    assert result.count == 3
    assert not result.linear


class MappedCache(NamedTuple):
    """Empty cache."""


@dataclass(frozen=True)
class Mapped(Layer):
    """y = x A + 1, which declares that it is linear, for a matrix A drawn from `seed`."""

    traits: ClassVar[Trait] = Trait.LINEAR

    seed: int = 0

    def matrix(self) -> Tensor:
        return torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(self.seed)).relu()

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        return {}, (4,)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, MappedCache]:
        return x @ self.matrix().to(x.dtype) + 1, MappedCache()

    def backward(self, params: Params, cache: MappedCache, dy: Tensor) -> tuple[Tensor, Params]:
        return dy @ self.matrix().to(dy.dtype).T, {}


@pytest.mark.parametrize("seed", range(3))
def test_a_layer_that_declares_to_be_linear_is_explained_by_its_weights(seed: int) -> None:
    record = trace_sample(Sample(Sequential(Dense(5), Mapped(seed), Dense(2)), (3,)))
    for k, weights in enumerate(Mapped(seed).matrix()):
        link = record.explain(f"dense1.y[1, {k}]", top=None).links[0]
        assert link.words == (LINEAR_WORDS if bool(weights.any()) else "no output depends on it")
        slopes = {term.factors[0].name: term.factors[1].value for term in link.terms}
        expected = {f"∂C/∂mapped1.y[1, {j}]": float(weight) for j, weight in enumerate(weights) if weight}
        assert slopes == pytest.approx(expected, rel=1e-12)
        assert_adds_up(link.to_json())


def test_too_many_outputs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_PASSES", 5)
    record = trace_sample(Sample(Sequential(Prefixes()), (30,)))
    with pytest.raises(PellucidError, match="explain a smaller layer"):
        record.explain("x[0, 0]")
