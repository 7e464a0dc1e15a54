"""Every lesson is a function and a notebook."""

import inspect
import re

import pytest

from pellucid import PellucidError
from pellucid.lessons import LESSONS, LessonSettings, Result, lesson
from pellucid.lessons.lesson import find_lesson, outline, title
from pellucid.lessons.page import markdown, notebook


@pytest.mark.parametrize("name", LESSONS)
def test_a_page_contains_every_step_and_function_of_a_lesson(name: str):
    module, page = find_lesson(name), markdown(name)
    code = "\n".join(cell["source"] for cell in notebook(page)["cells"] if cell["cell_type"] == "code")
    compile(code, name, "exec")
    assert [page.count(f"result = {step.__name__}(LessonSettings())") for step in module.STEPS] == [1] * len(
        module.STEPS
    )
    functions = {
        key for key, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__
    }
    assert [key for key in functions if f"def {key}(" not in code] == []


@pytest.mark.parametrize("name", LESSONS)
def test_every_step_has_a_title_and_an_explanation(name: str):
    for step in find_lesson(name).STEPS:
        assert len(inspect.cleandoc(step.__doc__ or "").splitlines()) > 2, step


@pytest.mark.parametrize("name", LESSONS)
def test_the_outline_of_a_lesson_is_that_of_its_module(name: str):
    guide = find_lesson(name).GUIDE
    assert outline(name) == (title(find_lesson(name)), guide.minutes, guide.needs)


def test_a_lesson_is_a_function():
    result = lesson("universality")
    assert result.title == "Universal approximation"
    assert result.results["built"].numbers["error below 0.1"]["hidden neurons"] == 81


def test_a_lesson_does_not_change_the_random_state():
    import torch

    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    lesson("neuron", seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_unknown_lesson_is_refused():
    with pytest.raises(PellucidError, match=r"no lesson 'perceptrn'; did you mean 'perceptron'\?"):
        lesson("perceptrn")


def test_numbers_are_shown_in_six_digits():
    assert str(Result({"a": 1 / 3, "of": [1, 2.5]})) == "a   0.333333\nof  1, 2.5"
    assert LessonSettings() == LessonSettings(0, False, None)


def test_matrices_are_shown_row_by_row_and_mappings_as_tables():
    numbers = {"m": [[1, 10], [2.5, -3]], "by name": {"a": 1, "b": [1, 2]}}
    assert str(Result(numbers)) == "m          1  10\n         2.5  -3\nby name  a  1\n         b  1, 2"


def test_a_page_has_the_guide_but_not_its_code():
    guide, page = find_lesson("descent").GUIDE, markdown("descent")
    assert "GUIDE" not in page
    assert "pellucid.lessons.guide" not in page
    assert guide.question in page
    assert all(f"**Guess first.** {guess.asks}" in page for guess in guide.guesses.values())
    assert all(f"- {notice}" in page for notices in guide.notices.values() for notice in notices)
    folded = re.findall(r"<details><summary>(\w+)</summary>(.*?)</details>", page, re.DOTALL)
    assert [summary for summary, _ in folded] == ["Answer"] * len(guide.guesses) + ["Solution"] * 3
    assert all("\n\n" not in text for _, text in folded)  # an empty line would end the HTML
    cells = [cell["source"] for cell in notebook(page)["cells"] if cell["cell_type"] == "code"]
    assert '# print(check("descent.step", step))' in cells[-1]
    assert "from pellucid.lessons import check" in cells[-1]
