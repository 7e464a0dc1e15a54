"""Probabilities and shares of right answers."""

from dataclasses import replace

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.miscalibration import CHECK
from pellucid.doctor.measure.temperature import likelihood, temperature
from pellucid.layers import Dense, Sigmoid
from pellucid.train.confidence import Confidence
from pellucid.train.model import Model


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
    assert (found.evidence["deviations_apart"] > 0) == (factor > 1)


def test_true_probabilities_are_quiet() -> None:
    assert not CHECK.look(drawn(1.0))
    assert not CHECK.look(drawn(1.5))  # off, but not far


def test_a_calibrated_model_is_quiet() -> None:
    it = drawn(4.0)
    it.model.confidence = Confidence(4.0, 0.0)
    assert not CHECK.look(it)


def test_few_examples_tell_nothing() -> None:
    assert not CHECK.look(drawn(4.0, n=100))
    assert not CHECK.look(replace(drawn(4.0), validation=None))


def test_scores_that_are_no_probabilities_are_left_alone() -> None:
    it = drawn(4.0)
    scores = Model(Sequential(dense=Dense(5), sigmoid=Sigmoid()), "quadratic", input_shape=(5,))
    scores.weights["dense.weight"].copy_(4 * torch.eye(5))
    assert not CHECK.look(case_of(scores, it.train.x, it.train.y, validation=(it.train.x, it.train.y)))


def test_the_temperature_is_where_the_likelihood_is_best() -> None:
    it = drawn(3.0)
    p = it.model.predict(it.train.x)
    best = temperature(p, it.train.y)
    assert likelihood(p, it.train.y, best) < min(likelihood(p, it.train.y, best * by) for by in (0.97, 1.03))
