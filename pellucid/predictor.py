"""The interface of predictors: what is predicted for pictures, and the files that are written."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pellucid.errors import PellucidError

if TYPE_CHECKING:
    from torch import Tensor


class Picture(NamedTuple):
    """An image to predict on.

    name: for output files, different for each image. file: the file name. read: returns the image. frame: the index in
    a video or of a camera, from 0; None for image files.
    """

    name: str
    file: str
    read: "Callable[[], Tensor]"
    frame: int | None = None


class Predicted(NamedTuple):
    """A prediction for one picture: JSON values, and a line of text."""

    values: Mapping[str, Any]
    line: str


class Predictor(ABC):
    """Predicts with one model on pictures, from files or frame by frame, and writes files if it was given a folder.

    mode: in which pictures are read, "L" for a network with one input channel.
    """

    mode: Literal["L", "RGB"] = "RGB"

    def check(self, names: Sequence[str], files: Sequence[Path]) -> None:
        """Raise PellucidError if outputs for these pictures would overwrite other files; called before any is read.

        By default, nothing is written.
        """
        return

    def read(self, file: Path) -> "Tensor":
        """Return an image file as a tensor (C, H, W), by default uint8 in its own size."""
        from pellucid.data.images import full_size, load_image

        return load_image(full_size(file), str(file), mode=self.mode)

    def frame(self, picture: "Tensor") -> "Tensor":
        """Return a frame (3, H, W) uint8 of a video or a camera as `read` returns a file."""
        from pellucid.data.images import luma

        return luma(picture) if self.mode == "L" else picture

    @abstractmethod
    def predict(self, batch: Sequence[tuple[Picture, "Tensor"]]) -> Iterable[Predicted | PellucidError]:
        """Yield the prediction for each picture of a batch, in order, or the error because of which there is none."""

    def finish(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Path | None]:
        """Return the JSON values for all pictures, and a file that was written for all of them, if any.

        rows: the values of each picture, which are "pictures" by default.
        """
        return {"pictures": rows}, None
