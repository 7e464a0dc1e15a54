"""Checks of the functions that readers of a lesson write, by comparison with a reference."""

import copy
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.text import shortened
from pellucid.lessons.guide import FunctionExercise
from pellucid.lessons.lesson import find_lesson

CALLS = 5  # with different arguments
RTOL = 1e-5  # also right for results in float32
MAX_SHOWN = 12  # elements of an argument that a message shows


@dataclass(frozen=True, repr=False)
class CheckResult:
    """The result of checking a function; at a prompt it is its text, and it is true if the function is right.

    is_right: whether all results were those of the reference. text: this in a sentence, with the first difference.
    """

    is_right: bool
    text: str

    def __repr__(self) -> str:
        """Return the text."""
        return self.text

    def __bool__(self) -> bool:
        """Return whether the function is right, so that `assert check(...)` marks an assignment."""
        return self.is_right


def check(name: str, function: Callable[..., Any]) -> CheckResult:
    """Compare a function with the reference of a lesson's exercise, on arguments drawn from several seeds.

    name: LESSON.FUNCTION, such as "descent.step". The function receives copies of the arguments, and may return NumPy
    arrays, tensors, lists and numbers. Raises PellucidError for an unknown exercise.
    """
    exercise = _find(name)
    if not callable(function):
        raise PellucidError(f"check({name!r}, function): give the function itself, not {type(function).__name__}")
    for seed in range(CALLS):
        arguments = exercise.arguments(np.random.default_rng(seed))
        expected_result = exercise.reference(*copy.deepcopy(arguments))
        try:
            result = function(*copy.deepcopy(arguments))
        except (Exception, SystemExit) as error:  # `exit()` must not end a program that marks many functions
            difference = f"it raised {_raised(error, function)}"
        else:
            difference = _difference(expected_result, result)
        if difference:
            shown_arguments = ", ".join(_shown(argument) for argument in arguments)
            return CheckResult(False, f"{name} is not right yet: {difference}\ncalled with {shown_arguments}")
    return CheckResult(True, f"{name} is right, for {CALLS} different arguments")


def _find(name: str) -> FunctionExercise:
    lesson, _, function_name = str(name).partition(".")
    functions = find_lesson(lesson).GUIDE.functions
    if function_name not in functions:
        names = [f"{lesson}.{function_name}" for function_name in functions]
        known_text = f"; there is {', '.join(names)}" if names else f"; the lesson {lesson} has none"
        raise PellucidError(f"there is no exercise {str(name)!r}{nearest(str(name), names) or known_text}")
    return functions[function_name]


def _raised(error: BaseException, function: Callable[..., Any]) -> str:
    """Return an exception on one line, with the number of the last line of the reader's code that it passed."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    line_text = f" in line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}{line_text}: {shortened(' '.join(str(error).split()), 200)}"


def _difference(expected_result: Any, result: Any) -> str:
    """Return the first difference of a result from the expected one as a text; "" if they are equal."""
    if result is None:
        return "it returned nothing; is there a `return`?"
    if not isinstance(expected_result, tuple):
        return _number_difference(expected_result, result)
    if not isinstance(result, tuple | list) or len(result) != len(expected_result):
        return f"it must return {len(expected_result)} values, not {_shown(result)}"
    for index, pair in enumerate(zip(expected_result, result, strict=True)):
        difference = _difference(*pair)
        if difference:
            return f"value {index} of its result: {difference}"
    return ""


def _number_difference(expected_result: Any, result: Any) -> str:
    """Return the first difference of an array, a tensor, a list of numbers or a number; "" if there is none."""
    expected_array = _array(expected_result)
    array = _array(result)
    if array is None:
        return f"it must return numbers, not {_shown(result)}"
    if array.shape != expected_array.shape:
        return f"the shape of the result must be {expected_array.shape}, not {array.shape}"
    largest_value = float(np.abs(expected_array).max(initial=0.0))
    is_equal = np.isclose(array, expected_array, rtol=RTOL, atol=RTOL * largest_value)
    if is_equal.all():
        return ""
    index = tuple(np.argwhere(~is_equal)[0].tolist())
    index_text = f"at {list(index)} " if index else ""
    return f"{index_text}expected {expected_array[index]:.6g}, got {array[index]:.6g}"


def _array(value: Any) -> Any:
    """Return a result as an array of float64; None if it is none of real numbers."""
    try:
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    except (TypeError, ValueError):  # of lists of unequal lengths, or a tensor that NumPy has no type for
        return None
    return array.astype(np.float64) if array.dtype.kind in "biuf" else None


def _shown(value: Any) -> str:
    """Return an argument or a result on one line, large arrays by their shape."""
    array = _array(value) if isinstance(value, Tensor | np.ndarray) else None
    if array is None:
        return shortened(" ".join(repr(value).split()), 100)
    if array.size > MAX_SHOWN:
        return f"an array of shape {array.shape}"
    return " ".join(np.array2string(array, precision=4, separator=", ").split())
