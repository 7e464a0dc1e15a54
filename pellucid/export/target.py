"""Description of a file format to which models are exported."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pellucid.export.parity import Parity
from pellucid.model import Model


@dataclass(frozen=True)
class ExportTarget:
    """A file format to which models are exported."""

    # The format's name in commands.
    name: str
    # Its name in texts.
    title: str
    # The suffix of the first file.
    suffix: str
    # (model, path, size (H, W) of the images, or None for the model's) -> the difference of the file's outputs from the
    # model's, after it is written; raises PellucidError for models that the format cannot express, and ParityError.
    write: Callable[[Model, Path, tuple[int, int] | None], Parity]
    # (path of the first file) -> the paths of all files that are written.
    files: Callable[[Path], tuple[Path, ...]] = lambda path: (path,)
    # (model's name) -> the file's name without suffix.
    file_stem: Callable[[str], str] = str
    # Why the format has no size of the images to set; "" if it has one.
    size_fault: str = ""
    # What --whole writes: a file from pictures to the values of `predict`; None if the format has none.
    whole: "ExportTarget | None" = None
