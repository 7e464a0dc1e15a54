"""The task of classification: one class for each image."""

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
    Example,
    Explained,
    HeldOutScores,
    Merit,
    OwnRecipe,
    Reported,
    Request,
    TargetChange,
    Task,
)

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.data import Source
    from pellucid.model import Model

METRIC_COLUMNS = ("recall", "precision", "f1")


class Classification(Task):
    """A class for each image."""

    name: ClassVar[str] = "classification"
    model: ClassVar[str] = "classifier"
    verb: ClassVar[str] = "classify"
    merits: ClassVar[tuple[Merit, ...]] = (Merit("accuracy", "accuracy"),)
    commands: ClassVar[tuple[Command, ...]] = (
        Command(
            "compare",
            "train and compare several kinds of classifiers or detectors on one data set",
            "pellucid.tasks.compare_command",
        ),
        Command(
            "gestures",
            "train and use classifiers of hand gestures, or of other images in class folders",
            "pellucid.tasks.gestures.command",
        ),
    )

    def trains(self, objective: Any) -> bool:
        """Return True: models that match no other task are treated as classifiers, or rejected with a reason."""
        return True

    def examples(self, objective: Any, source: Any, name: str) -> Any:
        """Return annotated objects as masks, for a network that classifies each pixel; other sources unchanged."""
        from pellucid.data import DetectionFolder
        from pellucid.data.object_masks import ObjectMasks

        if not isinstance(source, DetectionFolder):
            return source
        return ObjectMasks(source, getattr(getattr(objective, "loss", None), "ignore", None))

    def read(self, objective: Any, data: Any, root: Any) -> "tuple[Source, ...] | None":
        """Return the parts of a table of labels; of one class, several labels or numbers by the loss."""
        from pellucid.recipe.labelled import read_table_parts

        return read_table_parts(objective, data)

    def recipe_for(self, data: str, root: Any) -> OwnRecipe:
        """Return a recipe for images in class folders, or with labels in a table."""
        return self.recipe_with(data, root, {})

    def recipe_with(self, data: str, root: Any, settings: Mapping[str, Any]) -> OwnRecipe:
        """Return the recipe; settings: of the user, which say how a table is read and what is not to be planned."""
        from pellucid.recipe.labelled import is_table, table_beside_pictures
        from pellucid.tasks.classify.own import recipe_for, table_recipe

        has_column_settings = not settings.keys().isdisjoint(("data.files", "data.columns"))
        if is_table(data, over_class_folders=has_column_settings):
            return table_recipe(data, settings)
        try:
            return recipe_for(data, root, settings)
        except PellucidError:
            if table_beside_pictures(data):
                return table_recipe(data, settings)  # raises what is wrong with the table
            raise

    def baseline(self, model: "Model", train: Any, max_features: int) -> Baseline | None:
        """Return a linear model of the classes, for a network with a score for each of them."""
        from torch.nn.functional import one_hot

        from pellucid.tasks.linear_model import linear_baseline
        from pellucid.training.examples import first_batch

        targets = first_batch(train).targets
        n_classes = model.output_shape[0] if len(model.output_shape) == 1 else None
        if not isinstance(n_classes, int) or n_classes < 2 or targets.dim() != 1 or targets.is_floating_point():
            return None
        linear_model = linear_baseline(train, lambda targets: one_hot(targets.long(), n_classes), max_features)

        def probabilities(images: "Tensor") -> "Tensor":
            scores = linear_model.predict(images).clamp_min(0)
            return scores / scores.sum(1, keepdim=True)  # the scores sum to 1, like their targets, before the clamp

        return linear_model._replace(predict=probabilities)

    def finish(self, model: "Model", train: Any, validation: Any, test: Any) -> bool:
        """Fit the familiarity of the model, see `pellucid.calibration`, and for checked data its confidence."""
        from pellucid.tasks.classify.finish import finish

        return finish(model, train, validation, test)

    def predictor(self, model: "Model", out: Path | None = None) -> Predictor:
        """Return a predictor of the class, which writes no files."""
        from pellucid.tasks.classify.predictor import ClassPredictor

        return ClassPredictor(model)

    def held_out(self, model: "Model", data: str | None) -> Any:
        """Return the images that training held out, or images of `data`; see `pellucid.tasks.pictures.held_out`."""
        from pellucid.tasks.pictures import held_out

        return held_out(model, data)

    def class_names(self, model: "Model") -> tuple[str, ...]:
        """Return the class names, or the indices as text; raises PellucidError if the outputs are not classes."""
        output_shape = model.output_shape
        if output_shape and isinstance(output_shape[0], tuple):
            output_shape = model.loss.main_output(output_shape)  # the other outputs are for training only
        if len(output_shape) != 1 or not isinstance(output_shape[0], int):
            raise self.refusal(model)
        n_classes = max(2, output_shape[0])  # one output separates two classes
        classes = tuple(model.classes or map(str, range(n_classes)))
        if len(classes) != n_classes:
            raise PellucidError(
                f"the model outputs {output_shape[0]} values, but names {len(classes)} classes "
                f"({', '.join(classes):.80}); train it again with one output for each class"
            )
        return classes

    def explain(self, model: "Model", request: Request, **options: Any) -> Explained:
        """Explain the score of a class, or a unit, by the requested method, by default by all."""
        from pellucid.explain.names import MINUS, target_by_index
        from pellucid.tasks.classify.explained import UNIT_HINT, class_index, explain_scores
        from pellucid.tasks.pictures import read_picture

        classes = self.class_names(model)
        x = read_picture(model, request.image_source, request.image)
        target: Any = request.target
        if target is not None and "[" not in target:  # not a unit
            is_difference = target not in classes and MINUS in target
            target = target_by_index(target, classes) if is_difference else class_index(target, classes, UNIT_HINT)
        return explain_scores(model, request, x, target, classes)

    def example(self, model: "Model", image: str, target: str | None) -> Example:
        """Return an image and a class; see `default_class` for the default class."""
        import torch

        from pellucid.tasks.classify.explained import class_index, default_class
        from pellucid.tasks.pictures import read_picture

        classes = self.class_names(model)
        x = read_picture(model, image)
        index, chosen_by = (class_index(target, classes), "") if target else default_class(model, x, image, classes)
        return Example(model, x, torch.tensor([index]), classes[index], chosen_by)

    def report(self, model: "Model", train: Any, test: Any, folder: Any) -> Reported:
        """Return sections with the confusion matrix, the results of each class, and the worst mistakes."""
        from pellucid.tasks.classify.report import report

        return report(model, test)

    def scores(self, model: "Model", outputs: Sequence[Any], targets: Sequence[Any]) -> HeldOutScores | None:
        """Return scores whose mean is the mean recall of the classes, or the closeness of predicted values."""
        from pellucid.tasks.classify.doctor import scores

        return scores(outputs, targets)

    def target_changes(
        self, model: "Model", images: "Sequence[Tensor]", targets: Sequence[Any], outputs: Sequence[Any] | None
    ) -> Sequence[TargetChange]:
        """Return changes that exchange classes, or convert values to other units."""
        from pellucid.tasks.classify.doctor import suggest_changes

        return () if outputs is None else suggest_changes(images, outputs, targets)

    def evaluate(self, model: "Model", name: str, data: str | None, **options: Any) -> Evaluation:
        """Return accuracy, macro F1, loss, calibration, the number of images, and a row for each class."""
        from pellucid.tasks.classify.predictor import evaluate
        from pellucid.training.distributed import processes

        evaluation = evaluate(model, data, processes())
        calibration_text = "" if evaluation["ece"] is None else f"  calibration error {percent(evaluation['ece'])}"
        lines = [
            f"accuracy {percent(evaluation['accuracy'])}  macro F1 {percent(evaluation['macro_f1'])}  "
            f"loss {evaluation['loss']:.4f}{calibration_text}  on {evaluation['n']:,} images of {evaluation['data']}"
        ]
        if confidence := evaluation["confidence"]:
            accuracy_text = (
                "" if confidence["accuracy"] is None else f" with accuracy {percent(confidence['accuracy'])}"
            )
            fitted_text = " (fitted on these images, so optimistic)" if confidence["fitted_here"] else ""
            lines.append(
                f"answers {percent(confidence['coverage'])} of the images{accuracy_text}; unsure below a confidence of "
                f"{percent(confidence['threshold'])}{fitted_text}"
            )
        rows = [
            (
                row["class"],
                *("-" if row[name] is None else percent(row[name]) for name in METRIC_COLUMNS),
                f"{row['n']:,}",
            )
            for row in evaluation["classes"]
        ]
        lines += table([("class", *METRIC_COLUMNS, "images"), *rows], right=range(1, 5))
        return Evaluation(evaluation, lines)
