"""Losses that still fall when a training ends."""

import pytest

from pellucid.doctor.measure.falling import falling
from pellucid.run.history import History


@pytest.mark.parametrize(
    ("losses", "still"),
    [
        ([], False),
        ([2.0], True),
        ([2.0, 1.0], True),
        ([2.0, 2.0], False),
        ([4.0, 1.0, 1.0, 1.0, 1.0], False),
        ([4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.99, 0.97], True),  # over the last fourth, not the last epoch alone
        ([4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.99], False),
        ([1.0, 2.0], False),
    ],
)
def test_the_last_fourth_of_the_epochs_tells(losses: list[float], still: bool) -> None:
    assert falling(History([{"epoch": k + 1, "train_loss": loss} for k, loss in enumerate(losses)])) == still


def test_without_a_history_nothing_is_known() -> None:
    assert not falling(None)
