"""Weights and imbalance of classes, compared with scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from pellucid.base.errors import PellucidError
from pellucid.recipe.checked.collection import class_weights, imbalance


@pytest.mark.parametrize("counts", [[5, 5, 5], [1, 10], [142, 143, 30, 7]])
def test_class_weights_are_scikit_learns_balanced_ones(counts):
    y = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=y)
    assert class_weights(counts) == pytest.approx(expected.tolist(), rel=1e-12)
    assert sum(n * w for n, w in zip(counts, class_weights(counts), strict=True)) == pytest.approx(sum(counts))


@pytest.mark.parametrize("counts", [[], [3, 0]])
def test_a_class_without_pictures_has_no_weight(counts):
    with pytest.raises(PellucidError, match="each needs at least one"):
        class_weights(counts)


def test_imbalance_is_the_ratio_of_the_largest_to_the_smallest_class():
    assert imbalance([4, 12, 6]) == 3
    assert imbalance([2, 2]) == 1
    assert math.isinf(imbalance([2, 0]))
