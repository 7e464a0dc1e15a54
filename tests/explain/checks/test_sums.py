"""Conservation and completeness where they must hold, and where they must not."""

import torch

from pellucid.combine import Sequential
from pellucid.explain import integrated_gradients, lrp
from pellucid.explain.checks import Sum, completeness, conservation
from pellucid.layers import Conv2d, Dense, Flatten, ReLU
from tests.explain.networks import made
from tests.oracle import assert_close, normal, randomized


def test_relevance_is_conserved_where_there_are_no_biases() -> None:
    rng = torch.Generator().manual_seed(0)
    net = Sequential(conv=Conv2d(3, 3, bias=False), relu=ReLU(), flat=Flatten(), scores=Dense(3, bias=False))
    params = randomized(net.init((2, 6, 6), rng)[0], rng)
    x = normal((2, 2, 6, 6), rng)
    relevance = lrp(net, params, x, 1, "epsilon", epsilon=1e-12)
    found = conservation(net, params, x, 1, relevance)
    assert float(found.gap.max()) < 1e-6
    assert_close(conservation(net, params, x, 1, 2 * relevance).gap, torch.ones(2, dtype=torch.float64), 1e-6)


def test_integrated_gradients_are_complete_and_half_of_them_are_not() -> None:
    net, params, x = made("vgg")
    attribution = integrated_gradients(net, params, x, None, baseline=0.25, steps=400)
    assert float(completeness(net, params, x, None, attribution, 0.25).gap.max()) < 0.01
    half = completeness(net, params, x, None, attribution / 2, 0.25)
    assert_close(half.gap, torch.full((2,), 0.5, dtype=torch.float64), 0.02)


def test_nothing_from_nothing_has_no_gap() -> None:
    net, params, x = made("vgg")
    assert completeness(net, params, x, 0, torch.zeros_like(x), x).gap.tolist() == [0, 0]
    assert completeness(net, params, x, 0, torch.ones_like(x), x).gap.isinf().all()


def test_sums_that_are_not_numbers_are_not_perfect() -> None:
    nan, inf = torch.nan, torch.inf
    gap = Sum(torch.tensor([nan, 1, nan, inf, 2]), torch.tensor([1, nan, 0, inf, 2])).gap
    assert gap[:4].isnan().all()
    assert gap[4] == 0
