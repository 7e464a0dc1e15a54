"""Metrics and latency of a classifier, compared with scikit-learn."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data import Dataset
from pellucid.layers import Dense, Flatten
from pellucid.model import Model
from pellucid.tasks.gestures.compare import measure, measure_latency

CLASSES = ("fist", "palm", "thumb")


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(Sequential(flat=Flatten(), out=Dense(3)), input_shape=(3, 6, 6), classes=CLASSES, seed=1)


@pytest.fixture(scope="module")
def images(model: Model) -> Dataset:
    """Return noise images, at least three quarters of which have the predicted class as their label."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (80, 3, 6, 6), generator=rng, dtype=torch.uint8)
    y = model.predict(x).argmax(1)
    y[::4] = torch.randint(0, 3, (20,), generator=rng)
    return Dataset.from_arrays(x, y, CLASSES)


def measured(model: Model, images: Dataset) -> dict[str, Any]:
    return measure(images, model.predict(images))


def test_scores_of_all_and_of_each_class_equal_scikit_learns(model: Model, images: Dataset) -> None:
    measurement = measured(model, images)
    probabilities = model.predict(images).double().numpy()
    true, predicted = images.y.numpy(), probabilities.argmax(1)
    assert measurement["accuracy"] == pytest.approx(oracle.accuracy_score(true, predicted))
    assert measurement["macro_f1"] == pytest.approx(oracle.f1_score(true, predicted, average="macro"))
    exact = probabilities / probabilities.sum(1, keepdims=True)  # scikit-learn warns of sums other than 1
    assert measurement["loss"] == pytest.approx(oracle.log_loss(true, exact), rel=1e-5)
    references = oracle.precision_recall_fscore_support(true, predicted, zero_division=0.0)
    for key, expected in zip(("precision", "recall", "f1"), references[:3], strict=True):
        np.testing.assert_allclose([row[key] or 0.0 for row in measurement["classes"]], expected)
    assert measurement["confusion"] == oracle.confusion_matrix(true, predicted).tolist()
    np.testing.assert_allclose(
        measurement["confusion_normalised"], oracle.confusion_matrix(true, predicted, normalize="true")
    )
    assert measurement["n"] == 80


def test_macro_f1_is_over_the_classes_that_occur_or_are_predicted(model: Model, images: Dataset) -> None:
    subset = images.subset(torch.nonzero((images.y != 2) & (model.predict(images).argmax(1) != 2)).flatten())
    true, predicted = subset.y.numpy(), model.predict(subset).argmax(1).numpy()
    assert {*true.tolist()} == {0, 1}
    assert measured(model, subset)["macro_f1"] == pytest.approx(oracle.f1_score(true, predicted, average="macro"))


def test_calibration_error_is_computed_from_histograms(model: Model, images: Dataset) -> None:
    probabilities = model.predict(images).double().numpy()
    confidences, is_right = probabilities.max(1), probabilities.argmax(1) == images.y.numpy()
    edges = np.linspace(0, 1, 16)
    sums = [np.histogram(confidences, edges, weights=weights)[0] for weights in (confidences, is_right.astype(float))]
    assert measured(model, images)["ece"] == pytest.approx(np.abs(sums[0] - sums[1]).sum() / 80)


def test_the_json_contains_only_finite_numbers(model: Model, images: Dataset) -> None:
    values = measured(model, images)
    json.dumps(values, allow_nan=False)
    assert values["misread"] == 80 - np.trace(np.array(values["confusion"])) > 5
    assert [row["class"] for row in values["classes"]] == list(CLASSES)
    assert sum(values["reliability"]["count"]) == values["n"] == 80


def test_latency_is_the_median_of_single_images(model: Model, images: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    batch_sizes: list[int] = []
    clock = iter([0.0, 0.010, 1.0, 1.030, 2.0, 2.020])  # 10, 30 and 20 milliseconds
    predictors: list[int] = []

    def predictor():
        predictors.append(1)
        return lambda x: batch_sizes.append(len(x))

    monkeypatch.setattr(model, "predictor", predictor)
    monkeypatch.setattr("pellucid.tasks.gestures.compare.time.perf_counter", lambda: next(clock))
    result = measure_latency(model, images.x, repeats=3)
    assert result["latency_ms"] == pytest.approx(20)
    assert result["latency_threads"] == torch.get_num_threads()
    assert set(batch_sizes) == {1}
    assert len(predictors) == 1, "once, as those who answer frame after frame do"
    assert len(batch_sizes) > 3  # with warmup


def test_a_latency_of_nothing_is_refused(model: Model, images: Dataset) -> None:
    with pytest.raises(PellucidError, match="give at least one of each"):
        measure_latency(model, images.x, repeats=0)
