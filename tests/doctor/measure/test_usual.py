"""Usual learning rates."""

from dataclasses import dataclass

import pytest
from torch import Tensor

from pellucid.doctor.measure.usual import lower_ends, usual
from pellucid.optim import SGD, Adam, Optimizer
from pellucid.optim.base import State
from tests.doctor.examined import case


@dataclass(frozen=True)
class Own(Optimizer):
    """One without a default."""

    def init(self, params: list[Tensor]) -> State:
        return {}

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        pass


def test_the_usual_rate_is_the_default_whatever_the_rate_is() -> None:
    assert usual(Adam(5.0)) == 0.001  # Kingma and Ba 2015, algorithm 1
    assert usual(SGD(5.0)) == 0.1
    assert usual(Own(5.0)) == float("inf")


def test_it_is_tried_only_where_the_range_test_ends_above_it() -> None:
    it = case(optimizer=SGD(0.5))
    assert lower_ends(it) == it.ends
    far = case(optimizer=SGD(1e30))
    (more,) = lower_ends(far).keys() - far.ends.keys()
    assert more == pytest.approx(1e-31)
    assert lower_ends(far)[more] < min(far.ends.values())
