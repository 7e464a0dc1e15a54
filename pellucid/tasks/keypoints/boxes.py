"""The boxes of the objects whose key-points are found: those of annotations, or those that a detector finds."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.command.models import open_model
from pellucid.data.annotations.base import check_faults, join_names, size_fault
from pellucid.data.annotations.coco import read_without_images
from pellucid.data.annotations.formats import find_format, read_annotations, training_part_first
from pellucid.data.image_formats import ColourMode
from pellucid.data.images import luma
from pellucid.data.tree import open_tree
from pellucid.predictor import Picture
from pellucid.task import task_of


class ScoredBoxes(NamedTuple):
    """Boxes (n, 4) in pixels of a picture, and their scores (n,)."""

    boxes: Tensor
    scores: Tensor


class BoxFinder(ABC):
    """A function of a picture that returns the boxes of its objects."""

    @abstractmethod
    def __call__(self, picture: Picture, image: Tensor) -> ScoredBoxes:
        """Return the boxes in a picture; image: its pixels (C, H, W) uint8."""


def open_boxes(source: str, kind: str, device: str | None) -> BoxFinder:
    """Return the boxes in annotations, a folder, a .zip or a COCO file in a folder, or those of a detector.

    source: a path, or a model as for commands. kind: the class of the objects of a key-point model: of boxes of several
    classes, only those of this class are used. device: of the detector. Raises PellucidError for other sources, and for
    several classes without `kind`.
    """
    path = Path(source)
    if path.suffix.lower() == ".json" and path.is_file():
        return AnnotatedBoxes(path.parent, path.name, kind)
    if path.is_dir() or (path.suffix.lower() == ".zip" and path.exists()):
        with open_tree(path) as tree:
            has_annotations = bool(find_format(tree)[0])
        if has_annotations:
            return AnnotatedBoxes(path, None, kind)
    return DetectedBoxes(source, kind, device)


class AnnotatedBoxes(BoxFinder):
    """The annotated boxes of pictures, which are known by their file names; crowds are left out.

    file: one COCO file in the folder, whose images may be in any other; None for all annotations of the folder or .zip.
    """

    def __init__(self, path: Path, file: str | None, kind: str) -> None:
        self.path = path
        self.records = {}
        self.repeated_names: set[str] = set()  # file names in several folders
        with open_tree(path) as tree:
            if file:
                parts = [read_without_images(tree, file)]
            else:
                parts = [read_annotations(tree, part) for part in training_part_first(find_format(tree)[1])]
            for annotations in parts:
                check_faults(annotations.faults)
                labels = _labels_of(kind, annotations.classes, str(path))
                for record in annotations.records:
                    name = PurePosixPath(record.image).name
                    self.repeated_names |= {name} & self.records.keys()
                    self.records[name] = record, labels

    def __call__(self, picture: Picture, image: Tensor) -> ScoredBoxes:
        """Return the annotated boxes, with the score 1; raise PellucidError for a picture without annotations."""
        name = PurePosixPath(picture.file.replace("\\", "/")).name
        if name not in self.records or name in self.repeated_names:
            found_text = "several images" if name in self.repeated_names else "no image"
            raise PellucidError(
                f"{self.path} has {found_text} named {name!r:.200}; give the annotations of this picture"
            )
        record, labels = self.records[name]
        if fault := size_fault(record, (image.shape[1], image.shape[2])):
            raise PellucidError(f"{picture.file}: {fault}")
        used_boxes = [instance.box for instance in record.instances if instance.label in labels and not instance.crowd]
        return ScoredBoxes(torch.tensor(used_boxes, dtype=torch.float32).reshape(-1, 4), torch.ones(len(used_boxes)))


class DetectedBoxes(BoxFinder):
    """The boxes that a detector finds, with its scores."""

    def __init__(self, name: str, kind: str, device: str | None) -> None:
        model = open_model(name, device)
        self.predictor = task_of(model).predictor(model)
        self.mode: ColourMode = self.predictor.mode
        classes = model.classes or ()
        self.labels = [classes[label] for label in sorted(_labels_of(kind, classes, name))]
        self.name = name

    def __call__(self, picture: Picture, image: Tensor) -> ScoredBoxes:
        """Return the detected boxes; raise PellucidError for a model that finds none."""
        pixels = luma(image) if self.mode == "L" and len(image) == 3 else image
        pixels = pixels.expand(3, -1, -1) if self.mode == "RGB" else pixels
        (predicted,) = self.predictor.predict([(picture, pixels)])
        if isinstance(predicted, PellucidError):
            raise predicted
        if predicted.boxes is None or predicted.scores is None:
            raise PellucidError(f"--boxes: {self.name} finds no boxes; give a detector, or annotations with boxes")
        if not self.labels:  # the classes have no names
            return ScoredBoxes(predicted.boxes, predicted.scores)
        is_used = torch.tensor([label in self.labels for label in predicted.labels or ()], dtype=torch.bool)
        return ScoredBoxes(predicted.boxes[is_used], predicted.scores[is_used])


def _labels_of(kind: str, classes: Sequence[str], where: str) -> set[int]:
    """Return the labels of the boxes to use: those of `kind`, or all if there is one class or the kind is general."""
    if kind in classes:
        return {classes.index(kind)}
    if len(classes) > 1 and kind != "object":
        raise PellucidError(
            f"{where} has boxes of {join_names(map(repr, classes))}, but the model is one of {kind!r:.60}; "
            "give boxes of this class, or of one class"
        )
    return {*range(len(classes))}
