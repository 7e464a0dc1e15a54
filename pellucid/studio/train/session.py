"""The requests of the view Train, and its state for one tab: the latest model, held-out images and predictions."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_known
from pellucid.model import Model
from pellucid.recipe.baseline import figure_text
from pellucid.recipe.recipe import load_recipe, recipe_of_run
from pellucid.recipe.watched import read_object_or_empty
from pellucid.run.folder import RunFolder, read_preview
from pellucid.shipped_files import recipe_abouts
from pellucid.studio.messages import Reply
from pellucid.studio.runs import has_weights
from pellucid.studio.train.analysis import Tested, as_pictures, filters, held_out, maps, tested, weights_by_epoch
from pellucid.studio.train.form import changed_recipe, epochs_to_keep, form_fields, settings_of, settings_of_change
from pellucid.studio.view import Library
from pellucid.task import task_for, task_of

MAX_COMPARED = 8
MAX_GENERATED = 48  # samples of a generator


@dataclass(frozen=True)
class OpenTrain:
    """train.open: read the names of the recipes and of the runs."""


@dataclass(frozen=True)
class ReadRecipe:
    """train.recipe: recipe: a name; settings: overrides such as "optimizer.name=sgd"."""

    recipe: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadSettings:
    """train.settings: the settings of a run for the form."""

    run: str


@dataclass(frozen=True)
class StartTraining:
    """train.start: settings: overrides such as "optimizer.lr=0.5"."""

    recipe: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadState:
    """train.state: since: the number of finished epochs that the page has."""

    run: str
    since: int = 0


@dataclass(frozen=True)
class ControlTraining:
    """train.control: pause, continue, step, stop or resume a training, or change its learning rate.

    rate: the factor of the recipe's learning rate, for the action "rate".
    """

    run: str
    action: Literal["pause", "go", "step", "stop", "resume", "rate"]
    rate: float = 1.0


@dataclass(frozen=True)
class ReadPicture:
    """train.picture: epoch: one of `pictures` in the answer to train.state."""

    run: str
    epoch: int


@dataclass(frozen=True)
class ReadConfusion:
    """train.confusion: epoch: one of `weights` in the answer to train.state."""

    run: str
    epoch: int


@dataclass(frozen=True)
class ReadCell:
    """train.cell: the pictures of class `true` that are predicted as class `predicted`."""

    run: str
    epoch: int
    true: int
    predicted: int


@dataclass(frozen=True)
class ReadFilters:
    """train.maps: n: index of the held-out image, modulo their number."""

    run: str
    epoch: int
    n: int = 0


@dataclass(frozen=True)
class ReadFindings:
    """train.findings: again: whether to start another examination in any case."""

    run: str
    again: bool = False


@dataclass(frozen=True)
class CompareTrainings:
    """train.compare: two or more runs."""

    runs: tuple[str, ...]


class TrainSession:
    """One tab of Train. Its answers come from the run folders, so a page that is reloaded shows the same."""

    def __init__(self, library: Library) -> None:
        self.runs = library.runs
        self._weights: tuple[Any, Model | None] = (None, None)
        self._data: tuple[Path | None, Any] = (None, None)
        self._tested: tuple[Any, Tested | None] = (None, None)

    def open(self, request: OpenTrain) -> Reply:
        """Return the recipes with their descriptions, and the runs, the newest first."""
        recipes = [{"name": name, "about": about} for name, about in recipe_abouts().items()]
        return Reply({"recipes": recipes, "runs": self.runs.names(), "folder": str(self.runs.folder)}, {})

    def recipe(self, request: ReadRecipe) -> Reply:
        """Return the keys of a recipe with overrides as a form, and its description."""
        recipe, _ = changed_recipe(request.recipe, request.settings)
        fields = {"recipe": request.recipe, "about": recipe.recipe.about, "fields": form_fields(recipe)}
        return Reply(fields, {})

    def settings(self, request: ReadSettings) -> Reply:
        """Return the built-in recipe of a run, and the settings in which the run differs from it."""
        recipe = recipe_of_run(self.runs.path(request.run))
        return Reply({"recipe": recipe.recipe.name, "settings": settings_of(recipe)}, {})

    def start(self, request: StartTraining) -> Reply:
        """Start a training with a recipe in a new run folder, and return the run's name."""
        recipe, overrides = changed_recipe(request.recipe, request.settings)
        if not recipe.train.keep:
            recipe = load_recipe(request.recipe, {**overrides, "train.keep": epochs_to_keep(recipe.train.epochs)})
        return Reply({"run": self.runs.begin(recipe)}, {})

    def state(self, request: ReadState) -> Reply:
        """Return the state of a training, and its finished epochs from index `since` on."""
        path = self.runs.path(request.run)
        state, history = self.runs.state(path), self.runs.history(path)
        since = request.since if 0 <= request.since <= len(history) else 0
        layers = [row for row in history.layers if row["epoch"] > since]
        fields = {"run": request.run, "since": since, "rows": history.rows[since:], "layers": layers}
        kept_files = {"pictures": [*RunFolder(path).previews()], "weights": [*weights_by_epoch(path, len(history))]}
        return Reply({**fields, **kept_files, **state, "trained": has_weights(path)}, {})

    def control(self, request: ControlTraining) -> Reply:
        """Control a training: see `ControlTraining`; it is stopped after a checkpoint."""
        path, action = self.runs.path(request.run), request.action
        if action == "resume":
            self.runs.launch(path)
        elif action == "stop":
            self.runs.stop(path)
        elif action == "rate":
            self.runs.set_rate(path, request.rate)
        else:
            self.runs.control(path, pause=action != "go", step=action == "step")
        return Reply({"run": request.run, "action": action}, {})

    def picture(self, request: ReadPicture) -> Reply:
        """Return the PNG file of held-out pictures with the model's predictions after an epoch, as bytes."""
        previews = RunFolder(self.runs.path(request.run)).previews()
        check_known("no pictures of epoch", str(request.epoch), [*map(str, previews)])
        data = torch.frombuffer(bytearray(read_preview(previews[request.epoch])), dtype=torch.uint8)
        return Reply({"run": request.run, "epoch": request.epoch}, {"png": data})

    def confusion(self, request: ReadConfusion) -> Reply:
        """Return the confusion matrix (true by predicted) of the weights after an epoch, on held-out images."""
        test_results = self._tests(request.run, request.epoch)
        counts = test_results.counts.tolist()
        return Reply(
            {"run": request.run, "epoch": request.epoch, "classes": test_results.classes, "counts": counts}, {}
        )

    def cell(self, request: ReadCell) -> Reply:
        """Return the first images of a cell of the confusion matrix, and their total number."""
        return self._tests(request.run, request.epoch).reply(request.true, request.predicted)

    def maps(self, request: ReadFilters) -> Reply:
        """Return the first filters of an epoch, their outputs for a held-out image, and a generator's samples."""
        check(request.n >= 0, "n", "at least 0", request.n)
        model = self._model(request.run, request.epoch)
        fields: dict[str, Any] = {"run": request.run, "epoch": request.epoch, "path": None}
        tensors = dict[str, Tensor]()
        samples = task_of(model).samples(model, MAX_GENERATED)
        if samples is not None and (images := as_pictures(samples)) is not None:
            tensors["samples"] = images
        with suppress(PellucidError):  # no weights to show as pictures, no held-out images, or no trace
            path, tensors["filters"] = filters(model)
            fields["path"] = path
            x, y = self._held_out(request.run, model)
            n = request.n % len(x)
            if (images := as_pictures(x[n : n + 1])) is not None:
                tensors["image"] = images[0]
            tensors["maps"] = maps(model, path, x[n : n + 1], y[n : n + 1])
        return Reply(fields, tensors)

    def findings(self, request: ReadFindings) -> Reply:
        """Return the latest diagnosis of a run, None before the first; start another examination if it is due.

        figure: a sentence about the run's result beside its baseline, "" without one. form_settings of a finding: the
        change that mends it, as settings for the form; [] if there is none.
        """
        path = self.runs.path(request.run)
        examined = self.runs.examine(path, request.again)
        if examined["diagnosis"] is not None:
            findings = [
                {**finding, "form_settings": settings_of_change(path, finding["settings"] or {})}
                for finding in examined["diagnosis"]["findings"]
            ]
            examined["diagnosis"] = {**examined["diagnosis"], "findings": findings}
        return Reply({"run": request.run, "figure": _figure(path), **examined}, {})

    def compare(self, request: CompareTrainings) -> Reply:
        """Return the differing keys of the recipes of runs, and their main results; faults: errors of runs left out."""
        # Imports matplotlib, which would delay the start of the studio.
        from pellucid.recipe.compare import ComparedRun, RunComparison, read_run

        check(2 <= len(request.runs) <= MAX_COMPARED, "runs", f"from 2 to {MAX_COMPARED}", len(request.runs))
        paths = {name: self.runs.path(name) for name in request.runs}
        runs: dict[str, ComparedRun] = {}
        faults: dict[str, str] = {}
        for name, path in paths.items():
            try:
                runs[name] = read_run(path)
            except PellucidError as error:
                faults[name] = str(error)
        compared = RunComparison([*runs], [*runs.values()])
        fields = {
            "runs": [*runs],
            "faults": faults,
            "recipes": compared.recipe_differences,
            "results": compared.result_rows,
        }
        return Reply(fields, {})

    def _model(self, run: str, epoch: int) -> Model:
        """Return the model with the weights after an epoch."""
        path = self.runs.path(run)
        files = weights_by_epoch(path, len(self.runs.history(path)))
        check_known("no weights of epoch", str(epoch), [*map(str, files)])
        key = (files[epoch], files[epoch].stat().st_mtime_ns)
        if self._weights[0] != key or self._weights[1] is None:
            self._weights = (key, Model.load(files[epoch]))
        assert self._weights[1] is not None
        return self._weights[1]

    def _held_out(self, run: str, model: Model) -> tuple[Tensor, Tensor]:
        """Return held-out images of a run with their targets."""
        path = self.runs.path(run)
        if self._data[0] != path:
            self._data = (path, held_out(model, self.runs.data_of(path)))
        return self._data[1]

    def _tests(self, run: str, epoch: int) -> Tested:
        """Return the predictions of the weights after an epoch for held-out images."""
        model = self._model(run, epoch)
        if self._tested[0] != self._weights[0] or self._tested[1] is None:
            self._tested = (self._weights[0], tested(model, lambda: self._held_out(run, model)))
        assert self._tested[1] is not None
        return self._tested[1]


def _figure(path: Path) -> str:
    """Return the sentence about a run's figure and its baseline, "" without a recipe or without results."""
    if not (path / "recipe.toml").is_file():
        return ""
    task = task_for(recipe_of_run(path).training_objective())
    return figure_text(task.merits, read_object_or_empty(path / "results.json"), advice="see Doctor on this page")


HANDLERS: dict[str, tuple[type, Callable[[TrainSession, Any], Reply]]] = {
    "train.open": (OpenTrain, TrainSession.open),
    "train.recipe": (ReadRecipe, TrainSession.recipe),
    "train.settings": (ReadSettings, TrainSession.settings),
    "train.start": (StartTraining, TrainSession.start),
    "train.state": (ReadState, TrainSession.state),
    "train.control": (ControlTraining, TrainSession.control),
    "train.picture": (ReadPicture, TrainSession.picture),
    "train.confusion": (ReadConfusion, TrainSession.confusion),
    "train.cell": (ReadCell, TrainSession.cell),
    "train.maps": (ReadFilters, TrainSession.maps),
    "train.findings": (ReadFindings, TrainSession.findings),
    "train.compare": (CompareTrainings, TrainSession.compare),
}
