"""A lesson that has run as text for a terminal, with the places of its figures."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill, indent

from pellucid.lessons.guide import Guide
from pellucid.lessons.lesson import Lesson, find_lesson
from pellucid.lessons.page import body_text, check_line, slider_lines, solution_text, written_steps

WIDTH = 110  # characters of a line


def printed_lesson(lesson: Lesson, figures: Mapping[str, str]) -> str:
    """Return the texts, the numbers and the exercises of a lesson, with the solutions at the end.

    figures: the path of each step's figure, by the name of the step.
    """
    module = find_lesson(lesson.name)
    guide = module.GUIDE
    parts = [_heading(lesson.title)]
    parts += [f"{guide.minutes} minutes, needs: {', '.join(guide.needs) or 'nothing'}", _filled(guide.question)]
    parts.append(body_text(module))
    for step in written_steps(lesson.name)[0]:
        parts.append(_heading(step.title))
        guess = guide.guesses.get(step.name)
        if guess is not None:
            parts += [_filled(f"Guess first. {guess.asks}"), _listed(guess.answers)]
        parts += [step.text, indent(str(lesson.results[step.name]), "  ")]
        if step.name in figures:
            parts.append(f"  figure: {figures[step.name]}")
        if guess is not None:
            parts.append(_filled(f"The right guess: {guess.answers[guess.right]}. {guess.why}"))
        if step.name in guide.notices:
            parts += ["Notice:", _listed(guide.notices[step.name])]
        parts += ["\n    ".join(slider_lines(slider)) for slider in guide.sliders.get(step.name, ())]
    parts += _exercise_texts(lesson.name, guide)
    return "\n\n".join(part for part in parts if part)


def _exercise_texts(name: str, guide: Guide) -> list[str]:
    """Return the exercises, what the lesson is used for later, and the solutions."""
    questions = [exercise.asks for exercise in guide.exercises]
    solutions = [_filled(solution_text(exercise)) for exercise in guide.exercises]
    for function_name, exercise in guide.functions.items():
        line = check_line(name, function_name)
        questions.append(f"{exercise.asks} Check it by: from pellucid.lessons import check; {line}")
        solutions.append(exercise.solution)
    parts = [_heading("Exercises"), *_numbered(map(_filled, questions)), _filled(f"Later: {guide.later}")]
    return [*parts, _heading("Solutions"), *_numbered(solutions)]


def _heading(text: str) -> str:
    return f"{text}\n{'-' * len(text)}"


def _filled(text: str) -> str:
    return fill(text, WIDTH)


def _numbered(texts: Iterable[str]) -> list[str]:
    """Return texts with their numbers, their later lines indented."""
    return [f"{number}. {indent(text, '   ').strip()}" for number, text in enumerate(texts, start=1)]


def _listed(texts: Sequence[str]) -> str:
    return "\n".join(f"  - {indent(_filled(text), '    ').strip()}" for text in texts)
