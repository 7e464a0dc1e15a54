"""What a module for one format of annotations provides."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.data.annotations.base import Annotations
from pellucid.data.tree import Tree


def every_class(name: str) -> bool:
    """Return True: JSON holds every class name."""
    return True


def plain_image(name: str) -> bool:
    """Return whether the file name of an image is not read as a path of Windows."""
    return "\\" not in name


def no_class_fault(parts: Mapping[str, Annotations]) -> str:
    """Return "": the format holds any number of class names."""
    return ""


@dataclass(frozen=True)
class Format:
    """A format of annotations.

    name: in commands and messages. parts: returns the files of this format in a tree, by part. read: reads the files of
    one part. write: writes annotations, by part, into a folder. image_path: returns the path of an image in that
    folder, from its part and file name. written: returns the subset of "box", "masks", "keypoints" and "crowd" that is
    written of the annotations of one part. masks_as_polygons: whether masks are written as polygons. holds_class,
    holds_image: return whether the name of a class, or the file name of an image, is the same after it is written and
    read. class_fault: returns why all class names together cannot be written, "" if they can.
    """

    name: str
    parts: Callable[[Tree], dict[str, tuple[str, ...]]]
    read: Callable[[Tree, Sequence[str], Sequence[str] | None], Annotations]
    write: Callable[[Mapping[str, Annotations], Path], None]
    image_path: Callable[[str, str], str]
    written: Callable[[Annotations], frozenset[str]]
    masks_as_polygons: bool = False
    holds_class: Callable[[str], bool] = every_class
    holds_image: Callable[[str], bool] = plain_image
    class_fault: Callable[[Mapping[str, Annotations]], str] = no_class_fault
