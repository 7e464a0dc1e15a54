"""Targets are found that a loss takes for other quantities, that fill missing ones, or that have another scale."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import pellucid
from pellucid.combine import Sequential
from pellucid.data.source import Arrays
from pellucid.doctor import Diagnosis, case_of
from pellucid.doctor.suspects import class_weights, losses, targets
from pellucid.layers import Conv2d, Dense, ReLU
from pellucid.losses import Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.opening.torch_training.losses import loss_of
from pellucid.optim import Adam


def corners_of(boxes: torch.Tensor) -> torch.Tensor:
    """Return the corners of boxes of centre, width and height."""
    return torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)


class OverlapLoss(nn.Module):
    """1 - the overlap of boxes, which it takes as corners; `converts`: the outputs, from centre, width and height."""

    def __init__(self, converts: bool = False) -> None:
        super().__init__()
        self.converts = converts

    def forward(self, boxes: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        boxes = corners_of(boxes) if self.converts else boxes
        sides = (torch.minimum(boxes[:, 2:], target[:, 2:]) - torch.maximum(boxes[:, :2], target[:, :2])).clamp(min=0)
        areas = [(one[:, 2:] - one[:, :2]).clamp(min=0).prod(1) for one in (boxes, target)]
        return (1 - sides.prod(1) / (areas[0] + areas[1] - sides.prod(1)).clamp(min=1e-6)).mean()


@pytest.mark.parametrize("order", ["corners", "width", "centre", "axes"])
@pytest.mark.parametrize("size", [1.0, 640.0])
@pytest.mark.parametrize("is_overlap", [True, False])
def test_boxes_that_a_loss_of_corners_reads_otherwise_are_found(order: str, size: float, is_overlap: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    first, last = torch.rand(60, 2, 2, generator=rng).sort(2).values.unbind(2)
    last = torch.maximum(last, first + 0.05).clamp(max=1.0)
    first = torch.minimum(first, last - 0.02)
    ends = {"corners": (first, last), "width": (first, last - first), "centre": ((first + last) / 2, last - first)}
    y = size * torch.cat(ends.get(order, ends["corners"]), 1)
    y = y[:, [0, 2, 1, 3]] if order == "axes" else y
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.rand(60, 12), y), 10)
    training = pellucid.from_torch(
        network, loss=OverlapLoss() if is_overlap else nn.SmoothL1Loss(), train=loader,
        optimizer=torch.optim.Adam(network.parameters()),
    )  # fmt: skip
    found = list(targets.box_suspects(case_of(training.model, torch.rand(60, 12), y, epochs=1)))
    forms = {"width": "x, y, width, height", "centre": "centre, width, height", "axes": "x0, x1, y0, y1"}
    expected = forms.get(order, "")
    assert bool(found) is (is_overlap and bool(expected))
    assert not found or any(expected in one.remedy.description for one in found)
    for one in found[:1]:
        changed = one.apply(case_of(training.model, torch.rand(60, 12), y, epochs=1))
        assert torch.equal(changed.train.y, y)
        assert list(targets.box_suspects(changed)) == []


def test_targets_that_are_not_converted_as_the_outputs_are_found() -> None:
    rng = torch.Generator().manual_seed(0)
    y = torch.cat([0.3 + 0.4 * torch.rand(60, 2, generator=rng), 0.1 + 0.4 * torch.rand(60, 2, generator=rng)], 1)
    network = nn.Linear(12, 4)
    training = pellucid.from_torch(
        network, loss=OverlapLoss(converts=True), train=[(torch.rand(60, 12), y)],
        optimizer=torch.optim.Adam(network.parameters()),
    )  # fmt: skip
    found = list(targets.box_suspects(case_of(training.model, torch.rand(60, 12), y, epochs=1)))
    assert "boxes-from-centre, width, height-False" in [one.remedy.key for one in found]


@pytest.mark.parametrize("form", targets.BOX_FORMS)
@pytest.mark.parametrize("converts_outputs", [True, False])
@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.SmoothL1Loss()])
def test_the_gradient_of_a_loss_of_corners_is_that_of_pytorch(form: str, converts_outputs: bool, loss: Any) -> None:
    rng = torch.Generator().manual_seed(0)
    y, target = (torch.rand(5, 4, generator=rng) for _ in range(2))
    value, dy = targets.OfCorners(loss_of(loss), form, converts_outputs)(y, target)
    convert: Any = {
        "centre, width, height": corners_of, "x0, x1, y0, y1": lambda y: y[:, [0, 2, 1, 3]],
        "x, y, width, height": lambda y: torch.cat([y[:, :2], y[:, :2] + y[:, 2:]], 1),
    }[form]  # fmt: skip
    leaf = y.clone().requires_grad_()
    expected = loss(convert(leaf) if converts_outputs else leaf, convert(target))
    expected.backward()
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(dy, leaf.grad)


class GeneralisedOverlap(nn.Module):
    """1 - the generalised overlap of boxes, which it takes as corners."""

    def forward(self, boxes: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        def area(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
            return (high - low).clamp(min=0).prod(1)

        (a, b), (c, d) = (one.split(2, 1) for one in (boxes, target))
        inner, outer = area(a.maximum(c), b.minimum(d)), area(a.minimum(c), b.maximum(d))
        union = area(a, b) + area(c, d) - inner
        return (1 - inner / (union + 1e-6) + (outer - union) / (outer + 1e-6)).mean()


def diagnosis_of_boxes(loss: nn.Module, is_corners: bool, seed: int = 0) -> Diagnosis:
    rng = torch.Generator().manual_seed(seed)
    size = 0.15 + 0.3 * torch.rand(600, 2, generator=rng)
    y = torch.cat([size / 2 + (1 - size) * torch.rand(600, 2, generator=rng), size], 1)
    x = y @ torch.randn(4, 16, generator=rng) + 0.02 * torch.randn(600, 16, generator=rng)
    y = corners_of(y) if is_corners else y
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 4), nn.Sigmoid())
    loaders = [
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x[part], y[part]), 20)
        for part in (slice(0, 400), slice(400, 600))
    ]
    training = pellucid.from_torch(
        network, loss=loss, train=loaders[0], validation=loaders[1],
        optimizer=torch.optim.Adam(network.parameters(), lr=3e-3),
    )  # fmt: skip
    training.fit(16, verbose=False)
    return training.doctor()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_boxes_in_another_form_than_the_loss_takes_are_the_cause(seed: int) -> None:
    diagnosis = diagnosis_of_boxes(GeneralisedOverlap(), False, seed)
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("box-format", "cause")
    assert "centre, width, height" in diagnosis.findings[0].fix


@pytest.mark.slow
def test_boxes_as_the_loss_takes_them_are_not_accused() -> None:
    assert diagnosis_of_boxes(nn.SmoothL1Loss(), True).causes == ()


@pytest.mark.parametrize("n_outputs", [1, 4])
def test_a_criterion_of_pytorch_is_exchanged_only_for_as_many_values(n_outputs: int) -> None:
    network = nn.Linear(12, n_outputs)
    for y, n_found in ((torch.rand(60, n_outputs), 1), (torch.arange(60)[:, None] % 2, 0)):
        training = pellucid.from_torch(
            network, loss=lambda y, target: (y - target).abs().pow(1.5).mean(), train=[(torch.rand(60, 12), y)],
            optimizer=torch.optim.Adam(network.parameters()),
        )  # fmt: skip
        found = list(losses.own_loss_suspects(case_of(training.model, torch.rand(60, 12), y, epochs=1)))
        assert [(one.unusual, one.finding.check) for one in found] == [(False, "wrong-loss")] * n_found
        assert ["corners" in one.finding.fix for one in found] == [n_outputs == 4] * n_found
        for one in found:
            assert one.apply(case_of(training.model, torch.rand(60, 12), y, epochs=1)).model.loss == Quadratic()


def points(count: int, seed: int) -> torch.Tensor:
    """Return three points as numbers (count, 6), each around a place of its own."""
    places = torch.tensor([0.3, 0.4, 0.6, 0.5, 0.7, 0.8])
    return places + 0.06 * torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def filled(y: torch.Tensor, value: float | str, fraction: float, size: int = 1, seed: int = 2) -> torch.Tensor:
    """Return targets with a value, or the mean of each column, in a fraction of groups of `size` columns."""
    mask = torch.rand(len(y), y.shape[1] // size, generator=torch.Generator().manual_seed(seed)) < fraction
    values = y.mean(0).expand_as(y) if value == "mean" else torch.full_like(y, float(value))
    return torch.where(mask.repeat_interleave(size, 1), values, y)


def found_fill(train: torch.Tensor, validation: torch.Tensor, shows_fill: bool = False) -> Any:
    """Return the suspect for targets; shows_fill: whether the inputs show which of them are 0."""
    x = torch.rand(len(train), 3, generator=torch.Generator().manual_seed(0))
    x = torch.cat([x, 2.0 * (train == 0)], 1) if shows_fill else x
    found = targets.filled_targets(Arrays(x, train), Arrays(x[: len(validation)], validation), 0)
    return None if found is None else found[0]


@pytest.mark.parametrize("value", [0.0, -1.0, 999.0, "mean"])
@pytest.mark.parametrize("fraction", [0.1, 0.5])
@pytest.mark.parametrize(("columns", "size"), [(1, 1), (6, 1), (6, 2)])
def test_a_value_that_only_training_targets_repeat_is_found(
    value: float | str, fraction: float, columns: int, size: int
) -> None:
    y = points(400, 0)[:, :columns]
    change = found_fill(filled(y, value, fraction, size), points(150, 1)[:, :columns])
    assert change.finding.evidence["fraction"] == pytest.approx(fraction, abs=0.05)
    text = f"{value:g}" if isinstance(value, float) else "such as" if columns > 1 else f"{float(y.mean()):g}"
    assert text in change.finding.fix


@pytest.mark.parametrize(
    ("value", "columns", "size", "is_found"),
    [(-1.0, 1, 1, True), (999.0, 6, 1, True), (0.0, 1, 1, False), (0.0, 6, 1, False), (0.0, 6, 2, True),
     (0.31, 1, 1, False)],
)  # fmt: skip
def test_a_value_of_both_parts_is_found_if_it_is_far_or_that_of_points(
    value: float, columns: int, size: int, is_found: bool
) -> None:
    train, validation = (filled(points(n, seed)[:, :columns], value, 0.3, size) for n, seed in ((400, 0), (200, 1)))
    assert (found_fill(train, validation, shows_fill=True) is not None) is is_found
    is_missing_at_random = value == 0 or is_found
    assert (found_fill(train, validation) is not None) is is_missing_at_random


SOUND_TARGETS: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda u: u,
    lambda u: u.clamp(0.2, 0.8),
    lambda u: u.clamp_min(0.3),
    lambda u: (u - 0.6).clamp_min(0) ** 2,  # such as rain
    lambda u: (-4 * u.log()).floor() * (u < 0.5),  # counts, many of them 0
    lambda u: torch.nn.functional.one_hot((4 * u[:, 0]).long(), 4).float(),
    lambda u: (u * 100).round(),
    lambda u: torch.where(u < 0.3, torch.nan, u),  # which the loss leaves out
    lambda u: torch.where(u < 0.4, 0.0, 50 + u),  # nothing, or an amount
]


@pytest.mark.parametrize("targets_of", SOUND_TARGETS)
def test_sound_targets_are_not_taken_for_filled_ones(targets_of: Callable[[torch.Tensor], torch.Tensor]) -> None:
    rng = torch.Generator().manual_seed(0)
    assert found_fill(*(targets_of(torch.rand(n, 2, generator=rng)) for n in (500, 200)), shows_fill=True) is None


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss()])
@pytest.mark.parametrize("shape", [(7,), (7, 3)])
def test_the_gradient_of_missing_targets_is_0(loss: Any, shape: tuple[int, ...]) -> None:
    rng = torch.Generator().manual_seed(0)
    y, target = (torch.randn(shape, generator=rng) for _ in range(2))
    target[::2] = -1.0
    columns = shape[1] if len(shape) > 1 else 1
    value, dy = targets.WithoutMissing(loss_of(loss), (-1.0,) * columns)(y, target)
    leaf = y.clone().requires_grad_()
    expected = loss(leaf[1::2], target[1::2]) * (len(y) // 2) / len(y)  # the mean over all, also missing ones
    expected.backward()
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(dy, leaf.grad)


def diagnosis_of_filled(value: float | str, size: int, in_both: bool, share: float = 0.35) -> Diagnosis:
    y = points(700, 0)
    x = y @ torch.randn(6, 12, generator=torch.Generator().manual_seed(3)) * 4
    x = x - x.mean(0) + 0.05 * torch.randn(700, 12, generator=torch.Generator().manual_seed(4))
    train_y, held_out_y = filled(y[:500], value, share, size), y[500:]
    held_out_y = filled(held_out_y, value, share, size) if in_both else held_out_y
    net = Sequential(Dense(32), ReLU(), Dense(32), ReLU(), Dense(6))
    model = Model(net, Quadratic(), Adam(3e-3), metrics=(), input_shape=(12,))
    train, validation = (x[:500], train_y), (x[500:], held_out_y)
    history = model.fit(*train, epochs=16, batch_size=25, verbose=False)
    return model.doctor(*train, validation=validation, history=history, epochs=16, batch_size=25)


@pytest.mark.slow
@pytest.mark.parametrize(("value", "size", "in_both"), [(0.0, 2, False), (0.0, 2, True), (-1.0, 1, False)])
def test_targets_that_fill_missing_ones_are_the_cause(value: float, size: int, in_both: bool) -> None:
    diagnosis = diagnosis_of_filled(value, size, in_both)
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("filled-targets", "cause")


@pytest.mark.slow
def test_complete_targets_are_not_taken_for_filled_ones() -> None:
    assert "filled-targets" not in diagnosis_of_filled(0.0, 2, False, share=0.0).names


@pytest.mark.parametrize(("low", "high", "is_unusual"), [(0.3, 0.7, False), (2000, 2010, True), (0.5, 0.52, True)])
def test_targets_between_0_and_1_are_no_unusual_scale(low: float, high: float, is_unusual: bool) -> None:
    y = low + (high - low) * torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    model = Model(Sequential(Dense(2)), "quadratic", Adam(), metrics=(), input_shape=(3,))
    (found,) = targets.target_suspects(case_of(model, torch.rand(200, 3), y, epochs=1))
    assert found.unusual is is_unusual


@pytest.mark.parametrize("weights", [None, (1.0, 1.0, 1.0), (0.2, 0.2, 0.2), (1.0, 2.0, 2.0)])
@pytest.mark.parametrize("is_missed", [True, False])
@pytest.mark.parametrize(("share", "ratio"), [(0.3, 1.3), (0.08, 7.8), (0.02, 34.0)])
def test_rare_classes_of_masks_are_a_suspect_without_weights_that_differ(
    weights: tuple[float, ...] | None, is_missed: bool, share: float, ratio: float
) -> None:
    values = torch.rand(20, 12, 12, generator=torch.Generator().manual_seed(0))
    y = (values < 0.3 + share).long() + (values < share).long()  # 30 % of class 1, and the share of class 2
    x = nn.functional.one_hot(y % 2 if is_missed else y, 3).movedim(3, 1).float()
    loss = SoftmaxCrossEntropy(class_weights=weights)
    model, first_model = (Model(Conv2d(3, 1), loss, metrics=(), input_shape=(3, 12, 12)) for _ in range(2))
    model.weights["weight"].copy_(8 * torch.eye(3).view(3, 3, 1, 1))
    case = case_of(model, x, y, begin=lambda: first_model, epochs=1)
    are_weighted = weights == (1.0, 2.0, 2.0)
    found = list(class_weights.class_balance_suspects(case))
    is_suspect = not are_weighted and (ratio > class_weights.MIN_IMBALANCE or (is_missed and ratio > 4))
    assert len(found) == is_suspect
    assert bool(list(class_weights.loss_option_suspects(case))) is are_weighted
