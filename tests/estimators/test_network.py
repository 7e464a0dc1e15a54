"""Networks as scikit-learn estimators: training, sample weights, early stopping and errors."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.preprocessing import StandardScaler

from pellucid import (
    L1,
    L2,
    SGD,
    Adam,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Hinge,
    Model,
    ReLU,
    Reshape,
    Sequential,
    Sigmoid,
)
from pellucid.estimators import NetworkClassifier, NetworkRegressor
from pellucid.estimators.base import WeightedLoss, with_weights
from pellucid.losses import BinaryCrossEntropy, Quadratic, SoftmaxCrossEntropy
from pellucid.optim import regularizers
from pellucid.training import evaluate

IRIS_X, IRIS_Y = load_iris(return_X_y=True)
IRIS_X = StandardScaler().fit_transform(IRIS_X)
IRIS_NAMES = np.array(["setosa", "versicolor", "virginica"])[IRIS_Y]
DIGITS_X, DIGITS_Y = load_digits(return_X_y=True)
DIABETES_X, DIABETES_Y = load_diabetes(return_X_y=True)
LINEAR = Sequential(Dense(3))


def test_an_estimator_trains_as_the_model_does() -> None:
    fitted = NetworkClassifier(LINEAR, optimizer=SGD(0.1), epochs=3, batch_size=50, random_state=0)
    fitted.fit(IRIS_X, IRIS_NAMES)
    model = Model(LINEAR, optimizer=SGD(0.1), input_shape=(4,), seed=fitted.model_.seed, precision="float64")
    model.fit(IRIS_X, IRIS_Y, epochs=3, batch_size=50, verbose=False)
    for name, tensor in model["dense1"].params.items():
        assert torch.equal(fitted.model_["dense1"].params[name], tensor)
    np.testing.assert_allclose(fitted.predict_proba(IRIS_X), model.predict(IRIS_X))
    assert len(fitted.history_) == 3


def convolutions(n_features: int, n_classes: int):
    return Sequential(Reshape((1, 8, 8)), Conv2d(8, 3), ReLU(), Flatten(), Dense(n_classes))


@pytest.mark.parametrize("shape", [(64,), (1, 8, 8)])
def test_a_built_network_learns_digits(shape: tuple[int, ...]) -> None:
    x = (DIGITS_X / 16).astype(np.float32).reshape(-1, *shape)
    build = convolutions if shape == (64,) else None
    fitted = NetworkClassifier(build, optimizer=Adam(0.01), epochs=8, batch_size=64, random_state=0)
    assert fitted.fit(x[:1000], DIGITS_Y[:1000]).score(x[1000:], DIGITS_Y[1000:]) > 0.9
    assert fitted.model_.dtype == torch.float32
    maps = fitted.model_.explain(x[:2], "saliency")
    assert tuple(maps.shape) == (2, *shape)


def test_one_output_separates_two_classes() -> None:
    x, y = IRIS_X[:100], IRIS_NAMES[:100]
    net = Sequential(Dense(1))
    fitted = NetworkClassifier(net, loss="binary_cross_entropy", optimizer=Adam(0.1), random_state=0).fit(x, y)
    probabilities = fitted.predict_proba(x)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_array_equal(fitted.predict(x), y)
    np.testing.assert_array_equal(fitted.classes_[probabilities.argmax(1)], y)


@pytest.mark.parametrize(
    ("net", "loss", "boundary", "has_probabilities"),
    [
        (Sequential(Dense(1), Sigmoid()), "quadratic", 0.5, True),
        (Sequential(Dense(1)), "quadratic", 0.5, False),
        (Sequential(Dense(1)), "l1", 0.5, False),
        (Sequential(Dense(1)), "binary_cross_entropy", 0.0, True),
        (Sequential(Dense(2)), "hinge", None, False),
    ],
    ids=["sigmoid", "quadratic", "l1", "logits", "hinge"],
)
def test_two_classes_are_decided_by_the_boundary_of_the_loss(net, loss: str, boundary, has_probabilities: bool) -> None:
    """Regression losses have the targets 0 and 1 and the boundary 0.5; logits have the boundary 0."""
    x, y = IRIS_X[:100], IRIS_NAMES[:100]
    unfitted = NetworkClassifier(net, loss=loss, optimizer=Adam(0.05), random_state=0)
    assert hasattr(unfitted, "predict_proba") == has_probabilities
    fitted = unfitted.fit(x, y)
    assert fitted.score(x, y) >= 0.98
    outputs = fitted.model_(x).numpy()
    if boundary is not None:
        np.testing.assert_array_equal(fitted.predict(x) == "versicolor", outputs[:, 0] > boundary)
        np.testing.assert_array_equal(fitted.decision_function(x) > 0, outputs[:, 0] > boundary)
    if has_probabilities:
        expected = outputs if loss == "quadratic" else 1 / (1 + np.exp(-outputs))
        np.testing.assert_allclose(fitted.predict_proba(x), np.hstack([1 - expected, expected]), rtol=1e-9, atol=1e-12)
    else:
        with pytest.raises(AttributeError, match="predict_proba"):
            fitted.predict_proba(x)


@pytest.mark.parametrize(
    "regularizer",
    [None, L2(5.0), regularizers.ElasticNet(0.5, 2.0), L2(0.01, decoupled=True)],
    ids=["plain", "l2", "elastic", "decay"],
)
@pytest.mark.parametrize("kind", [NetworkClassifier, NetworkRegressor])
def test_an_integer_sample_weight_equals_copies_of_the_sample(kind, regularizer) -> None:
    x, y = (IRIS_X, IRIS_Y) if kind is NetworkClassifier else (DIABETES_X[:150], DIABETES_Y[:150] / 100)
    weights = np.random.default_rng(0).integers(0, 4, len(x))
    options = {"regularizer": regularizer, "epochs": 20, "batch_size": 1000, "random_state": 0}
    weighted = kind(**options).fit(x, y, weights)
    copied = kind(**options).fit(x.repeat(weights, 0), y.repeat(weights))
    assert weighted.model_.regularizers == copied.model_.regularizers
    np.testing.assert_allclose(
        weighted.predict(x) if kind is NetworkRegressor else weighted.predict_proba(x),
        copied.predict(x) if kind is NetworkRegressor else copied.predict_proba(x),
        rtol=1e-8,
    )


@pytest.mark.parametrize(
    ("loss", "outputs", "target"),
    [
        (Quadratic(), 1, torch.arange(6.0) % 4),
        (Quadratic(), 2, torch.arange(12.0).reshape(6, 2) % 5),
        (L1(), 1, torch.arange(6.0) % 4),
        (SoftmaxCrossEntropy(), 3, torch.tensor([0, 1, 2, 2, 1, 0])),
        (SoftmaxCrossEntropy(label_smoothing=0.1), 3, torch.tensor([0, 1, 2, 2, 1, 0])),
        (BinaryCrossEntropy(), 1, torch.tensor([0, 1, 1, 1, 0, 0])),
        (BinaryCrossEntropy(), 3, torch.tensor([0, 1, 2, 2, 1, 0])),
        (Hinge(), 3, torch.tensor([0, 1, 2, 2, 1, 0])),
    ],
    ids=[
        "quadratic",
        "several",
        "l1",
        "softmax",
        "smoothed",
        "sigmoid",
        "sigmoids",
        "hinge",
    ],
)
def test_a_weighted_loss_is_the_mean_of_its_rows_with_copies(loss, outputs: int, target: torch.Tensor) -> None:
    """Weights 0, 1, 2, 3, 0, 4 count as a batch of ten rows; a row's gradient is the sum over its copies."""
    y = torch.randn(6, outputs, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([0.0, 1, 2, 3, 0, 4])
    target = target.double() if target.is_floating_point() else target
    rows = torch.arange(6).repeat_interleave(weights.long())
    value, dy = loss(y[rows], target[rows])
    result, dresult = WeightedLoss(loss, not target.is_floating_point())(y, with_weights(target, weights * 6 / 10))
    assert result.item() == pytest.approx(value.item())
    torch.testing.assert_close(dresult, torch.zeros_like(y).index_add_(0, rows, dy))


def test_sample_weights_with_class_weights_are_refused() -> None:
    loss = SoftmaxCrossEntropy(class_weights=(1.0, 5.0, 2.0))
    with pytest.raises(ValueError, match="SoftmaxCrossEntropy has class_weights; leave them out"):
        NetworkClassifier(loss=loss, epochs=1).fit(IRIS_X, IRIS_NAMES, np.ones(150))


def test_early_stopping_holds_out_a_part_and_keeps_the_best_weights() -> None:
    fitted = NetworkClassifier(optimizer=Adam(0.05), epochs=200, patience=3, validation_fraction=0.3, random_state=0)
    history = fitted.fit(IRIS_X, IRIS_NAMES).history_
    assert len(history) < 200
    accuracies = history["val_accuracy"]
    assert max(accuracies) == max(accuracies[:-3])
    weighted = NetworkRegressor(optimizer=Adam(0.05), epochs=200, patience=3, random_state=0)
    weights = np.random.default_rng(0).random(442)
    assert len(weighted.fit(DIABETES_X, DIABETES_Y / 100, weights).history_["val_loss"]) < 200


def test_partial_fit_continues_from_batch_to_batch() -> None:
    fitted = NetworkClassifier(LINEAR, optimizer=SGD(0.1), batch_size=1000, random_state=0)
    fitted.partial_fit(IRIS_X[:50], IRIS_NAMES[:50], classes=np.unique(IRIS_NAMES))
    assert fitted.predict_proba(IRIS_X).shape == (150, 3)
    model = Model(LINEAR, optimizer=SGD(0.1), input_shape=(4,), seed=fitted.model_.seed, precision="float64")
    for part in (slice(0, 50), slice(50, 150)):
        model.fit(IRIS_X[part], IRIS_Y[part], epochs=1, batch_size=1000, verbose=False)
    fitted.partial_fit(IRIS_X[50:], IRIS_NAMES[50:])
    torch.testing.assert_close(fitted.model_["dense1"].params["weight"], model["dense1"].params["weight"])
    with pytest.raises(ValueError, match="contains classes other than"):
        fitted.partial_fit(IRIS_X, np.full(150, "rose"))
    with pytest.raises(ValueError, match="not the same as on last call"):
        fitted.partial_fit(IRIS_X, IRIS_NAMES, classes=["setosa", "rose"])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        NetworkClassifier().partial_fit(IRIS_X, IRIS_NAMES)


@pytest.mark.parametrize("kind", [NetworkClassifier, NetworkRegressor])
def test_every_call_of_partial_fit_draws_another_dropout_mask(kind) -> None:
    """A mask keeps a unit with probability 1/2, so one unit in 2^20 learns nothing in twenty calls."""
    net = Sequential(Dense(100), Dropout(0.5), Dense(3 if kind is NetworkClassifier else 1))
    fitted, options = kind(net, optimizer=SGD(0.001), random_state=0), {"classes": [0, 1, 2]}
    fitted.partial_fit(IRIS_X[:1], IRIS_Y[:1], **(options if kind is NetworkClassifier else {}))
    before = fitted.model_["dense2"].params["weight"].clone()
    for k in range(20):
        fitted.partial_fit(IRIS_X[7 * k : 7 * k + 1], 2 - IRIS_Y[7 * k : 7 * k + 1])
    assert (fitted.model_["dense2"].params["weight"] != before).any(0).all()


def test_a_regressor_of_one_layer_reaches_the_least_squares_solution() -> None:
    x = StandardScaler().fit_transform(DIABETES_X[:, :3])
    fitted = NetworkRegressor(Sequential(Dense(1)), optimizer=SGD(0.5), epochs=300, batch_size=442, random_state=0)
    fitted.fit(x, DIABETES_Y)
    expected = np.linalg.lstsq(np.c_[x, np.ones(442)], DIABETES_Y, rcond=None)[0]
    np.testing.assert_allclose(fitted.predict(x), np.c_[x, np.ones(442)] @ expected, rtol=1e-6)
    fitted.partial_fit(x, DIABETES_Y, np.ones(442))
    np.testing.assert_allclose(fitted.predict(x), np.c_[x, np.ones(442)] @ expected, rtol=1e-6)


def test_predictions_are_computed_in_batches_that_fit_into_memory(monkeypatch) -> None:
    """The layers output 106 values of 8 bytes for each input, so 8 inputs fit into 8 x 8 x 106 bytes."""
    fitted = NetworkClassifier(Sequential(Dense(50), ReLU(), Dense(3), Sigmoid()), loss="quadratic", epochs=1)
    fitted.fit(IRIS_X, IRIS_NAMES)
    expected = fitted.model_(IRIS_X).numpy()
    sizes, call = [], Model.__call__
    monkeypatch.setattr(Model, "__call__", lambda model, x: (sizes.append(len(x)), call(model, x))[1])
    monkeypatch.setattr(evaluate, "MAX_BATCH_MEMORY", 8 * 8 * 106)
    np.testing.assert_allclose(fitted.decision_function(IRIS_X), expected, rtol=1e-12)
    np.testing.assert_array_equal(fitted.predict(IRIS_X), fitted.classes_[expected.argmax(1)])
    assert sizes == 2 * [*18 * [8], 6]


@pytest.mark.slow
def test_the_fitted_network_can_be_verified_and_explained() -> None:
    for fitted, y in (
        (NetworkClassifier(epochs=5, random_state=0).fit(IRIS_X, IRIS_NAMES), IRIS_NAMES),
        (NetworkRegressor(epochs=5, random_state=0).fit(IRIS_X, IRIS_X[:, 0]), IRIS_X[:, 0]),
    ):
        model = fitted.model_
        assert model.verify(IRIS_X[:4], y[:4]).ok
        assert model.explain(IRIS_X[:2], "lrp").shape == (2, 4)
        assert model.trace(IRIS_X[:1], y[:1])["dense1.y"].shape == (1, 100)
        assert "dtype" not in str(model.doctor(IRIS_X, y))


@pytest.mark.parametrize(
    ("estimator", "x", "y", "error", "message"),
    [
        (NetworkClassifier(), np.array([["a"], ["b"]]), [0, 1], ValueError, "could not convert string to float"),
        (NetworkClassifier(), np.array([[np.nan], [1.0]]), [0, 1], ValueError, "contains NaN"),
        (NetworkClassifier(), IRIS_X, np.zeros(150), ValueError, "only one class"),
        (NetworkClassifier(Sequential(Dense(2))), IRIS_X, IRIS_NAMES, ValueError, r"outputs \(2,\) for each example"),
        (NetworkClassifier("mlp"), IRIS_X, IRIS_NAMES, TypeError, "network must be a layer or a function"),
        (NetworkClassifier(convolutions), IRIS_X, IRIS_NAMES, ValueError, "reshape"),
        (NetworkClassifier(optimizer="adm"), IRIS_X, IRIS_NAMES, ValueError, "did you mean 'adam'"),
        (NetworkRegressor(optimizer=SGD(1e4)), IRIS_X, IRIS_Y, ValueError, "contains infinity"),
        (NetworkClassifier(patience=0), IRIS_X, IRIS_NAMES, ValueError, "patience"),
    ],
)
def test_wrong_data_and_networks_raise_the_errors_of_scikit_learn(estimator, x, y, error, message: str) -> None:
    with pytest.raises(error, match=message):
        estimator.fit(x, y)


def test_predicting_images_of_another_shape_is_a_value_error() -> None:
    images = DIGITS_X[:100].reshape(-1, 1, 8, 8) / 16
    fitted = NetworkClassifier(epochs=1).fit(images, DIGITS_Y[:100])
    for predict in (fitted.predict, fitted.predict_proba):
        with pytest.raises(ValueError, match="shape"):
            predict(images[:, :, :7])
