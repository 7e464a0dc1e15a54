"""Classes of different sizes: how uneven they are, and the weights that make them count alike."""

from collections.abc import Sequence

from pellucid.errors import PellucidError


def class_weights(counts: Sequence[int]) -> tuple[float, ...]:
    """Return n / (classes * count) for each class: the mean over all pictures is 1, and each class weighs alike.

    counts: pictures of each class. Raises PellucidError for a class without any.
    Source: King, Zeng 2001, "Logistic Regression in Rare Events Data", section 4; the "balanced" of scikit-learn.
    """
    if not counts or min(counts) < 1:
        raise PellucidError(f"class_weights: the classes have {list(counts)} pictures; each needs one at least")
    return tuple(sum(counts) / (len(counts) * count) for count in counts)


def imbalance(counts: Sequence[int]) -> float:
    """Return how many times as many pictures the largest class has as the smallest; infinity where that has none."""
    return max(counts) / min(counts) if min(counts) else float("inf")
