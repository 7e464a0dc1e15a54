"""Probabilities that a loss makes probabilities of once more."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.softmax_twice import CHECK
from pellucid.layers import Dense, Flatten, Softmax
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.model import Model
from tests.doctor.examined import corners


@dataclass(frozen=True)
class Own(Layer):
    """The softmax, by hand."""

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        y = x.exp() / x.exp().sum(1, keepdim=True)
        return y, y

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        return cache * (dy - (dy * cache).sum(1, keepdim=True)), {}


def case(*last: Layer, **options: Any) -> Case:
    return case_of(Model(Sequential(Flatten(), Dense(4), *last), input_shape=(1, 4, 4), **options), *corners())


def test_a_softmax_of_the_users_own_before_one_in_the_loss() -> None:
    (found,) = CHECK.look(case(Own()))
    assert found.check == "softmax-twice"
    rest = 3 / (3 + torch.e)  # of softmax(1, 0, 0, 0)
    assert abs(found.evidence["lowest_loss_that_probabilities_can_reach"] + torch.tensor(1 - rest).log()) < 1e-6


def test_scores_are_quiet() -> None:
    assert not CHECK.look(case())


def test_probabilities_before_a_loss_without_a_softmax_are_quiet() -> None:
    assert not CHECK.look(case(Softmax(), loss="quadratic"))
