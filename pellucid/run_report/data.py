"""What a report shows, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.network.summary import Summary


@dataclass(frozen=True)
class Mistakes:
    """Misread images, the most confident first.

    images: (n, 1 or 3, H, W), values 0..1. true, predicted: names of classes. probability: what the network gave
    the predicted class. total: how many images were misread in all.
    """

    images: NDArray[np.float32]
    true: Sequence[str]
    predicted: Sequence[str]
    probability: Sequence[float]
    total: int


@dataclass(frozen=True)
class Masks:
    """Pictures with the lowest mean IoU of their own, worst first.

    images: (n, H, W, 3), uint8. true, predicted: (n, H, W), classes. names: of the files, where they are known.
    """

    images: NDArray[np.uint8]
    true: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    scores: Sequence[float]
    names: Sequence[str] = ()


@dataclass(frozen=True)
class ReportData:
    """One run. What is missing or empty is said to be so in the report, never left out in silence.

    metrics: accuracy, loss and n of the held-out images, and any of seconds, images_per_second, epochs.
    history: rows with epoch, lr, train_loss, train_accuracy, val_loss, val_accuracy. held: what val_loss and
    val_accuracy were measured on, "validation" or "test". layers: rows with epoch, path, grad_norm, update_ratio.
    confusion: (K, K) counts, true by predicted. first_weights: (filters, C, H, W). recipe_text: the complete TOML.
    manifest: versions, seed, checksums, the hash of the weights; may be nested.
    """

    recipe: str
    command: str
    about: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    held: str = "validation"
    layers: Sequence[Mapping[str, Any]] = ()
    classes: Sequence[str] = ()
    confusion: NDArray[np.int64] | None = None
    mistakes: Mistakes | None = None
    masks: Masks | None = None
    first_path: str = ""
    first_weights: NDArray[np.float32] | None = None
    summary: Summary | None = None
    recipe_text: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
