"""Boxes that are written in several forms or units, and heat maps whose spots are tiny."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import pellucid
from pellucid.combine import Sequential
from pellucid.data.source import Arrays
from pellucid.doctor import Diagnosis, case_of
from pellucid.doctor.suspects import box_forms, targets
from pellucid.layers import BatchNorm, Conv2d, ReLU
from pellucid.losses import L1, BinaryCrossEntropy, Loss, Quadratic
from pellucid.model import Model
from pellucid.optim import Adam

Convert = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
FORMS: dict[str, Convert] = {  # of the first and the last corner
    "x0, y0, x1, y1": lambda first, last: torch.cat([first, last], 1),
    "x, y, width, height": lambda first, last: torch.cat([first, last - first], 1),
    "centre, width, height": lambda first, last: torch.cat([(first + last) / 2, last - first], 1),
    "x0, x1, y0, y1": lambda first, last: torch.cat([first, last], 1)[:, [0, 2, 1, 3]],
}
PAIRS = [(usual, other) for usual in FORMS for other in FORMS if usual != other]
N, N_HELD_OUT = 400, 150


def corners(n: int, seed: int, sizes: tuple[float, float] = (0.15, 0.45)) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first and the last corners (n, 2) of boxes in images with sides of 1."""
    rng = torch.Generator().manual_seed(seed)
    size = sizes[0] + (sizes[1] - sizes[0]) * torch.rand(n, 2, generator=rng)
    first = (1 - size) * torch.rand(n, 2, generator=rng)
    return first, first + size


def is_drawn(fraction: float, seed: int = 7) -> torch.Tensor:
    return torch.rand(N, generator=torch.Generator().manual_seed(seed)) < fraction


def outputs_for(y: torch.Tensor, seed: int, deviation: float = 0.03) -> torch.Tensor:
    """Return outputs of a model that has learned a mixture of forms: linear functions of the boxes, with errors."""
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
    return 0.5 * y + 0.3 * y.roll(1, 1) + deviation * noise


@pytest.mark.parametrize(("usual", "other"), PAIRS)
@pytest.mark.parametrize("sizes", [(0.15, 0.45), (0.08, 0.2)])
@pytest.mark.parametrize("fraction", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("side", [1.0, 640.0])
def test_boxes_in_another_form_are_found(
    usual: str, other: str, sizes: tuple[float, float], fraction: float, side: float
) -> None:
    if not {usual, other} - {*list(FORMS)[1:3]} and (sizes[1] < 0.3 or side > 1):
        return  # small boxes are moved a little, and lie in the image with either form
    ends, other_ends = corners(N, 0, sizes), corners(N_HELD_OUT, 1, sizes)
    y, other_y, is_other = FORMS[usual](*ends), FORMS[usual](*other_ends), is_drawn(fraction)
    predicted = outputs_for(y, 2), outputs_for(other_y, 3)
    train_y = side * torch.where(is_other[:, None], FORMS[other](*ends), y)
    x = torch.zeros(N, 1, 32, 48)
    found = box_forms.find_other_form(Arrays(x, train_y), Arrays(x[:N_HELD_OUT], side * other_y), predicted)
    assert found is not None
    assert (found.form, found.usual_form) == (other, usual)
    assert float(is_other[found.is_other].double().mean()) > 0.9
    assert float(found.is_other[is_other].double().mean()) > 0.8
    converted = train_y[found.is_other & is_other].double() @ found.matrix
    torch.testing.assert_close(converted.float(), side * y[found.is_other & is_other], atol=1e-4 * side, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sizes", [(0.15, 0.45), (0.08, 0.2), (0.05, 0.9)])
@pytest.mark.parametrize("other_sizes", [(0.15, 0.45), (0.3, 0.9), (0.05, 0.1)])
@pytest.mark.parametrize("side", [1.0, 640.0])
@pytest.mark.parametrize("are_learned", [True, False])
def test_boxes_of_one_form_have_no_other(
    form: str, sizes: tuple[float, float], other_sizes: tuple[float, float], side: float, are_learned: bool
) -> None:
    y, other_y = FORMS[form](*corners(N, 0, sizes)), FORMS[form](*corners(N_HELD_OUT, 1, other_sizes))
    predicted = outputs_for(y, 2), outputs_for(other_y, 3)
    if not are_learned:
        predicted = torch.zeros_like(y), torch.zeros_like(other_y)
    x = torch.zeros(N, 1, 32, 48)
    arrays = Arrays(x, side * y), Arrays(x[:N_HELD_OUT], side * other_y)
    assert box_forms.find_other_forms(*arrays, predicted) == {}


@pytest.mark.parametrize(("usual", "other"), [*PAIRS[:3], *((form, form) for form in FORMS)])
@pytest.mark.parametrize(("width", "height", "unit"), [(48, 32, "in pixels"), (640, 480, "in another unit")])
@pytest.mark.parametrize("is_usual_in_pixels", [True, False])
def test_boxes_in_another_unit_are_found(
    usual: str, other: str, width: int, height: int, unit: str, is_usual_in_pixels: bool
) -> None:
    """Some boxes are in pixels, others are parts of the image; their forms may differ as well."""
    size = torch.tensor([float(width), float(height)])
    ends, other_ends = corners(N, 0), corners(N_HELD_OUT, 1)
    pixels, other_pixels = ([one * size for one in both] for both in (ends, other_ends))
    y, other_y = (
        FORMS[usual](*both) for both in ((pixels, other_pixels) if is_usual_in_pixels else (ends, other_ends))
    )
    is_other = is_drawn(0.5)
    train_y = torch.where(is_other[:, None], FORMS[other](*(ends if is_usual_in_pixels else pixels)), y)
    x = torch.zeros(N, 1, 32, 48)
    zeros = torch.zeros(N, 4), torch.zeros(N_HELD_OUT, 4)
    found = box_forms.find_other_form(Arrays(x, train_y), Arrays(x[:N_HELD_OUT], other_y), zeros)
    assert found is not None
    if is_usual_in_pixels and width == 48:
        unit = "as parts of the image"
    assert unit in found.form
    assert float(is_other[found.is_other].double().mean()) > 0.95
    assert float(found.is_other[is_other].double().mean()) > 0.7
    if other == usual:
        converted = train_y[found.is_other & is_other].double() @ found.matrix
        torch.testing.assert_close(
            converted.float(), y[found.is_other & is_other], rtol=0.15, atol=0.03 * float(y.max())
        )


@pytest.mark.parametrize(("usual", "other"), [
    pair for pair in PAIRS if box_forms.CORNERS in pair and "centre, width, height" not in pair
])  # fmt: skip
@pytest.mark.parametrize("fraction", [0.3, 0.6])
@pytest.mark.parametrize("side", [1.0, 640.0])
def test_boxes_of_two_forms_in_both_parts_are_found(usual: str, other: str, fraction: float, side: float) -> None:
    ends, other_ends = corners(N, 0), corners(N, 1)
    y, other_y = (FORMS[usual](*both) for both in (ends, other_ends))
    masks = {"train": is_drawn(fraction, 7), "validation": is_drawn(fraction, 8)}
    train_y, validation_y = (
        side * torch.where(mask[:, None], FORMS[other](*both), FORMS[usual](*both))
        for mask, both in zip(masks.values(), (ends, other_ends), strict=True)
    )
    x, predicted = torch.zeros(N, 1, 32, 48), (outputs_for(y, 2), outputs_for(other_y, 3))
    found = box_forms.find_other_forms(Arrays(x, train_y), Arrays(x, validation_y), predicted)
    assert {*found} == {*masks}
    assert {found["train"].form, found["train"].usual_form} == {usual, other}
    for name, is_other in masks.items():
        agreement = float((found[name].is_other == is_other).double().mean())
        assert (agreement if found[name].form == other else 1 - agreement) > 0.7


@pytest.mark.parametrize("kind", ["points", "numbers", "uniform"])
def test_other_targets_of_four_numbers_have_no_forms_of_boxes(kind: str) -> None:
    rng = torch.Generator().manual_seed(0)
    y = torch.rand(2 * N, 4, generator=rng)
    if kind == "points":
        y = torch.tensor([0.3, 0.3, 0.6, 0.5]) + 0.15 * torch.randn(2 * N, 4, generator=rng)
    elif kind == "numbers":
        y = 50 * torch.randn(2 * N, 4, generator=rng)
    arrays = Arrays(torch.zeros(N, 1, 32, 48), y[:N]), Arrays(torch.zeros(N, 1, 32, 48), y[N:])
    assert box_forms.find_other_forms(*arrays, (outputs_for(y[:N], 2), outputs_for(y[N:], 3))) == {}


def diagnosis_of_boxes(usual: str, other: str, fraction: float, loss: nn.Module) -> Diagnosis:
    ends = corners(N + 200, 0)
    y = FORMS[usual](*ends)
    rng = torch.Generator().manual_seed(1)
    x = y @ torch.randn(4, 16, generator=rng) + 0.02 * torch.randn(N + 200, 16, generator=rng)
    train_y = torch.where(is_drawn(fraction)[:, None], FORMS[other](*ends)[:N], y[:N])
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 4))
    data = torch.utils.data.TensorDataset(x[:N], train_y), torch.utils.data.TensorDataset(x[N:], y[N:])
    train, validation = (torch.utils.data.DataLoader(part, 20, shuffle=True) for part in data)
    training = pellucid.from_torch(
        network, loss=loss, optimizer=torch.optim.Adam(network.parameters(), lr=3e-3), train=train,
        validation=validation,
    )  # fmt: skip
    training.fit(12, verbose=False)
    return training.doctor()


@pytest.mark.slow
@pytest.mark.parametrize(("usual", "other"), PAIRS[::2])
@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.SmoothL1Loss(beta=0.1)])
def test_boxes_in_two_forms_are_the_cause(usual: str, other: str, loss: nn.Module) -> None:
    diagnosis = diagnosis_of_boxes(usual, other, 0.5, loss)
    assert diagnosis.causes[0] == "box-format"
    # a centre that is taken for a corner costs little
    assert diagnosis.kind(0) == "cause" or {usual, other} == {*list(FORMS)[1:3]}
    assert f"convert those that are {other}; look at the training examples" in diagnosis.findings[0].fix


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_boxes_in_one_form_are_not_accused(form: str) -> None:
    assert diagnosis_of_boxes(form, form, 0.5, nn.MSELoss()).causes == ()


def heat_maps(points: torch.Tensor, side: int, sigma: float) -> torch.Tensor:
    """Return Gaussians (N, K, side, side) around points (N, K, 2) of x and y; single pixels for a sigma of 0."""
    across, down = (
        torch.exp(-((torch.arange(side) - points[..., k, None]) ** 2) / (2 * sigma**2))
        if sigma
        else (torch.arange(side) == points[..., k, None].round()).float()
        for k in (0, 1)
    )
    return down[..., None] * across[..., None, :]


def drawn_points(n: int, n_points: int, side: int, seed: int = 0) -> torch.Tensor:
    return 3 + (side - 7) * torch.rand(n, n_points, 2, generator=torch.Generator().manual_seed(seed))


def map_model(n_maps: int, side: int, loss: Loss) -> Model:
    return Model(Conv2d(n_maps, 3, padding=1), loss, metrics=(), input_shape=(1, side, side))


@pytest.mark.parametrize(("sigma", "is_found"), [(0, True), (0.35, True), (0.7, True), (1.5, False), (3.0, False)])
@pytest.mark.parametrize("n_points", [1, 4])
@pytest.mark.parametrize("side", [24, 64])
@pytest.mark.parametrize(("low", "height"), [(0.0, 1.0), (-1.0, 255.0)])
@pytest.mark.parametrize("loss", [Quadratic(), L1()])
def test_heat_maps_of_tiny_spots_are_a_suspect(
    sigma: float, is_found: bool, n_points: int, side: int, low: float, height: float, loss: Loss
) -> None:
    y = low + height * heat_maps(drawn_points(40, n_points, side), side, sigma)
    y[::7, 0] = low  # a point that is not there
    change = targets.spot_suspect(case_of(map_model(n_points, side, loss), torch.rand(40, 1, side, side), y))
    assert (change is not None) is is_found
    assert change is None or 1 <= int(change.finding.evidence["pixels_of_a_spot"]) <= 3


@pytest.mark.parametrize("kind", ["masks of rare objects", "density", "images", "small maps"])
def test_other_maps_are_no_tiny_spots(kind: str) -> None:
    side, loss = 12 if kind == "small maps" else 32, Quadratic()
    y = heat_maps(drawn_points(40, 1, side), side, 0.35)
    if kind == "masks of rare objects":
        y, loss = (y > 0.5).float(), BinaryCrossEntropy()
    elif kind == "density":
        y = heat_maps(drawn_points(40, 12, side), side, 1.5).sum(1, keepdim=True)
    elif kind == "images":
        y = torch.rand(40, 1, side, side)
    assert targets.spot_suspect(case_of(map_model(1, side, loss), torch.rand(40, 1, side, side), y)) is None


@pytest.mark.parametrize("n_objects", [1, 3])
@pytest.mark.parametrize("sigma", [0, 0.7])
@pytest.mark.parametrize("at", [0, 2])
def test_only_the_map_of_objects_has_spots(n_objects: int, sigma: float, at: int) -> None:
    """The others have the sizes of the objects at their centres, and no values that outputs must have elsewhere."""
    rng = torch.Generator().manual_seed(1)
    centres = heat_maps(drawn_points(40, n_objects, 32).round(), 32, sigma).amax(1, keepdim=True)
    maps = list((torch.rand(40, 2, 32, 32, generator=rng) * (centres > 0.9)).split(1, 1))
    maps.insert(at, centres)
    y, is_of_objects = torch.cat(maps, 1), torch.arange(3) == at
    assert torch.equal(targets.are_spots(y).flatten(2).any(2), is_of_objects.expand(40, 3))
    outputs = torch.where(is_of_objects[:, None, None], y, torch.rand(y.shape, generator=rng))
    assert targets.found_spots(outputs, y).tolist() == [1.0] * 40
    wider = targets.with_wider_spots(y)
    assert torch.equal(wider[:, ~is_of_objects], y[:, ~is_of_objects])
    torch.testing.assert_close(wider[:, [at]], targets.with_wider_spots(centres))


def test_wider_spots_are_gaussians_at_the_same_points() -> None:
    points = drawn_points(6, 2, 32).round()
    y = heat_maps(points, 32, 0)
    y[0, 1] = 0
    expected = heat_maps(points, 32, targets.SPOT_SIGMA)
    expected[0, 1] = 0
    torch.testing.assert_close(targets.with_wider_spots(y), expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(targets.with_wider_spots(5 * y - 1), 5 * expected - 1, atol=1e-2, rtol=1e-3)


def test_the_highest_output_finds_a_spot_nearby() -> None:
    rng = np.random.default_rng(0)
    points, answers = rng.integers(0, 20, (60, 2, 2)), rng.integers(0, 20, (60, 2, 2))
    answers[:30] = np.clip(points[:30] + rng.integers(-3, 4, (30, 2, 2)), 0, 19)
    y, outputs = (heat_maps(torch.from_numpy(one).float(), 20, 0) for one in (points, answers))
    y[::5, 0] = 0
    is_near = torch.from_numpy(np.abs(points - answers) <= targets.FOUND_WITHIN).all(2)
    expected = [float(near[1]) if k % 5 == 0 else sum(near) / 2 for k, near in enumerate(is_near.tolist())]
    assert targets.found_spots(outputs - 3, y).tolist() == pytest.approx(expected)


def diagnosis_of_spots(sigma: float, is_easy: bool, seed: int = 0) -> Diagnosis:
    """Return the diagnosis of a network that finds a dark and a bright disk in noise; is_easy: marks of one pixel."""
    side, points = 24, drawn_points(400, 2, 24, seed)
    points = points.round() if is_easy else points
    disks = heat_maps(points, side, 0.3 if is_easy else 2.0)
    x = disks[:, :1] - disks[:, 1:] + 0.1 * torch.randn(400, 1, side, side, generator=torch.Generator().manual_seed(1))
    y = heat_maps(points, side, sigma)
    layers = [one for _ in range(3) for one in (Conv2d(12, 3, padding=1), BatchNorm(), ReLU())]
    model = Model(Sequential(*layers, Conv2d(2, 1)), Quadratic(), Adam(3e-3), metrics=(), input_shape=(1, side, side))
    history = model.fit(x[:300], y[:300], epochs=8, batch_size=16, verbose=False)
    return model.doctor(
        x[:300], y[:300], validation=(x[300:], y[300:]), history=history, epochs=8, batch_size=16
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("sigma", "is_easy", "is_found"), [
    (0.35, False, True), (0.3, False, True), (2.0, False, False), (0.5, True, False),
])  # fmt: skip
def test_tiny_spots_that_are_not_learned_are_the_cause(sigma: float, is_easy: bool, is_found: bool) -> None:
    diagnosis = diagnosis_of_spots(sigma, is_easy)
    assert ("tiny-spots" in diagnosis.names) is is_found
    if is_found:
        assert (diagnosis.causes[0], diagnosis.kind(0)) == ("tiny-spots", "cause")
        assert "sigma of about 2 pixels" in diagnosis.findings[0].fix
