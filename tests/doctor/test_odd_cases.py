"""Every check examines every kind of model and data without an error, and changes no state."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of, diagnose
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten, ReLU
from pellucid.losses import AuxiliaryCrossEntropy, Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.optim import SGD, Adam
from pellucid.optim.schedules import Cosine, ReduceOnPlateau, Warmup
from tests.doctor.small_cases import conv_net, corners, make_case, make_model, two_heads


def regression() -> Case:
    x, y = corners()
    model = make_model(Sequential(flatten=Flatten(), out=Dense(2)), loss=Quadratic(), metrics=())
    return case_of(model, x, torch.stack([y.float(), -y.float()], 1), validation=(x, torch.stack([y.float()] * 2, 1)))


def segmentation() -> Case:
    """Return a case with a class for each pixel."""
    x, _ = corners()
    return case_of(make_model(Sequential(conv=Conv2d(3, 3, padding=1)), metrics=()), x, (x[:, 0] > 0.5).long())


def ten_examples() -> Case:
    x, y = corners(10)
    return case_of(make_model(conv_net()), x, y, validation=corners(3), batch_size=64, epochs=3)


def one_class() -> Case:
    x, y = corners(20, classes=1)
    return case_of(make_model(), x, y, validation=(x, y))


def one_output() -> Case:
    x, y = corners(classes=2)
    return case_of(make_model(Sequential(flatten=Flatten(), out=Dense(1)), loss="binary_cross_entropy"), x, y)


def one_example() -> Case:
    return case_of(make_model(), *corners(1), validation=corners(1))


def bytes_and_names() -> Case:
    x, y = corners()
    model = make_model(classes=("a", "b", "c", "d"), preprocess={"data": "corners", "mean": [0.4], "std": [0.3]})
    return case_of(model, (x * 255).byte(), y, validation=((x * 255).byte(), y))


def nan_weights() -> Case:
    case = make_case(optimizer=SGD(1e30))
    case.model.weights["dense1.weight"].fill_(float("nan"))
    return replace(case, stopped="training stopped in step 2 (epoch 1, batch 2): the loss is nan")


def weights_only() -> Case:
    return replace(make_case(epochs=2), trainable=False)


def feature_vectors() -> Case:
    x, y = corners()
    return case_of(make_model(Sequential(dense=Dense(4)), input_shape=(16,)), x.flatten(1), y)


def frozen() -> Case:
    case = make_case(conv_net(), epochs=1)
    case.model.freeze("conv1.*", "norm.*")
    return case


def large_integers() -> Case:
    """Return a regression of integer targets (N,) up to a million."""
    x, y = corners()
    model = make_model(Sequential(flatten=Flatten(), out=Dense(1)), loss=Quadratic(), metrics=(), optimizer=SGD(1e-3))
    return case_of(model, x, y * 300_000 + 7, validation=(x, y * 300_000 + 7), epochs=3)


def mostly_zero_integers() -> Case:
    """Return a regression of integer targets (N,), nearly all of them 0."""
    x, y = corners()
    targets = torch.where(torch.arange(64) % 21 == 0, y + 1, 0)
    model = make_model(Sequential(flatten=Flatten(), out=Dense(1)), loss=Quadratic(), metrics=())
    return case_of(model, x, targets, validation=(x, targets))


def trained_regression() -> Case:
    """Return a trained regression with targets (N,)."""
    x, y = corners()
    model = make_model(Sequential(flatten=Flatten(), out=Dense(1)), loss=Quadratic(), metrics=(), optimizer=SGD(0.05))
    history = model.fit(x, y.float(), epochs=3, batch_size=16, verbose=False)
    return case_of(model, x, y.float(), validation=(x, y.float()), history=history, batch_size=16, epochs=3)


def scheduled() -> Case:
    return make_case(epochs=3, schedule=Warmup(4, Cosine()))


def unknown_epochs() -> Case:
    """Return a case of an unknown number of epochs, with a warmup and a schedule that needs validation losses."""
    return make_case(schedule=Warmup(30, ReduceOnPlateau()))


def half_precision() -> Case:
    return make_case(conv_net(), epochs=1, precision="bf16")


def many_classes() -> Case:
    x = torch.rand(120, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(120) % 30
    return case_of(make_model(conv_net(30)), x, y, validation=(x, y), epochs=3)


def last_batch_of_one() -> Case:
    """Return a case whose last batch has one example, which is merged into the batch before for batch normalization."""
    net = Sequential(flatten=Flatten(), dense=Dense(8), norm=BatchNorm(), scores=Dense(4))
    return case_of(make_model(net), *corners(65), batch_size=32)


CASE_FACTORIES: list[Callable[[], Case]] = [
    regression, segmentation, ten_examples, one_class, one_output, one_example, bytes_and_names, nan_weights,
    weights_only, feature_vectors, frozen, large_integers, mostly_zero_integers, trained_regression, scheduled,
    unknown_epochs, half_precision, many_classes, last_batch_of_one, lambda: make_case(conv_net(), epochs=3),
    lambda: make_case(epochs=20), make_case, lambda: make_case(batch_size=1_000, epochs=2),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("make_odd_case", CASE_FACTORIES, ids=lambda function: function.__name__)
def test_examining_changes_no_state_and_repeats_exactly(make_odd_case: Callable[[], Case]) -> None:
    case = make_odd_case()
    weights_before, rng_state = (
        {path: value.clone() for path, value in case.model.weights.items()},
        torch.get_rng_state(),
    )
    x, y = case.train.x.clone(), case.train.y.clone()
    diagnosis = diagnose(case)
    assert all(
        torch.equal(weights_before[path].nan_to_num(), value.nan_to_num()) for path, value in case.model.weights.items()
    )
    assert torch.equal(rng_state, torch.get_rng_state())
    assert torch.equal(x, case.train.x)
    assert torch.equal(y, case.train.y)
    assert str(diagnose(make_odd_case())) == str(diagnosis)
    assert diagnosis.to_json()["checks"]
    assert diagnosis._repr_html_()


@pytest.mark.parametrize("make_odd_case", [large_integers, mostly_zero_integers])
def test_integer_targets_are_no_classes(make_odd_case: Callable[[], Case]) -> None:
    case = make_odd_case()
    assert not case.classifies
    assert not {"class-imbalance", "shifted-labels", "shuffled-labels"} & set(diagnose(case).names)


def test_a_last_batch_of_one_example_has_no_finding() -> None:
    assert not {"batch-norm", "nan-origin"} & set(diagnose(last_batch_of_one()).names)


def test_a_network_of_two_heads_is_examined() -> None:
    x, y = corners()
    model = make_model(two_heads(), loss=AuxiliaryCrossEntropy())
    assert model.output_shape == ((4,), (4,))
    assert diagnose(case_of(model, x, y, validation=(x, y))).checks


@pytest.mark.parametrize("make_odd_case", [ten_examples, regression, lambda: make_case(epochs=3, optimizer=SGD(30.0))])
def test_remedies_can_be_tried(make_odd_case: Callable[[], Case]) -> None:
    diagnosis = diagnose(make_odd_case(), attempts=True)
    causes = [index for index in range(len(diagnosis.findings)) if index not in diagnosis.cause_by_consequence]
    assert set(diagnosis.attempts) == {
        index for index in causes if diagnosis.findings[index].remedy is not None or diagnosis.findings[index].proven
    }


def test_examples_whose_class_is_ignored_are_left_out() -> None:
    x, y = corners(120)
    y[::3] = -1
    model = make_model(loss=SoftmaxCrossEntropy(ignore=-1))
    history = model.fit(x, y, epochs=3, batch_size=16, verbose=False)
    case = case_of(model, x, y, validation=corners(60, seed=1), history=history, batch_size=16, epochs=3)
    assert (len(case.train), int(case.train.y.min())) == (80, 0)
    assert diagnose(case).causes == ()


def test_targets_of_validation_may_have_one_axis_less() -> None:
    x = torch.randn(160, 4, generator=torch.Generator().manual_seed(0))
    y = x[:, :1] - x[:, 1:2]
    model = Model(Sequential(Dense(8), ReLU(), Dense(1)), Quadratic(), Adam(0.02), input_shape=(4,), metrics=())
    history = model.fit(x[:100], y[:100], epochs=10, batch_size=16, verbose=False)
    diagnosis = model.doctor(
        x[:100], y[:100], validation=(x[100:], y[100:, 0]), history=history, epochs=10, batch_size=16
    )  # fmt: skip
    assert "overfitting" in diagnosis.checks


@pytest.mark.parametrize(
    ("option", "value"), [("history", [1.0]), ("augment", "flip"), ("begin", 5), ("begin", make_model())]
)
def test_options_of_another_kind_are_refused(option: str, value: Any) -> None:
    with pytest.raises(PellucidError, match=f"the doctor's {option} must be"):
        case_of(make_model(), *corners(), **{option: value})


def test_a_stream_without_an_end_is_read_once() -> None:
    x, y = corners(48)

    def batches() -> Iterator[Any]:
        while True:
            yield from ((x[k : k + 16], y[k : k + 16]) for k in range(0, 48, 16))

    assert len(case_of(make_model(), batches).train) == 48
