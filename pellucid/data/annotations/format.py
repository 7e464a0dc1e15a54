"""Description of one format of annotations, with the functions that read and write it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.data.annotations.base import Annotations
from pellucid.data.tree import Tree

ALL_KINDS = frozenset({"box", "masks", "keypoints", "crowd"})  # kinds that `AnnotationFormat.written` may return


@dataclass(frozen=True)
class AnnotationFormat:
    """A format of annotations.

    name: used in commands and messages. parts: returns the files of this format in a tree, by part. read: reads the
    files of one part. write: writes annotations, by part, into a folder; None if it is only read. image_path: returns
    the path of an image in that folder, from its part and file name. written: returns the subset of ALL_KINDS that
    `write` stores, and "void" if it stores pixels without a class. masks_as_polygons: whether masks are written as
    polygons. holds_class, holds_image: return whether the name of a class, or the file name of an image, is the same
    after it is written and read. class_fault: returns the reason if all class names together cannot be written, ""
    otherwise.
    """

    name: str
    parts: Callable[[Tree], dict[str, tuple[str, ...]]]
    read: Callable[[Tree, Sequence[str], Sequence[str] | None], Annotations]
    write: Callable[[Mapping[str, Annotations], Path], None] | None
    image_path: Callable[[str, str], str]
    written: Callable[[Annotations], frozenset[str]] = lambda annotations: ALL_KINDS
    masks_as_polygons: bool = False
    holds_class: Callable[[str], bool] = lambda name: True
    holds_image: Callable[[str], bool] = lambda name: "\\" not in name  # readers replace it by "/"
    class_fault: Callable[[Mapping[str, Annotations]], str] = lambda parts: ""
