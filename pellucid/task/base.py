"""The interface of tasks, such as classification and detection."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.asked import Area, Asked, ask_scores, resized_to
from pellucid.errors import PellucidError
from pellucid.predictor import Predictor
from pellucid.task.values import (
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
    Traced,
)

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.data import Source
    from pellucid.metrics import MetricLike
    from pellucid.objective import Objective


class Task(ABC):
    """What is done with a model of one kind: a subclass implements a task, in one folder, and is registered.

    A `model` is a pellucid.Model. name: a word for messages, such as "detection". model: one of its models, such as
    "detector". verb: the word of `pellucid train VERB DATA`, "" if only recipes train its models. merits: the figures
    by which its models are judged, the most important first. commands: its own commands. options: of `pellucid
    evaluate` and `pellucid explain`, by command. unclassified: the message of commands for classifiers, given another
    model; {outputs} is the shape of its outputs.
    """

    name: ClassVar[str]
    model: ClassVar[str]
    verb: ClassVar[str] = ""
    merits: ClassVar[tuple[Merit, ...]] = ()
    commands: ClassVar[tuple[Command, ...]] = ()
    options: ClassVar[Mapping[str, tuple[Option, ...]]] = {}
    unclassified: ClassVar[str] = (
        "the model outputs {outputs} for an image, no classes; give a classifier, or use Model.predict, Model.explain, "
        "Model.trace and Model.evaluate in Python"
    )

    def trains(self, objective: Any) -> bool:
        """Return whether a recipe with this pellucid.Objective trains models of this task."""
        return False

    def objectives(self) -> "Mapping[str, Callable[..., Objective]]":
        """Return the functions that make this task's objectives, under the names in recipes; by default none.

        Their annotated arguments are the keys of a recipe's table [objective].
        """
        return {}

    def matches(self, model: Any) -> bool:
        """Return whether a model is of this task; by default, whether the task trains its objective."""
        return self.trains(model.objective)

    def read(self, objective: Any, data: Any, root: Any) -> "tuple[Source, Source] | None":
        """Return the training and the test part of data in a format of this task, None for any other data.

        data: the table [data] of a recipe, with `name`, `size` and `mode`. root: the folder that contains the data
        sets, None for the default. Returns None by default: data sets, image folders and annotated objects are then
        read. Raises PellucidError for what is wrong in the data.
        """
        return None

    def recipe_for(self, data: str, root: Any) -> OwnRecipe:
        """Return the recipe for data of a user; called for tasks with a `verb`.

        data: a folder, a file or the name of a data set. root: as for `read`. Raises PellucidError for data that the
        task cannot be trained on.
        """
        raise NotImplementedError(f"{type(self).__name__} has a verb; write recipe_for(data, root)")

    def examples(self, objective: Any, source: Any, name: str) -> Any:
        """Return a part of the data of this name as the Source that the objective needs; by default unchanged."""
        return source

    def metrics(self, objective: Any) -> "Sequence[MetricLike] | None":
        """Return the metrics of recipes that name none; None, as by default, for those of the loss."""
        return None

    def finish(self, model: Any, train: Any, validation: Any, test: Any) -> bool:
        """Fit what a trained model needs besides its weights; return whether its file must be written again.

        train, validation, test: the Sources of the training, validation may be None. By default, there is nothing.
        """
        return False

    def predictor(self, model: Any, out: Path | None = None) -> Predictor:
        """Return a predictor for pictures, which writes its files, if any, into the folder `out`.

        Raises PellucidError, as by default, for models that predict nothing for a picture.
        """
        raise PellucidError(f"a {self.model} predicts nothing for a picture; use Model.predict in Python")

    def samples(self, model: Any, count: int) -> "Tensor | None":
        """Return images (count, C, H, W), 0..1, that a model makes from random numbers alone; None, as by default."""
        return None

    def report(self, model: Any, train: Any, test: Any, folder: Any) -> Reported:
        """Return the sections about results on the test images; by default none.

        train, test: the Sources of the training, train may be None. folder: the pellucid.run.folder.RunFolder.
        """
        return Reported()

    @abstractmethod
    def evaluate(self, model: Any, name: str, data: str | None, **options: Any) -> Evaluation:
        """Evaluate a model on held-out data.

        name: of the model, for headings. data: a data set, a folder or a root of data sets, None for the model's own.
        options: by name, those of `options` that the user gives; a file is a path that can be written.
        """

    def held_out(self, model: Any, data: str | None) -> Any:
        """Return the images of a pellucid.data.Dataset on which a model is analysed; by default, raises `refusal`.

        data: as for `evaluate`.
        """
        raise self.refusal(model)

    def refusal(self, model: Any) -> PellucidError:
        """Return the error of commands for classifiers, which names the command to use instead."""
        return PellucidError(self.unclassified.format(outputs=model.output_shape))

    def class_names(self, model: Any) -> tuple[str, ...]:
        """Return the class names of a classifier; raises `refusal` for any other model."""
        raise self.refusal(model)

    def explain(self, model: Any, request: Request, **options: Any) -> Explained:
        """Explain the output for one image, and write the explanation; by default, raises `refusal`.

        options: by name, those of `options` that the user gives.
        """
        raise self.refusal(model)

    def example(self, model: Any, image: str, target: str | None) -> Example:
        """Return an image file with a target, by default of the prediction, to trace; by default, raises `refusal`."""
        raise self.refusal(model)

    def seen(self, model: Any, image: "Tensor") -> "Tensor":
        """Return an image, as `Predictor.read` returns it, in the size of the network's input: (C, H, W), 0 to 1.

        By default, it is resized to the input shape, if that is fixed.
        """
        return resized_to(model.input_shape[1:], image)

    def ask(self, model: Any, x: "Tensor", of: str | None = None, area: Area | None = None) -> Asked:
        """Return the score of an image x, as `seen` returns it, that a person asks about; see `Asked`.

        of: one of its choices, or a unit such as "features.conv2[3]"; by default the largest score. area: where the
        person pointed. By default, for one network with scores (N, K), which have no area. Raises PellucidError for
        other models and names, and for an area without a score.
        """
        if (score := ask_scores(model, x, of)) is None:
            raise self.refusal(model)
        return score

    def case(self, model: Any, x: Any, y: Any, options: Mapping[str, Any]) -> Any:
        """Return the case of a model with data, for the doctor; None, as by default, for a pellucid.doctor.Case.

        options: the arguments of `Model.doctor`.
        """
        return None

    def case_of_run(self, run: Path, data: str | None) -> Any:
        """Return the case of a run folder with a recipe; None, as by default, for a pellucid.doctor.Case.

        data: another data set or folder, or the root of the data sets; None for the run's own data.
        """
        return None

    def case_of_model(self, model: Any, data: str | None, history: Any = None) -> Any:
        """Return the case of a model without its recipe; data: as for `case_of_run`.

        history: the pellucid.run.history.History of its training, if its folder has one.
        """
        return None

    def diagnose(self, case: Any, attempts: bool, device: Any) -> Any:
        """Return the pellucid.doctor.Diagnosis of a case; None, as by default, for that by the general checks.

        attempts: whether to try the fixes. device: for short trainings. Raises PellucidError for what the task does not
        support.
        """
        return None

    def scores(self, model: Any, outputs: Sequence[Any], targets: Sequence[Any]) -> HeldOutScores | None:
        """Return the score of each held-out example, which the doctor's experiments compare.

        outputs, targets: the prediction and the target of each example. None, as by default, for a score by the loss.
        """
        return None

    def target_changes(
        self, model: Any, images: "Sequence[Tensor]", targets: Sequence[Any], outputs: Sequence[Any] | None
    ) -> Sequence[TargetChange]:
        """Return the other targets that the doctor tries, the likeliest first; by default none.

        images, targets: some examples. outputs: the predictions for validation images, whose targets may be read
        otherwise than those of the training; None for training images, of which only changes are returned that the
        images suggest, since each costs several short trainings.
        """
        return ()

    def traced(self, model: Any, x: Any, target: Any) -> Traced | None:
        """Return a model as one network with one loss, with inputs and targets, to trace; by default None.

        Called unless the objective is Supervised. Raises PellucidError for models and data that cannot be traced.
        """
        return None

    def onnx(self, model: Any, size: tuple[int, int] | None, metadata: Mapping[str, str]) -> tuple[bytes, Any] | None:
        """Return the bytes of an ONNX file, and the pellucid.export.Parity of its outputs; by default None.

        Called unless the objective is Supervised. size: (H, W) of the images, None for the model's. Raises
        PellucidError for models that cannot be written as ONNX.
        """
        return None
