"""The score of held-out examples: of the task, or of the loss if outputs have another form than the targets."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.combine import Sequential
from pellucid.data.source import Arrays
from pellucid.doctor import Case, case_of
from pellucid.doctor.evaluations import Evaluations
from pellucid.doctor.held_out import HeldOutScorer
from pellucid.doctor.paired import PairedTrainings
from pellucid.layers import Conv2d
from pellucid.model import Model
from pellucid.opening.torch_training.losses import TorchCriterion
from pellucid.optim import Adam
from pellucid.tasks.classify import Classification


def grid_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of cells with an object (logits), and of their offset (before a sigmoid)."""
    has_object = targets[:, 0] > 0
    found = F.binary_cross_entropy_with_logits(outputs[:, 0], targets[:, 0])
    return found + F.mse_loss(outputs[:, 1].sigmoid()[has_object], targets[:, 1][has_object])


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean()


def trained_case(loss: object, epochs: int, offset: float = 0.3) -> Case:
    """Return the case of a network that says of each pixel whether it is bright, and a second value of it."""
    rng = torch.Generator().manual_seed(0)
    x = (torch.rand(160, 1, 12, 12, generator=rng) < 0.1).float()
    y = torch.cat([x, x * (offset + 0.5 * torch.rand(x.shape, generator=rng))], 1)
    net = Sequential(Conv2d(2, 1))
    model = Model(net, TorchCriterion(loss), Adam(0.2), input_shape=(1, 12, 12), metrics=())  # type: ignore[arg-type]
    first = Model(net, TorchCriterion(loss), Adam(0.2), input_shape=(1, 12, 12), metrics=())  # type: ignore[arg-type]
    case = case_of(model, x, y, validation=(x[:40], y[:40]), begin=lambda: first, epochs=epochs)
    if epochs:
        model.fit(x, y, epochs=epochs, batch_size=16, verbose=False)
    return case


@pytest.mark.parametrize(
    ("loss", "epochs", "uses_loss"),
    [(grid_loss, 20, True), (grid_loss, 0, False), (squared_error, 20, False)],
)
@pytest.mark.parametrize("offset", [0.1, 0.4])
def test_maps_of_another_form_than_the_targets_are_scored_by_the_loss(
    loss: object, epochs: int, uses_loss: bool, offset: float
) -> None:
    case = trained_case(loss, epochs, offset)
    score = HeldOutScorer(Classification(), case)
    assert score.uses_loss is uses_loss
    assert isinstance(case.validation, Arrays)
    mean = float(score(case.model, case.validation).mean())
    assert score.name == ("share of the first loss removed" if uses_loss else "closeness")
    if uses_loss:
        assert mean > 0.3


@pytest.mark.parametrize(("loss", "has_changes"), [(grid_loss, False), (squared_error, True)])
def test_outputs_in_another_form_than_the_targets_suggest_no_units(loss: object, has_changes: bool) -> None:
    case = trained_case(loss, 20)
    evaluations = Evaluations(PairedTrainings(Classification(), case, lambda text: None), [], False)
    assert isinstance(case.validation, Arrays)
    other_unit = Arrays(case.validation.x, 1 - 2 * case.validation.y)
    assert bool(evaluations.other_targets(other_unit, case.model)) is has_changes
