"""Targets that are wrong in a part of the training examples are found by the outputs of a model."""

import re
from typing import Any

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import Diagnosis, case_of
from pellucid.doctor.cross_fit import _values_turned_back
from pellucid.doctor.finding import suspect
from pellucid.doctor.held_out import predicted_target
from pellucid.doctor.intervention import MeasuredEffect
from pellucid.doctor.paired import ProvenCause
from pellucid.layers import Dense, Flatten, ReLU
from pellucid.losses import Quadratic
from pellucid.model import Model
from pellucid.ops.image_objects import Detections, Objects
from pellucid.optim import Adam


def diagnosis_with_wrong_targets(is_wrong: torch.Tensor, wrong_values: torch.Tensor) -> Diagnosis:
    """Return the diagnosis of a regression of two values, with `wrong_values` in the training targets `is_wrong`."""
    x, y = examples()
    train_y = torch.where(is_wrong[:, None], wrong_values, y[:400])
    net = Sequential(hidden=Dense(32), relu=ReLU(), out=Dense(2))
    model = Model(net, Quadratic(), Adam(0.02), input_shape=(4,), metrics=())
    history = model.fit(x[:400], train_y, epochs=15, batch_size=32, verbose=False)
    return model.doctor(x[:400], train_y, validation=(x[400:], y[400:]), history=history, epochs=15, batch_size=32)


def examples() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(600, 4, generator=torch.Generator().manual_seed(0))
    return x, torch.stack([2 * x[:, 0], x[:, 1] - x[:, 2]], 1)


def listed(text: str) -> list[int]:
    """Return the indices of training examples in a fix."""
    return [
        int(number) for number in re.findall(r"\d+", text.partition("the training examples ")[2].partition(" (")[0])
    ]


def test_columns_exchanged_in_a_part_of_the_examples_are_the_cause() -> None:
    is_wrong = torch.rand(400, generator=torch.Generator().manual_seed(1)) < 0.4
    diagnosis = diagnosis_with_wrong_targets(is_wrong, examples()[1][:400].flip(1))
    first = diagnosis.findings[0]
    assert (first.check, first.path, diagnosis.kind(0)) == ("other-values", "train", "cause")
    assert "of the training examples have their columns in another order" in first.cause
    assert len(listed(first.fix)) == 8
    assert bool(is_wrong[listed(first.fix)].all())


def test_noisy_targets_are_not_called_exchanged_columns() -> None:
    """By chance, an exchange of the columns fits some of the noisy targets better."""
    rng = torch.Generator().manual_seed(1)
    noisy = examples()[1][:400] + 3 * torch.randn(400, 2, generator=rng)
    diagnosis = diagnosis_with_wrong_targets(torch.rand(400, generator=rng) < 0.5, noisy)
    assert "other-values" not in diagnosis.causes


@pytest.mark.parametrize("fraction", [0.0, 0.05])
def test_few_wrong_targets_are_no_cause(fraction: float) -> None:
    rng = torch.Generator().manual_seed(1)
    is_wrong = torch.rand(400, generator=rng) < fraction
    assert not diagnosis_with_wrong_targets(is_wrong, 3 * torch.randn(400, 2, generator=rng)).causes


def test_wrong_targets_of_all_examples_are_told_from_other_inputs() -> None:
    x, y = examples()
    wrong = torch.stack([y[:400, 0] + 2 * x[:400, 3].abs(), y[:400, 1] * x[:400, 0].sign()], 1)
    diagnosis = diagnosis_with_wrong_targets(torch.ones(400, dtype=torch.bool), wrong)
    first = diagnosis.findings[0]
    assert (first.check, first.path, diagnosis.kind(0)) == ("wrong-targets", "train", "cause")
    assert "trained on validation data" in first.cause


@pytest.mark.parametrize(
    ("output", "target", "expected"),
    [
        (torch.tensor([0.1, 0.7, 0.2]), torch.tensor(0), torch.tensor(1)),
        (torch.tensor([[[0.1]], [[0.9]]]), torch.tensor([[0]]), torch.tensor([[1]])),
        (torch.tensor([2.5]), torch.tensor(1.0), torch.tensor(2.5)),
        (torch.tensor([0.3]), torch.tensor(1), None),  # a single output for two classes
        (
            Detections(torch.tensor([[0.0, 0, 4, 4], [1, 1, 2, 2]]), torch.tensor([0.9, 0.2]), torch.tensor([1, 0])),
            Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
            Objects(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([1])),
        ),
    ],
)
def test_predictions_become_targets_of_the_same_kind(output: Any, target: Any, expected: Any) -> None:
    found = predicted_target(output, target)
    if isinstance(expected, Objects):
        assert torch.equal(found.boxes, expected.boxes)
        assert torch.equal(found.labels, expected.labels)
    else:
        assert found is expected or torch.equal(found, expected)


def slanted(n: int, sides: tuple[int, int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images of a slanted line, and its slant from -1 to 1, (n, 1)."""
    rng = torch.Generator().manual_seed(seed)
    y = 2 * torch.rand(n, 1, generator=rng) - 1
    rows, columns = (torch.linspace(-1, 1, side) for side in sides)
    distance = columns - y[:, :, None] * rows[:, None]
    return torch.exp(-20 * distance.square())[:, None] + 0.1 * torch.rand(n, 1, *sides, generator=rng), y


@pytest.mark.parametrize("sides", [(12, 12), (10, 16)])
@pytest.mark.parametrize(("fraction", "change", "is_turned"), [
    (0.5, "flip", True), (0.3, "flip", True), (0.0, "flip", False), (0.5, "noise", False), (0.5, "both", False),
])  # fmt: skip
def test_only_images_that_are_mirrored_without_their_values_are_turned_back(
    sides: tuple[int, int], fraction: float, change: str, is_turned: bool
) -> None:
    (x, y), (held_out, held_out_y) = slanted(200, sides, 0), slanted(300, sides, 1)
    is_changed = torch.rand(200, generator=torch.Generator().manual_seed(2)) < fraction
    right_x = x.clone()
    if change == "noise":
        y = torch.where(is_changed[:, None], y + torch.randn(y.shape, generator=torch.Generator().manual_seed(3)), y)
    else:
        x = torch.where(is_changed[:, None, None, None], x.flip(3), x)
        y = torch.where(is_changed[:, None], -y, y) if change == "both" else y
    model = Model(Sequential(Flatten(), Dense(16), ReLU(), Dense(1)), Quadratic(), Adam(0.01), input_shape=(1, *sides))
    model.fit(held_out[:200], held_out_y[:200], epochs=15, batch_size=16, verbose=False)
    case = case_of(model, x, y, validation=(held_out[200:], held_out_y[200:]))
    effect = MeasuredEffect("splits-differ", "", "closeness", (0.4,), (0.8,), 0.3, 0.5, "cause", 100, 100)
    split_cause = ProvenCause(suspect("splits-differ", "", "", "", lambda case: case), effect, case)
    found = _values_turned_back(case, split_cause)
    assert (found is not None) == is_turned
    if found is not None:
        turned_back = found.apply(case).train.x
        is_right = (turned_back == right_x).flatten(1).all(1)
        assert float(is_right.double().mean()) > 0.8  # nearly upright lines look as before
