"""Rules that only pass, rectify or divide what arrives."""

import pytest
import torch

from pellucid.layers import Add, Concat, Conv2d, Mode, Multiply, ReLU, ReLU6, Sigmoid
from pellucid.rules import Deconv, Guided, Norm, Pass, Share, own
from tests.oracle import assert_close, normal, randomized

X = torch.tensor([[-1.0, 2.0, 7.0, 0.0]])
DY = torch.tensor([[3.0, -4.0, 5.0, 6.0]])


def test_pass_hands_back_what_arrives() -> None:
    _, cache = Sigmoid().forward({}, X, Mode())
    assert Pass()(Sigmoid(), {}, cache, DY) == (DY, {})


def test_deconv_rectifies_what_arrives_wherever_the_forward_pass_was_open() -> None:
    _, cache = ReLU().forward({}, X, Mode())
    found, _ = Deconv()(ReLU(), {}, cache, DY)
    assert found.tolist() == [[3.0, 0.0, 5.0, 6.0]]


@pytest.mark.parametrize(("layer", "expected"), [(ReLU(), [0, 0, 5, 0]), (ReLU6(), [0, 0, 0, 0])], ids=str)
def test_guided_lets_pass_what_both_let_pass(layer: ReLU | ReLU6, expected: list[float]) -> None:
    _, cache = layer.forward({}, X, Mode())
    found, _ = Guided()(layer, {}, cache, DY)
    assert found.tolist() == [expected]


def test_a_sum_shares_by_what_each_input_gave() -> None:
    xs = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -6.0]])
    _, cache = Add().forward({}, xs, Mode())
    found, _ = Norm(0.0)(Add(), {}, cache, torch.tensor([[8.0, 8.0]]))
    assert [one.tolist() for one in found] == [[[2.0, -4.0]], [[6.0, 12.0]]]


def test_concatenation_hands_each_input_its_part() -> None:
    xs = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])
    y, cache = Concat().forward({}, xs, Mode())
    for found in (own(Concat(), {}, cache, 2 * y)[0], Norm(0.0)(Concat(), {}, cache, 2 * y)[0]):
        assert [one.tolist() for one in found] == [[[2.0, 4.0]], [[6.0]]]


def test_a_product_shares_evenly_and_a_gate_takes_the_sum_over_what_it_scaled() -> None:
    value, gate = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 1, 1)
    y, cache = Multiply().forward({}, (value, gate), Mode())
    found, _ = Share()(Multiply(), {}, cache, y)
    assert_close(found, (y / 2, y.sum((2, 3), keepdim=True) / 2), 1e-6)


def test_own_is_the_gradient_without_the_parameters() -> None:
    layer, rng = Conv2d(3, 3), torch.Generator().manual_seed(0)
    params = randomized(layer.init((2, 5, 5), rng)[0], rng)
    y, cache = layer.forward(params, normal((2, 2, 5, 5), rng), Mode())
    found, dparams = own(layer, params, cache, y)
    assert torch.equal(found, layer.backward(params, cache, y)[0])
    assert dparams == {}
