"""Weights that were replaced after the last epoch."""

import pytest
import torch

from pellucid.doctor import case_of
from pellucid.doctor.checks.replaced_weights import CHECK
from tests.doctor.small_cases import corners, make_model


@pytest.mark.parametrize(("weights", "epoch"), [("last", 0), ("first", 1), ("half", 0)])
def test_weights_of_another_epoch_are_found(weights: str, epoch: int) -> None:
    x, y = corners(160)
    held_out = corners(80, seed=1)
    model, first = make_model(), dict[str, torch.Tensor]()
    history = model.fit(x, y, epochs=1, validation=held_out, batch_size=16, verbose=False)
    first = {path: weight.clone() for path, weight in model.weights.items()}
    history.rows += model.fit(x, y, epochs=7, validation=held_out, batch_size=16, verbose=False).rows
    for path, weight in model.weights.items():
        if weights != "last":
            weight.copy_(first[path] if weights == "first" else weight / 2)
    findings = CHECK.find(case_of(model, x, y, validation=held_out, history=history, batch_size=16, epochs=8))
    assert len(findings) == (weights != "last")
    assert [finding.evidence.get("epoch_with_this_loss", 0) for finding in findings] == [epoch] * len(findings)


def test_other_validation_data_are_no_other_weights() -> None:
    x, y = corners(160)
    model = make_model()
    history = model.fit(x, y, epochs=8, validation=corners(80, seed=1), batch_size=16, verbose=False)
    other = (1 - corners(80, seed=2)[0], corners(80, seed=2)[1])
    assert not CHECK.find(case_of(model, x, y, validation=other, history=history, batch_size=16, epochs=8))
