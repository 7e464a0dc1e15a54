"""`pellucid lesson`: run a lesson, print its text and numbers, and write its figures; or write it as a file."""

import argparse
import json
from pathlib import Path
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder, write_atomically
from pellucid.base.text import table
from pellucid.command.args import Parser
from pellucid.command.files import check_folder, check_output_path
from pellucid.command.out import print_json, print_result, print_text

PLAYGROUND = "playground"
LINK = "#play"  # what a link of the playground contains
SETTINGS = ("seed", "small", "data")  # options of a lesson's numbers
FILES = ("html", "notebook", "out")  # options of what is written


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "lesson",
        "Run a lesson: print its text and numbers, and write its figures. Without NAME: list all.",
    )
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="the lesson; or with --html: playground, for recorded trainings, or a link that the playground copies",
    )
    parser.add_argument("--out", metavar="DIR", help="where the figures go (default: lessons/NAME)")
    parser.seed_option()
    parser.add_argument("--small", action="store_true", help="use fewer examples and epochs in lessons that take long")
    parser.add_argument(
        "--notebook",
        metavar="FILE",
        help="write the lesson as a Jupyter notebook with its outputs (.ipynb), or as a script of cells (.py)",
    )
    parser.add_argument(
        "--html",
        metavar="FILE",
        help="write the lesson in its small form as one page with a figure for each choice, to open without a server",
    )
    return parser.data_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Run a lesson or write it as a file; without a name, list all lessons."""
    from pellucid.lessons.lesson import find_lesson, lesson

    _check_options(args)
    if args.name is None:
        return _list_lessons(args)
    if _is_playground(args.name):
        return _write_page(args)
    lesson_module = find_lesson(args.name)
    if args.notebook is not None:
        return _write_notebook(args)
    if args.html is not None:
        return _write_page(args)
    folder = check_folder(Path(args.out or f"lessons/{args.name}"))
    lesson_run = lesson(args.name, args.seed, args.small, args.data)
    make_folder(folder)
    figures: dict[str, str] = {}
    for step, result in lesson_run.results.items():
        if result.figure is not None:
            from pellucid.report.figures.style import png

            path = folder / f"{step}.png"
            write_atomically(path, png(result.figure), durable=False)
            figures[step] = str(path)
    if not args.json:
        from pellucid.lessons.printed import printed_lesson

        print_text(printed_lesson(lesson_run, figures))
        return 0
    steps = {name: result.numbers for name, result in lesson_run.results.items()}
    fields = {"lesson": args.name, "seed": args.seed, "small": args.small, "steps": steps, "figures": figures}
    print_json({**fields, "guide": lesson_module.GUIDE.to_json()})
    return 0


def _is_playground(name: str) -> bool:
    return name == PLAYGROUND or LINK in name


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options that have no effect on what is written, and the playground without its file."""
    given_options = [name for name in (*FILES, *SETTINGS) if getattr(args, name)]
    files = [name for name in given_options if name in FILES]
    unused, reason = list[str](), ""
    if args.name is None:
        unused, reason = given_options, "without the NAME of a lesson"
    elif _is_playground(args.name):
        if args.html is None:
            raise PellucidError("the playground is not run in the terminal; give --html FILE for recorded trainings")
        unused, reason = (
            [name for name in given_options if name != "html"],
            "on the recorded trainings of the playground",
        )
    elif len(files) > 1:
        raise PellucidError(f"--{files[1]} and --{files[0]} write different files; give one of them")
    if unused:
        raise PellucidError(f"--{unused[0]} has no effect {reason}; leave it out")


def _list_lessons(args: argparse.Namespace) -> int:
    from pellucid.lessons.lesson import LESSONS, outline

    rows: list[dict[str, Any]] = []
    cells: list[tuple[str, str, str]] = []
    for name, about in LESSONS.items():
        _, minutes, needs = outline(name)
        rows.append({"name": name, "minutes": minutes, "needs": [*needs], "about": about})
        cells.append((name, f"{minutes} min", f"{about}; needs {', '.join(needs)}" if needs else about))
    print_result(args, {"lessons": rows}, *table(cells))
    return 0


def _write_page(args: argparse.Namespace) -> int:
    """Write the lesson as one page, in its small form, or the playground; say which sliders did not fit."""
    from pellucid.lessons.lesson import LessonSettings
    from pellucid.studio.learn.file import lesson_file
    from pellucid.studio.play.file import playground_file

    path = check_output_path(args.html, "--html", (".html",))
    if _is_playground(args.name):
        page, steps_without_sliders = playground_file(None if args.name == PLAYGROUND else args.name), []
    else:
        page, steps_without_sliders = lesson_file(args.name, LessonSettings(args.seed, small=True, data=args.data))
    write_atomically(path, page.encode(), durable=False)
    lines = [f"wrote {path}"]
    if steps_without_sliders:
        lines.append(f"without the sliders of {', '.join(steps_without_sliders)}: the page would be too large")
    print_result(args, {"lesson": args.name, "page": str(path), "fixed": steps_without_sliders}, *lines)
    return 0


def _write_notebook(args: argparse.Namespace) -> int:
    from pellucid.lessons.lesson import LessonSettings, lesson
    from pellucid.lessons.page import markdown, notebook_with_outputs, script

    path = check_output_path(args.notebook, "--notebook", (".ipynb", ".py"))
    text = markdown(args.name, LessonSettings(args.seed, args.small, args.data))
    if path.suffix == ".py":
        content = script(text)
    else:
        lesson_run = lesson(args.name, args.seed, args.small, args.data)
        content = json.dumps(notebook_with_outputs(text, lesson_run), indent=1) + "\n"
    write_atomically(path, content.encode(), durable=False)
    print_result(args, {"lesson": args.name, "notebook": str(path)}, f"wrote {path}")
    return 0
