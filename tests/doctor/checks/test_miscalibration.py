"""Probabilities and shares of right answers."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from pellucid.calibration.confidence import Confidence
from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.miscalibration import CHECK
from pellucid.layers import Dense, Dropout, Sigmoid, Softmax
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.optim.regularizers import L2
from pellucid.run.history import History


def drawn(factor: float, n: int = 1_000) -> Case:
    """A model whose outputs are the true logits times `factor`: labels are drawn by the true probabilities."""
    rng = torch.Generator().manual_seed(0)
    logits = 1.5 * torch.randn(n, 5, generator=rng)
    y = torch.multinomial(logits.softmax(1), 1, generator=rng)[:, 0]
    it = Model(Sequential(dense=Dense(5)), input_shape=(5,))
    it.weights["dense.weight"].copy_(factor * torch.eye(5))
    return case_of(it, logits, y, validation=(logits, y))


@pytest.mark.parametrize("factor", [4.0, 0.2])
def test_too_sure_and_not_sure_enough_are_found(factor: float) -> None:
    it = drawn(factor)
    (found,) = CHECK.look(it)
    assert (found.check, found.path) == ("miscalibration", "validation")
    assert found.evidence["best_temperature"] == pytest.approx(factor, rel=0.15)
    p = (factor * it.train.x).softmax(1).max(1)
    right = float((p.indices == it.train.y).float().mean())
    assert found.evidence["mean_probability_of_the_answer"] == pytest.approx(float(p.values.mean()), abs=1e-5)
    assert found.evidence["share_of_right_answers"] == pytest.approx(right, abs=1e-5)
    assert (found.evidence["difference_in_standard_deviations"] > 0) == (factor > 1)


def test_true_probabilities_are_quiet() -> None:
    assert not CHECK.look(drawn(1.0))
    assert not CHECK.look(drawn(1.5))  # off, but not far


def test_a_calibrated_model_is_quiet() -> None:
    it = drawn(4.0)
    it.model.confidence = Confidence(4.0, 0.0)
    assert not CHECK.look(it)


def test_too_few_examples_have_no_finding() -> None:
    assert not CHECK.look(drawn(4.0, n=100))
    assert not CHECK.look(replace(drawn(4.0), validation=None))


def test_scores_that_are_no_probabilities_have_no_finding() -> None:
    it = drawn(4.0)
    scores = Model(Sequential(dense=Dense(5), sigmoid=Sigmoid()), "quadratic", input_shape=(5,))
    scores.weights["dense.weight"].copy_(4 * torch.eye(5))
    assert not CHECK.look(case_of(scores, it.train.x, it.train.y, validation=(it.train.x, it.train.y)))


def with_history(it: Case, *losses: float) -> Case:
    return replace(it, history=History([{"epoch": k + 1, "train_loss": loss} for k, loss in enumerate(losses)]))


def test_a_training_that_is_merely_short_is_not_held_back() -> None:
    it = drawn(0.2)
    loss = it.train_predictions.loss
    assert not CHECK.look(with_history(it, 3 * loss, 2 * loss, 1.1 * loss))
    assert CHECK.look(with_history(it, 1.1 * loss, 1.1 * loss, 1.1 * loss))


def test_outputs_that_shrank_after_training_are_distinguished_from_those_of_a_short_one() -> None:
    it = drawn(0.2)
    (found,) = CHECK.look(with_history(it, it.train_predictions.loss, it.train_predictions.loss / 2))
    assert "after that" in found.cause


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({}, "its outputs are small"),
        ({"loss": SoftmaxCrossEntropy(0.3)}, "label smoothing of 0.3"),
        ({"regularizer": L2(1.0)}, "a regularizer"),
        ({"net": Sequential(dropout=Dropout(0.6), dense=Dense(5))}, "dropout of 0.6"),
    ],
)
def test_what_holds_a_model_back_is_named_only_where_it_is(options: dict[str, Any], cause: str) -> None:
    it = drawn(0.2)
    other = Model(**{"net": Sequential(dense=Dense(5)), "input_shape": (5,), **options})
    other.weights["dense.weight"].copy_(0.2 * torch.eye(5))
    (found,) = CHECK.look(case_of(other, it.train.x, it.train.y, validation=(it.train.x, it.train.y)))
    told = [what for what in ("smoothing", "regularizer", "dropout") if what in found.cause + found.fix]
    assert cause in found.cause
    assert len(told) <= 1


def test_wrong_training_labels_teach_doubt() -> None:
    it = drawn(0.2)
    y = it.train.y.clone()
    y[::4] = (y[::4] + 1) % 5
    (found,) = CHECK.look(case_of(it.model, it.train.x, y, validation=(it.train.x, it.train.y)))
    assert "labels are wrong in the training data" in found.cause


def test_of_a_network_that_ends_in_softmax_the_scores_before_it_are_divided() -> None:
    it = drawn(4.0)
    ends = Model(Sequential(dense=Dense(5), soft=Softmax()), "quadratic", input_shape=(5,))
    ends.weights["dense.weight"].copy_(4 * torch.eye(5))
    (found,) = CHECK.look(case_of(ends, it.train.x, it.train.y, validation=(it.train.x, it.train.y)))
    assert found.fix.startswith("divide the scores before soft by a temperature of 4")
