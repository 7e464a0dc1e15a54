"""Single wrong labels."""

import pytest
import torch

from pellucid.data import load
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.label_noise import CHECK
from pellucid.model import Model
from pellucid.models import mlp


def digits(share: float) -> tuple[Case, set[int]]:
    """1,000 digits of which a share got another label, and the places of these."""
    data = load("digits").train.subset(range(1000))
    rng = torch.Generator().manual_seed(3)
    wrong = torch.randperm(1000, generator=rng)[: round(1000 * share)]
    y = data.y.clone()
    y[wrong] = (y[wrong] + torch.randint(1, 10, wrong.shape, generator=rng)) % 10
    model = Model(mlp(sizes=(64, 10)), input_shape=(1, 8, 8))
    return case_of(model, data.x, y), set(wrong.tolist())


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.2])
def test_one_label_in_ten_is_found_and_measured(share: float) -> None:
    case, wrong = digits(share)
    (found,) = CHECK.look(case)
    assert abs(found.evidence["share"] - share) < 0.06  # of 400 labels: three standard deviations
    named = {int(place) for place in str(found.evidence["for_example"]).split(", ")}
    assert len(named & wrong) >= 4


def test_right_labels_are_quiet() -> None:
    assert not CHECK.look(digits(0.0)[0])


def test_what_is_hard_to_tell_apart_is_not_wrong() -> None:
    """Two classes that overlap: a third of all answers is wrong, but hardly one of the surest."""
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(1000) % 2
    x = torch.randn(1000, 3, generator=rng) + 0.5 * (2.0 * y[:, None] - 1) * torch.tensor([1.0, 0.0, 0.0])
    case = case_of(Model(mlp(sizes=(3, 2)), input_shape=(3,)), x, y)
    assert case.simple is not None
    assert case.simple.leave_one_out.accuracy < 0.75
    assert not CHECK.look(case)
