"""The task of key-points: the points of objects, such as the 68 points of a face."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.base.errors import PellucidError
from pellucid.base.text import percent, plural
from pellucid.predictor import Predictor
from pellucid.task import (
    Baseline,
    Command,
    Evaluation,
    Explained,
    HeldOutScores,
    Merit,
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
    from pellucid.tasks.keypoints.look import KeypointLook


FIGURES_BATCH = 32  # examples at a time


class Keypoints(Task):
    """The key-points of the object that fills an image, or of each object in it, which is cropped by its box."""

    name: ClassVar[str] = "keypoints"
    model: ClassVar[str] = "key-point model"
    verb: ClassVar[str] = "keypoints"
    merits: ClassVar[tuple[Merit, ...]] = (Merit("nme", "normalised mean error", is_error=True),)
    commands: ClassVar[tuple[Command, ...]] = (
        Command(
            "keypoints",
            "find the key-points of a face, or of other objects, in images and videos",
            "pellucid.tasks.keypoints.command",
        ),
    )
    unclassified: ClassVar[str] = "the model outputs key-points, no classes; use `pellucid keypoints`"

    def trains(self, objective: Any) -> bool:
        """Return whether an objective trains models that output key-points."""
        from pellucid.losses.keypoints import KeypointLoss
        from pellucid.objective import Supervised

        return isinstance(objective, Supervised) and isinstance(objective.loss, KeypointLoss)

    def examples(self, objective: Any, source: Any, name: str) -> Any:
        """Return the source of key-points of annotated objects; raises PellucidError for data without objects."""
        from pellucid.data import DetectionFolder
        from pellucid.data.keypoints import KeypointSource

        if not isinstance(source, DetectionFolder):
            raise PellucidError(
                f"{name} has no key-points, which the loss needs; give images with annotated key-points"
            )
        return KeypointSource(source)

    def check_data(self, model: "Model", source: Any, name: str) -> None:
        """Raise PellucidError for data whose key-points have other names, or another order, than those of the model."""
        from pellucid.tasks.keypoints.measure import check_names

        check_names(model, source, name)

    def recipe_for(self, data: str, root: Any) -> OwnRecipe:
        """Return a recipe for heat maps of the key-points; see `pellucid.tasks.keypoints.own.recipe_for`."""
        from pellucid.tasks.keypoints.own import recipe_for

        return recipe_for(data, root)

    def test_figures(self, model: "Model", test: Any) -> Mapping[str, float]:
        """Return the average precision of the key-points."""
        import torch

        from pellucid.data.seeds import generator
        from pellucid.tasks.keypoints.measure import average_precision

        points = list["Tensor"]()
        for start in range(0, len(test), FIGURES_BATCH):
            batch = test.batch(range(start, min(start + FIGURES_BATCH, len(test))), generator(0))
            points.append(model.predict(batch.images))
        return average_precision(test, torch.cat(points))

    def baseline(self, model: "Model", train: Any, max_features: int) -> Baseline:
        """Return the mean shape."""
        from pellucid.tasks.keypoints.baseline import mean_shape

        return mean_shape(train)

    def predictor(self, model: "Model", out: Path | None = None) -> Predictor:
        """Return a predictor of key-points."""
        from pellucid.tasks.keypoints.predictor import KeypointPredictor

        return KeypointPredictor(model, out)

    def resize_to_input(self, model: "Model", image: "Tensor") -> "Tensor":
        """Return a picture padded to the proportions of the network's input, and resized to it."""
        from pellucid.tasks.keypoints.finder import pad_and_resize

        _, height, width = model.nominal_shape
        return resized_to((height, width), pad_and_resize(image, (height, width))[0])

    def explain(self, model: "Model", request: Request, **options: Any) -> Explained:
        """Explain the heat map of a key-point, by default the first, or a unit, by the requested method or by all."""
        from pellucid.tasks.keypoints.explained import explain_heat_map

        return explain_heat_map(model, request)

    def score_to_explain(
        self, model: "Model", x: "Tensor", choice: str | None = None, area: Area | None = None
    ) -> ScoreToExplain:
        """Return the x or the y coordinate of the key-point nearest to an area, by default of the first key-point."""
        from pellucid.tasks.keypoints.finder import point_to_explain

        return point_to_explain(model, x, choice, area)

    def look(self, model: "Model") -> "KeypointLook":
        """Return the key-points, with the heat map of each if the network outputs heat maps."""
        from pellucid.tasks.keypoints.look import KeypointLook

        return KeypointLook(self, model)

    def scores(self, model: "Model", outputs: Sequence[Any], targets: Sequence[Any]) -> HeldOutScores:
        """Return how close the predicted key-points of each image are to the true ones."""
        from pellucid.tasks.keypoints.doctor import scores

        return scores(outputs, targets)

    def target_changes(
        self, model: "Model", images: "Sequence[Tensor]", targets: Sequence[Any], outputs: Sequence[Any] | None
    ) -> Sequence[TargetChange]:
        """Return changes that scale, mirror or exchange key-points, or leave out some of them."""
        from pellucid.tasks.keypoints.doctor import target_changes

        return target_changes(images, targets, outputs)

    def report(self, model: "Model", train: Any, test: Any, folder: Any) -> Reported:
        """Return a section with the images with the largest errors."""
        from pellucid.tasks.keypoints.report import report

        return report(model, test)

    def evaluate(self, model: "Model", name: str, data: str | None, **options: Any) -> Evaluation:
        """Return the normalized mean error and its interval."""
        from pellucid.tasks.keypoints.measure import evaluate
        from pellucid.training.distributed import processes

        evaluation = evaluate(model, data, processes())
        low, high = map(percent, evaluation["nme_interval"])
        left_out = evaluation["nme_left_out"]
        reason = "since their normalising points are not labelled or coincide"
        left_out_text = f"; {plural(left_out, 'object')} left out, {reason}" if left_out else ""
        precision_text = f"{percent(evaluation['keypoint_ap'])} ({percent(evaluation['keypoint_ap50'])} at 0.5)"
        return Evaluation(evaluation, [
            f"normalised mean error {percent(evaluation['nme'])} (95 % interval {low} to {high}) "
            f"on {evaluation['n']:,} objects of {evaluation['data']}{left_out_text}",
            f"average precision by the similarity of key-points {precision_text}",
        ])  # fmt: skip
