"""Description of one format of annotations, with the functions that read and write it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.data.annotations.base import Annotations
from pellucid.data.tree import Tree

ALL_KINDS = frozenset({"box", "masks", "keypoints", "crowd"})  # kinds that `AnnotationFormat.written` may return


@dataclass(frozen=True)
class AnnotationFormat:
    """A format of annotations: how its files are found and read and, if it is written, how and what of them."""

    # A key of pellucid.data.format_names.TITLES.
    name: str
    # (tree) -> its files by part; {} if the tree has another format.
    parts: Callable[[Tree], dict[str, tuple[str, ...]]]
    # (tree, the files of a part, the allowed class names or None) -> their annotations.
    read: Callable[[Tree, Sequence[str], Sequence[str] | None], Annotations]
    # (annotations by part, folder): writes them; None if the format is only read.
    write: Callable[[Mapping[str, Annotations], Path], None] | None = None
    # (part, file name of an image) -> the path of the image in the folder that is written.
    image_path: Callable[[str, str], str] = lambda part, name: name
    # (annotations) -> the subset of ALL_KINDS that `write` stores, and "void" if it stores pixels without a class.
    written: Callable[[Annotations], frozenset[str]] = lambda annotations: ALL_KINDS
    # Whether masks are written as polygons.
    masks_as_polygons: bool = False
    # (class name, or file name of an image) -> whether it is the same after it is written and read.
    holds_class: Callable[[str], bool] = lambda name: True
    holds_image: Callable[[str], bool] = lambda name: "\\" not in name  # readers replace it by "/"
    # (annotations by part) -> why all class names together cannot be written; "" if they can.
    class_fault: Callable[[Mapping[str, Annotations]], str] = lambda parts: ""
    # (tree) -> its annotation files, where `parts` returns other files, such as images; None for those of `parts`.
    files: Callable[[Tree], Sequence[str]] | None = None
