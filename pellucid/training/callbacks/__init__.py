"""What may happen around the epochs of a training: one per file."""

from pellucid.training.callbacks.base import Callback, Training, better
from pellucid.training.callbacks.checkpoint import Checkpoint
from pellucid.training.callbacks.csv_log import CSVLog
from pellucid.training.callbacks.early_stopping import EarlyStopping
from pellucid.training.callbacks.progress import Progress
from pellucid.training.callbacks.snapshots import Snapshots, kept_epochs

__all__ = [
    "CSVLog",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "Progress",
    "Snapshots",
    "Training",
    "better",
    "kept_epochs",
]
