"""The part of a lesson that asks something of its reader: a guess, sliders, what to notice, and exercises."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


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
    lessons that come before it. guesses, sliders and notices belong to steps, by the names of their functions; a notice
    says what to look for in the figure. exercises and functions: at least two together. later: what the lesson is used
    for later. studio: the address of the same thing in the studio, such as "#play", or "" if there is none.
    """

    question: str
    minutes: int
    needs: tuple[str, ...]
    guesses: Mapping[str, Guess]
    sliders: Mapping[str, tuple[Slider, ...]]
    notices: Mapping[str, tuple[str, ...]]
    exercises: tuple[Exercise, ...]
    later: str
    functions: Mapping[str, FunctionExercise] = field(default_factory=dict)
    studio: str = ""
