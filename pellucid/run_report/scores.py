"""Numbers from a confusion matrix."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.metrics import f1, macro, precision, recall


def class_rows(confusion: NDArray[np.int64], classes: Sequence[str]) -> list[tuple[str, ...]]:
    """Return (class, precision, recall, F1, n) as text for each class, and their unweighted mean as the last row.

    confusion: (K, K) counts, true by predicted. What has no cases is 0, as in `pellucid.metrics`.
    """
    counts = torch.from_numpy(confusion)
    columns = [measure(counts) for measure in (precision, recall, f1)]
    true = counts.sum(1)
    rows = [
        (name, *(_percent(float(column[k])) for column in columns), f"{int(true[k]):,}")
        for k, name in enumerate(classes)
    ]
    return [*rows, ("mean", *(_percent(macro(column)) for column in columns), f"{int(true.sum()):,}")]


def common_confusions(confusion: NDArray[np.int64], classes: Sequence[str], most: int = 5) -> list[str]:
    """Return the most frequent mistakes as text, such as "4 → 9 (12 times)"."""
    wrong = np.array(confusion, dtype=np.int64)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [(int(place) // len(classes), int(place) % len(classes)) for place in order]
    return [
        f"{classes[true]} → {classes[said]} ({_times(int(wrong[true, said]))})"
        for true, said in pairs
        if wrong[true, said]
    ]


def confusions_text(confusion: NDArray[np.int64], classes: Sequence[str]) -> str:
    """Return the most frequent mistakes as a sentence."""
    often = common_confusions(confusion, classes)
    return f"Most frequent: {', '.join(often)}." if often else "No image was misclassified."


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
