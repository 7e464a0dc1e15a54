"""Traces of every loss: its terms add up to it, and the factors of its gradient multiply to PyTorch's gradient."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.layers import Dense, Identity
from pellucid.losses import LOSSES, AuxiliaryCrossEntropy, Loss, ProbabilityCrossEntropy, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.trace import PassSettings, Trace
from pellucid.trace.deltas import PIECES_BY_LOSS
from tests.cases import each
from tests.losses.cases import CASES, CLASS_WEIGHTS, N_CLASSES, classes, outputs
from tests.trace.oracle import DotProductLoss, assert_adds_up, checked_value


def trace_loss(loss: Loss, y: Any, target: Tensor) -> Trace:
    """Trace an identity network with a loss, so that y is its input."""
    return Trace(PassSettings(Identity(), {}, y, target, loss))


def product_of_factors(link: dict[str, Any]) -> float:
    """Return the product of the printed factors of a link with one term."""
    (term,) = link["terms"]
    return float(math.prod(checked_value(factor) for factor in term["factors"]))


@each("name", CASES)
def test_output_gradients_equal_autograd(name: str) -> None:
    loss, y, target, oracle = CASES[name]
    leaf = y.clone().requires_grad_()
    (expected,) = torch.autograd.grad(oracle(leaf, target), leaf)
    trace = trace_loss(loss, y, target)
    largest = expected.abs().flatten().topk(min(4, y.numel())).indices.tolist()
    for flat_index in {*largest, 0, y.numel() // 2, y.numel() - 1}:
        index = [int(k) for k in torch.unravel_index(torch.tensor(flat_index), y.shape)]
        (link,) = trace.explain(f"y{index}").to_json()["links"]
        assert link["where"] == "loss"
        assert_adds_up(link)
        assert product_of_factors(link) == pytest.approx(float(expected.flatten()[flat_index]), rel=1e-9, abs=1e-13), (
            link
        )


@each("name", CASES)
def test_costs_add_up_to_the_loss(name: str) -> None:
    loss, y, target, oracle = CASES[name]
    trace = trace_loss(loss, y, target)
    assert float(trace["loss.cost"].sum()) == pytest.approx(float(oracle(y, target)), rel=1e-12)
    assert trace.loss == pytest.approx(float(oracle(y, target)), rel=1e-12)


@dataclass(frozen=True)
class Squares(Loss):
    """A user-defined loss for targets of the outputs' shape."""

    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        return (y - target).square().sum(), 2 * (y - target)


def test_a_target_that_a_user_defined_loss_cannot_compare_is_reported() -> None:
    model = Model(Dense(3), Squares(), input_shape=(4,), metrics=())
    assert model.trace(torch.rand(2, 4), torch.rand(2, 3)).loss > 0
    with pytest.raises(PellucidError, match=r"^Squares: compute, given outputs \(2, 3\) .* targets \(2, 2\) .* raised"):
        model.trace(torch.rand(2, 4), torch.rand(2, 2))


def test_every_loss_has_an_explanation_of_its_terms() -> None:
    # the derivative of the probabilities is shown as one factor
    assert set(PIECES_BY_LOSS) | {AuxiliaryCrossEntropy, ProbabilityCrossEntropy} == set(LOSSES.values())


def test_the_terms_of_the_cross_entropy_equal_those_computed_by_hand() -> None:
    y, target = outputs(7, N_CLASSES), classes(7)
    trace = trace_loss(SoftmaxCrossEntropy(label_smoothing=0.2), y, target)
    torch.testing.assert_close(trace["loss.probabilities"], y.softmax(1))
    log_a = F.log_softmax(y, 1)
    torch.testing.assert_close(trace["loss.log_likelihood"], log_a[range(7), target])
    smooth = 0.8 * F.one_hot(target, N_CLASSES).double() + 0.2 / N_CLASSES
    torch.testing.assert_close(trace["loss.targets"], smooth)
    torch.testing.assert_close(trace["loss.cost"], -(smooth * log_a).sum(1) / 7)


def test_auxiliary_outputs_have_their_own_terms() -> None:
    from pellucid.combine import Fork
    from pellucid.layers import Dense

    net = Fork(main=Dense(N_CLASSES), extra=Dense(N_CLASSES))
    params, _ = net.init((6,), torch.Generator().manual_seed(1))
    params = {name: {k: v.double() for k, v in leaves.items()} for name, leaves in params.items()}
    x, target = outputs(4, 6), classes(4)
    trace = Trace(PassSettings(net, params, x, target, AuxiliaryCrossEntropy(weight=0.4, class_weights=CLASS_WEIGHTS)))
    outputs_of_heads = [
        F.linear(x, params[name]["weight"], params[name]["bias"]).requires_grad_() for name in ("main", "extra")
    ]
    weights = torch.tensor(CLASS_WEIGHTS).double()
    value = F.cross_entropy(outputs_of_heads[0], target, weights) + 0.4 * F.cross_entropy(
        outputs_of_heads[1], target, weights
    )
    assert trace.loss == pytest.approx(value.item(), rel=1e-12)
    assert float(trace["loss.cost.0"].sum() + trace["loss.cost.1"].sum()) == pytest.approx(value.item(), rel=1e-12)
    for part, expected in enumerate(torch.autograd.grad(value, outputs_of_heads)):
        explanation = trace.explain(f"y.{part}[2, 1]").to_json()
        assert_adds_up(explanation["links"][0])
        assert product_of_factors(explanation["links"][0]) == pytest.approx(float(expected[2, 1]), rel=1e-9)


def test_the_gradient_of_a_user_defined_loss_is_shown_as_one_term() -> None:
    trace = trace_loss(DotProductLoss(), outputs(3, 4), classes(3))
    (link,) = trace.explain("y[1, 2]").links
    assert link.terms[0].factors[0].value == float(trace["dy[1, 2]"])
    assert "itself" in link.words
    assert float(trace["loss.cost"].sum()) == trace.loss
