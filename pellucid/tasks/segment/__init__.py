"""Semantic segmentation: a class for each pixel of pictures of any size."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.errors import PellucidError
from pellucid.task import Command, Evaluation, Option, Predictor, Task
from pellucid.text import percent, table

if TYPE_CHECKING:
    from pellucid.model import Model


class Segmentation(Task):
    """A class for each pixel of an image."""

    name: ClassVar[str] = "segmentation"
    models: ClassVar[str] = "segmentation models"
    commands: ClassVar[tuple[Command, ...]] = (
        Command(
            "segment",
            "classify each pixel of images and videos",
            "pellucid.tasks.segment.command",
        ),
    )
    options: ClassVar[tuple[Option, ...]] = (Option("crf", "refine the masks along image edges with a CRF first"),)

    def matches(self, model: "Model") -> bool:
        """Return whether a model outputs a class for each pixel."""
        from pellucid.tasks.segment.segmenter import is_segmenter

        return is_segmenter(model)

    def predictor(self, model: "Model", out: Path | None = None) -> Predictor:
        """Return a predictor of masks, which are written into the folder `out`."""
        from pellucid.tasks.segment.predictor import SegmentationPredictor

        if out is None:
            raise PellucidError(
                "segmentation writes masks; give their folder with --out DIR, or use `pellucid segment`"
            )
        return SegmentationPredictor(model, out)

    def evaluate(self, model: "Model", name: str, data: str | None, **options: Any) -> Evaluation:
        """Return mean IoU, pixel accuracy, boundary F1, and the IoU of each class."""
        from pellucid.tasks.segment.segmenter import evaluate

        found = evaluate(model, data, bool(options.get("crf")))
        rows = [(row["class"], "-" if row["iou"] is None else percent(row["iou"])) for row in found["classes"]]
        return Evaluation(found, [
            f"mean IoU {percent(found['miou'])}  pixel accuracy {percent(found['pixel_accuracy'])}  boundary F1 "
            f"{percent(found['boundary_f1'])}  on {found['n']:,} images of {found['data']}",
            *table([("class", "IoU"), *rows], right=(1,)),
        ])  # fmt: skip
