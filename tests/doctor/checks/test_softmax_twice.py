"""A softmax before a loss that applies a softmax itself."""

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
from tests.doctor.small_cases import corners


@dataclass(frozen=True)
class OwnSoftmax(Layer):
    """A user-defined softmax."""

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        y = x.exp() / x.exp().sum(1, keepdim=True)
        return y, y

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        return cache * (dy - (dy * cache).sum(1, keepdim=True)), {}


def make_case(*last_layers: Layer, **options: Any) -> Case:
    return case_of(Model(Sequential(Flatten(), Dense(4), *last_layers), input_shape=(1, 4, 4), **options), *corners())


def test_a_user_defined_softmax_before_one_in_the_loss_is_found() -> None:
    (finding,) = CHECK.find(make_case(OwnSoftmax()))
    assert finding.check == "softmax-twice"
    others_probability = 3 / (3 + torch.e)  # the sum of the last three of softmax(1, 0, 0, 0)
    assert (
        abs(finding.evidence["lowest_loss_that_probabilities_can_reach"] + torch.tensor(1 - others_probability).log())
        < 1e-6
    )


def test_logits_have_no_finding() -> None:
    assert not CHECK.find(make_case())


def test_probabilities_before_a_loss_without_a_softmax_have_no_finding() -> None:
    assert not CHECK.find(make_case(Softmax(), loss="quadratic"))
