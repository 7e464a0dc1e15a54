"""The files of what was found in pictures: an overlay of each, and annotations of all in COCO's format."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy import ndarray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pellucid.errors import PellucidError
from pellucid.files import make_folder, write_atomically


@dataclass(frozen=True)
class Outputs:
    """The files STEM-KIND.png, one for each picture, and KIND.json in a folder."""

    folder: Path
    kind: str

    def overlay(self, stem: str) -> Path:
        """Return the file of a picture's overlay."""
        return self.folder / f"{stem}-{self.kind}.png"

    @property
    def annotations(self) -> Path:
        """The file of the annotations."""
        return self.folder / f"{self.kind}.json"

    def check(self, stems: Sequence[str], sources: Sequence[Path] = ()) -> None:
        """Raise PellucidError where an output would overwrite one of the pictures, or a file of something else.

        Overlays and annotations of an earlier call, which wrote both, are overwritten. Two pictures with outputs of the
        same name are refused too.
        """
        names, pictures = [self.overlay(stem) for stem in stems], {file.resolve() for file in sources}
        twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
        if twice:
            raise PellucidError(f"two pictures would both be written to {twice}; rename one of them")
        there = [name for name in names if name.exists()]
        wrong = next((name for name in there if name.resolve() in pictures), None)
        alone = self.annotations.exists() != any(self.folder.glob(self.overlay("*").name))
        if wrong is None and alone and (there or self.annotations.exists()):
            wrong = there[0] if there else self.annotations
        if wrong is not None:
            raise PellucidError(f"{wrong} would be overwritten; give another output folder")

    def write_overlay(self, stem: str, shown: ndarray) -> Path:
        """Write a picture (H, W, 3) uint8, and return its path."""
        make_folder(self.folder)
        write_atomically(self.overlay(stem), png(Image.fromarray(shown)))
        return self.overlay(stem)

    def write_annotations(self, found: Mapping[str, Any]) -> Path:
        """Write annotations, the value of a COCO file, and return its path."""
        make_folder(self.folder)
        write_atomically(self.annotations, (json.dumps(found) + "\n").encode())
        return self.annotations


def png(picture: Image.Image, about: PngInfo | None = None) -> bytes:
    """Return a picture as the bytes of a PNG file, with text chunks `about` it."""
    file = io.BytesIO()
    picture.save(file, "PNG", pnginfo=about)
    return file.getvalue()
