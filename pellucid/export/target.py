"""What a file format to which models are exported provides."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pellucid.export.parity import Parity
from pellucid.model import Model


@dataclass(frozen=True)
class ExportTarget:
    """A file format to which models are exported.

    name: in commands. suffix: of the file. write: writes a model into a file, for images of a size (H, W) or None, and
    returns the difference of the file's outputs; raises PellucidError for what the format cannot hold, and ParityError.
    files: returns all files that are written for the path of the first. stem: returns the name of the file, without
    suffix, for the name of a model. size_fault: why no size of images can be given, "" if it can.
    """

    name: str
    suffix: str
    write: Callable[[Model, Path, tuple[int, int] | None], Parity]
    files: Callable[[Path], tuple[Path, ...]] = lambda path: (path,)
    stem: Callable[[str], str] = str
    size_fault: str = ""
