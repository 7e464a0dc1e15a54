"""The lesson on segmentation, compared with scikit-learn and PyTorch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

from pellucid.lessons import LessonSettings
from pellucid.lessons.segmentation import GUIDE, PREDICTED, discs, enlarging, learned, measured, measures


def by_scikit_learn(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    true, predicted = true.ravel(), predicted.ravel()
    return {
        "pixel accuracy": float(accuracy_score(true, predicted)),
        "IoU of the object": float(jaccard_score(true, predicted)),
        "IoU of the background": float(jaccard_score(~true, ~predicted)),
        "Dice": float(f1_score(true, predicted)),
    }


@pytest.mark.parametrize("seed", range(3))
def test_measures_of_random_masks(seed: int):
    true, predicted = np.random.default_rng(seed).random((2, 9, 11)) < 0.4
    expected = by_scikit_learn(true, predicted)
    assert measured(torch.tensor(true), torch.tensor(predicted)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("side", "box"), [(8, PREDICTED[0]), (2, (0, 0, 24, 24)), (16, (10, 3, 11, 24))])
def test_measures_of_a_dragged_box(side: int, box: tuple[float, ...]):
    true = np.zeros((24, 24), bool)
    true[8 : 8 + side, 8 : 8 + side] = True
    rows, columns = np.mgrid[:24, :24] + 0.5
    predicted = (box[0] < columns) & (columns < box[2]) & (box[1] < rows) & (rows < box[3])
    numbers = measures(LessonSettings(), side, (box,)).numbers
    assert numbers["prediction"] == pytest.approx(by_scikit_learn(true, predicted), rel=1e-6)
    assert numbers["nothing found"]["pixel accuracy"] == pytest.approx(1 - side**2 / 576)


def test_more_layers_find_discs_better_and_a_class_weight_costs_false_alarms():
    ious = [learned(LessonSettings(small=True), layers).numbers["IoU of the object"] for layers in (1, 3)]
    assert ious[1] > ious[0] + 0.1
    assert learned(LessonSettings(small=True), 1, 10.0).numbers["IoU of the object"] < ious[0]
    assert discs(96, 0)[1].float().mean() == pytest.approx(0.07, abs=0.005)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_enlarged_masks_are_pytorchs(factor: int):
    rows, columns = np.mgrid[:32, :32]
    true = (rows - 14.3) ** 2 + (columns - 17.1) ** 2 <= 8.7**2
    small = F.avg_pool2d(torch.tensor(true, dtype=torch.float32)[None, None], factor)
    numbers = enlarging(LessonSettings(), factor).numbers
    for kind in ("nearest", "bilinear"):
        large = F.interpolate(small, scale_factor=factor, mode=kind)[0, 0] > 0.5
        assert numbers[f"IoU, {kind}"] == pytest.approx(jaccard_score(true.ravel(), large.numpy().ravel()), rel=1e-6)


def test_the_answers_of_the_exercises():
    overlap, dice = GUIDE.exercises
    true, predicted = np.arange(100) < 60, (np.arange(100) >= 30) & (np.arange(100) < 70)
    assert (true.sum(), predicted.sum(), (true & predicted).sum()) == (60, 40, 30)
    assert overlap.answer == jaccard_score(true, predicted)
    first, second = np.array([True, True, True, False]), np.array([True, True, False, True])
    assert jaccard_score(first, second) == 0.5
    assert dice.answer == pytest.approx(f1_score(first, second))
