"""Output files for pictures: an overlay of each one, and the annotations of all in COCO's format."""

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
        """Raise PellucidError if an output would overwrite a picture, or a file that no earlier call wrote.

        An earlier call wrote both overlays and annotations; these are overwritten. Two pictures with outputs of the
        same name also raise PellucidError.
        """
        names, pictures = [self.overlay(stem) for stem in stems], {file.resolve() for file in sources}
        duplicate = next((name for k, name in enumerate(names) if name in names[:k]), None)
        if duplicate:
            raise PellucidError(f"two pictures would both be written to {duplicate}; rename one of them")
        existing = [name for name in names if name.exists()]
        conflict = next((name for name in existing if name.resolve() in pictures), None)
        incomplete = self.annotations.exists() != any(self.folder.glob(self.overlay("*").name))
        if conflict is None and incomplete and (existing or self.annotations.exists()):
            conflict = existing[0] if existing else self.annotations
        if conflict is not None:
            raise PellucidError(f"{conflict} would be overwritten; give another output folder")

    def write_overlay(self, stem: str, shown: ndarray) -> Path:
        """Write the overlay of a picture, (H, W, 3) uint8, and return its path."""
        make_folder(self.folder)
        write_atomically(self.overlay(stem), png(Image.fromarray(shown)))
        return self.overlay(stem)

    def write_annotations(self, found: Mapping[str, Any]) -> Path:
        """Write annotations, the content of a COCO file, and return its path."""
        make_folder(self.folder)
        write_atomically(self.annotations, (json.dumps(found) + "\n").encode())
        return self.annotations


def png(picture: Image.Image, about: PngInfo | None = None) -> bytes:
    """Return a picture as the bytes of a PNG file; about: the text chunks of the file."""
    file = io.BytesIO()
    picture.save(file, "PNG", pnginfo=about)
    return file.getvalue()
