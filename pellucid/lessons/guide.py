"""The part of a lesson that asks something of its reader: a guess, sliders, what to notice, and exercises."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import is_number
from pellucid.base.text import shown
from pellucid.lessons.lesson import NumberRows


@dataclass(frozen=True)
class Slider:
    """A value of a step that the reader changes.

    name: the keyword argument of the step, whose default is the start value. label: what it changes, with its unit.
    values: what can be chosen, in order, the start value among them. remarks: a sentence for single values.
    """

    name: str
    label: str
    values: tuple[float, ...] | tuple[str, ...]
    remarks: Mapping[float | str, str] = field(default_factory=dict)

    @property
    def is_choice(self) -> bool:
        """Whether only the values can be chosen; else they are numbers, and all between them can be chosen too."""
        return not all(is_number(value) for value in self.values)

    def read(self, text: str) -> float | str:
        """Return the value that a text names; raises PellucidError if it cannot be chosen.

        Between whole numbers only whole numbers can be chosen.
        """
        values_by_text: dict[str, Any] = {str(value): value for value in self.values}
        if text in values_by_text:
            return values_by_text[text]
        if self.is_choice:
            raise PellucidError(f"{self.label} must be one of {', '.join(values_by_text)}, not {shown(text)}")
        low, high = min(values_by_text.values()), max(values_by_text.values())
        is_whole = all(isinstance(value, int) for value in self.values)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or (is_whole and not value.is_integer()):
            kind = "whole number" if is_whole else "number"
            raise PellucidError(f"{self.label} must be a {kind} from {low:g} to {high:g}, not {shown(text)}")
        return int(value) if is_whole else value

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, with each value as the text that `read` takes."""
        texts = [str(value) for value in self.values]
        remarks = {str(value): remark for value, remark in self.remarks.items()}
        return {
            "name": self.name,
            "label": self.label,
            "values": texts,
            "is_choice": self.is_choice,
            "remarks": remarks,
        }


@dataclass(frozen=True)
class Handles:
    """Numbers of a step that the reader drags in its figure.

    name: the keyword argument of the step, whose default is `start`. label: what is dragged. kind: what a row is: of
    "points" (x, y), of "boxes" (x0, y0, x1, y1), and of "cells" a row of a matrix, whose numbers are changed by
    dragging up and down. low, high: limits of all numbers. step: the difference of neighbouring numbers. plot: the
    index of the plot in the figure.
    """

    name: str
    label: str
    kind: Literal["points", "boxes", "cells"]
    start: NumberRows
    low: float
    high: float
    step: float
    plot: int = 0

    def read(self, text: str) -> NumberRows:
        """Return the rows of a text such as "0,1;2.5,3"; raises PellucidError if they cannot be chosen."""
        try:
            rows = tuple(tuple(map(float, row.split(","))) for row in text.split(";"))
        except ValueError:
            rows = ()
        numbers = [number for row in rows for number in row]
        has_shape = [*map(len, rows)] == [*map(len, self.start)]
        if not has_shape or not all(self.low <= number <= self.high for number in numbers):
            limits_text = f"{len(self.start[0])} numbers from {self.low:g} to {self.high:g}"
            raise PellucidError(f"{self.name} must be {len(self.start)} rows of {limits_text}, not {shown(text)}")
        if self.kind == "boxes" and not all(left < right and top < bottom for left, top, right, bottom in rows):
            raise PellucidError(f"{self.name} must be boxes with x0 < x1 and y0 < y1, not {shown(text)}")
        return rows

    @property
    def start_text(self) -> str:
        """The start value as the text that `read` takes."""
        return ";".join(",".join(f"{number:g}" for number in row) for row in self.start)


@dataclass(frozen=True)
class Guess:
    """A question to answer before the figure is seen.

    asks: the question. answers: what can be chosen. right: the index of the right answer. why: the reason for it, shown
    after any answer.
    """

    asks: str
    answers: tuple[str, ...]
    right: int
    why: str


@dataclass(frozen=True)
class Exercise:
    """A number to find.

    asks: the exercise, which says in which unit to answer. answer: the number. tolerance: the largest difference that
    counts as right. solution: how to find it. mistakes: wrong answers that are often given, each with what went wrong.
    """

    asks: str
    answer: float
    tolerance: float
    solution: str
    mistakes: Mapping[float, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FunctionExercise:
    """A function to write, checked by `pellucid.lessons.check`.

    asks: what the function shall return, with the names and shapes of its arguments. reference: the function that it is
    compared with. arguments: function of a random generator that returns arguments of one call. solution: its code.
    """

    asks: str
    reference: Callable[..., Any]
    arguments: Callable[[np.random.Generator], tuple[Any, ...]]
    solution: str


@dataclass(frozen=True)
class Guide:
    """What a lesson asks and shows, beside the text and the code of its steps.

    question: the question of the lesson, in words that a beginner knows. minutes: the time that it takes. needs: the
    lessons that come before it. guesses, sliders, notices and handles belong to steps, by the names of their functions;
    a notice says what to look for in the figure. notice_plots: for steps with several plots, the plots that each notice
    speaks of. exercises and functions: at least two together. later: what the lesson is used for later. studio: the
    address of the same thing in the studio, such as "#play?problem=xor", or "" if there is none.
    """

    question: str
    minutes: int
    needs: tuple[str, ...]
    guesses: Mapping[str, Guess]
    sliders: Mapping[str, tuple[Slider, ...]]
    notices: Mapping[str, tuple[str, ...]]
    exercises: tuple[Exercise, ...]
    later: str
    notice_plots: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    handles: Mapping[str, Handles] = field(default_factory=dict)
    functions: Mapping[str, FunctionExercise] = field(default_factory=dict)
    studio: str = ""

    def controls(self, step: str) -> tuple[Slider | Handles, ...]:
        """Return what the reader changes in a step: its sliders, and then its handles."""
        handles = (self.handles[step],) if step in self.handles else ()
        return *self.sliders.get(step, ()), *handles

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, without the code of function exercises."""
        return {
            "question": self.question,
            "minutes": self.minutes,
            "needs": list(self.needs),
            "guesses": {step: asdict(guess) for step, guess in self.guesses.items()},
            "sliders": {step: [slider.to_json() for slider in sliders] for step, sliders in self.sliders.items()},
            "handles": {step: asdict(handles) for step, handles in self.handles.items()},
            "notices": {step: list(notices) for step, notices in self.notices.items()},
            "notice_plots": dict(self.notice_plots),
            "exercises": [
                {**asdict(exercise), "mistakes": [*exercise.mistakes.items()]} for exercise in self.exercises
            ],
            "functions": [
                {"name": name, "asks": function.asks, "solution": function.solution}
                for name, function in self.functions.items()
            ],
            "later": self.later,
            "studio": self.studio,
        }
