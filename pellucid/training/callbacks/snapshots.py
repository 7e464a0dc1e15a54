"""The weights of some epochs as files, to look at what was learned when."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from pellucid.run.history import Row
from pellucid.training.callbacks.base import Callback, Training

PATTERN = "epoch-{}.safetensors"


class Snapshots(Callback):
    """Write the model into `folder` as epoch-N.safetensors after each epoch N of `epochs`; 0 is before the first.

    They are what `Model.load` reads, and change nothing of the training.
    """

    saves: ClassVar[bool] = True

    def __init__(self, folder: str | os.PathLike[str], epochs: Iterable[int]) -> None:
        self.folder = Path(folder)
        self.epochs = frozenset(epochs)

    def on_start(self, training: Training) -> None:
        """Write the weights that nothing has been learned into, of a training that begins."""
        if training.step == 0:
            self._keep(training)

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Write the epoch's weights if they are requested."""
        self._keep(training)

    def _keep(self, training: Training) -> None:
        if training.epoch in self.epochs:
            training.model.save(self.folder / PATTERN.format(training.epoch))


def kept_epochs(folder: Path) -> dict[int, Path]:
    """Return the files that Snapshots left in a folder of weights, by epoch, the first first."""
    numbers = {path: path.stem.removeprefix("epoch-") for path in folder.glob(PATTERN.format("*"))}
    return dict(sorted((int(number), path) for path, number in numbers.items() if number.isdecimal()))
