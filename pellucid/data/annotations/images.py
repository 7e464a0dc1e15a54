"""Image files that annotations refer to, and the part of the data set that a path belongs to."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from pellucid.data.images import image_size
from pellucid.data.tree import HELD_OUT, TRAIN, Tree
from pellucid.errors import PellucidError
from pellucid.files import is_picture

PARTS = (TRAIN, "trainval", *HELD_OUT)
_WORD = re.compile("[a-z]+")


def part_of(name: str) -> str:
    """Return the part in a path's words, such as "train" for train2017/1.jpg (the last one), or "" if there is none."""
    words = _WORD.findall(name.lower())
    return next((word for word in reversed(words) if word in PARTS), "")


def by_part(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return files by the part in their paths, see `part_of`."""
    names_by_part: dict[str, list[str]] = {}
    for name in names:
        names_by_part.setdefault(part_of(name), []).append(name)
    return {part: tuple(files) for part, files in names_by_part.items()}


class ImageIndex:
    """Index of the images of a tree by file name."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.images = [name for name in tree.names if is_picture(name)]
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for name in self.images:
            path = PurePosixPath(name)
            self._by_name.setdefault(path.name, []).append(name)
            self._by_stem.setdefault(path.stem, []).append(name)

    def named(self, name: str, annotations: str) -> str:
        """Return the image whose path ends with `name`; PellucidError unless exactly one is closest."""
        path = PurePosixPath(name.replace("\\", "/"))
        matching = [candidate for candidate in self._by_name.get(path.name, ()) if f"/{candidate}".endswith(f"/{path}")]
        return self._closest(matching, f"image {name!r:.200}", annotations)

    def of_stem(self, stem: str, annotations: str) -> str:
        """Return the image with this name without suffix; PellucidError unless exactly one is closest."""
        return self._closest(self._by_stem.get(stem, []), f"image of {stem!r:.200}", annotations)

    def size(self, name: str) -> tuple[int, int]:
        """Return the size (H, W) of an image, read from its header."""
        return image_size(self.tree.read(name), self.tree.where(name))

    def _closest(self, candidates: list[str], what: str, annotations: str) -> str:
        """Return the candidate with the most folder names that occur in the path of the annotations.

        Raises PellucidError without candidates, and if several have the most. what: the image in the message.
        """
        shared = {
            candidate: sum(part in annotations for part in PurePosixPath(candidate).parts[:-1])
            for candidate in candidates
        }
        most = max(shared.values(), default=0)
        best = [candidate for candidate in candidates if shared[candidate] == most]
        if len(best) != 1:
            problem = f"is found as {best[0]} and {best[1]}" if best else f"is not below {self.tree.path}"
            raise PellucidError(f"{what} {problem}")
        return best[0]
