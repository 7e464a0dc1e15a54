"""Functions that readers write are compared with the reference of an exercise."""

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pellucid import PellucidError
from pellucid.lessons import check
from pellucid.lessons.function_check import CALLS, CheckResult
from pellucid.lessons.guide import FunctionExercise
from pellucid.lessons.lesson import LESSONS, find_lesson
from pellucid.lessons.page import check_line

FUNCTIONS = [(lesson, name) for lesson in LESSONS for name in find_lesson(lesson).GUIDE.functions]


def step(w: Any, x: Any, y: Any, rate: float) -> Any:
    return w - rate * x.T @ (x @ w - y) / len(x)


def in_place(w: Any, x: Any, y: Any, rate: float) -> Any:
    w -= rate * x.T @ (x @ w - y) / len(x)
    x[:] = 0
    return w


def in_torch(w: Any, x: Any, y: Any, rate: float) -> Any:
    return step(*(torch.from_numpy(one).float() for one in (w, x, y)), rate)


@pytest.mark.parametrize("function", [step, in_place, in_torch, lambda *given: step(*given).tolist()])
def test_a_right_function_is_right_with_every_kind_of_result(function: Any) -> None:
    checked = check("descent.step", function)
    assert checked.is_right
    assert checked
    assert repr(checked) == f"descent.step is right, for {CALLS} different arguments"


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda w, x, y, rate: w, "at [0] expected "),
        (lambda w, x, y, rate: np.append(step(w, x, y, rate)[:-1], 9), "at [2] expected "),
        (lambda w, x, y, rate: step(w, x, y, rate)[:, None], "the shape of the result must be (3,), not (3, 1)"),
        (lambda w, x, y, rate: None, "it returned nothing; is there a `return`?"),
        (lambda w, x, y, rate: "right", "it must return numbers, not 'right'"),
        (lambda w, x, y, rate: step(w, x, y, rate) + 0j, "it must return numbers, not "),
        (lambda w, x, y, rate: [[1], [2, 3]], "it must return numbers, not [[1], [2, 3]]"),
        (lambda w, x, y, rate: w * np.nan, "got nan"),
        (lambda w, x, y, rate: w[3], "it raised IndexError in line "),
        (lambda w, x: w, "it raised TypeError: "),
        (lambda *given: sys.exit(3), "it raised SystemExit in line "),
    ],
)
def test_a_wrong_function_is_told_its_first_difference(function: Any, text: str) -> None:
    checked = check("descent.step", function)
    assert not checked.is_right
    assert not checked  # `assert check(...)` marks an assignment
    assert text in checked.text
    assert ", an array of shape (8, 3), [" in checked.text  # the arguments, the large one by its shape
    assert len(checked.text.splitlines()) == 2


def test_a_function_that_is_right_for_one_argument_only_is_wrong() -> None:
    calls: list[Any] = []

    def right_once(*given: Any) -> Any:
        calls.append(given)
        return step(*given) * (len(calls) == 1)

    assert not check("descent.step", right_once).is_right
    assert len(calls) == 2


def test_the_expected_value_is_that_of_numpy() -> None:
    seen: list[Any] = []

    def wrong(*given: Any) -> Any:
        seen.extend(given)
        return np.zeros(3)

    text = check("descent.step", wrong).text
    w, x, y, rate = seen
    expected = w - rate * np.mean([(row @ w - target) * row for row, target in zip(x, y, strict=True)], axis=0)
    assert f"at [0] expected {expected[0]:.6g}, got 0" in text


def checked_pair(monkeypatch: pytest.MonkeyPatch, function: Any) -> CheckResult:
    """Return the check of a function whose reference returns an array and a number."""
    exercise = FunctionExercise("", lambda x: (2 * x, x.sum()), lambda random: (random.normal(size=4),), "")
    guide = replace(find_lesson("descent").GUIDE, functions={"pair": exercise})
    monkeypatch.setattr(find_lesson("descent"), "GUIDE", guide)
    return check("descent.pair", function)


def test_each_of_several_results_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked_pair(monkeypatch, lambda x: [x + x, sum(x)]).is_right
    assert "value 1 of its result: expected " in checked_pair(monkeypatch, lambda x: (x + x, 0.0)).text
    assert "it must return 2 values, not [" in checked_pair(monkeypatch, lambda x: x + x).text
    assert "it must return 2 values" in checked_pair(monkeypatch, lambda x: (x + x,)).text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("descent.stp", "there is no exercise 'descent.stp'; did you mean 'descent.step'?"),
        ("descnt.step", "there is no lesson 'descnt'; did you mean 'descent'?"),
        ("descent", "there is no exercise 'descent'; did you mean 'descent.step'?"),
        ("descent.xyzzy", "there is no exercise 'descent.xyzzy'; did you mean 'descent.step'?"),
    ],
)
def test_an_unknown_exercise_is_refused(name: str, text: str) -> None:
    with pytest.raises(PellucidError) as refused:
        check(name, step)
    assert str(refused.value) == text


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(PellucidError, match="give the function itself, not float"):
        check("descent.step", 3.0)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("lesson", "name"), FUNCTIONS)
def test_the_line_of_an_exercise_says_the_result_in_a_script_too(
    lesson: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(*given: Any) -> None:
        del given

    exec(check_line(lesson, name), {"check": check, name: wrong})
    assert capsys.readouterr().out.startswith(f"{lesson}.{name} is not right yet: ")
    exec(check_line(lesson, name), {"check": check, name: find_lesson(lesson).GUIDE.functions[name].reference})
    assert capsys.readouterr().out.startswith(f"{lesson}.{name} is right")
