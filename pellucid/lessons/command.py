"""`pellucid lesson`: run a lesson, and print its numbers and write its figures."""

import argparse
import json
from pathlib import Path
from textwrap import indent

from pellucid.base.files import make_folder, write_atomically
from pellucid.base.text import table
from pellucid.command.args import Parser
from pellucid.command.files import check_folder, check_output_path
from pellucid.command.out import print_json, print_lines, print_result, print_text


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("lesson", "Run a lesson: print its numbers, and write its figures. Without NAME: list the lessons.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the lesson")
    parser.add_argument("--out", metavar="DIR", help="where the figures go (default: lessons/NAME)")
    parser.seed_option()
    parser.add_argument("--small", action="store_true", help="use fewer examples and epochs in lessons that take long")
    parser.add_argument(
        "--notebook",
        metavar="FILE",
        help="write the lesson as a Jupyter notebook (.ipynb) or as a script of cells (.py) instead of running it",
    )
    return parser.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Run a lesson or write it as a notebook; without a name, list all lessons."""
    from pellucid.lessons.lesson import LESSONS, find_lesson, lesson, title

    if args.name is None:
        rows = [{"name": name, "about": about} for name, about in LESSONS.items()]
        print_result(args, {"lessons": rows}, *table([*LESSONS.items()]))
        return 0
    module = find_lesson(args.name)
    if args.notebook is not None:
        return _write_notebook(args)
    folder = check_folder(Path(args.out or f"lessons/{args.name}"))
    lesson_run = lesson(args.name, args.seed, args.small, args.data)
    make_folder(folder)
    figures: dict[str, str] = {}
    for step in module.STEPS:
        result = lesson_run.results[step.__name__]
        if result.figure is not None:
            from pellucid.report.figures.style import png

            path = folder / f"{step.__name__}.png"
            write_atomically(path, png(result.figure), durable=False)
            figures[step.__name__] = str(path)
        if not args.json:
            print_text(f"{title(step)}\n{indent(str(result), '  ')}")
            print_lines(*([f"  wrote {figures[step.__name__]}"] if step.__name__ in figures else []), "")
    if args.json:
        steps = {name: result.numbers for name, result in lesson_run.results.items()}
        print_json({"lesson": args.name, "seed": args.seed, "small": args.small, "steps": steps, "figures": figures})
    return 0


def _write_notebook(args: argparse.Namespace) -> int:
    from pellucid.lessons.page import markdown, notebook, script

    path = check_output_path(args.notebook, "--notebook", (".ipynb", ".py"))
    text = markdown(args.name, args.small)
    content = script(text) if path.suffix == ".py" else json.dumps(notebook(text), indent=1) + "\n"
    write_atomically(path, content.encode(), durable=False)
    print_result(args, {"lesson": args.name, "notebook": str(path)}, f"wrote {path}")
    return 0
