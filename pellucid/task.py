"""The interface of tasks, such as classification and detection, and the registered tasks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pellucid.asked import Area, Asked, ask_scores, resized_to
from pellucid.errors import PellucidError
from pellucid.plugins import load_plugins
from pellucid.predictor import Predictor
from pellucid.text import percent

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.data import Source
    from pellucid.layers.base import Layer, Params
    from pellucid.losses.base import Loss
    from pellucid.metrics import MetricLike
    from pellucid.objective import Objective
    from pellucid.report.sections import Section

BUILT_IN = "pellucid.tasks"  # registers the tasks of the library when it is imported


@dataclass(frozen=True)
class Option:
    """An option of a command that only one task takes.

    kind: bool for a flag, Path for a file to write, otherwise the type of the value. metavar: of the value.
    """

    name: str
    help: str
    kind: type = bool
    metavar: str = "FILE"


@dataclass(frozen=True)
class Command:
    """A command: its name, its line in `pellucid --help`, and its module.

    The module has a function parser(), which returns a pellucid.command.args.Parser, and a function handle(args), which
    returns the exit code.
    """

    name: str
    about: str
    module: str


@dataclass(frozen=True)
class Evaluation:
    """The results of a model on held-out data: JSON values, and the same as lines of text."""

    values: Mapping[str, Any]
    lines: Sequence[str] = field(default_factory=list)


class Reported(NamedTuple):
    """What a task adds to the report of a run: sections, and files beside it as JSON values by name."""

    sections: "Sequence[Section]" = ()
    files: Mapping[str, Any] = {}


class Explained(NamedTuple):
    """The files of an explanation in a folder, and its results as JSON values and as lines of text."""

    values: Mapping[str, Any]
    lines: Sequence[str]
    folder: Path
    files: Sequence[Path]


class Request(NamedTuple):
    """The arguments of `pellucid explain` for one image; None for what the user leaves out.

    model: its name. image: a file. default: the output folder in place of `out`, with more words appended if needed.
    data: the bytes of the image, if `image` is only its name.
    """

    model: str
    image: str
    target: str | None
    method: str | None
    out: str | None
    default: Path
    data: bytes | None = None

    @property
    def source(self) -> str | bytes:
        """The file of the image, or its bytes."""
        return self.image if self.data is None else self.data

    def folder(self, *words: str) -> Path:
        """Return the output folder; words: appended to the name of the default one."""
        return self.default.with_name("-".join((self.default.name, *words))) if self.out is None else Path(self.out)


class Merit(NamedTuple):
    """A figure of merit of a task: its name in results and histories, its label, and its unit.

    unit: "%" for a fraction that is shown in per cent, otherwise a unit such as "dB". is_error: whether smaller is
    better.
    """

    name: str
    label: str
    unit: str = "%"
    is_error: bool = False

    def text(self, value: float) -> str:
        """Return a value with its unit."""
        return percent(value) if self.unit == "%" else f"{value:.2f} {self.unit}"


class OwnRecipe(NamedTuple):
    """A recipe for a user's own data: the name of a built-in recipe, and the settings that replace its values."""

    name: str
    settings: Mapping[str, Any]


class Example(NamedTuple):
    """One image x (C, H, W) with a target (1, ...) of the loss of `model`.

    label: the target in words. chosen: how it was chosen where the user gives none.
    """

    model: Any
    x: "Tensor"
    target: "Tensor"
    label: str
    chosen: str = "predicted"


class Traced(NamedTuple):
    """A model as one network with one loss: its parameters, and the inputs and targets of a pass."""

    net: "Layer"
    params: "Params"
    loss: "Loss"
    x: "Tensor"
    target: "Tensor"


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

    def ask(self, model: Any, x: "Tensor", of: str | None = None, place: Area | None = None) -> Asked:
        """Return the score of an image x, as `seen` returns it, that a person asks about; see `Asked`.

        of: one of its choices, or a unit such as "features.conv2[3]"; by default the largest score. place: where the
        person pointed. By default, for one network with scores (N, K), which have no place. Raises PellucidError for
        other models and names, and for a place without a score.
        """
        if (found := ask_scores(model, x, of)) is None:
            raise self.refusal(model)
        return found

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


_TASKS: dict[str, Task] = {}
_COMMANDS: dict[str, Command] = {}  # of plugins, besides those of tasks


def register_task(task: Task) -> None:
    """Register a task; models are assigned to the task that was registered last among those that they match.

    A class that is defined again, as when a notebook's cell runs twice, replaces its earlier definition. Raises
    PellucidError if another task has its name, one of its commands, or one of its options.
    """
    module, name = type(task).__module__, type(task).__qualname__
    for known in _TASKS.values():
        if (type(known).__module__, type(known).__qualname__) == (module, name):
            continue
        if known.name == task.name:
            raise PellucidError(f"a task {task.name!r} is registered already; give {type(task).__name__} another name")
        taken = {command.name for command in known.commands} & {command.name for command in task.commands}
        if taken:
            raise PellucidError(f"{task.name}: the task {known.name!r} has the command {taken.pop()!r}; rename it")
        for command, options in task.options.items():
            taken = {option.name for option in known.options.get(command, ())} & {option.name for option in options}
            if taken:
                raise PellucidError(f"{task.name}: the task {known.name!r} has the option {taken.pop()!r}; rename it")
    _TASKS[task.name] = task


def register_command(command: Command) -> None:
    """Register a command of no particular task; raises PellucidError if another command has its name."""
    other = {known.name: known for known in commands()}.get(command.name, command)
    if other.module != command.module:
        raise PellucidError(f"a command {command.name!r} is registered already; rename that of {command.module}")
    _COMMANDS[command.name] = command


def tasks() -> tuple[Task, ...]:
    """Return the registered tasks, in the order in which models are assigned to them."""
    import_module(BUILT_IN)
    load_plugins()
    return tuple(reversed(_TASKS.values()))


def commands() -> tuple[Command, ...]:
    """Return the commands of all tasks, in the order of their registration, and those of plugins."""
    of_tasks = [command for task in reversed(tasks()) for command in task.commands]
    return *of_tasks, *_COMMANDS.values()


def task_for(objective: Any) -> Task:
    """Return the task whose models an objective trains: the first that does, at last classification."""
    return next(task for task in tasks() if task.trains(objective))


def task_of(model: Any) -> Task:
    """Return the task of a model: the first that it matches, at last classification, which matches any model."""
    return next(task for task in tasks() if task.matches(model))
