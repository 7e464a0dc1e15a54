"""Inputs that were prepared in another way."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.preprocessing_mismatch import CHECK
from pellucid.errors import PellucidError
from tests.doctor.examined import conv_net, corners, model


def case(change: Callable[[Tensor], Tensor], epochs: int = 0, train: bool = False) -> Case:
    """Validation inputs changed; with `train` both parts, after the training."""
    (x, y), (held, held_y) = corners(200), corners(80, seed=1)
    it = model()
    if epochs:
        it.fit(x, y, epochs=epochs, batch_size=16, verbose=False)
    return case_of(it, change(x) if train else x, y, validation=(change(held), held_y))


@pytest.mark.parametrize("epochs", [0, 5])
def test_parts_that_were_prepared_alike_have_no_finding(epochs: int) -> None:
    assert CHECK.look(case(lambda x: x, epochs)) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [(lambda x: x * 255, "not divided by 255"), (lambda x: x / 255, "divided by 255 once more")],
)
def test_another_scale_is_recognized_by_its_moments(change: Callable[[Tensor], Tensor], name: str) -> None:
    (found,) = CHECK.look(case(change))
    assert found.path == "validation"
    assert f"are {name}," in found.cause
    held = corners(80, seed=1)[0]
    assert found.evidence["mean_validation"] == pytest.approx(float(change(held).mean()))
    assert float(found.evidence["distance_if_undone"]) < 0.6


def test_another_mean_is_found() -> None:
    (found,) = CHECK.look(case(lambda x: (x - 0.5) / 0.25))
    assert float(found.evidence["distance_of_means_in_standard_deviations"]) > 3


@pytest.mark.parametrize("epochs", [0, 5])
def test_pictures_turned_over_are_recognised_when_turned_back(epochs: int) -> None:
    (found,) = CHECK.look(case(lambda x: x.flip(3), epochs))
    assert "mirrored" in found.cause
    assert found.evidence["judged_by"] == ("the model" if epochs else "a simple classifier")
    assert (found.evidence["share_recognised"], found.evidence["share_recognised_if_undone"]) == (0, 1)


def test_channels_in_another_order_are_found() -> None:
    x, y = corners(200)
    colour = torch.cat([x + 0.3, x, x * 0.5], 1)
    it = model(input_shape=(3, 4, 4))
    assert CHECK.look(case_of(it, colour[:120], y[:120], validation=(colour[120:], y[120:]))) == []
    (found,) = CHECK.look(case_of(it, colour[:120], y[:120], validation=(colour[120:].flip(1), y[120:])))
    assert "BGR" in found.cause


def test_a_trained_model_tells_that_its_inputs_are_others_than_it_learned_from() -> None:
    (found,) = CHECK.look(case(lambda x: 1 - x, 5, train=True))
    assert found.path == "train"
    assert "inverted" in found.cause


def test_what_was_standardised_and_is_to_be_again_is_recognized_by_its_range() -> None:
    x, y = corners(200)
    it = model(preprocess={"mean": [0.3], "std": [0.2]})
    assert CHECK.look(case_of(it, x, y)) == []
    (found,) = CHECK.look(case_of(it, (x - 0.3) / 0.2, y))
    assert "standardised twice" in found.cause
    assert found.evidence["largest_if_undone"] == pytest.approx(float(x.max()), abs=1e-5)


def test_batch_normalization_remembers_what_it_learned_from() -> None:
    x, y = corners(200)
    it = model(conv_net())
    it.fit(x, y, epochs=8, batch_size=16, verbose=False)
    assert CHECK.look(case_of(it, x, y)) == []
    unknown = torch.zeros_like(y)  # so that nothing can be recognised
    (found,) = CHECK.look(case_of(it, x * 255, unknown))
    assert found.path == "norm"
    assert "not divided by 255" in found.cause
    assert float(found.evidence["standard_deviation_over_the_remembered_one"]) == pytest.approx(255, rel=0.2)


def test_classes_that_are_rarer_in_validation_are_no_mismatch() -> None:
    x, y = corners(200)
    x = x * (1 + y[:, None, None, None])  # each class is brighter than the one before
    kept = y[:160] == 3
    assert CHECK.look(case_of(model(), x, y, validation=(x[:160][kept], y[:160][kept]))) == []


def test_regression_few_examples_and_vectors_are_taken() -> None:
    x, _ = corners(40)
    it = model(loss="quadratic", metrics=())
    assert CHECK.look(case_of(it, x, torch.rand(40, 4), validation=(x, torch.rand(40, 4)))) == []
    (found,) = CHECK.look(case_of(it, x, torch.rand(40, 4), validation=(x * 255, torch.rand(40, 4))))
    assert found.path == "validation"
    assert CHECK.look(case_of(model(), *corners(10), validation=corners(5))) == []
    rows = torch.rand(100, 7, 1, 1)
    vectors = case_of(
        model(input_shape=(7, 1, 1)), rows[:60], torch.zeros(60).long(), validation=(rows[60:], torch.zeros(40).long())
    )
    assert CHECK.look(vectors) == []


def test_the_scale_that_a_model_standardises_by_is_compared_with_the_data() -> None:
    x, y = corners(200)
    it = model(preprocess={"mean": [float(x.mean())], "std": [float(x.std())]})
    with pytest.raises(PellucidError, match="x / 255"):
        case_of(it, x * 255, y)
    (found,) = CHECK.look(case_of(it, x / 255, y))
    assert "divided by 255 once more" in found.cause
    assert found.evidence["mean_if_undone"] == pytest.approx(0, abs=1e-4)
    assert found.evidence["standard_deviation_if_undone"] == pytest.approx(1, abs=1e-4)


def test_classes_of_which_training_has_hardly_any_are_not_compared() -> None:
    x, y = corners(200)
    x = x * (1 + y[:, None, None, None])
    few = torch.cat([(y == label).nonzero().flatten()[: 30 if label == 0 else 1] for label in range(4)])
    dark = x.clone()
    dark[few[30:]] *= 0.2
    assert CHECK.look(case_of(model(), dark[few], y[few], validation=(x[80:], y[80:]))) == []
