"""Whether a training ended too early."""

from pellucid.doctor.measure.columns import column
from pellucid.run.history import History

LAST = 4  # the last fourth of the epochs is looked at, so that a single epoch's chance does not count
FALLING = 0.98  # the loss at its end over that at its beginning; the noise of batches is less over whole epochs


def falling(history: History | None) -> bool:
    """Whether the training loss still fell when the training ended; so it did where there is but one epoch."""
    losses = column(history, "train_loss")
    back = max(len(losses) // LAST, 1)
    return bool(losses) and (len(losses) <= back or losses[-1] < FALLING * losses[-1 - back])
