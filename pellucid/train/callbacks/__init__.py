"""What may happen around the epochs of a training: one per file."""

from pellucid.train.callbacks.base import Callback, Training, better
from pellucid.train.callbacks.checkpoint import Checkpoint
from pellucid.train.callbacks.csv_log import CSVLog
from pellucid.train.callbacks.early_stopping import EarlyStopping
from pellucid.train.callbacks.progress import Progress
from pellucid.train.callbacks.snapshots import Snapshots, kept_epochs

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
