"""The predictor of colorizers, which writes colorized pictures and a page with the pictures before and after."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.base.limits import MAX_COLORIZED_PIXELS
from pellucid.data.images import load_channels, read_full_size
from pellucid.metrics import colourfulness_rgb
from pellucid.model import Model
from pellucid.predictor import Picture, Predicted, Predictor
from pellucid.tasks.colorize.colorizer import Colorizer, ColourSmoothing, lightness_of
from pellucid.tasks.colorize.hints import Hint
from pellucid.tasks.colorize.output_files import BeforeAndAfter, check_files, write_colorized

PAGE_INTERVAL = 12  # the page shows every 12th frame of a video


class ColorPredictor(Predictor):
    """Colorizes pictures, keeping their lightness; writes the pictures and a page into `out` unless it is None.

    strength: see Colorizer. hints: given colours by file name. title: of the page.
    """

    folder_required_reason = (
        "colorized pictures are files; give their folder with --out DIR, or use `pellucid colorize`"
    )

    def __init__(
        self, model: Model, out: Path | None, strength: float, hints: Mapping[str, tuple[Hint, ...]], title: str
    ) -> None:
        self.colorizer, self.out, self.hints, self.title = Colorizer(model, strength), out, hints, title
        self.smoothing, self.before_and_after = ColourSmoothing(), BeforeAndAfter()

    def check(self, names: Sequence[str], files: Sequence[Path]) -> None:
        """Raise PellucidError if an output would overwrite another file."""
        if self.out is not None:
            check_files(self.out, names, files)

    def read(self, source: Path | bytes, name: str = "") -> Tensor:
        """Return the image of a file or of its bytes, (C, H, W), with the channels of the file."""
        name = name or str(source)
        return load_channels(read_full_size(source, name, limit=MAX_COLORIZED_PIXELS), name)

    def finish(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Path | None]:
        """Write the page, if there is an output folder; return the values of the pictures, and the page's path."""
        if self.out is None:
            return {"pictures": rows}, None
        page = self.before_and_after.write(self.out, self.title, len(rows))
        return {"pictures": rows, "page": str(page)}, page

    def predict_one(self, picture: Picture, image: Tensor) -> Predicted:
        """Return a colorized picture with its file."""
        lightness = lightness_of(image)
        ab = self.colorizer.ab(lightness[None], self.hints.get(picture.file, ()))[0]  # (2, H, W), the colour channels
        if picture.frame is not None:
            ab = self.smoothing(lightness, ab)
        colorized = self.colorizer.painted(image, lightness, ab)
        colourful = float(colourfulness_rgb(colorized[None, :3] / 255))
        _, height, width = colorized.shape
        row = {"image": picture.file, "height": height, "width": width, "colourfulness": colourful}
        file = picture.file
        if self.out is not None:
            file = row["file"] = str(write_colorized(self.out, picture.name, colorized))
        if self.out is not None and not self.before_and_after.is_full and (picture.frame or 0) % PAGE_INTERVAL == 0:
            grey = self.colorizer.painted(image, lightness, torch.zeros_like(ab))
            self.before_and_after.add(picture.file, image, grey, colorized)
        path = None if self.out is None else Path(file)
        line = f"{file}: {width}x{height}, colourfulness {colourful:.1f}"
        return Predicted(row, line, image=colorized, file=path)
