"""A lesson as it is written, as Markdown with its code, as a notebook, and as a script of cells."""

import ast
import inspect
import re
import textwrap
from base64 import b64encode
from dataclasses import fields
from typing import Any, NamedTuple

from pellucid.lessons.guide import Exercise, Guess, Guide, Slider
from pellucid.lessons.lesson import Lesson, LessonSettings, Result, find_lesson, title

FENCE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
STEP_CALL = re.compile(r"^result = (\w+)\(LessonSettings\(", re.MULTILINE)  # at the end of a block that runs a step
DEFAULTS = LessonSettings()
NOT_SHOWN = ("STEPS", "GUIDE")  # assignments of a module that no reader needs


class WrittenStep(NamedTuple):
    """A step of a lesson as its module writes it.

    name: of its function. title and text: first line and rest of its docstring. before: the code between the previous
    step and this one. code: its function without the docstring.
    """

    name: str
    title: str
    text: str
    before: str
    code: str


def written_steps(name: str) -> tuple[list[WrittenStep], str]:
    """Return the steps of a lesson, and the code after the last one; raises PellucidError for an unknown name."""
    module = find_lesson(name)
    source = inspect.getsource(module)
    lines = source.splitlines()
    functions = {step.__name__: step for step in module.STEPS}
    steps: list[WrittenStep] = []
    code = ""
    module_docstring, *statements = ast.parse(source).body
    end_line = module_docstring.end_lineno or 0
    for node in statements:
        text = "\n".join(lines[end_line : node.end_lineno])  # including the comments above it
        end_line = node.end_lineno or end_line
        if isinstance(node, ast.FunctionDef) and node.name in functions:
            function = functions[node.name]
            own_code = _without_docstring(node, lines)
            steps.append(WrittenStep(node.name, title(function), body_text(function), _trimmed(code), own_code))
            code = ""
        elif not _belongs_to_the_guide(node):
            code += f"{text}\n"
    return steps, _trimmed(code)


def body_text(documented: object) -> str:
    """Return the docstring of a lesson or step without its first line."""
    _, _, text = inspect.cleandoc(documented.__doc__ or "").partition("\n")
    return text.strip()


def markdown(name: str, settings: LessonSettings = DEFAULTS) -> str:
    """Return a lesson as Markdown: each step's text, then its code as a block that also runs the step, and its guide.

    settings: of all steps. Raises PellucidError for an unknown name.
    """
    module = find_lesson(name)
    guide = module.GUIDE
    steps, last_code = written_steps(name)
    settings_code = _settings_code(settings)
    parts = [f"# {title(module)}"]
    needs_text = f" Needs: {', '.join(guide.needs)}." if guide.needs else ""
    parts.append(f"**{guide.question}** ({guide.minutes} minutes.{needs_text})")
    parts.append(body_text(module))
    for step in steps:
        parts += _code_block(step.before)
        parts.append(f"## {step.title}")
        if step.name in guide.guesses:
            parts += _guess_markdown(guide.guesses[step.name])
        call = f"result = {step.name}({settings_code})\nprint(result)\nresult.figure"
        parts += [step.text, *_code_block(f"{step.code}\n\n\n{call}")]
        parts += _notices_markdown(guide, step.name, settings_code)
    parts += _code_block(last_code)
    parts += _exercises_markdown(name, guide)
    return "\n\n".join(part for part in parts if part) + "\n"


def _settings_code(settings: LessonSettings) -> str:
    """Return the call that creates settings, without the values that it has by default."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    argument_texts = [f"{name}={value!r}" for name, value in values.items() if value != getattr(DEFAULTS, name)]
    return f"LessonSettings({', '.join(argument_texts)})"


def _guess_markdown(guess: Guess) -> list[str]:
    answer_lines = "\n".join(f"- {answer}" for answer in guess.answers)
    return [
        f"**Guess first.** {guess.asks}",
        answer_lines,
        _folded("Answer", f"{guess.answers[guess.right]}. {guess.why}"),
    ]


def _notices_markdown(guide: Guide, step: str, settings_code: str) -> list[str]:
    """Return what to notice in a step's figure, and the arguments to change."""
    notices_text = "\n".join(f"- {notice}" for notice in guide.notices.get(step, ()))
    sliders = guide.sliders.get(step, ())
    parts = [f"**What to notice**\n\n{notices_text}"] if notices_text else []
    if sliders:
        last_values_text = ", ".join(f"{slider.name}={slider.values[-1]!r}" for slider in sliders)
        slider_lists = "\n".join(f"- `{slider.name}`, " + "\n    - ".join(slider_lines(slider)) for slider in sliders)
        parts.append(f"**Try** other values, such as `{step}({settings_code}, {last_values_text})`:\n\n{slider_lists}")
    return parts


def slider_lines(slider: Slider) -> list[str]:
    """Return what a slider changes with its values, and a line for each remark."""
    remarks = [f"{value}: {remark}" for value, remark in slider.remarks.items()]
    return [f"{slider.label}: {', '.join(map(str, slider.values))}", *remarks]


def _exercises_markdown(name: str, guide: Guide) -> list[str]:
    parts = ["## Exercises"]
    for number, exercise in enumerate(guide.exercises, start=1):
        parts += [f"**{number}.** {exercise.asks}", _folded("Solution", solution_text(exercise))]
    for number, (function_name, exercise) in enumerate(guide.functions.items(), start=len(guide.exercises) + 1):
        line = check_line(name, function_name)
        parts.append(f"**{number}.** {exercise.asks}")
        parts += _code_block(f"from pellucid.lessons import check\n\n# Write the function here, and then:\n# {line}")
        parts.append(_folded("Solution", exercise.solution, is_code=True))
    return [*parts, f"**Later.** {guide.later}"]


def solution_text(exercise: Exercise) -> str:
    """Return the answer of an exercise with how it is found."""
    return f"{exercise.answer:g}. {exercise.solution}"


def check_line(lesson: str, function: str) -> str:
    """Return the line of Python that checks a function exercise."""
    return f'print(check("{lesson}.{function}", {function}))'


def _folded(summary: str, text: str, is_code: bool = False) -> str:
    """Return a text that a click unfolds, as HTML without empty lines, which Markdown would take for its end."""
    from pellucid.report.page import render  # jinja2, which the page of the studio does not need

    return render("folded", summary=summary, lines=text.split("\n"), is_code=is_code)


def notebook(text: str) -> dict[str, Any]:
    """Return Markdown as a Jupyter notebook (nbformat 4.5): each Python block a code cell, the rest Markdown cells."""
    cells: list[dict[str, Any]] = []
    for index, part in enumerate(FENCE.split(text)):  # text, code, text, code, ..., text
        if not part.strip():
            continue
        cell = {"id": f"cell-{len(cells)}", "metadata": {}, "source": part.rstrip() if index % 2 else part.strip()}
        code_fields = {"cell_type": "code", "execution_count": None, "outputs": []}
        cells.append(cell | (code_fields if index % 2 else {"cell_type": "markdown"}))
    kernel_metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"cells": cells, "metadata": kernel_metadata, "nbformat": 4, "nbformat_minor": 5}


def notebook_with_outputs(text: str, lesson: Lesson) -> dict[str, Any]:
    """Return the Markdown of a lesson as a notebook with the outputs of its cells."""
    notebook_content = notebook(text)
    code_cells = [cell for cell in notebook_content["cells"] if cell["cell_type"] == "code"]
    for count, cell in enumerate(code_cells, start=1):
        step_match = STEP_CALL.search(cell["source"])
        if step_match:
            cell["execution_count"] = count
            cell["outputs"] = _outputs(lesson.results[step_match[1]], count)
    return notebook_content


def _outputs(result: Result, count: int) -> list[dict[str, Any]]:
    """Return a result as the outputs of a cell: its numbers, and its figure."""
    outputs: list[dict[str, Any]] = [{"output_type": "stream", "name": "stdout", "text": f"{result}\n"}]
    if result.figure is not None:
        from pellucid.report.figures.style import png

        data = {"image/png": b64encode(png(result.figure)).decode(), "text/plain": "<Figure>"}
        result_fields = {"output_type": "execute_result", "execution_count": count, "metadata": {}}
        outputs.append(result_fields | {"data": data})
    return outputs


def script(text: str) -> str:
    """Return Markdown as a Python script of cells, which begin with `# %%`; text cells are comments."""
    cells: list[str] = []
    for index, part in enumerate(FENCE.split(text)):  # as in `notebook`
        if index % 2:
            cells.append(f"# %%\n{part.rstrip()}\n")
        elif part.strip():
            lines = (f"# {line}".rstrip() for line in part.strip().splitlines())
            cells.append("\n".join(["# %% [markdown]", *lines, ""]))
    return "\n".join(cells)


def _belongs_to_the_guide(node: ast.stmt) -> bool:
    """Return whether a statement only lists the steps, or defines the guide."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "pellucid.lessons.guide"
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in NOT_SHOWN


def _trimmed(code: str) -> str:
    """Return code without the empty lines around it."""
    return textwrap.dedent(code).strip("\n")


def _code_block(code: str) -> list[str]:
    """Return code as a list of one Markdown block; [] if there is no code."""
    return [f"```python\n{code}\n```"] if code else []


def _without_docstring(node: ast.FunctionDef, lines: list[str]) -> str:
    """Return the source of a function without its docstring."""
    docstring = node.body[0]
    remaining_lines = lines[node.lineno - 1 : docstring.lineno - 1] + lines[docstring.end_lineno : node.end_lineno]
    return "\n".join(remaining_lines)
