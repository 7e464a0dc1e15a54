"""Scores of examples in the doctor's experiments: their mean is that of scikit-learn's metrics."""

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score, recall_score

from pellucid.tasks.classify.doctor import scores


@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize("share", [0.02, 0.3])
def test_the_score_of_labels_is_the_mean_recall_of_both_values(columns: int, share: float) -> None:
    rng = np.random.default_rng(columns)
    y = rng.random((400, columns)) < share
    y[:2], y[0] = False, True
    outputs = np.clip(0.6 * y + 0.6 * rng.random(y.shape), 0, 1)
    found = scores([*torch.tensor(outputs)], [*torch.tensor(y.astype(np.float32))])
    assert found is not None
    expected = np.mean([
        recall_score(y[:, k], outputs[:, k] > 0.5, average="macro") for k in range(columns)
    ])  # fmt: skip
    assert found.name == "mean recall"
    assert found.weighted.mean().item() == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.01, 0.3])
def test_the_score_of_masks_is_the_mean_overlap_of_both_values(share: float) -> None:
    rng = np.random.default_rng(0)
    y = rng.random((20, 1, 12, 12)) < share
    y[:, :, 0, 0], y[:, :, 0, 1] = True, False
    outputs = np.clip(0.6 * y + 0.6 * rng.random(y.shape), 0, 1)
    found = scores([*torch.tensor(outputs)], [*torch.tensor(y.astype(np.float32))])
    assert found is not None
    expected = [
        jaccard_score(mask.ravel(), output.ravel() > 0.5, average="macro")
        for mask, output in zip(y, outputs, strict=True)
    ]
    np.testing.assert_allclose(found.values.numpy(), expected)


def test_a_rare_value_that_is_never_predicted_halves_the_score() -> None:
    y = torch.zeros(100, 1)
    y[:3] = 1
    found = scores([*torch.zeros(100, 1)], [*y])
    assert found is not None
    assert found.weighted.mean().item() == pytest.approx(0.5)


@pytest.mark.parametrize("share_of_empty_masks", [0.0, 0.7])
def test_masks_without_the_rare_value_do_not_raise_the_score(share_of_empty_masks: float) -> None:
    rng = np.random.default_rng(1)
    y = rng.random((40, 1, 12, 12)) < 0.05
    y[: int(40 * share_of_empty_masks)] = False
    outputs = np.clip(0.6 * y + 0.6 * rng.random(y.shape), 0, 1)
    for predicted in (outputs, np.zeros_like(outputs)):
        found = scores([*torch.tensor(predicted)], [*torch.tensor(y.astype(np.float32))])
        assert found is not None
        expected = jaccard_score(y.ravel(), predicted.ravel() > 0.5, average="macro")
        assert found.weighted.mean().item() == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.05, 0.2, 1.0])
def test_a_constant_is_not_close_to_maps_that_are_mostly_zero(share: float) -> None:
    rng = np.random.default_rng(2)
    y = torch.tensor((rng.random((200, 1, 20, 20)) < share) * rng.random((200, 1, 20, 20)))
    mean = y.mean(0)
    for output in (mean, torch.zeros_like(mean)):
        found = scores([output] * 200, [*y])
        assert found is not None
        assert 0 <= found.weighted.mean().item() <= 0.1
    found = scores([*(y + 0.1 * y.std() * torch.tensor(rng.standard_normal(y.shape)))], [*y])
    assert found is not None
    assert found.weighted.mean().item() == pytest.approx(0.9, abs=0.02)
