"""Rules that only pass on, rectify or divide the output gradient or relevance."""

import pytest
import torch

from pellucid.layers import Add, Concat, Conv2d, Mode, Multiply, ReLU, ReLU6, Sigmoid
from pellucid.rules import Deconv, Guided, Norm, Pass, Share, own
from tests.oracle import assert_close, normal, randomized

X = torch.tensor([[-1.0, 2.0, 7.0, 0.0]])
DY = torch.tensor([[3.0, -4.0, 5.0, 6.0]])


def test_pass_returns_dy_unchanged() -> None:
    _, cache = Sigmoid().forward({}, X, Mode())
    assert Pass()(Sigmoid(), {}, cache, DY) == (DY, {})


def test_deconv_rectifies_dy_independently_of_the_input() -> None:
    _, cache = ReLU().forward({}, X, Mode())
    actual, _ = Deconv()(ReLU(), {}, cache, DY)
    assert actual.tolist() == [[3.0, 0.0, 5.0, 6.0]]


@pytest.mark.parametrize(("layer", "expected"), [(ReLU(), [0, 0, 5, 0]), (ReLU6(), [0, 0, 0, 0])], ids=str)
def test_guided_returns_the_gradient_of_rectified_dy(layer: ReLU | ReLU6, expected: list[float]) -> None:
    _, cache = layer.forward({}, X, Mode())
    actual, _ = Guided()(layer, {}, cache, DY)
    assert actual.tolist() == [expected]


def test_norm_shares_a_sum_by_contributions() -> None:
    xs = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -6.0]])
    _, cache = Add().forward({}, xs, Mode())
    actual, _ = Norm(0.0)(Add(), {}, cache, torch.tensor([[8.0, 8.0]]))
    assert [relevance.tolist() for relevance in actual] == [[[2.0, -4.0]], [[6.0, 12.0]]]


def test_concat_returns_each_input_its_part_of_dy() -> None:
    xs = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])
    y, cache = Concat().forward({}, xs, Mode())
    for actual in (own(Concat(), {}, cache, 2 * y)[0], Norm(0.0)(Concat(), {}, cache, 2 * y)[0]):
        assert [relevance.tolist() for relevance in actual] == [[[2.0, 4.0]], [[6.0]]]


def test_a_product_shares_evenly_and_a_gate_takes_the_sum_over_what_it_scaled() -> None:
    value, gate = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 1, 1)
    y, cache = Multiply().forward({}, (value, gate), Mode())
    actual, _ = Share()(Multiply(), {}, cache, y)
    assert_close(actual, (y / 2, y.sum((2, 3), keepdim=True) / 2), 1e-6)


def test_own_is_the_gradient_without_the_parameters() -> None:
    layer, rng = Conv2d(3, 3), torch.Generator().manual_seed(0)
    params = randomized(layer.init((2, 5, 5), rng)[0], rng)
    y, cache = layer.forward(params, normal((2, 2, 5, 5), rng), Mode())
    actual, dparams = own(layer, params, cache, y)
    assert torch.equal(actual, layer.backward(params, cache, y)[0])
    assert dparams == {}
