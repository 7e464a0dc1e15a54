"""The requests of the view Learn: the list of lessons, the texts of one, and its steps for chosen values."""

import inspect
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_known
from pellucid.lessons.glossary import GLOSSARY, terms_of
from pellucid.lessons.guide import Handles, Slider
from pellucid.lessons.lesson import LESSONS, LessonSettings, Result, find_lesson, outline, title
from pellucid.lessons.page import body_text, check_line, written_steps
from pellucid.studio.learn.runs import StepRuns
from pellucid.studio.messages import Reply
from pellucid.studio.view import Library

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RUNS = StepRuns()  # of all tabs
SMALL = LessonSettings(small=True)
PATIENCE = 0.1  # seconds that a request waits for a step


@dataclass(frozen=True)
class OpenLearn:
    """learn.open: read the list of lessons."""


@dataclass(frozen=True)
class OpenLesson:
    """learn.lesson: read the texts of a lesson; name: one of LESSONS."""

    name: str


@dataclass(frozen=True)
class RunStep:
    """learn.run: compute a step of a lesson.

    step: its function. values: of its sliders and handles, such as "rate=0.6"; the others have their start values.
    """

    name: str
    step: str
    values: tuple[str, ...] = ()


class LearnSession:
    """One tab's lesson.

    setting: of all steps. waits: whether a request waits for its step, however long it takes.
    """

    def __init__(self, library: Library, setting: LessonSettings = SMALL, waits: bool = False) -> None:
        self.setting = setting
        self.waits = waits
        self._asked = dict[tuple[str, str], Future[Reply]]()  # what was asked last of each step

    def open(self, request: OpenLearn) -> Reply:
        """Return all lessons in the order of the course, and the glossary."""
        # The import takes a third of a second, which the reader of the list then does not wait for at the first lesson.
        threading.Thread(target=import_module, args=["pellucid.report.figures.series"]).start()
        rows = [{"name": name, "about": about, **outline(name)._asdict()} for name, about in LESSONS.items()]
        terms = [{"word": word, **term._asdict()} for word, term in GLOSSARY.items()]
        return Reply({"lessons": rows, "terms": terms}, {})

    def lesson(self, request: OpenLesson) -> Reply:
        """Return the texts of a lesson, its code and its guide."""
        module = find_lesson(request.name)
        guide = module.GUIDE
        steps, last_code = written_steps(request.name)
        starts = {step.__name__: _start_values(step, guide.controls(step.__name__)) for step in module.STEPS}
        for future in self._asked.values():  # of a lesson that was left
            future.cancel()
        self._asked.clear()
        names = [*LESSONS]
        number = names.index(request.name) + 1
        fields = {
            "number": number,
            "count": len(names),
            "title": title(module),
            "text": body_text(module),
            "steps": [step._asdict() | {"start": starts[step.name]} for step in steps],
            "code": last_code,
            "guide": guide.to_json(),
            "checks": [check_line(request.name, one) for one in guide.functions],
            "terms": {word: term.meaning for word, term in terms_of(request.name).items()},
            "needs": _titles(guide.needs),
            "next": _titles(names[number : number + 1]),
        }
        return Reply(fields, {})

    def run(self, request: RunStep) -> Reply:
        """Return the numbers and the figure of a step, or that they are still being computed."""
        module = find_lesson(request.name)
        functions = {step.__name__: step for step in module.STEPS}
        check_known(f"the lesson {request.name} has no step", request.step, functions)
        values = _chosen_values(module.GUIDE.controls(request.step), request.values)
        key = (request.name, request.step, self.setting, *sorted(values.items()))
        future = RUNS.get(key, lambda: _reply(functions[request.step](self.setting, **values)))
        earlier = self._asked.get((request.name, request.step))
        if earlier is not None and earlier is not future:
            earlier.cancel()
        self._asked[request.name, request.step] = future
        try:
            return future.result(None if self.waits else PATIENCE)
        except (TimeoutError, CancelledError):  # cancelled by another tab, which waited for the same
            return Reply({"working": True, "numbers": None}, {})


def _titles(names: Any) -> list[dict[str, str]]:
    return [{"name": name, "title": outline(name).title} for name in names]


def _start_values(function: Callable[..., Result], controls: tuple[Slider | Handles, ...]) -> dict[str, str]:
    """Return the text of the start value of each control."""
    arguments = inspect.signature(function).parameters
    starts = dict[str, str]()
    for control in controls:
        if isinstance(control, Handles):
            starts[control.name] = control.start_text
        else:
            starts[control.name] = str(control.values[control.values.index(arguments[control.name].default)])
    return starts


def _chosen_values(controls: tuple[Slider | Handles, ...], given: tuple[str, ...]) -> dict[str, Any]:
    """Return the values of texts such as "rate=0.6", by the names of controls."""
    values = dict[str, Any]()
    by_name = {control.name: control for control in controls}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise PellucidError(f"a value must be NAME=VALUE, not {text[:40]!r}")
        check_known("the step has no slider", name, by_name)
        if name in values:
            raise PellucidError(f"{name} is given twice")
        values[name] = by_name[name].read(value)
    return values


def _reply(result: Result) -> Reply:
    from pellucid.report.figures.style import png

    tensors = {}
    plots = []
    if result.figure is not None:
        tensors["png"] = torch.frombuffer(bytearray(png(result.figure)), dtype=torch.uint8)
        plots = [_place(plot) for plot in result.figure.axes]
    return Reply({"working": False, "numbers": _rows(result.numbers), "plots": plots}, tensors)


def _place(plot: "Axes") -> dict[str, Any]:
    """Return where a plot that has been drawn lies.

    box: left, top, right and bottom, in fractions of the figure. x: the numbers at the left and at the right. y: those
    at the bottom and at the top.
    """
    box = plot.get_position()
    fractions = [box.x0, 1 - box.y1, box.x1, 1 - box.y0]
    return {"box": fractions, "x": [*map(float, plot.get_xlim())], "y": [*map(float, plot.get_ylim())]}


def _rows(value: Any) -> Any:
    """Return JSON values with mappings as {"rows": pairs}, since objects of JavaScript sort keys that are numbers."""
    if isinstance(value, Mapping):
        return {"rows": [[str(name), _rows(item)] for name, item in value.items()]}
    return [_rows(item) for item in value] if isinstance(value, list | tuple) else value


HANDLERS: dict[str, tuple[type, Callable[[LearnSession, Any], Reply]]] = {
    "learn.open": (OpenLearn, LearnSession.open),
    "learn.lesson": (OpenLesson, LearnSession.lesson),
    "learn.run": (RunStep, LearnSession.run),
}
