"""A lesson as one HTML file to hand out: the view Learn with the figures for all values of its sliders."""

from itertools import product
from typing import Any

from pellucid.lessons.lesson import LessonSettings, find_lesson
from pellucid.model import Model
from pellucid.studio.embedded import document, key_of, recorded
from pellucid.studio.learn import LEARN
from pellucid.studio.learn.session import LearnSession, OpenLesson
from pellucid.studio.session import Session
from pellucid.studio.view import Library

MAX_BYTES = 6_000_000  # of recorded answers, which take a third more in the file


def lesson_file(name: str, setting: LessonSettings) -> tuple[str, list[str]]:
    """Return an HTML document of a lesson, which needs no other file, and the steps whose sliders it leaves out.

    Sliders are left out, those of the largest figures first, where the document would become too large. Raises
    PellucidError for an unknown name.
    """
    guide = find_lesson(name).GUIDE
    library = Library((), Model.load)
    session = LearnSession(library, setting, waits=True)
    tab = Session(library, {LEARN.name: session})
    lesson = session.lesson(OpenLesson(name)).fields
    texts = recorded(tab, [("learn.lesson", {"name": name})])
    answers_by_step = {}
    starts = {}  # the key of each step's answer for its start values
    for step in lesson["steps"]:
        sliders = guide.sliders.get(step["name"], ())
        choices = [[f"{slider.name}={value}" for value in slider.values] for slider in sliders]
        requests = [_request(name, step["name"], values) for values in product(*choices)]
        answers_by_step[step["name"]] = recorded(tab, requests)
        start_values = [f"{slider.name}={step['start'][slider.name]}" for slider in sliders]
        starts[step["name"]] = key_of(*_request(name, step["name"], start_values))
    fixed_steps: list[str] = []
    while sum(map(_size, answers_by_step.values())) > MAX_BYTES:
        adjustable = [step for step, answers in answers_by_step.items() if len(answers) > 1]
        if not adjustable:
            break
        largest = max(adjustable, key=lambda step: _size(answers_by_step[step]))
        answers_by_step[largest] = {starts[largest]: answers_by_step[largest][starts[largest]]}
        fixed_steps.append(largest)
    answers = dict(texts)
    for answers_of_step in answers_by_step.values():
        answers |= answers_of_step
    state = {"lesson": name, "file": "1", "fixed": ",".join(fixed_steps)}
    return document(LEARN, state, answers, title=lesson["title"]), fixed_steps


def _request(name: str, step: str, values: Any) -> tuple[str, dict[str, Any]]:
    return "learn.run", {"name": name, "step": step, "values": [*values]}


def _size(answers: dict[str, bytes]) -> int:
    return sum(map(len, answers.values()))
