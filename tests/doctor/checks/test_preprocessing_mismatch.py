"""Inputs that were preprocessed differently from the training data."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.preprocessing_mismatch import CHECK, MAX_DISTANCE
from tests.doctor.small_cases import corners, make_model
from tests.doctor.test_inputs import smooth_images


def make_case(change: Callable[[Tensor], Tensor], epochs: int = 0, change_train: bool = False) -> Case:
    """Return the case of a model whose validation inputs are changed by a function.

    epochs: of training, on inputs without the change. change_train: whether the case's training inputs are changed too.
    """
    (x, y), (held_out, held_out_y) = corners(200), corners(80, seed=1)
    model = make_model()
    if epochs:
        model.fit(x, y, epochs=epochs, batch_size=16, verbose=False)
    return case_of(model, change(x) if change_train else x, y, validation=(change(held_out), held_out_y))


@pytest.mark.parametrize("epochs", [0, 5])
def test_equally_preprocessed_inputs_have_no_finding(epochs: int) -> None:
    assert CHECK.find(make_case(lambda x: x, epochs)) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [(lambda x: x * 255, "not divided by 255"), (lambda x: x / 255, "divided by 255 once more")],
)
def test_another_scale_is_recognized_by_its_moments(change: Callable[[Tensor], Tensor], name: str) -> None:
    (finding,) = CHECK.find(make_case(change))
    assert finding.path == "validation"
    assert f"are {name}," in finding.cause
    held_out = corners(80, seed=1)[0]
    assert finding.evidence["mean_validation"] == pytest.approx(float(change(held_out).mean()))
    # Without the change, only random differences of the two samples remain, clearly less than MAX_DISTANCE.
    assert float(finding.evidence["distance_if_undone"]) < 0.6 * MAX_DISTANCE


def test_another_mean_is_found() -> None:
    (finding,) = CHECK.find(make_case(lambda x: (x - 0.5) / 0.25))
    assert float(finding.evidence["distance_of_means_in_standard_deviations"]) > 3


def test_channels_in_another_order_are_found() -> None:
    x, y = corners(200)
    colour_x = torch.cat([x + 0.3, x, x * 0.5], 1)
    model = make_model(input_shape=(3, 4, 4))
    assert CHECK.find(case_of(model, colour_x[:120], y[:120], validation=(colour_x[120:], y[120:]))) == []
    parts = colour_x[:120], colour_x[120:]
    for train, held_out in ((parts[0], parts[1].flip(1)), (parts[0].flip(1), parts[1])):  # either may be wrong
        (finding,) = CHECK.find(case_of(model, train, y[:120], validation=(held_out, y[120:])))
        assert (finding.path, "BGR" in finding.cause, "validation" in finding.fix) == ("both", True, False)


def test_classes_that_are_rarer_in_validation_are_no_mismatch() -> None:
    x, y = corners(200)
    x = x * (1 + y[:, None, None, None])  # each class is brighter than the one before
    is_last_class = y[:160] == 3
    assert CHECK.find(case_of(make_model(), x, y, validation=(x[:160][is_last_class], y[:160][is_last_class]))) == []


def test_another_scale_is_found_for_regression() -> None:
    x, _ = corners(40)
    model = make_model(loss="quadratic", metrics=())
    assert CHECK.find(case_of(model, x, torch.rand(40, 4), validation=(x, torch.rand(40, 4)))) == []
    (finding,) = CHECK.find(case_of(model, x, torch.rand(40, 4), validation=(x * 255, torch.rand(40, 4))))
    assert finding.path == "validation"


def test_few_examples_have_no_finding() -> None:
    assert CHECK.find(case_of(make_model(), *corners(10), validation=corners(5))) == []


def test_vectors_of_equal_distribution_have_no_finding() -> None:
    rows = torch.rand(100, 7, 1, 1)
    vectors = case_of(
        make_model(input_shape=(7, 1, 1)),
        rows[:60],
        torch.zeros(60).long(),
        validation=(rows[60:], torch.zeros(40).long()),
    )
    assert CHECK.find(vectors) == []


def test_rare_training_classes_are_not_compared() -> None:
    x, y = corners(200)
    x = x * (1 + y[:, None, None, None])
    # 30 training examples of the first class, and one of each other class, which is darker than in validation.
    train_indices = torch.cat([(y == label).nonzero().flatten()[: 30 if label == 0 else 1] for label in range(4)])
    dark_x = x.clone()
    dark_x[train_indices[30:]] *= 0.2
    assert CHECK.find(case_of(make_model(), dark_x[train_indices], y[train_indices], validation=(x[80:], y[80:]))) == []


@pytest.mark.parametrize("is_validation_reshaped", [True, False])
def test_reshaped_training_images_are_a_fault_that_the_remedy_undoes(is_validation_reshaped: bool) -> None:
    x, held_out = smooth_images(3, 24, 24, 0.05), smooth_images(3, 24, 24, 0.1)
    reshaped, held_out_reshaped = (images.movedim(1, -1).reshape(images.shape) for images in (x, held_out))
    model = make_model(input_shape=(3, 24, 24))
    y = torch.arange(40) % 4
    validation = (held_out_reshaped if is_validation_reshaped else held_out), y
    case = case_of(model, reshaped, y, validation=validation)
    (finding,) = CHECK.find(case)
    assert finding.path == "train"
    assert finding.remedy is not None
    mended = finding.remedy.apply(case)
    assert torch.equal(mended.train.x, x)
    assert torch.equal(mended.validation.x, held_out)


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("is_scaled", [True, False])
def test_what_differs_from_draw_to_draw_is_no_other_preprocessing(is_known: bool, is_scaled: bool) -> None:
    (x, y), validation = corners(200), corners(80, seed=1)
    draws: list[Tensor] = []
    for seed in (0, 1):
        rng = torch.Generator().manual_seed(seed)
        if is_scaled:
            flipped = torch.where(torch.rand(200, 1, 1, 1, generator=rng) < 0.5, x.flip(3), x)
            draws.append((flipped - 0.5) / 0.25)
        else:
            row = torch.randint(4, (200, 1, 1, 1), generator=rng)
            draws.append(x * (torch.arange(4).view(1, 1, 4, 1) == row))
    case = case_of(
        make_model(), draws[0], y, validation=validation, redrawn=(draws[0], draws[1]) if is_known else None
    )  # fmt: skip
    assert bool(CHECK.find(case)) is (is_scaled or not is_known)
