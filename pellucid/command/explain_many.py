"""Explanations of many pictures: a predictor that writes a folder of maps for each picture."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data.images import read_file
from pellucid.predictor import Picture, Predicted, Predictor
from pellucid.task import Explained


class ExplanationPredictor(Predictor):
    """A predictor that explains pictures one by one, each with its own folder in `out`.

    explain: a function of a picture, its bytes, and its folder. `predict` raises PellucidError if `out` is None.
    """

    def __init__(self, explain: Callable[[Picture, bytes, Path], Explained], out: Path | None) -> None:
        self.explain, self.out = explain, out

    def read(self, source: Path | bytes, name: str = "") -> Tensor:
        """Return the bytes of an image file as (1, n) uint8; the task decodes them when it explains the image."""
        data = source if isinstance(source, bytes) else read_file(source)
        return torch.frombuffer(bytearray(data), dtype=torch.uint8)[None] if data else torch.empty((1, 0)).byte()

    def predict(self, batch: Sequence[tuple[Picture, Tensor]]) -> Iterator[Predicted | PellucidError]:
        """Yield the results of each picture with the names of the written files, or the error of the picture."""
        if self.out is None:
            raise PellucidError("explanations of many pictures are files; give their folder with --out DIR")
        for picture, data in batch:
            try:
                explanation = self.explain(picture, data.numpy().tobytes(), self.out / picture.name)
            except PellucidError as error:
                yield error
            else:
                values = {
                    "image": picture.file,
                    **explanation.values,
                    "files": [str(file) for file in explanation.files],
                }
                yield Predicted(values, f"{picture.file}: {len(explanation.files)} files")
