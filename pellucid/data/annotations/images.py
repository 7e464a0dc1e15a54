"""The image files that annotations name, and the parts that files belong to by their names."""

import re
from pathlib import PurePosixPath

from pellucid.data.images import image_size
from pellucid.data.tree import HELD_OUT, TRAIN, Tree
from pellucid.errors import PellucidError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
PARTS = (TRAIN, "trainval", *HELD_OUT)
_WORD = re.compile("[a-z]+")


def is_image(name: str) -> bool:
    """Return whether a file is an image by its suffix."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def part_of(name: str) -> str:
    """Return the part that a path names in one of its words, such as "train" for train2017/1.jpg, else ""."""
    words = _WORD.findall(name.lower())
    return next((word for word in reversed(words) if word in PARTS), "")


class ImageIndex:
    """The images of a tree, found by what annotations call them."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.images = [name for name in tree.names if is_image(name)]
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for name in self.images:
            path = PurePosixPath(name)
            self._by_name.setdefault(path.name, []).append(name)
            self._by_stem.setdefault(path.stem, []).append(name)

    def named(self, name: str, annotations: str) -> str:
        """Return the image whose path ends with `name`; PellucidError unless there is one."""
        path = PurePosixPath(name.replace("\\", "/"))
        found = [one for one in self._by_name.get(path.name, ()) if f"/{one}".endswith(f"/{path}")]
        return self._closest(found, f"image {name!r:.200}", annotations)

    def of_stem(self, stem: str, annotations: str) -> str:
        """Return the image that has this name without its suffix; PellucidError unless there is one."""
        return self._closest(self._by_stem.get(stem, []), f"image of {stem!r:.200}", annotations)

    def size(self, name: str) -> tuple[int, int]:
        """Return (H, W) of an image, from its header."""
        return image_size(self.tree.read(name), self.tree.where(name))

    def _closest(self, found: list[str], what: str, annotations: str) -> str:
        """Return the candidate that shares most folders with the path of the annotations."""
        shared = {one: sum(part in annotations for part in PurePosixPath(one).parts[:-1]) for one in found}
        best = [one for one in found if shared[one] == max(shared.values())]
        if len(best) != 1:
            why = f"is found as {best[0]} and {best[1]}" if best else f"is not below {self.tree.path}"
            raise PellucidError(f"{what} {why}")
        return best[0]
