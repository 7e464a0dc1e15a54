"""`pellucid colorize`: colorize grey images, and compare colorizers."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.base.errors import PellucidError
from pellucid.base.files import PICTURE_SUFFIXES, write_atomically
from pellucid.base.text import plural
from pellucid.command.args import Action, Actions, Parser
from pellucid.command.files import check_output_path
from pellucid.command.models import open_model
from pellucid.command.out import print_result, repeat_command
from pellucid.command.pictures import add_source, print_predictions
from pellucid.shipped_files import MODEL_HELP

if TYPE_CHECKING:
    from pellucid.tasks.colorize.hints import Hint

COMPARISON_PAGE, QUESTIONS_PAGE = "colours.html", "real.html"  # default pages


class ColorizeParser(Actions):
    """The parser of `colorize MODEL SOURCE`, and of `colorize ACTION ...`."""

    def read(self, words: Sequence[str]) -> argparse.Namespace | None:
        """Parse the words after the command's name."""
        if words and words[0] in self.actions:
            return super().read(words)
        args = colorize_parser().read(words)
        if args is not None:
            args.handle = colorize
        return args


def parser() -> ColorizeParser:
    """Return the parser of this command."""
    return ColorizeParser("colorize", "Colorize grey images.", ACTIONS)


def colorize_parser() -> Parser:
    """Return the parser of `colorize MODEL SOURCE`."""
    parser = Parser(
        "colorize",
        "Colorize images of any size, keeping their lightness.",
        epilog="`pellucid colorize compare` measures several models on the same images, and `pellucid colorize real` "
        "writes a page that asks people which of two images is real; --help explains each.",
    )
    parser.model_argument()
    add_source(parser)
    parser.add_argument("--out", metavar="DIR", required=True, help="output folder, for PNG files and colorized.html")
    parser.add_argument(
        "--strength",
        metavar="S",
        type=float,
        default=1.0,
        help="factor of the colour channels, from 0 (grey) to 2 (default: 1)",
    )
    parser.add_argument(
        "--hints",
        metavar="FILE",
        help='given colours of pixels: a JSON list [{"x": 12, "y": 30, "color": "#c03020"}], or for a folder an '
        "object of such lists by file name; only for models trained with hints",
    )
    return parser.device_option().json_flag()


def colorize(args: argparse.Namespace) -> int:
    """Write a colorized file for each image, and report on stderr why images were skipped."""
    from pellucid.tasks.colorize.predictor import ColorPredictor

    hints = {} if args.hints is None else _read_hints_option(args)
    model = open_model(args.model, args.device)

    def make_predictor(out: Path | None) -> ColorPredictor:
        return ColorPredictor(model, out, strength=args.strength, hints=hints, title=f"Colorized by {args.model}")

    return print_predictions(args, make_predictor, strength=args.strength)


def _read_hints_option(args: argparse.Namespace) -> "dict[str, tuple[Hint, ...]]":
    """Return the hints of `--hints` by file name; raises PellucidError if the source has no file of such a name."""
    from pellucid.command.many import are_results_in_parts
    from pellucid.tasks.colorize.hints import read_hints

    file, source = args.hints, Path(args.source or "")
    if are_results_in_parts(args.source or "", args.out):
        raise PellucidError(f"--hints {file} is for few pictures, read by one process; leave it out")
    if args.camera is not None or (source.is_file() and source.suffix.lower() not in PICTURE_SUFFIXES):
        raise PellucidError(f"--hints {file} is for images, not for a video or a camera; leave it out")
    hints = read_hints(Path(file))
    if "" not in hints:
        folder = source if source.is_dir() else source.parent
        missing_name = next((name for name in hints if not (folder / name).is_file()), None)
        if missing_name is not None:
            raise PellucidError(
                f"--hints {file} names {missing_name!r}, which is not in {folder}; give names of files in it"
            )
        return hints
    if not source.is_file():
        raise PellucidError(
            f"--hints {file} contains one list, which is for one image; give an object of lists by file name"
        )
    return {source.name: hints[""]}


def compare_parser() -> Parser:
    """Return the parser of this action."""
    parser = Parser(
        "colorize compare", "Evaluate several colorizers on the same images, with grey images as the baseline."
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--data",
        metavar="NAME|DIR",
        help="a data set, or a folder or zip of colour images (default: the first model's data set)",
    )
    parser.add_argument(
        "--out", metavar="FILE", default=COMPARISON_PAGE, help=f"the page to write (default: {COMPARISON_PAGE})"
    )
    return parser.device_option().json_flag()


def compare(args: argparse.Namespace) -> int:
    """Measure the models, write the page, and print its table."""
    from pellucid.tasks.colorize.measure import measure
    from pellucid.tasks.colorize.pages import comparison_page, name_models, table

    path = check_output_path(args.out, "--out", (".html",))
    models = name_models(args.models, [open_model(model, args.device) for model in args.models])
    measurements = measure(models, args.data)
    options = {"--data": args.data, "--out": None if args.out == COMPARISON_PAGE else args.out}
    command = repeat_command(["colorize", "compare", *args.models], options, [])
    write_atomically(
        path, comparison_page(measurements, models, f"Colours on {measurements.data}", command).html().encode()
    )
    about = {
        "n": measurements.n_images,
        "n_judged": measurements.backbone_images,
        "data": measurements.data,
        "skipped": {},
    }
    print_result(
        args,
        {"page": args.out, "rows": measurements.rows, "true": measurements.true, **about},
        f"{measurements.n_images:,} images of {measurements.data}; answers and frechet are over "
        f"{measurements.backbone_images:,} of them",
        *str(table(measurements)).split("\n"),
        "",
        f"page  {path}",
    )
    return 0


def real_parser() -> Parser:
    """Return the parser of this action."""
    parser = Parser(
        "colorize real", "Write a page that asks people which of two images is real, and counts the answers."
    )
    parser.model_argument()
    parser.add_argument(
        "--data",
        metavar="NAME|DIR",
        help="a data set, or a folder or zip of colour images (default: the model's data set)",
    )
    parser.add_argument(
        "--n", metavar="N", type=int, help="number of questions (default: 40, or all images if there are fewer)"
    )
    parser.add_argument(
        "--out", metavar="FILE", default=QUESTIONS_PAGE, help=f"the page to write (default: {QUESTIONS_PAGE})"
    )
    return parser.seed_option("seed of the choice of images, their order and sides").device_option().json_flag()


def real(args: argparse.Namespace) -> int:
    """Write the page of questions which image is real."""
    from pellucid.tasks.colorize.pages import questions, real_page

    path = check_output_path(args.out, "--out", (".html",))
    survey = questions(open_model(args.model, args.device), args.data, args.n, args.seed)
    write_atomically(path, real_page(survey, "Which one is real?").encode())
    print_result(
        args,
        {"page": args.out, "n": len(survey), "real": ["right" if question.real else "left" for question in survey]},
        f"wrote {path} with {plural(len(survey), 'question')}",
    )
    return 0


ACTIONS = {
    "compare": Action("measure several models on the same images, in one table and page", compare_parser, compare),
    "real": Action("write a page that asks people which of two images is real", real_parser, real),
}
