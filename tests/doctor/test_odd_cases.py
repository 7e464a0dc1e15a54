"""Every check goes over every kind of model and data without an error, and leaves all as it was."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of, diagnose
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten
from pellucid.losses import AuxiliaryCrossEntropy, Quadratic
from pellucid.optim import SGD
from pellucid.optim.schedules import Cosine, ReduceOnPlateau, Warmup
from tests.doctor.examined import case, conv_net, corners, model, two_heads


def regression() -> Case:
    x, y = corners()
    it = model(Sequential(flatten=Flatten(), out=Dense(2)), loss=Quadratic(), metrics=())
    return case_of(it, x, torch.stack([y.float(), -y.float()], 1), validation=(x, torch.stack([y.float()] * 2, 1)))


def maps() -> Case:
    """A class for each place of a picture."""
    x, _ = corners()
    return case_of(model(Sequential(conv=Conv2d(3, 3, padding=1)), metrics=()), x, (x[:, 0] > 0.5).long())


def ten() -> Case:
    x, y = corners(10)
    return case_of(model(conv_net()), x, y, validation=corners(3), batch_size=64, epochs=3)


def one_class() -> Case:
    x, y = corners(20, classes=1)
    return case_of(model(), x, y, validation=(x, y))


def one_output() -> Case:
    x, y = corners(classes=2)
    return case_of(model(Sequential(flatten=Flatten(), out=Dense(1)), loss="binary_cross_entropy"), x, y)


def one_example() -> Case:
    return case_of(model(), *corners(1), validation=corners(1))


def bytes_and_names() -> Case:
    x, y = corners()
    it = model(classes=("a", "b", "c", "d"), preprocess={"data": "corners", "mean": [0.4], "std": [0.3]})
    return case_of(it, (x * 255).byte(), y, validation=((x * 255).byte(), y))


def broken() -> Case:
    it = case(optimizer=SGD(1e30))
    it.model.weights["dense1.weight"].fill_(float("nan"))
    return replace(it, stopped="training stopped in step 2 (epoch 1, batch 2): the loss is nan")


def weights_only() -> Case:
    return replace(case(epochs=2), trainable=False)


def rows() -> Case:
    x, y = corners()
    return case_of(model(Sequential(dense=Dense(4)), input_shape=(16,)), x.flatten(1), y)


def frozen() -> Case:
    it = case(conv_net(), epochs=1)
    it.model.freeze("conv1.*", "norm.*")
    return it


def prices() -> Case:
    """Whole numbers up to a million, as targets of (N,)."""
    x, y = corners()
    it = model(Sequential(flatten=Flatten(), out=Dense(1)), loss=Quadratic(), metrics=(), optimizer=SGD(1e-3))
    return case_of(it, x, y * 300_000 + 7, validation=(x, y * 300_000 + 7), epochs=3)


def counts() -> Case:
    """Whole numbers, nearly all of them 0."""
    x, y = corners()
    few = torch.where(torch.arange(64) % 21 == 0, y + 1, 0)
    it = model(Sequential(flatten=Flatten(), out=Dense(1)), loss=Quadratic(), metrics=())
    return case_of(it, x, few, validation=(x, few))


def one_number() -> Case:
    """A regression with targets of (N,), trained."""
    x, y = corners()
    it = model(Sequential(flatten=Flatten(), out=Dense(1)), loss=Quadratic(), metrics=(), optimizer=SGD(0.05))
    history = it.fit(x, y.float(), epochs=3, batch_size=16, verbose=False)
    return case_of(it, x, y.float(), validation=(x, y.float()), history=history, batch_size=16, epochs=3)


def scheduled() -> Case:
    return case(epochs=3, schedule=Warmup(4, Cosine()))


def planned() -> Case:
    """By a schedule over a number of epochs that nobody tells, and one that waits for validation losses."""
    return case(schedule=Warmup(30, ReduceOnPlateau()))


def half() -> Case:
    return case(conv_net(), epochs=1, precision="bf16")


def many_classes() -> Case:
    x = torch.rand(120, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(120) % 30
    return case_of(model(conv_net(30)), x, y, validation=(x, y), epochs=3)


def one_left_over() -> Case:
    """Whose last batch has one example, and so nothing to normalise by."""
    net = Sequential(flatten=Flatten(), dense=Dense(8), norm=BatchNorm(), scores=Dense(4))
    return case_of(model(net), *corners(65), batch_size=32)


CASES: list[Callable[[], Case]] = [
    regression, maps, ten, one_class, one_output, one_example, bytes_and_names, broken, weights_only, rows, frozen,
    prices, counts, one_number, scheduled, planned, half, many_classes, one_left_over,
    lambda: case(conv_net(), epochs=3), lambda: case(epochs=20), case, lambda: case(batch_size=1_000, epochs=2),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_examining_changes_no_state_and_repeats_exactly(make: Callable[[], Case]) -> None:
    it = make()
    before, drawn = {path: value.clone() for path, value in it.model.weights.items()}, torch.get_rng_state()
    x, y = it.train.x.clone(), it.train.y.clone()
    found = diagnose(it)
    assert all(torch.equal(before[path].nan_to_num(), value.nan_to_num()) for path, value in it.model.weights.items())
    assert torch.equal(drawn, torch.get_rng_state())
    assert torch.equal(x, it.train.x)
    assert torch.equal(y, it.train.y)
    assert str(diagnose(make())) == str(found)
    assert found.to_json()["checks"]
    assert found._repr_html_()


@pytest.mark.parametrize("make", [prices, counts])
def test_whole_numbers_are_no_classes(make: Callable[[], Case]) -> None:
    it = make()
    assert not it.classifies
    assert not {"class-imbalance", "shifted-labels", "shuffled-labels", "miscalibration"} & set(diagnose(it).names)


def test_a_batch_of_one_example_is_no_nan() -> None:
    names = diagnose(one_left_over()).names
    assert "batch-norm" in names
    assert "nan-origin" not in names


def test_several_outputs_are_no_reason_to_fail() -> None:
    x, y = corners()
    it = model(two_heads(), loss=AuxiliaryCrossEntropy())
    assert it.output_shape == ((4,), (4,))
    assert diagnose(case_of(it, x, y, validation=(x, y))).checks


@pytest.mark.parametrize("make", [ten, regression, lambda: case(epochs=3, optimizer=SGD(30.0))])
def test_remedies_can_be_tried(make: Callable[[], Case]) -> None:
    found = diagnose(make(), attempts=True)
    causes = [place for place in range(len(found.findings)) if place not in found.follows]
    assert set(found.attempts) == {place for place in causes if found.findings[place].remedy is not None}
