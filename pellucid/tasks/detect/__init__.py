"""The task of detection: boxes, classes, scores and masks of objects in images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.base.errors import PellucidError
from pellucid.base.text import percent, table
from pellucid.predictor import Predictor
from pellucid.task import (
    Baseline,
    Command,
    Evaluation,
    Explained,
    HeldOutScores,
    Merit,
    Option,
    OwnRecipe,
    Reported,
    Request,
    TargetChange,
    Task,
    Traced,
)
from pellucid.task.score_to_explain import Area, ScoreToExplain, resized_to
from pellucid.tasks.detect.thresholds import score_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from pellucid.export import Parity
    from pellucid.model import Model
    from pellucid.objective import Objective
    from pellucid.tasks.detect.doctor.case import DetectionCase
    from pellucid.tasks.detect.look import DetectorLook


class Detection(Task):
    """The boxes, classes and scores of objects, and their masks or key-points."""

    name: ClassVar[str] = "detection"
    model: ClassVar[str] = "detector"
    verb: ClassVar[str] = "detect"
    merits: ClassVar[tuple[Merit, ...]] = (Merit("ap", "AP"), Merit("ap50", "AP50"), Merit("mask_ap", "mask AP"))
    commands: ClassVar[tuple[Command, ...]] = (
        Command(
            "detect", "detect the objects in images and videos: boxes, classes, masks", "pellucid.tasks.detect.command"
        ),
    )
    options: ClassVar[Mapping[str, tuple[Option, ...]]] = {
        "evaluate": (
            Option("html", "also write an HTML page with true positives, false positives and missed objects", Path),
        ),
        "explain": (
            Option(
                "box",
                "explain the box with this number in the output of `pellucid detect`. Writes a page with the steps "
                "that lead to it, and maps (saliency, gradcam and lrp, or --method) of the score of its class, of "
                "another class (--target CLASS), or of a coordinate (--target x0, y0, x1 or y1)",
                int,
                "N",
            ),
        ),
    }
    counts_from_score: ClassVar[bool] = True
    unclassified: ClassVar[str] = (
        "the model finds objects; use `pellucid detect`, and `pellucid explain --box` for one of them"
    )

    def objectives(self) -> "Mapping[str, Callable[..., Objective]]":
        """Return the functions of `pellucid.detectors`."""
        from pellucid.detectors import DETECTORS

        return DETECTORS

    def trains(self, objective: Any) -> bool:
        """Return whether an objective trains detectors."""
        from pellucid.detectors import Detector

        return isinstance(objective, Detector)

    def recipe_for(self, data: str, root: Any) -> OwnRecipe:
        """Return a recipe for boxes, or for boxes and masks if every object has a mask."""
        return self.recipe_with(data, root, {})

    def recipe_with(self, data: str, root: Any, settings: Mapping[str, Any]) -> OwnRecipe:
        """Return the recipe; settings: of the user, who may want to start from no weights."""
        from pellucid.tasks.detect.own import recipe_for

        return recipe_for(data, root, settings)

    def baseline(self, model: "Model", train: Any, max_features: int) -> Baseline | None:
        """Return the mean box of each class; None for objects with key-points."""
        from pellucid.tasks.detect.baseline import mean_boxes
        from pellucid.training.examples import first_batch

        return mean_boxes(train) if first_batch(train).targets[0].keypoints is None else None

    def predictor(self, model: "Model", out: Path | None = None) -> Predictor:
        """Return a predictor of objects."""
        from pellucid.tasks.detect.predictor import DetectionPredictor

        return DetectionPredictor(model, out)

    def explain(self, model: "Model", request: Request, **options: Any) -> Explained:
        """Explain the box whose number is given by `--box`."""
        from pellucid.tasks.detect.explained import explain_box

        if "box" not in options:
            raise PellucidError(
                "the model is a detector; give the number of a box in the output of `pellucid detect` with --box N"
            )
        return explain_box(model, request, options["box"])

    def resize_to_input(self, model: "Model", image: "Tensor") -> "Tensor":
        """Return a picture resized as in training."""
        from pellucid.tasks.detect.finder import ObjectFinder

        return resized_to(ObjectFinder(model).input_size(image), image)

    def area_to_explain(self, model: "Model", image: "Tensor", **options: Any) -> Area | None:
        """Return the area of the box with a number of `pellucid detect`."""
        from pellucid.tasks.detect.explained import area_of_box

        return area_of_box(model, image, options["box"], score_of(model)) if "box" in options else None

    def score_to_explain(
        self, model: "Model", x: "Tensor", choice: str | None = None, area: Area | None = None
    ) -> ScoreToExplain:
        """Return the logit of a class, or a coordinate, of the box in an area, by default of the highest score."""
        from pellucid.tasks.detect.explained import box_to_explain

        return box_to_explain(model, x, choice, area, score_of(model))

    def look(self, model: "Model") -> "DetectorLook":
        """Return the way from a picture to boxes, with the thresholds of score and IoU as controls."""
        from pellucid.tasks.detect.look import DetectorLook

        return DetectorLook(self, model)

    def traced(self, model: "Model", x: Any, target: Any) -> Traced:
        """Return the networks of a single-stage detector with the weighted sum of its losses."""
        from pellucid.tasks.detect.traced import traced_detector

        return traced_detector(model, x, target)

    def onnx(self, model: "Model", size: tuple[int, int] | None, metadata: Mapping[str, str]) -> "tuple[bytes, Parity]":
        """Return a single-stage detector as ONNX, with its decoding of boxes and non-maximum suppression."""
        from pellucid.tasks.detect.onnx import detector_bytes

        return detector_bytes(model, size, metadata)

    def finish(self, model: "Model", train: Any, validation: Any, test: Any) -> bool:
        """Choose the score from which a detection counts: the one with the highest F1 on validation images.

        Without validation images, every second test image chooses it; the report shows the others.
        """
        from pellucid.tasks.detect.score_choice import every_second, score_curve_on

        if "thresholds" in model.preprocess:
            return False
        best = score_curve_on(model, every_second(test, 0) if validation is None else validation).best
        if best is not None:
            model.preprocess["thresholds"] = [best]
        return best is not None

    def report(self, model: "Model", train: Any, test: Any, folder: Any) -> Reported:
        """Return sections with the images of the lowest average precision, and with F1 by the minimum score."""
        from pellucid.tasks.detect.report import report

        return report(model, test)

    def case(self, model: "Model", x: Any, y: Any, options: Mapping[str, Any]) -> Any:
        """Return the case of a detector; x is a source of images with objects."""
        from pellucid.tasks.detect.doctor import detection_case

        return detection_case(model, x, **options)

    def check_data(self, model: "Model", source: Any, name: str) -> None:
        """Raise PellucidError for data with a class that the model does not have."""
        from pellucid.network.ending import check_same_names

        if model.classes and not {*source.classes} <= {*model.classes}:
            check_same_names("classes", source.classes, model.classes, name)

    def case_of_run(self, run: Path, data: str | None) -> Any:
        """Return the case of a detector's run folder with its data."""
        from pellucid.tasks.detect.doctor.cases import case_of_detector

        return case_of_detector(run, data)

    def case_of_model(self, model: "Model", data: str | None, history: Any = None) -> Any:
        """Return the case of a detector with its own data set or another one."""
        from pellucid.tasks.detect.doctor.cases import case_of_detector_model

        return case_of_detector_model(model, data)

    def diagnose(self, case: "DetectionCase", attempts: bool, device: Any) -> Any:
        """Run every check of detectors, on the CPU; raises PellucidError for other arguments."""
        from pellucid.tasks.detect.doctor import diagnose_detector

        if attempts:
            raise PellucidError("--try does not apply to detectors, whose checks measure directly; leave it out")
        if device.type != "cpu" and device != case.model.device:
            raise PellucidError("--device: detectors are examined on the CPU; leave it out")
        return diagnose_detector(case)

    def scores(self, model: "Model", outputs: Sequence[Any], targets: Sequence[Any]) -> HeldOutScores:
        """Return the mean IoU of the objects of each image with their best detections."""
        from pellucid.tasks.detect.doctor.target_changes import scores

        return scores(outputs, targets)

    def target_changes(
        self, model: "Model", images: "Sequence[Tensor]", targets: Sequence[Any], outputs: Sequence[Any] | None
    ) -> Sequence[TargetChange]:
        """Return changes that convert boxes to another unit, order or orientation, or exchange classes."""
        from pellucid.tasks.detect.doctor.target_changes import target_changes

        return target_changes(images, targets, outputs)

    def evaluate(self, model: "Model", name: str, data: str | None, **options: Any) -> Evaluation:
        """Return COCO's metrics of boxes and masks, AP by class, and the gain in AP50 without each kind of error."""
        from pellucid.tasks.detect.measure import evaluate
        from pellucid.training.distributed import processes

        page_path: Path | None = options.get("html")
        evaluation = evaluate(model, data, processes())
        results = evaluation.results
        if page_path is not None:
            processes().from_first(lambda: evaluation.write_page(page_path, f"Detections of {name}"))
        metric_groups = [("box " if results.other_metrics else "", results.figures, results.intervals)]
        metric_groups += [(f"{kind} ", figures, {}) for kind, figures in results.other_metrics.items()]
        lines = []
        for prefix, figures, intervals in metric_groups:
            ranges = [
                f" ({' to '.join(map(percent, intervals[figure]))})" if figure in intervals else ""
                for figure in ("ap", "ap50")
            ]
            lines.append(
                f"{prefix}AP {percent(figures['ap'])}{ranges[0]}  {prefix}AP50 {percent(figures['ap50'])}{ranges[1]}  "
                f"on {results.n:,} images of {evaluation.data}{f' ({evaluation.part})' if evaluation.part else ''}"
            )
        rows = [(label, f"{count:,}", percent(ap), percent(ap50)) for label, count, ap, ap50 in results.by_class]
        lines += table([("class", "objects", "AP", "AP50"), *rows], right=range(1, 4))
        errors = [(kind, f"{gain.errors:,}", percent(gain.gain)) for kind, gain in results.gains.items()]
        lines += table([("error", "count", "gain in AP50"), *errors], right=(1, 2))
        lines += [] if page_path is None else [f"wrote {page_path}"]
        return Evaluation({**results.to_json(), "data": evaluation.data, "part": evaluation.part}, lines)
