"""Metrics of masks equal scikit-learn's functions of all pixels, and loops over the pixels."""

import math

import pytest
import torch
from sklearn import metrics as oracle
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.metrics import BoundaryF1, MeanIoU

N_CLASSES, IGNORED = 5, 9


def random_masks(*shape: int, seed: int = 0, classes: int = N_CLASSES) -> Tensor:
    """Draw masks (N, H, W) of patches of 3 x 3 pixels, in which 5 % of the pixels are ignored."""
    rng = torch.Generator().manual_seed(seed)
    n, height, width = shape
    coarse = torch.randint(0, classes, (n, height // 3 + 1, width // 3 + 1), generator=rng)
    mask = coarse.repeat_interleave(3, 1).repeat_interleave(3, 2)[:, :height, :width].clone()
    mask[torch.rand(shape, generator=rng) < 0.05] = IGNORED
    return mask


def random_outputs(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def outputs_near(mask: Tensor, seed: int = 2) -> Tensor:
    """Return noisy outputs (N, C, H, W) that mostly predict the mask shifted to the right by one pixel."""
    shifted = torch.where(mask == IGNORED, 0, mask).roll(1, 2)
    return 2 * torch.nn.functional.one_hot(shifted, N_CLASSES).movedim(3, 1) + random_outputs(
        len(mask), N_CLASSES, *mask.shape[1:]
    )


@pytest.mark.parametrize("size", [1, 2, 7])
@pytest.mark.parametrize("classes", [N_CLASSES, 3])  # with 3, two classes never occur
def test_metrics_over_batches_equal_scikit_learns(size: int, classes: int) -> None:
    true = random_masks(7, 9, 8, classes=classes)
    y = random_outputs(7, N_CLASSES, 9, 8)
    if classes == 3:
        y[:, 4] = -9.0  # one of these is never predicted
    metric = MeanIoU(IGNORED)
    for batch in zip(y.split(size), true.to(torch.uint8).split(size), strict=True):
        metric.update(*batch)
    values = metric.compute()
    is_scored = true != IGNORED
    scored_true, predicted = true[is_scored], y.argmax(1)[is_scored]
    assert values["miou"] == pytest.approx(oracle.jaccard_score(scored_true, predicted, average="macro"), rel=1e-12)
    assert values["pixel_accuracy"] == pytest.approx(oracle.accuracy_score(scored_true, predicted), rel=1e-12)
    occurring = {*scored_true.tolist(), *predicted.tolist()}
    by_class = oracle.jaccard_score(scored_true, predicted, average=None, labels=sorted(occurring)).tolist()
    assert [value for value in values["class_iou"] if value is not None] == pytest.approx(by_class, rel=1e-12)
    assert [values["class_iou"][c] is not None for c in range(N_CLASSES)] == [c in occurring for c in range(N_CLASSES)]
    assert torch.equal(
        metric.matrix, torch.tensor(oracle.confusion_matrix(scored_true, predicted, labels=range(N_CLASSES)))
    )


def test_without_an_ignored_class_every_pixel_counts() -> None:
    true = random_masks(2, 6, 6).clamp(max=N_CLASSES - 1)
    metric = MeanIoU()
    metric.update(random_outputs(2, N_CLASSES, 6, 6), true)
    assert int(metric.matrix.sum()) == 72


def boundary_f1(predicted: Tensor, true: Tensor, radius: float) -> float:
    """Return the F1 of the outlines of one image, by loops; ignored pixels are -1 in both masks."""
    height, width = true.shape

    def outline(mask: Tensor, c: int) -> list[tuple[int, int]]:
        pixels = []
        for i in range(height):
            for j in range(width):
                neighbours = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
                neighbour_classes = [int(mask[p]) for p in neighbours if 0 <= p[0] < height and 0 <= p[1] < width]
                if int(mask[i, j]) == c and any(other not in (c, -1) for other in neighbour_classes):
                    pixels.append((i, j))
        return pixels

    scores = []
    for c in range(N_CLASSES):
        predicted_outline, true_outline = outline(predicted, c), outline(true, c)
        if not predicted_outline and not true_outline:
            continue
        n_right = sum(any(math.dist(p, q) <= radius for q in true_outline) for p in predicted_outline)
        n_found = sum(any(math.dist(p, q) <= radius for q in predicted_outline) for p in true_outline)
        precision, recall = n_right / max(len(predicted_outline), 1), n_found / max(len(true_outline), 1)
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return sum(scores) / len(scores)


@pytest.mark.parametrize("tolerance", [0.0, 0.08, 0.15])
def test_boundary_f1_equals_a_double_loop(tolerance: float) -> None:
    true = random_masks(3, 12, 10)
    y = outputs_near(true)
    metric = BoundaryF1(IGNORED, tolerance)
    metric.update(y[:2], true[:2])
    metric.update(y[2:], true[2:])
    is_scored = true != IGNORED
    predicted, true_or_ignored = torch.where(is_scored, y.argmax(1), -1), torch.where(is_scored, true, -1)
    radius = tolerance * math.hypot(12, 10)
    expected = [boundary_f1(*pair, radius) for pair in zip(predicted, true_or_ignored, strict=True)]
    assert metric.compute()["boundary_f1"] == pytest.approx(sum(expected) / 3, rel=1e-6)
    assert 0 < sum(expected) / 3 < 1


def test_a_perfect_prediction_scores_1_in_every_metric() -> None:
    true = random_masks(2, 9, 9).clamp(max=N_CLASSES - 1)
    y = torch.nn.functional.one_hot(true, N_CLASSES).movedim(3, 1).double()
    for metric in (MeanIoU(), BoundaryF1()):
        metric.update(y, true)
        assert all(value == 1.0 for value in metric.compute().values() if isinstance(value, float))


def test_a_batch_of_ignored_pixels_changes_no_metric() -> None:
    true, y = random_masks(3, 9, 8), random_outputs(3, N_CLASSES, 9, 8)
    metric, other = MeanIoU(IGNORED), MeanIoU(IGNORED)
    for part_metric in (metric, other):
        part_metric.update(y, true)
    other.update(y, torch.full_like(true, IGNORED))
    assert metric.compute() == other.compute()


def test_masks_and_outputs_that_do_not_fit_are_refused() -> None:
    for metric in (MeanIoU(IGNORED), BoundaryF1(IGNORED)):
        with pytest.raises(PellucidError, match="do not fit"):
            metric.update(random_outputs(2, N_CLASSES, 4, 4), random_masks(2, 4, 5))
        with pytest.raises(PellucidError, match="do not fit"):
            metric.update(random_outputs(2, N_CLASSES), torch.zeros(2, dtype=torch.long))
    with pytest.raises(PellucidError, match="no examples were measured"):
        MeanIoU(IGNORED).compute()
    with pytest.raises(PellucidError, match="tolerance"):
        BoundaryF1(tolerance=2.0)
    with pytest.raises(PellucidError, match="classes"):
        MeanIoU().update(random_outputs(1, N_CLASSES, 4, 4), torch.full((1, 4, 4), IGNORED))
