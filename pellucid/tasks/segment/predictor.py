"""The predictor of segmentation models: the areas of the classes as text, and masks as files."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from pellucid.base.text import percent
from pellucid.model import Model
from pellucid.predictor import Picture, Predicted, Predictor
from pellucid.tasks.segment.segmenter import Segmenter, check_files, write_segmentation

MAX_CLASSES = 4  # number of classes in the text for a picture, those with the largest areas


class SegmentationPredictor(Predictor):
    """Classifies each pixel; writes the files of `write_segmentation` into `out` unless None. crf: see Segmenter."""

    folder_required_reason = "segmentation writes masks; give their folder with --out DIR, or use `pellucid segment`"

    def __init__(self, model: Model, out: Path | None, crf: bool = False) -> None:
        self.segmenter, self.out = Segmenter(model, crf), out
        self.mode = self.segmenter.mode

    def check(self, names: Sequence[str], files: Sequence[Path]) -> None:
        """Raise PellucidError if an output would overwrite another file."""
        if self.out is not None:
            check_files(self.out, names, files)

    def predict_one(self, picture: Picture, image: Tensor) -> Predicted:
        """Return the mask and the areas of the classes of a picture with its files."""
        pixel_classes = self.segmenter(image)
        files = {} if self.out is None else write_segmentation(self.out, picture.name, image, pixel_classes)
        areas = pixel_classes.areas()
        largest_areas = sorted(areas.items(), key=lambda pair: -pair[1])[:MAX_CLASSES]
        areas_text = ", ".join(f"{name} {percent(area)}" for name, area in largest_areas if area)
        return Predicted(
            {"image": picture.file, "files": files, "areas": areas},
            f"{files.get('overlay', picture.file)}: {areas_text}",
            [{"image": picture.file, **{f"area_{name}": area for name, area in areas.items()}}],
            labels=pixel_classes.classes,
            mask=pixel_classes.mask,
            file=Path(files["overlay"]) if files else None,
        )
