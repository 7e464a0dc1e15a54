"""The interface of tasks, such as classification and detection."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.base.errors import PellucidError
from pellucid.predictor import Predictor
from pellucid.task.score_to_explain import Area, ScoreToExplain, output_to_explain, resized_to
from pellucid.task.values import (
    Baseline,
    Command,
    DataTrait,
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
    Traced,
)

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.data import Source
    from pellucid.metrics import MetricLike
    from pellucid.objective import Objective
    from pellucid.task.look import Look


class Task(ABC):
    """Base class of tasks: training data, predictions, evaluation and explanations for one kind of model.

    A subclass is registered with `register_task`. An argument `model` is a pellucid.Model. name: the task in messages,
    such as "detection". model: a model of the task in messages, such as "detector". verb: the word of `pellucid train
    VERB DATA`, "" if only recipes train its models. merits: the figures of merit, the most important first. commands:
    its own commands. options: its options of `pellucid evaluate` and `pellucid explain`, by command. unclassified:
    the error of commands that need a classifier; {outputs} is the shape of the model's outputs. counts_from_score:
    whether something counts as predicted from a score on, so that --score applies. has_one_class: whether
    class_names are of classes of which an image has exactly one, as the studio's view Draw needs.
    """

    name: ClassVar[str]
    model: ClassVar[str]
    verb: ClassVar[str] = ""
    merits: ClassVar[tuple[Merit, ...]] = ()
    commands: ClassVar[tuple[Command, ...]] = ()
    options: ClassVar[Mapping[str, tuple[Option, ...]]] = {}
    counts_from_score: ClassVar[bool] = False
    has_one_class: ClassVar[bool] = True
    unclassified: ClassVar[str] = (
        "the model outputs {outputs} for an image, no classes; give a classifier, or use Model.predict, Model.explain, "
        "Model.trace and Model.evaluate in Python"
    )

    def trains(self, objective: Any) -> bool:
        """Return whether a recipe with this pellucid.Objective trains models of this task."""
        return False

    def objectives(self) -> "Mapping[str, Callable[..., Objective]]":
        """Return the functions that construct this task's objectives, by their names in recipes; by default none.

        Their annotated arguments are the keys of a recipe's table [objective].
        """
        return {}

    def matches(self, model: Any) -> bool:
        """Return whether a model belongs to this task; by default, whether the task trains its objective."""
        return self.trains(model.objective)

    def read(self, objective: Any, data: Any, root: Any) -> "tuple[Source, ...] | None":
        """Return the parts of data in a format of this task, None for any other data.

        They are the training and the test part, and the validation part if the data name one.

        data: the table [data] of a recipe, with `name`, `size` and `mode`. root: the folder that contains the data
        sets, None for the default. Returns None by default: the data are then read as a data set, an image folder or
        annotated objects. Raises PellucidError for invalid data.
        """
        return None

    def recipe_for(self, data: str, root: Any) -> OwnRecipe:
        """Return the recipe for a user's own data; called for tasks with a `verb`.

        data: a folder, a file or the name of a data set. root: as for `read`. Raises PellucidError for data that the
        task cannot be trained on.
        """
        raise NotImplementedError(f"{type(self).__name__} has a verb; write recipe_for(data, root)")

    def recipe_with(self, data: str, root: Any, settings: Mapping[str, Any]) -> OwnRecipe:
        """Return `recipe_for(data, root)`; tasks whose choice depends on the user's settings override it.

        settings: values by the keys of recipes, which replace those of the result.
        """
        return self.recipe_for(data, root)

    def examples(self, objective: Any, source: Any, name: str) -> Any:
        """Return a part of the data as the Source that the objective needs; by default unchanged.

        name: of the data set.
        """
        return source

    def check_data(self, model: Any, source: Any, name: str) -> None:
        """Raise PellucidError, with both lists, for data of other classes or key-points than those of a model.

        source: a part of the data. name: of the data. By default, the classes of data are compared, by names and order,
        with those of a model of one network and one loss, if both have names.
        """
        from pellucid.network.ending import check_same_names
        from pellucid.objective import Supervised

        if isinstance(model.objective, Supervised) and model.classes and source.classes:
            check_same_names("classes", source.classes, model.classes, name)

    def metrics(self, objective: Any) -> "Sequence[MetricLike] | None":
        """Return the metrics for recipes that name none; None, the default, for the metrics of the loss."""
        return None

    def finish(self, model: Any, train: Any, validation: Any, test: Any) -> bool:
        """Fit what a trained model needs in addition to its weights; return whether its file must be rewritten.

        train, validation, test: the Sources of the training; validation may be None. By default, nothing is fitted.
        """
        return False

    def test_figures(self, model: Any, test: Any) -> Mapping[str, float]:
        """Return figures of results.json beside the metrics of the model; by default none.

        test: the Source of the test data.
        """
        return {}

    def baseline(self, model: Any, train: Any, max_features: int) -> Baseline | None:
        """Return a trivial model to compare the metrics of a trained model with; None, the default, for no comparison.

        train: the Source of the training, to whose examples the trivial model is fitted. max_features: the number of
        images whose features a shipped network may compute, since the baseline should take little of the time of the
        training.
        """
        return None

    def predictor(self, model: Any, out: Path | None = None) -> Predictor:
        """Return a predictor for pictures, which writes its files, if any, into the folder `out`.

        Raises PellucidError for models that predict nothing for a picture; by default, for every model.
        """
        raise PellucidError(f"a {self.model} predicts nothing for a picture; use Model.predict in Python")

    def samples(self, model: Any, count: int) -> "Tensor | None":
        """Return images (count, C, H, W), 0..1, that a model generates from noise; None, the default, if it cannot."""
        return None

    def report(self, model: Any, train: Any, test: Any, folder: Any) -> Reported:
        """Return the sections about results on the test images; by default none.

        train, test: the Sources of the training; train may be None. folder: the pellucid.run.folder.RunFolder.
        """
        return Reported()

    @abstractmethod
    def evaluate(self, model: Any, name: str, data: str | None, **options: Any) -> Evaluation:
        """Evaluate a model on held-out data.

        name: of the model, for headings. data: a data set, a folder or a root of data sets, None for the model's own.
        options: the values of the `options` that the user gave, by name; the path of a file is checked to be writable.
        """

    def held_out(self, model: Any, data: str | None) -> Any:
        """Return the pellucid.data.Dataset of images on which a model is analysed; by default, raises `refusal`.

        data: as for `evaluate`.
        """
        raise self.refusal(model)

    def refusal(self, model: Any) -> PellucidError:
        """Return the error of commands that need a classifier; its message names the command to use instead."""
        return PellucidError(self.unclassified.format(outputs=model.output_shape))

    def class_names(self, model: Any) -> tuple[str, ...]:
        """Return the class names of a classifier; raises `refusal` for any other model."""
        raise self.refusal(model)

    def explain(self, model: Any, request: Request, **options: Any) -> Explained:
        """Explain the output for one image, and write the explanation; by default, raises `refusal`.

        options: the values of the `options` that the user gave, by name.
        """
        raise self.refusal(model)

    def example(self, model: Any, image: str, target: str | None) -> Example:
        """Return an image and its target, for a trace; by default, raises `refusal`.

        image: a file. target: as the user gives it, such as the name of a class; None for the predicted target.
        """
        raise self.refusal(model)

    def resize_to_input(self, model: Any, image: "Tensor") -> "Tensor":
        """Return an image resized to the network's input: (C, H, W), 0 to 1.

        image: as `Predictor.read` returns it. By default, it is resized to the input shape, if that is fixed.
        """
        return resized_to(model.input_shape[1:], image)

    def score_to_explain(
        self, model: Any, x: "Tensor", choice: str | None = None, area: Area | None = None
    ) -> ScoreToExplain:
        """Return the score of an image x that a user asks about; see `ScoreToExplain`.

        x: as `resize_to_input` returns it. choice: one of the `choices` of the result, or a unit such as
        "features.conv2[3]"; by default the largest score. area: where the user pointed. The default implementation is
        for one network with scores (N, K), which have no area. Raises PellucidError for other models and names, and for
        an area without a score.
        """
        if (score := output_to_explain(model, x, choice)) is None:
            raise self.refusal(model)
        return score

    def area_to_explain(self, model: Any, image: "Tensor", **options: Any) -> Area | None:
        """Return the area of the network's input that options of `pellucid explain` point at; None for all of it.

        image: as `Predictor.read` returns it. By default, there are no such options.
        """
        return None

    def look(self, model: Any) -> "Look":
        """Return what the studio shows of a model for pictures; by default its predictions, see `Look`."""
        from pellucid.task.look import Look

        return Look(self, model)

    def case(self, model: Any, x: Any, y: Any, options: Mapping[str, Any]) -> Any:
        """Return the doctor's case of a model and its data; None, the default, for a pellucid.doctor.Case.

        options: the arguments of `Model.doctor`.
        """
        return None

    def case_of_run(self, run: Path, data: str | None) -> Any:
        """Return the doctor's case of a run folder with a recipe; None, the default, for a pellucid.doctor.Case.

        data: another data set or folder, or the root of the data sets; None for the run's own data.
        """
        return None

    def case_of_model(self, model: Any, data: str | None, history: Any = None) -> Any:
        """Return the doctor's case of a model without its recipe; None, the default, for a pellucid.doctor.Case.

        data: as for `case_of_run`. history: the pellucid.run.history.History of its training, if its folder has one.
        """
        return None

    def diagnose(self, case: Any, attempts: bool, device: Any) -> Any:
        """Return the pellucid.doctor.Diagnosis of a case; None, the default, if the general checks make it.

        attempts: whether the doctor tries the fixes afterwards. device: for short trainings. Raises PellucidError for
        cases that the task does not support.
        """
        return None

    def scores(self, model: Any, outputs: Sequence[Any], targets: Sequence[Any]) -> HeldOutScores | None:
        """Return the score of each held-out example, which the doctor's experiments compare.

        outputs, targets: the prediction and the target of each example. None, the default, for scores from the loss.
        """
        return None

    def target_traits(self, model: Any, targets: Sequence[Any]) -> "Mapping[str, Tensor | DataTrait] | None":
        """Return traits (n,) of n targets by name, which the doctor compares between training and validation data.

        A trait is NaN for a target that lacks it. Traits of type bool are kinds of examples, such as "images without
        boxes", which the doctor may leave out. A DataTrait also has a kind, which the doctor's experiments depend on.
        None, the default, for the traits of classes, values, masks and images.
        """
        return None

    def target_changes(
        self, model: Any, images: "Sequence[Tensor]", targets: Sequence[Any], outputs: Sequence[Any] | None
    ) -> Sequence[TargetChange]:
        """Return the changes of targets that the doctor tries, the most likely first; by default none.

        images, targets: some examples. outputs: the predictions for validation images, whose targets may be read in
        another way than the training targets; None for training images. For training images, only changes that the
        images suggest are returned, since each of them costs several short trainings.
        """
        return ()

    def traced(self, model: Any, x: Any, target: Any) -> Traced | None:
        """Return a model as one network with one loss, with inputs and targets, for a trace; by default None.

        Called unless the objective is Supervised. Raises PellucidError for models and data that cannot be traced.
        """
        return None

    def onnx(self, model: Any, size: tuple[int, int] | None, metadata: Mapping[str, str]) -> tuple[bytes, Any] | None:
        """Return the bytes of an ONNX file, and the pellucid.export.Parity of its outputs; by default None.

        Called unless the objective is Supervised. size: (H, W) of the images, None for the model's. Raises
        PellucidError for models that cannot be written as ONNX.
        """
        return None
