"""The task of several labels: any number of classes for each image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.base.text import percent, table
from pellucid.predictor import Predictor
from pellucid.task import Baseline, Command, Evaluation, Example, Merit, Reported, TargetChange
from pellucid.tasks.classify import Classification

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.model import Model
    from pellucid.tasks.multilabel.look import LabelLook


class MultiLabelClassification(Classification):
    """Several labels for each image; `pellucid train classify` trains its models on tables with several labels."""

    name: ClassVar[str] = "multi-label classification"
    model: ClassVar[str] = "multi-label classifier"
    verb: ClassVar[str] = ""
    merits: ClassVar[tuple[Merit, ...]] = (
        Merit("map", "mean average precision"),
        Merit("f1_micro", "micro F1"),
        Merit("f1_macro", "macro F1"),
    )
    commands: ClassVar[tuple[Command, ...]] = ()
    has_one_class: ClassVar[bool] = False
    counts_from_score: ClassVar[bool] = True

    def trains(self, objective: Any) -> bool:
        """Return False: the data, not the objective, tell such models from classifiers."""
        return False

    def matches(self, model: "Model") -> bool:
        """Return whether a model was trained on a table with several labels for each image."""
        from pellucid.tasks.annotated import has_kind

        return has_kind(model, "labels")

    def baseline(self, model: "Model", train: Any, max_features: int) -> Baseline:
        """Return a linear model of the labels."""
        from pellucid.tasks.linear_model import linear_baseline

        linear_model = linear_baseline(train, lambda targets: targets, max_features)
        return linear_model._replace(predict=lambda images: linear_model.predict(images).clamp(0, 1))

    def finish(self, model: "Model", train: Any, validation: Any, test: Any) -> bool:
        """Choose the threshold of each class on the validation images."""
        from pellucid.tasks.multilabel.report import choose_thresholds

        return choose_thresholds(model, validation)

    def predictor(self, model: "Model", out: Path | None = None) -> Predictor:
        """Return a predictor of the labels, which writes no files."""
        from pellucid.tasks.multilabel.predictor import LabelPredictor

        return LabelPredictor(model)

    def look(self, model: "Model") -> "LabelLook":
        """Return the probability of each label, with its threshold as a control."""
        from pellucid.tasks.multilabel.look import LabelLook

        return LabelLook(self, model)

    def held_out(self, model: "Model", data: str | None) -> Any:
        """Return the images that training held out, or images of the table `data`."""
        from pellucid.tasks.annotated import held_out_arrays

        return held_out_arrays(model, data)

    def example(self, model: "Model", image: str, target: str | None) -> Example:
        """Return an image and the predicted labels; target: the name of a class to add to them."""
        from pellucid.tasks.classify.explained import class_index
        from pellucid.tasks.multilabel.report import thresholds_of
        from pellucid.tasks.pictures import read_picture

        classes, x = self.class_names(model), read_picture(model, image)
        labels = (model.predict(x[None]).cpu() >= thresholds_of(model)).float()
        if target is not None:
            labels[0, class_index(target, classes)] = 1
        names = [name for name, label in zip(classes, labels[0].tolist(), strict=True) if label]
        return Example(model, x, labels, ", ".join(names) or "no label")

    def report(self, model: "Model", train: Any, test: Any, folder: Any) -> Reported:
        """Return sections with the results of each class and the images with the largest loss."""
        from pellucid.tasks.multilabel.report import report

        return report(model, test)

    def target_changes(
        self, model: "Model", images: "Sequence[Tensor]", targets: Sequence[Any], outputs: Sequence[Any] | None
    ) -> Sequence[TargetChange]:
        """Return no changes: labels have neither a unit nor an order."""
        return ()

    def evaluate(self, model: "Model", name: str, data: str | None, **options: Any) -> Evaluation:
        """Return mAP, F1, the number of labels of an image, and a row for each class."""
        from pellucid.tasks.multilabel.report import evaluate

        values = evaluate(model, data)
        return Evaluation(values, evaluation_lines(values))


def evaluation_lines(values: Mapping[str, Any]) -> list[str]:
    """Return the results of an evaluation as text."""
    rows = [
        (
            row["class"],
            *("-" if row[name] is None else percent(row[name]) for name in ("ap", "f1", "precision", "recall")),
            f"{row['threshold']:.2f}",
            f"{row['n']:,}",
        )
        for row in values["classes"]
    ]
    return [
        f"mAP {percent(values['map'])}  micro F1 {percent(values['f1_micro'])}  "
        f"macro F1 {percent(values['f1_macro'])}  loss {values['loss']:.4f}  "
        f"on {values['n']:,} images of {values['data']}",
        f"labels an image: {values['labels']:.2f}, predicted {values['predicted_labels']:.2f}; all labels right on "
        f"{percent(values['exact_match'])} of the images",
        *table([("class", "AP", "F1", "precision", "recall", "threshold", "images"), *rows], right=range(1, 7)),
    ]
