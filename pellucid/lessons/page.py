"""A lesson as Markdown with its code, as a notebook, and as a script of cells."""

import ast
import inspect
import re
import textwrap
from typing import Any

from pellucid.lessons.lesson import find_lesson

FENCE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def markdown(name: str, small: bool = False) -> str:
    """Return a lesson as Markdown: each step's docstring as text, then its code as a block that also runs the step.

    small: whether the blocks run the small form. Raises PellucidError for an unknown name.
    """
    module = find_lesson(name)
    source = inspect.getsource(module)
    lines, steps = source.splitlines(), {step.__name__ for step in module.STEPS}
    setting = "Setting(small=True)" if small else "Setting()"
    parts, code = [_docstring_markdown(module.__doc__ or "", "#")], ""
    module_docstring, *statements = ast.parse(source).body
    end_line = module_docstring.end_lineno or 0
    for node in statements:
        text = "\n".join(lines[end_line : node.end_lineno])  # including the comments above it
        end_line = node.end_lineno or end_line
        if isinstance(node, ast.FunctionDef) and node.name in steps:
            parts += _code_block(code)
            parts.append(_docstring_markdown(ast.get_docstring(node) or "", "##"))
            call = f"result = {node.name}({setting})\nprint(result)\nresult.figure"
            parts += _code_block(f"{_without_docstring(node, lines)}\n\n\n{call}")
            code = ""
        elif not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("STEPS", "GUIDE")):
            code += f"{text}\n"
    return "\n\n".join([*parts, *_code_block(code)]) + "\n"


def notebook(text: str) -> dict[str, Any]:
    """Return Markdown as a Jupyter notebook (nbformat 4.5): each Python block a code cell, the rest Markdown cells."""
    cells: list[dict[str, Any]] = []
    for index, part in enumerate(FENCE.split(text)):  # text, code, text, code, ..., text
        if not part.strip():
            continue
        cell = {"id": f"cell-{len(cells)}", "metadata": {}, "source": part.rstrip() if index % 2 else part.strip()}
        code_fields = {"cell_type": "code", "execution_count": None, "outputs": []}
        cells.append(cell | (code_fields if index % 2 else {"cell_type": "markdown"}))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


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


def _docstring_markdown(docstring: str, level: str) -> str:
    """Return a docstring as Markdown, with its first line as a heading; level: "#" or "##"."""
    heading, *body_lines = inspect.cleandoc(docstring).splitlines()
    return "\n".join([f"{level} {heading.rstrip('.')}", *body_lines]).strip()


def _code_block(code: str) -> list[str]:
    """Return code as a list of one Markdown block, without empty lines around the code; [] if there is no code."""
    code = textwrap.dedent(code).strip("\n")
    return [f"```python\n{code}\n```"] if code else []


def _without_docstring(node: ast.FunctionDef, lines: list[str]) -> str:
    """Return the source of a function without its docstring."""
    docstring = node.body[0]
    remaining = lines[node.lineno - 1 : docstring.lineno - 1] + lines[docstring.end_lineno : node.end_lineno]
    return "\n".join(remaining)
