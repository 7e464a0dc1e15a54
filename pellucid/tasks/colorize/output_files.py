"""PNG files of colorized pictures, and the page with the pictures before and after colorization."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, PngImagePlugin
from torch import Tensor

from pellucid.base.files import make_folder, write_atomically
from pellucid.base.text import plural
from pellucid.report.embedded import embedded
from pellucid.report.sections import ImageRow, Page, Section
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
    about = PngImagePlugin.PngInfo()
    for key, value in PNG_MARK.items():
        about.add_text(key, value)
    image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
    write_atomically(make_folder(folder) / file_name(stem), png(image, about), durable=False)
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
