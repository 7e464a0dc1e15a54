"""Predictions of a model, compared with PyTorch's functions."""

import pytest
import torch
import torch.nn.functional as F

from pellucid.combine import Sequential
from pellucid.doctor.case import UnansweredError, predictions
from pellucid.layers import Dense, Flatten
from pellucid.training.examples import examples
from tests.doctor.small_cases import corners, make_model


def test_probabilities_loss_and_accuracy() -> None:
    model, (x, y) = make_model(), corners()
    predicted = predictions(model, examples(x, y))
    p = model.weights
    hidden = F.relu(F.linear(x.flatten(1), p["dense1.weight"], p["dense1.bias"]))
    scores = F.linear(hidden, p["dense2.weight"], p["dense2.bias"])
    torch.testing.assert_close(predicted.y, scores.softmax(1))
    assert predicted.loss == pytest.approx(F.cross_entropy(scores, y).item(), rel=1e-5)
    assert predicted.accuracy == pytest.approx((scores.argmax(1) == y).float().mean().item())


def test_one_output_is_a_logit_of_the_second_class() -> None:
    model = make_model(Sequential(flatten=Flatten(), out=Dense(1)), loss="binary_cross_entropy")
    x, y = corners(classes=2)
    predicted = predictions(model, examples(x, y))
    scores = F.linear(x.flatten(1), model.weights["out.weight"], model.weights["out.bias"])
    assert predicted.classes.tolist() == (scores[:, 0] > 0).long().tolist()


def test_weights_that_are_not_finite_raise_an_error() -> None:
    model = make_model()
    model.weights["dense1.weight"][0, 0] = float("nan")
    with pytest.raises(UnansweredError, match="dense1: weight contains NaN"):
        predictions(model, examples(*corners()))
