"""Explanations that follow several products of each sum: bounded, with the numbers said, and exact in every link."""

import json
import re
import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import pellucid
from pellucid import Model, Sequential
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten, GroupNorm, LayerNorm, ReLU
from pellucid.models import vit
from pellucid.operators import Attention
from pellucid.trace.columns.linear import attention

CHAINS: Any = sys.modules["pellucid.trace.explain"]  # the module, whose name in the package is that of its function


def small_transformer() -> Model:
    return Model(vit(5, 16, 4, 16, 3, 2), input_shape=(3, 16, 16), classes=5)


def convolutions() -> Model:
    net = Sequential(
        conv1=Conv2d(6, 3, padding=1), norm1=BatchNorm(), conv2=Conv2d(6, 3, padding=1), norm2=GroupNorm(2),
        conv3=Conv2d(6, 3, padding=1), relu=ReLU(), flat=Flatten(), scores=Dense(4),
    )  # fmt: skip
    return Model(net, input_shape=(3, 12, 12), classes=4)


def wide() -> Model:
    net = Sequential(
        flat=Flatten(), dense1=Dense(40), norm1=LayerNorm(), dense2=Dense(40), norm2=LayerNorm(), dense3=Dense(40),
        norm3=LayerNorm(), scores=Dense(4),
    )  # fmt: skip
    return Model(net, input_shape=(3, 4, 4), classes=4)


NETWORKS = {"transformer": small_transformer, "convolutions": convolutions, "wide": wide}
LIMITS = {"links": ("MAX_LINKS", 20), "products": ("MAX_TERMS", 30), "passes": ("MAX_PASSES", 1)}


def weight_of_first_norm(trace: pellucid.trace.Trace) -> str:
    return next(name for name in trace.tensors if re.search(r"norm1?\.weight$", name)) + "[1]"


@pytest.mark.parametrize(
    ("name", "limit"),
    [*((name, limit) for name in NETWORKS for limit in ("links", "products")), ("transformer", "passes")],
)
def test_the_links_end_at_a_limit(name: str, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = NETWORKS[name]()
    trace = model.trace(torch.rand(2, *model.nominal_shape, generator=torch.Generator().manual_seed(1)))
    element = weight_of_first_norm(trace)
    chain = trace.explain(element, expand=1)
    assert not chain.limit_text
    monkeypatch.setattr(CHAINS, *LIMITS[limit])
    assert str(trace.explain(element, expand=1)) == str(chain)  # a single chain has no limit
    limited = trace.explain(element, expand=2)
    monkeypatch.undo()
    count = len(limited.links)
    larger = trace.explain(element, expand=2)
    assert count < len(larger.links) <= CHAINS.MAX_LINKS
    assert limited.exact
    for link, other in zip(limited.links, larger.links, strict=False):
        assert (link.name, link.gradient, link.total) == (other.name, other.gradient, other.total)
        for term, other_term in zip(link.terms, other.terms, strict=True):
            is_built = other_term.next is not None and other_term.next < count
            assert term.next == (other_term.next if is_built else None)
    reached = 1 + max(term.next for link in larger.links[:count] for term in link.terms if term.next is not None)
    text = f"these are the first {count:,} of {reached:,} links or more"
    assert text in str(limited)
    assert text in limited._repr_html_()
    values = json.loads(json.dumps(limited.to_json()))
    assert (len(values["links"]), values["links_reached"]) == (count, reached)


@pytest.mark.parametrize("expand", [2, *(pytest.param(n, marks=pytest.mark.long) for n in (3, 10)), 10_000])
@pytest.mark.parametrize("top", [1, 6, None])
def test_a_norm_of_a_transformer_is_explained_within_the_limits(expand: int, top: int | None) -> None:
    trace = small_transformer().trace(torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)))
    explanation = trace.explain(weight_of_first_norm(trace), top=top, expand=expand)
    assert explanation.exact
    assert len(explanation.links) <= CHAINS.MAX_LINKS
    listed = [len(link.terms) for link in explanation.links]
    assert sum(listed[:-1]) <= CHAINS.MAX_TERMS


class Attending(nn.Module):
    """Attention of the first tokens to all, with options of scaled_dot_product_attention."""

    def __init__(self, queries: int, **options: Any) -> None:
        super().__init__()
        self.queries, self.options = queries, options
        self.q, self.k, self.v = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.q(x[:, : self.queries]), self.k(x), self.v(x)
        return F.scaled_dot_product_attention(q, k, v, **self.options).flatten(1)


MASK = torch.tensor([[True, False, True, True], [True, True, False, False], [False, True, True, True]])


@pytest.mark.parametrize(
    ("queries", "options"),
    [(4, {}), (4, {"is_causal": True}), (3, {"scale": 0.3}), (3, {"attn_mask": MASK}), (3, {"attn_mask": MASK * 1.5})],
)
def test_columns_of_attention_are_those_of_autograd(queries: int, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = Attending(queries, **options)
    x = torch.randn(2, 4, 6)
    trace = pellucid.open(network, x, loss="quadratic").trace(x, torch.zeros(2, 3 * queries))
    (call,) = (call for call in trace.calls if isinstance(call.layer, Attention))
    xs = [value.tensor for value in call.inputs[:3]]

    def attend(*xs: torch.Tensor) -> torch.Tensor:
        mask = options.get("attn_mask")
        others = {**options, "attn_mask": mask if mask is None or mask.dtype is torch.bool else mask.double()}
        return F.scaled_dot_product_attention(*xs, **others)

    check_columns(call, attend, xs)


def check_columns(call: Any, attend: Any, xs: list[torch.Tensor]) -> None:
    """Compare the columns of queries, keys and values with the Jacobian of a function by autograd."""
    jacobians = torch.autograd.functional.jacobian(attend, tuple(xs))
    for part, tensor in enumerate(xs):
        columns = jacobians[part].reshape(call.y.numel(), tensor.numel())
        for index in range(tensor.numel()):
            column = attention(call, f"x.{part}", index)
            actual = torch.zeros(call.y.numel(), dtype=torch.float64)
            actual[column.output_positions] = column.factors[0].values
            torch.testing.assert_close(actual, columns[:, index].double(), rtol=1e-9, atol=1e-12)
            assert column.n_passes == 0


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, dropout=0.4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x, need_weights=False)[0].flatten(1)


def test_columns_of_attention_have_the_mask_of_its_dropout() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6)
    model = pellucid.open(SelfAttention(), x, loss="quadratic")
    trace = model.trace(x, torch.zeros(2, 24), train=True, seed=5)
    (call,) = (call for call in trace.calls if isinstance(call.layer, Attention))
    xs = [value.tensor for value in call.inputs]
    q, k, v = xs
    factors = call.cache.dropout.mask.double() / 0.6

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return ((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) * factors) @ v

    assert 0 < factors.count_nonzero() < factors.numel()
    torch.testing.assert_close(attend(q, k, v), call.y)
    check_columns(call, attend, xs)


def test_a_mask_of_numbers_is_explained_by_backward_passes() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6)
    network = Attending(3, attn_mask=MASK * 1.5)
    trace = pellucid.open(network, x, loss="quadratic").trace(x, torch.zeros(2, 9))
    (call,) = (call for call in trace.calls if isinstance(call.layer, Attention))
    column = attention(call, "x.3", 0)
    assert column.n_passes > 0
