"""The task of regression: numbers from an image, in the units of the user's table."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.base.errors import PellucidError
from pellucid.base.text import table
from pellucid.predictor import Predictor
from pellucid.task import Baseline, Command, Evaluation, Example, Explained, Merit, OwnRecipe, Reported, Request
from pellucid.task.score_to_explain import Area, ScoreToExplain, output_to_explain
from pellucid.tasks.classify import Classification

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.model import Model


class NumberRegression(Classification):
    """Numbers from an image; its scores are the numbers, where those of classifiers are of classes."""

    name: ClassVar[str] = "regression"
    model: ClassVar[str] = "regression model"
    verb: ClassVar[str] = "regress"
    merits: ClassVar[tuple[Merit, ...]] = (
        Merit("mae", "mean absolute error", unit="", is_error=True),
        Merit("rmse", "root mean squared error", unit="", is_error=True),
        Merit("r2", "R²", unit=""),
    )
    commands: ClassVar[tuple[Command, ...]] = ()
    has_one_class: ClassVar[bool] = False

    def trains(self, objective: Any) -> bool:
        """Return False: the data, not the objective, tell such models from classifiers."""
        return False

    def matches(self, model: "Model") -> bool:
        """Return whether a model was trained on the numbers of a table."""
        from pellucid.tasks.annotated import has_kind

        return has_kind(model, "numbers")

    def recipe_with(self, data: str, root: Any, settings: Mapping[str, Any]) -> OwnRecipe:
        """Return a recipe for numbers in a table; settings: those of its columns."""
        from pellucid.tasks.regress.own import recipe_for

        return recipe_for(data, settings)

    def baseline(self, model: "Model", train: Any, max_features: int) -> Baseline:
        """Return a linear model of the numbers."""
        from pellucid.tasks.linear_model import linear_baseline

        return linear_baseline(train, lambda targets: targets, max_features)

    def finish(self, model: "Model", train: Any, validation: Any, test: Any) -> bool:
        """Fit nothing."""
        return False

    def predictor(self, model: "Model", out: Path | None = None) -> Predictor:
        """Return a predictor of the numbers, which writes no files."""
        from pellucid.tasks.regress.predictor import NumberPredictor

        return NumberPredictor(model)

    def held_out(self, model: "Model", data: str | None) -> Any:
        """Return the images that training held out, or images of the table `data`."""
        from pellucid.tasks.annotated import held_out_arrays

        return held_out_arrays(model, data)

    def class_names(self, model: "Model") -> tuple[str, ...]:
        """Return the names of the numbers, which are explained as the scores of classes are."""
        from pellucid.tasks.regress.measure import quantities

        return quantities(model).names

    def explain(self, model: "Model", request: Request, **options: Any) -> Explained:
        """Explain a number, by default the first, or a unit, by the requested method, by default by all."""
        first_name = self.class_names(model)[0]
        return super().explain(model, request if request.target else request._replace(target=first_name), **options)

    def score_to_explain(
        self, model: "Model", x: "Tensor", choice: str | None = None, area: Area | None = None
    ) -> ScoreToExplain:
        """Return a number, by default the first, or a unit."""
        from pellucid.task.score_to_explain import index_of

        names = self.class_names(model)
        explained = (
            choice if choice is not None and "[" in choice else str(0 if choice is None else index_of(choice, names))
        )
        explained_score = output_to_explain(model, x, explained)
        if explained_score is None:
            raise self.refusal(model)
        label = explained_score.label if explained_score.chosen is None else names[explained_score.chosen]
        return explained_score._replace(choices=names, label=label)

    def example(self, model: "Model", image: str, target: str | None) -> Example:
        """Return an image and the numbers that the loss compares, by default the means of the training data.

        target: the numbers, separated by commas.
        """
        import torch

        from pellucid.tasks.pictures import read_picture
        from pellucid.tasks.regress.measure import quantities, training_means

        numbers = quantities(model)
        try:
            values = training_means(model) if target is None else [float(text) for text in target.split(",")]
        except ValueError as error:
            raise PellucidError(f"--target is {target!r:.60}; give {', '.join(numbers.labels)} as numbers") from error
        if len(values) != len(numbers.names):
            raise PellucidError(f"--target has {len(values)} numbers; give one for each of {', '.join(numbers.labels)}")
        label = ", ".join(numbers.text(k, value) for k, value in enumerate(values))
        return Example(model, read_picture(model, image), torch.tensor([values]), label, "mean of the training data")

    def report(self, model: "Model", train: Any, test: Any, folder: Any) -> Reported:
        """Return sections with the errors, predicted against true numbers, and the images with the largest errors."""
        from pellucid.tasks.regress.report import report

        return report(model, test)

    def evaluate(self, model: "Model", name: str, data: str | None, **options: Any) -> Evaluation:
        """Return MAE, RMSE and R² of each number, in the user's units."""
        from pellucid.tasks.regress.measure import evaluate, quantity_rows

        values = evaluate(model, data)
        lines = [f"on {values['n']:,} images of {values['data']}, loss {values['loss']:.4f}"]
        head = ("number", "unit", "MAE", "RMSE", "R²", "MAE of the mean")
        return Evaluation(values, [*lines, *table([head, *quantity_rows(values["numbers"])], right=range(2, 6))])
