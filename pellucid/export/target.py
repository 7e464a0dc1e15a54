"""Description of a file format to which models are exported."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pellucid.export.parity import Parity
from pellucid.model import Model


@dataclass(frozen=True)
class ExportTarget:
    """A file format to which models are exported.

    name: the format's name in commands.
    suffix: the file's suffix.
    write: writes a model into a file, for images of a size (H, W) or None for the model's size, and returns the
        difference of the file's outputs from the model's; raises PellucidError for models that the format cannot
        express, and ParityError.
    files: returns the paths of all files that are written, from the path of the first.
    stem: returns the file's name without suffix from the model's name.
    size_fault: the error message for an image size, "" if the format accepts one.
    """

    name: str
    suffix: str
    write: Callable[[Model, Path, tuple[int, int] | None], Parity]
    files: Callable[[Path], tuple[Path, ...]] = lambda path: (path,)
    stem: Callable[[str], str] = str
    size_fault: str = ""
