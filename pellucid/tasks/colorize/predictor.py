"""The predictor of colorizers, which writes colorized pictures and a page with the pictures before and after."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from pellucid.base.files import make_folder, write_atomically
from pellucid.base.limits import MAX_COLORIZED_PIXELS
from pellucid.base.text import plural
from pellucid.data.images import load_channels, read_full_size
from pellucid.metrics import colourfulness_rgb
from pellucid.model import Model
from pellucid.predictor import Picture, Predicted, Predictor
from pellucid.report.embedded import embedded
from pellucid.report.sections import ImageRow, Page, Section
from pellucid.tasks.colorize.colorizer import Colorizer, ColourSmoothing, lightness_of
from pellucid.tasks.colorize.hints import Hint
from pellucid.tasks.outputs import check_outputs, png

PAGE = "colorized.html"
PNG_MARK = {"Software": "pellucid colorize"}  # text in each PNG file; files with it may be overwritten later
PICTURE_SIDE = 320  # pixels, the longest side of a picture on the page


def file_name(stem: str) -> str:
    """Return the name of the file that `write_colorized` writes."""
    return f"{stem}-colorized.png"


def check_files(folder: Path, stems: Sequence[str], sources: Sequence[Path] = ()) -> None:
    """Raise PellucidError if `write_colorized` would overwrite one of the `sources`, or a file that it did not write.

    Also raises PellucidError if two pictures have output files of the same name.
    """
    check_outputs([[folder / file_name(stem)] for stem in stems], sources, _are_ours)


def _are_ours(files: Sequence[Path]) -> bool:
    try:
        with Image.open(files[0]) as image:
            return PNG_MARK.items() <= image.info.items()
    except OSError:
        return False


def write_colorized(folder: Path, stem: str, picture: Tensor) -> Path:
    """Write a picture (3 or 4, H, W) uint8 as STEM-colorized.png, and return its path.

    Raises the errors of `check_files`.
    """
    check_files(folder, [stem])
    png_texts = PngImagePlugin.PngInfo()
    for key, value in PNG_MARK.items():
        png_texts.add_text(key, value)
    image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
    write_atomically(make_folder(folder) / file_name(stem), png(image, png_texts), durable=False)
    return folder / file_name(stem)


class BeforeAndAfter:
    """A page of at most `max_pictures` pictures: each in grey, colorized, and the original if it has colours."""

    def __init__(self, max_pictures: int = 24) -> None:
        self.max_pictures = max_pictures
        self.rows: list[ImageRow] = []

    @property
    def is_full(self) -> bool:
        """Whether the page has `max_pictures` pictures, so that no more are added."""
        return len(self.rows) >= self.max_pictures

    def add(self, name: str, image: Tensor, grey: Tensor, colorized: Tensor) -> None:
        """Add a picture. image: as read, (C, H, W) uint8. grey, colorized: (3 or 4, H, W) uint8."""
        pictures = [("grey", embedded(grey[:3], PICTURE_SIDE)), ("colorized", embedded(colorized[:3], PICTURE_SIDE))]
        if len(image) > 2 and bool((image[:3] != image[:1]).any()):
            pictures.append(("original", embedded(image[:3], PICTURE_SIDE)))
        self.rows.append(ImageRow(name, pictures))

    def write(self, folder: Path, title: str, total: int) -> Path:
        """Write the page into a folder, and return its path; total: the number of pictures colorized."""
        shown_text = f", of which {len(self.rows)} are shown" if len(self.rows) < total else ""
        about = f"{plural(total, 'picture')}{shown_text}. A colorized picture has the lightness of the grey one."
        sections = [Section("", images.name, [images], wide=True) for images in self.rows]
        write_atomically(folder / PAGE, Page(title, sections, about).html().encode("utf-8"))
        return folder / PAGE


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
        colourfulness = float(colourfulness_rgb(colorized[None, :3] / 255))
        _, height, width = colorized.shape
        row = {"image": picture.file, "height": height, "width": width, "colourfulness": colourfulness}
        file = picture.file
        if self.out is not None:
            file = row["file"] = str(write_colorized(self.out, picture.name, colorized))
        if self.out is not None and not self.before_and_after.is_full and (picture.frame or 0) % PAGE_INTERVAL == 0:
            grey = self.colorizer.painted(image, lightness, torch.zeros_like(ab))
            self.before_and_after.add(picture.file, image, grey, colorized)
        path = None if self.out is None else Path(file)
        line = f"{file}: {width}x{height}, colourfulness {colourfulness:.1f}"
        return Predicted(row, line, image=colorized, file=path)
