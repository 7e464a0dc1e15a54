"""The perceptron: Rosenblatt's rule, one example at a time."""

import numpy as np
import pytest
import torch
from sklearn import linear_model
from sklearn.datasets import load_iris

from pellucid.data.seeds import generator
from pellucid.estimators import Perceptron
from pellucid.estimators.logistic import PerceptronLoss

CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
IRIS_X, IRIS_Y = load_iris(return_X_y=True)


@pytest.mark.parametrize("classes", [2, 3])
def test_weights_are_those_of_scikit_learn_in_the_same_order(classes: int) -> None:
    x, y = IRIS_X[classes > IRIS_Y], IRIS_Y[classes > IRIS_Y]
    seed = int(np.random.RandomState(3).randint(np.iinfo(np.int32).max))
    fitted = Perceptron(max_iter=1, random_state=3).fit(x, y)
    order = torch.randperm(len(x), generator=generator(seed, 0)).numpy()
    expected = linear_model.Perceptron(shuffle=False, max_iter=1, tol=None).fit(x[order], y[order])
    np.testing.assert_allclose(fitted.coef_, expected.coef_, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(fitted.intercept_, expected.intercept_, rtol=1e-12)


@pytest.mark.parametrize(
    ("labels", "is_learnable"),
    [([0, 0, 0, 1], True), ([0, 1, 1, 1], True), ([1, 1, 1, 0], True), ([0, 1, 1, 0], False)],
)
def test_and_or_and_nand_are_learned_and_xor_cannot_be(labels: list[int], is_learnable: bool) -> None:
    fitted = Perceptron(max_iter=30, random_state=0).fit(CORNERS, labels)
    assert (fitted.predict(CORNERS) == labels).all() == is_learnable
    assert (fitted.n_iter_ < 30) == is_learnable  # training stops after an epoch without mistakes


def test_the_loss_counts_an_output_of_zero_as_a_mistake() -> None:
    y = torch.tensor([[0.0], [2.0], [-1.0]])
    value, dy = PerceptronLoss()(y, torch.tensor([1, 1, 1]))
    assert value.item() == pytest.approx(1 / 3)
    assert dy[:, 0].tolist() == pytest.approx([-1 / 3, 0.0, -1 / 3])


def test_the_fitted_network_can_be_verified_and_explained() -> None:
    fitted = Perceptron(max_iter=5, random_state=0).fit(IRIS_X, IRIS_Y)
    assert fitted.model_.verify(IRIS_X[:4], IRIS_Y[:4]).ok
    np.testing.assert_allclose(
        fitted.model_.explain(IRIS_X[:2], "saliency", target=0), np.abs(fitted.coef_[:1].repeat(2, 0))
    )
    assert fitted.model_.trace(IRIS_X[:1], IRIS_Y[:1])["dense1.y"].shape == (1, 3)
    assert "dtype" not in str(fitted.model_.doctor(IRIS_X, IRIS_Y))


def test_one_class_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="only one class"):
        Perceptron().fit(CORNERS, [1, 1, 1, 1])


@pytest.mark.parametrize(
    ("estimator", "message"), [(Perceptron(learning_rate=-1.0), "lr"), (Perceptron(max_iter=0), "epochs")]
)
def test_an_invalid_parameter_is_a_value_error(estimator, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimator.fit(CORNERS, [0, 0, 0, 1])
