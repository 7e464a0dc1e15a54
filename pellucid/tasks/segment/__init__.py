"""The task of semantic segmentation: a class for each pixel of pictures of any size."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.base.text import percent, table
from pellucid.predictor import Predictor
from pellucid.task import (
    Baseline,
    Command,
    Evaluation,
    Example,
    Explained,
    HeldOutScores,
    Merit,
    Option,
    OwnRecipe,
    Reported,
    Request,
    TargetChange,
    Task,
)
from pellucid.task.score_to_explain import Area, ScoreToExplain, resized_to

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.model import Model
    from pellucid.tasks.segment.look import SegmenterLook

MASK_DIM = 2  # a mask has rows and columns


class Segmentation(Task):
    """A class for each pixel of an image."""

    name: ClassVar[str] = "segmentation"
    model: ClassVar[str] = "segmentation model"
    verb: ClassVar[str] = "segment"
    merits: ClassVar[tuple[Merit, ...]] = (Merit("miou", "mean IoU"), Merit("pixel_accuracy", "pixel accuracy"))
    commands: ClassVar[tuple[Command, ...]] = (
        Command("segment", "classify each pixel of images and videos", "pellucid.tasks.segment.command"),
    )
    options: ClassVar[Mapping[str, tuple[Option, ...]]] = {
        "evaluate": (Option("crf", "refine the masks along image edges with a CRF first"),)
    }
    unclassified: ClassVar[str] = (
        "the model outputs {outputs}, a class for each pixel; use `pellucid segment`, or Model.explain with a target "
        "such as 'head.scores[3, 90:100, 120]' and Model.trace in Python"
    )

    def matches(self, model: "Model") -> bool:
        """Return whether a model outputs a class for each pixel."""
        from pellucid.tasks.segment.segmenter import is_segmenter

        return is_segmenter(model)

    def recipe_for(self, data: str, root: Any) -> OwnRecipe:
        """Return a recipe for masks of classes."""
        return self.recipe_with(data, root, {})

    def recipe_with(self, data: str, root: Any, settings: Mapping[str, Any]) -> OwnRecipe:
        """Return the recipe; settings: of the user, whose epochs or minutes may be few."""
        from pellucid.tasks.segment.own import recipe_for

        return recipe_for(data, root, settings)

    def baseline(self, model: "Model", train: Any, max_features: int) -> Baseline:
        """Return the class of a pixel by its brightness."""
        from pellucid.tasks.segment.baseline import brightness_baseline
        from pellucid.tasks.segment.doctor import ignored_label

        return brightness_baseline(train, model.output_shape[0], ignored_label(model))

    def predictor(self, model: "Model", out: Path | None = None) -> Predictor:
        """Return a predictor of masks, which are written into the folder `out`."""
        from pellucid.tasks.segment.predictor import SegmentationPredictor

        return SegmentationPredictor(model, out)

    def explain(self, model: "Model", request: Request, **options: Any) -> Explained:
        """Explain the mean score of a class over pixels, or a unit, by the requested method, by default by all."""
        from pellucid.tasks.classify.explained import explain_scores
        from pellucid.tasks.pictures import read_picture
        from pellucid.tasks.segment.explained import named_region
        from pellucid.tasks.segment.segmenter import classes_of

        x = read_picture(model, request.image_source, request.image)
        target = named_region(model, x, request.target) or request.target
        return explain_scores(model, request, x, target, classes_of(model))

    def resize_to_input(self, model: "Model", image: "Tensor") -> "Tensor":
        """Return a picture resized to the input shape, or, if that is not fixed, to the size used for segmentation."""
        from pellucid.tasks.segment.segmenter import Segmenter

        is_size_free = None in model.input_shape
        size = Segmenter(model).input_size((image.shape[1], image.shape[2])) if is_size_free else model.input_shape[1:]
        return resized_to(size, image)

    def score_to_explain(
        self, model: "Model", x: "Tensor", choice: str | None = None, area: Area | None = None
    ) -> ScoreToExplain:
        """Return the mean score of a class over pixels, by default of the most frequent class where it is predicted."""
        from pellucid.tasks.segment.explained import pixels_to_explain

        return pixels_to_explain(model, x, choice, area)

    def look(self, model: "Model") -> "SegmenterLook":
        """Return the classes of the pixels and their probabilities, with the CRF as a control."""
        from pellucid.tasks.segment.look import SegmenterLook

        return SegmenterLook(self, model)

    def example(self, model: "Model", image: str, target: str | None) -> Example:
        """Return an image and the predicted classes of its pixels, all or those selected by `target`."""
        from pellucid.tasks.pictures import read_picture
        from pellucid.tasks.segment.explained import example

        return example(model, read_picture(model, image), target)

    def scores(self, model: "Model", outputs: Sequence[Any], targets: Sequence[Any]) -> HeldOutScores | None:
        """Return the mean IoU of each image; None for targets that are no maps of classes, such as heat maps."""
        from pellucid.tasks.segment.doctor import ignored_label, scores

        return scores(outputs, targets, ignored_label(model)) if targets[0].dim() == MASK_DIM else None

    def target_changes(
        self, model: "Model", images: "Sequence[Tensor]", targets: Sequence[Any], outputs: Sequence[Any] | None
    ) -> Sequence[TargetChange]:
        """Return changes that shift, mirror or relabel masks."""
        from pellucid.tasks.segment.doctor import ignored_label, target_changes

        if targets[0].dim() != MASK_DIM:
            return []
        return target_changes(images, targets, outputs, ignored_label(model))

    def report(self, model: "Model", train: Any, test: Any, folder: Any) -> Reported:
        """Return sections with the confusion matrix of pixels, the results of each class, and the worst masks."""
        from pellucid.tasks.segment.report import report

        return report(model, test)

    def evaluate(self, model: "Model", name: str, data: str | None, **options: Any) -> Evaluation:
        """Return mean IoU, pixel accuracy, boundary F1, and the IoU of each class."""
        from pellucid.tasks.segment.segmenter import evaluate
        from pellucid.training.distributed import processes

        evaluation = evaluate(model, data, bool(options.get("crf")), processes())
        size_text = ", in the size of the files" if isinstance(model.preprocess.get("size"), int) else ""
        rows = [(row["class"], "-" if row["iou"] is None else percent(row["iou"])) for row in evaluation["classes"]]
        return Evaluation(evaluation, [
            f"mean IoU {percent(evaluation['miou'])}  pixel accuracy {percent(evaluation['pixel_accuracy'])}  "
            f"boundary F1 {percent(evaluation['boundary_f1'])}  on {evaluation['n']:,} images of {evaluation['data']}"
            f"{size_text}",
            *table([("class", "IoU"), *rows], right=(1,)),
        ])  # fmt: skip
