"""Analysis of the weights of an epoch: the confusion matrix on held-out images, the first filters, and feature maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check
from pellucid.data import float_images
from pellucid.metrics import class_scores, classes_of, confusion_matrix
from pellucid.nested import flatten
from pellucid.recipe.watched import is_taught
from pellucid.run.folder import RunFolder
from pellucid.studio.messages import Reply
from pellucid.studio.runs import process_of
from pellucid.task import task_of
from pellucid.training.callbacks import snapshot_files

if TYPE_CHECKING:
    from pellucid.model import Model

MAX_TESTED = 2000  # held-out images of a confusion matrix, at evenly spaced indices
MAX_IMAGES = 24  # of a cell of the confusion matrix
BATCH = 256
MAX_FILTERS = 16
MAX_MAP_SIDE = 256  # of filters and feature maps


@dataclass(frozen=True, eq=False)
class Tested:
    """Held-out images (N, C, H, W) with their classes (N,), and the classes (N,) that a model predicts for them."""

    images: Tensor
    true: Tensor
    predicted: Tensor
    classes: tuple[str, ...]

    @property
    def counts(self) -> Tensor:
        """The confusion matrix (K, K), true by predicted."""
        return confusion_matrix(self.true, self.predicted, len(self.classes))

    def cell(self, true: int, predicted: int) -> Tensor:
        """Return the indices of the images of class `true` that are predicted as class `predicted`."""
        return torch.nonzero((self.true == true) & (self.predicted == predicted)).flatten()

    def reply(self, true: int, predicted: int) -> Reply:
        """Return the first images of a cell, and their total number; raise PellucidError for no class."""
        last = len(self.classes) - 1
        check(0 <= true <= last and 0 <= predicted <= last, "a class", f"from 0 to {last}", "beyond it")
        indices = self.cell(true, predicted)
        images = as_pictures(self.images[indices[:MAX_IMAGES]]) if len(indices) else None
        tensors = {} if images is None else {"images": images}
        return Reply({"true": true, "predicted": predicted, "count": len(indices)}, tensors)


def weights_by_epoch(path: Path, epochs: int) -> dict[int, Path]:
    """Return the weights files of a run by epoch, in ascending order: the kept ones, or that of the last epoch.

    Those of a run of the view Teach, which has no epochs, are of epoch 0.
    While the run is being trained, its last checkpoint may be of an earlier epoch and is not returned.
    """
    folder = RunFolder(path)
    if is_taught(path):
        return {0: folder.best}
    kept = snapshot_files(folder.weights)
    return kept or ({epochs: folder.last} if epochs and folder.last.is_file() and process_of(path) is None else {})


def held_out(model: Model, source: str | None) -> Any:
    """Return held-out images and their targets, at most MAX_TESTED; raises PellucidError for a task without them.

    source: the data, by default those that the model names.
    """
    data = task_of(model).held_out(model, source)
    indices = torch.linspace(0, len(data) - 1, min(len(data), MAX_TESTED)).round().long()
    return data.x[indices], data.y[indices]


def tested(model: Model, held_out: Callable[[], tuple[Tensor, Tensor]]) -> Tested:
    """Return the predictions of a classifier for `held_out()`; raises PellucidError for other models."""
    try:
        classes = task_of(model).class_names(model)
    except PellucidError as error:
        raise PellucidError("this task has no classes of whole pictures, so there is no confusion matrix") from error
    x, y = held_out()
    scores = torch.cat([class_scores(model.predict(part).cpu()) for part in x.split(BATCH)])
    if scores.ndim != 2 or scores.shape[1] != len(classes) or y.ndim != 1:
        raise PellucidError("this task has no classes of whole pictures, so there is no confusion matrix")
    return Tested(x, y, classes_of(scores), classes)


def filters(model: Model) -> tuple[str, Tensor]:
    """Return the path of the first weight that can be shown as pictures, and the pictures (n, h, w).

    They are the kernels of a convolution, or the rows of a dense layer in the shape of the input, averaged over
    channels. Raises PellucidError if there is no such weight.
    """
    shape = model.nominal_shape
    for path, weight in flatten(model.params).items():
        if weight.ndim == 4 and min(weight.shape[2:]) > 1:
            return path, weight.mean(1)[:MAX_FILTERS]
        if weight.ndim == 2 and len(shape) == 3 and weight.shape[1] == math.prod(shape) and min(shape[1:]) > 1:
            return path, weight.view(-1, *shape).mean(1)[:MAX_FILTERS]
    raise PellucidError("this network has no weights that can be seen as pictures")


def maps(model: Model, path: str, x: Tensor, y: Tensor) -> Tensor:
    """Return the outputs (n, h, w) of the layer whose weight has this path, for one image x (1, C, H, W)."""
    trace = model.trace(x, y)
    call = next((call for call in trace.calls if f"{call.path}.weight" == path), None)
    if call is None:
        raise PellucidError(f"the output of {path.removesuffix('.weight')} is not computed on its own")
    outputs = call.y[0, :MAX_FILTERS].detach()
    return (outputs[:, None, None] if outputs.ndim == 1 else outputs)[:, :MAX_MAP_SIDE, :MAX_MAP_SIDE]


def as_pictures(x: Tensor) -> Tensor | None:
    """Return images (N, C, H, W) as uint8; None for data that are not pictures."""
    if x.ndim != 4 or x.shape[1] not in (1, 3) or min(x.shape[2:]) < 2:
        return None
    return (float_images(x).clamp(0, 1) * 255).round().to(torch.uint8)
