"""Weights that were replaced after the last epoch."""

import pytest

from pellucid.doctor import case_of
from pellucid.doctor.checks.replaced_weights import CHECK
from tests.doctor.small_cases import corners, make_model


@pytest.mark.parametrize("weights", ["last", "initial", "quarter"])
def test_weights_that_are_not_those_of_the_last_epoch_are_found(weights: str) -> None:
    x, y = corners(160)
    held_out = corners(80, seed=1)
    model = make_model()
    initial = {path: weight.clone() for path, weight in model.weights.items()}
    history = model.fit(x, y, epochs=8, validation=held_out, batch_size=16, verbose=False)
    for path, weight in model.weights.items():
        if weights != "last":
            weight.copy_(initial[path] if weights == "initial" else weight / 4)
    findings = CHECK.find(case_of(model, x, y, validation=held_out, history=history, batch_size=16, epochs=8))
    assert len(findings) == (weights != "last")
    assert all("epoch_with_this_loss" not in finding.evidence for finding in findings)


def test_other_validation_data_are_no_other_weights() -> None:
    x, y = corners(160)
    model = make_model()
    history = model.fit(x, y, epochs=8, validation=corners(80, seed=1), batch_size=16, verbose=False)
    other = (1 - corners(80, seed=2)[0], corners(80, seed=2)[1])
    assert not CHECK.find(case_of(model, x, y, validation=other, history=history, batch_size=16, epochs=8))


def test_kept_weights_of_the_best_epoch_are_no_fault() -> None:
    x, y = corners(160)
    held_out = corners(80, seed=1)
    model = make_model()
    history = model.fit(x, y, epochs=1, validation=held_out, batch_size=16, verbose=False)
    first = {path: weight.clone() for path, weight in model.weights.items()}
    history.rows += model.fit(x, y, epochs=7, validation=held_out, batch_size=16, verbose=False).rows
    for path, weight in model.weights.items():
        weight.copy_(first[path])
    for accuracy, n_findings in ((1.0, 0), (0.5, 1)):  # the accuracies do not rise after the first epoch, or do
        for row in history.rows:
            row["val_accuracy"] = 1.0
        history.rows[0]["val_accuracy"] = accuracy
        case = case_of(model, x, y, validation=held_out, history=history, batch_size=16, epochs=8)
        assert len(CHECK.find(case)) == n_findings
