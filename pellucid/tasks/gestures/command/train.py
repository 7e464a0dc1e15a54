"""`pellucid gestures train`: check a folder of images, train on its classes, and calibrate the model."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check
from pellucid.command.args import Parser
from pellucid.command.progress import CountProgress

if TYPE_CHECKING:
    from pellucid.recipe.checked.collection import Collection
    from pellucid.recipe.job import Run

MIN_SIZE, MAX_SIZE = 16, 1024  # pixels, limits of --size


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "gestures train",
        "Train on the classes of FOLDER (CLASS/IMAGE, or train/CLASS/IMAGE with val/ or test/; a folder or a zip "
        "file), after a check for corrupt, duplicate and blurry images.",
    )
    parser.add_argument(
        "folder", nargs="?", metavar="FOLDER", help="a folder or zip file with one folder of images per class"
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings that override the recipe signs-best")
    parser.add_argument(
        "--backbone",
        metavar="NAME|FILE",
        default="",
        help="initial weights: a pretrained model, a run folder or a weights file (default: cifar)",
    )
    parser.add_argument("--epochs", metavar="N", type=int, help="number of epochs (default: 30 or more)")
    parser.add_argument(
        "--size", metavar="N", type=int, help="side length in pixels of the resized images (default: 64)"
    )
    parser.seed_option(default=None)
    parser.add_argument("--out", metavar="DIR", default="runs", help="folder for the run folder (default: runs)")
    parser.add_argument("--resume", metavar="RUN", help="resume this run folder with its own recipe")
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the findings on the folder, train, and print the results and a command to try the model."""
    from pellucid.command.out import print_lines, repeat_command
    from pellucid.recipe.checked.findings import finding_lines
    from pellucid.recipe.checked.reading import read_checked
    from pellucid.recipe.job import train_in
    from pellucid.recipe.recipe import FINDINGS_FILE, load_recipe, recipe_of_run
    from pellucid.tasks.gestures.learn import RECIPE, check, learn, recipe_for, settings_for

    settings = _settings(args)
    if args.resume is None:
        settings = settings_for(args.folder, args.backbone, settings)
        recipe = load_recipe(RECIPE, settings)
        _check_out(args.out)
    elif not (Path(args.resume) / FINDINGS_FILE).is_file():
        raise PellucidError(
            f"{args.resume} has no {FINDINGS_FILE}; give a run folder that `pellucid gestures train` started"
        )
    else:
        recipe = recipe_of_run(args.resume)
    check(recipe)
    reading_progress = CountProgress(not args.json)
    collection = read_checked(recipe, reading_progress)
    reading_progress.end()
    if not args.json:
        print_lines(*finding_lines(collection))
    if args.resume is None:
        options = {"--backbone": args.backbone, "--epochs": args.epochs, "--size": args.size, "--seed": args.seed}
        command = repeat_command(["gestures", "train", args.folder], options, args.settings)
        run = learn(collection, recipe_for(collection, settings), args.out, command=command)
    else:
        run = train_in(Path(args.resume), collection, recipe=recipe)
    _print_results(run, collection, args.json)
    return 0


def _settings(args: argparse.Namespace) -> dict[str, object]:
    """Return the user's overrides of the recipe; raises PellucidError for arguments that exclude each other."""
    from pellucid.recipe.recipe import parse_overrides

    # Recipe key, name of the argument, and its smallest and largest value.
    options = (("train.epochs", "epochs", 1, 10**6), ("data.size", "size", MIN_SIZE, MAX_SIZE),
               ("recipe.seed", "seed", 0, 2**63 - 1))  # fmt: skip
    if args.resume is not None:
        other_arguments = [
            args.folder,
            *args.settings,
            *(getattr(args, name) for _, name, _, _ in options),
            args.backbone,
        ]
        if any(value not in (None, "") for value in other_arguments):
            raise PellucidError("--resume uses the run's recipe; leave out all other arguments but --json")
        return {}
    if args.folder is None:
        raise PellucidError("pellucid gestures train needs a FOLDER with one folder of images for each class")
    settings = parse_overrides(args.settings)
    for key, name, low, high in options:
        value = getattr(args, name)
        if value is None:
            continue
        check(low <= value <= high, f"--{name}", f"from {low:,} to {high:,}", value)
        if key in settings:
            raise PellucidError(f"{key} is set twice, by --{name} and by {key}=; give it once")
        settings[key] = value
    if "data.name" in settings:
        raise PellucidError(f"the folder comes first: pellucid gestures train {settings['data.name']}")
    return settings


def _check_out(out: str) -> None:
    """Raise PellucidError unless run folders can be written to `out`; called before the images are read."""
    out_path = Path(out).absolute()
    existing = next(path for path in (out_path, *out_path.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        state = "not writable" if existing.is_dir() else "a file"
        raise PellucidError(f"--out {out} cannot be written ({existing} is {state}); choose another place")


def _print_results(run: "Run", collection: "Collection", as_json: bool) -> None:
    """Print the results, the fraction of held-out images above the confidence threshold, and the next command."""
    import shlex

    from pellucid.base.text import percent
    from pellucid.command.out import print_json, print_lines, program_command
    from pellucid.command.results import print_runs, run_values
    from pellucid.recipe.checked.findings import findings_to_json
    from pellucid.tasks.gestures.learn import measure_confidence

    selective, measured_text = measure_confidence(run, collection)
    if as_json:
        confidence = run.model.confidence
        fitted = {"temperature": None, "threshold": None} if confidence is None else confidence.to_json()
        selective_json = {
            "coverage": None if selective is None else selective.coverage,
            "accuracy": None if selective is None else selective.answered_accuracy,
            "measured": measured_text,
        }
        print_json(
            {
                **run_values(run),
                "confidence": {**fitted, **selective_json},
                "collection": findings_to_json(collection),
            }
        )
        return
    print_runs([run], as_json=False)
    if selective is None:
        print_lines(f"  confidence {measured_text}")
    else:
        accuracy = (
            "" if selective.answered_accuracy is None else f" with accuracy {percent(selective.answered_accuracy)}"
        )
        print_lines(f"  answers {percent(selective.coverage)} of the held-out images{accuracy}; the others are unsure")
        print_lines(f"  (confidence {measured_text})")
    print_lines(f"try it:  {program_command()} gestures predict {shlex.quote(str(run.path))} IMAGE")
