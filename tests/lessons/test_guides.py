"""The guides of lessons: what they name exists, and sliders, guesses and exercises can be used.

The answers of the exercises are computed anew in the test of each lesson.
"""

import inspect
import math
import re

import numpy as np
import pytest

from pellucid import PellucidError
from pellucid.lessons.guide import Guide
from pellucid.lessons.lesson import LESSONS, LessonSettings, find_lesson

MOST_FIGURES = 40  # of one step in a page that is handed out, which holds a figure for each combination of values


@pytest.fixture(params=LESSONS)
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of each lesson in turn."""
    return request.param


@pytest.fixture
def guide(name: str) -> Guide:
    """Return the lesson's guide."""
    return find_lesson(name).GUIDE


def test_a_guide_belongs_to_the_steps_of_its_lesson(name: str, guide: Guide):
    steps = {step.__name__ for step in find_lesson(name).STEPS}
    assert {*guide.guesses, *guide.sliders, *guide.notices} <= steps
    assert {*guide.needs} <= {*list(LESSONS)[: list(LESSONS).index(name)]}
    assert steps == {*guide.notices}
    for step, plots in guide.notice_plots.items():
        assert len(plots) == len(guide.notices[step])
    assert guide.guesses
    assert sum(len(sliders) for sliders in guide.sliders.values()) >= 2
    assert len(guide.exercises) + len(guide.functions) >= 2


def test_sliders_are_arguments_whose_defaults_can_be_chosen(name: str, guide: Guide):
    for step in find_lesson(name).STEPS:
        sliders = guide.sliders.get(step.__name__, ())
        defaults = {name: argument.default for name, argument in inspect.signature(step).parameters.items()}
        assert [control.name for control in guide.controls(step.__name__)] == list(defaults)[1:]
        for slider in sliders:
            assert defaults[slider.name] in slider.values
            assert {*slider.remarks} <= {*slider.values}
            assert len({*slider.values}) == len(slider.values) > 1
        assert math.prod(len(slider.values) for slider in sliders) <= MOST_FIGURES


def test_handles_lie_in_a_plot_of_their_figure(name: str, guide: Guide):
    steps = {step.__name__: step for step in find_lesson(name).STEPS}
    for step_name, handles in guide.handles.items():
        assert inspect.signature(steps[step_name]).parameters[handles.name].default == handles.start
        assert handles.read(handles.start_text) == handles.start
        figure = steps[step_name](LessonSettings(small=True)).figure
        assert figure is not None
        plot = figure.axes[handles.plot]
        if handles.kind == "cells":
            assert plot.images[0].get_array().shape == np.shape(handles.start)
        else:
            corners = np.array(handles.start).reshape(-1, 2)
            for numbers, limits in zip(corners.T, (plot.get_xlim(), plot.get_ylim()), strict=True):
                assert min(limits) <= numbers.min() <= numbers.max() <= max(limits)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be 2 rows of 4 numbers from 0 to 70, not ''"),
        ("1,2,3,4", "must be 2 rows"),
        ("1,2,3;1,2,3", "must be 2 rows"),
        ("1,2,3,4;1,2,3,nan", "must be 2 rows"),
        ("1,2,3,4;1,2,3,71", "must be 2 rows"),
        ("1,2,3,4;1,2,1,4", "must be boxes with x0 < x1 and y0 < y1, not '1,2,3,4;1,2,1,4'"),
    ],
)
def test_rows_that_cannot_be_dragged_are_refused(text: str, message: str):
    with pytest.raises(PellucidError, match=re.escape(message)):
        find_lesson("boxes").GUIDE.handles["overlap"].read(text)


def test_a_guess_has_one_right_answer_among_others(guide: Guide):
    for guess in guide.guesses.values():
        assert len({*guess.answers}) == len(guess.answers) > 1
        assert 0 <= guess.right < len(guess.answers)


def test_mistakes_are_not_right_answers(guide: Guide):
    for exercise in guide.exercises:
        assert all(abs(mistake - exercise.answer) > exercise.tolerance > 0 for mistake in exercise.mistakes)


def test_the_solution_of_a_function_does_what_its_reference_does(guide: Guide):
    for function_name, exercise in guide.functions.items():
        namespace: dict[str, object] = {"np": np}
        exec(exercise.solution, namespace)  # text of this package
        function = namespace[function_name]
        assert callable(function)
        for seed in range(3):
            arguments = exercise.arguments(np.random.default_rng(seed))
            assert np.allclose(function(*arguments), exercise.reference(*arguments), rtol=1e-9, atol=1e-12)


def test_a_notice_answers_its_questions(guide: Guide):
    for notices in guide.notices.values():
        assert [notice for notice in notices if notice.endswith("?")] == []


def test_a_lesson_says_what_to_notice_in_300_words(name: str, guide: Guide):
    module = find_lesson(name)
    texts = [module.__doc__ or "", guide.question, guide.later]
    texts += [step.__doc__ or "" for step in module.STEPS]
    texts += [text for notices in guide.notices.values() for text in notices]
    assert len(" ".join(texts).split()) >= 300
