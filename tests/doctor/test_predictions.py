"""Predictions of a model, against PyTorch's functions."""

import pytest
import torch
import torch.nn.functional as F

from pellucid.combine import Sequential
from pellucid.doctor.predictions import UnansweredError, predictions
from pellucid.layers import Dense, Flatten
from pellucid.training.examples import examples
from tests.doctor.examined import corners, model


def test_probabilities_loss_and_accuracy() -> None:
    it, (x, y) = model(), corners()
    found = predictions(it, examples(x, y))
    p = it.weights
    hidden = F.relu(F.linear(x.flatten(1), p["dense1.weight"], p["dense1.bias"]))
    scores = F.linear(hidden, p["dense2.weight"], p["dense2.bias"])
    torch.testing.assert_close(found.y, scores.softmax(1))
    assert found.loss == pytest.approx(F.cross_entropy(scores, y).item(), rel=1e-5)
    assert found.accuracy == pytest.approx((scores.argmax(1) == y).float().mean().item())


def test_one_output_is_a_logit_of_the_second_class() -> None:
    it = model(Sequential(flatten=Flatten(), out=Dense(1)), loss="binary_cross_entropy")
    x, y = corners(classes=2)
    found = predictions(it, examples(x, y))
    scores = F.linear(x.flatten(1), it.weights["out.weight"], it.weights["out.bias"])
    assert found.classes.tolist() == (scores[:, 0] > 0).long().tolist()


def test_weights_that_are_not_finite_raise_an_error() -> None:
    it = model()
    it.weights["dense1.weight"][0, 0] = float("nan")
    with pytest.raises(UnansweredError, match="dense1: weight contains NaN"):
        predictions(it, examples(*corners()))
