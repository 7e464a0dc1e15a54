"""`pellucid gestures train`: check a folder of images, train on its classes, and calibrate the model."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.command.args import Parser
from pellucid.command.progress import FilesRead
from pellucid.errors import PellucidError
from pellucid.settings.checks import check

if TYPE_CHECKING:
    from pellucid.recipe.job import Run
    from pellucid.tasks.gestures.collection import Collection

MIN_SIZE, MAX_SIZE = 16, 1024  # pixels


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
    from pellucid.command.out import again, say
    from pellucid.recipe.recipe import load_recipe
    from pellucid.tasks.gestures.findings import lines
    from pellucid.tasks.gestures.learn import (
        RECIPE,
        check,
        go_on,
        learn,
        read_for,
        recipe_for,
        recipe_of_run,
        settings_for,
    )

    settings = _settings(args)
    if args.resume is None:
        settings = settings_for(args.folder, args.backbone, settings)
        recipe = load_recipe(RECIPE, settings)
        _check_out(args.out)
    else:
        recipe = recipe_of_run(args.resume)
    check(recipe)
    reading = FilesRead(not args.json)
    collection = read_for(recipe, reading)
    reading.end()
    if not args.json:
        say(*lines(collection))
    if args.resume is None:
        options = {"--backbone": args.backbone, "--epochs": args.epochs, "--size": args.size, "--seed": args.seed}
        command = again(["gestures", "train", args.folder], options, args.settings)
        recipe = recipe_for(collection, settings)
        run = learn(collection, recipe, args.out, command=command)
    else:
        run = go_on(collection, Path(args.resume))
    _show(run, collection, args.json)
    return 0


def _settings(args: argparse.Namespace) -> dict[str, object]:
    """Return the user's changes to the recipe; raises PellucidError for arguments that exclude each other."""
    from pellucid.recipe.recipe import parse_overrides

    # Recipe key, name of the argument, and its smallest and largest value.
    options = (("train.epochs", "epochs", 1, 10**6), ("data.size", "size", MIN_SIZE, MAX_SIZE),
               ("recipe.seed", "seed", 0, 2**63 - 1))  # fmt: skip
    if args.resume is not None:
        words = [args.folder, *args.settings, *(getattr(args, name) for _, name, _, _ in options), args.backbone]
        if any(value not in (None, "") for value in words):
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
    """Raise PellucidError, before all images are read, unless run folders can be written to `out`."""
    out_path = Path(out).absolute()
    existing = next(path for path in (out_path, *out_path.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        state = "not writable" if existing.is_dir() else "a file"
        raise PellucidError(f"--out {out} cannot be written ({existing} is {state}); choose another place")


def _show(run: "Run", collection: "Collection", as_json: bool) -> None:
    """Print the results, the fraction of held-out images above the confidence threshold, and the next command."""
    import shlex

    from pellucid.command.out import command, emit, say
    from pellucid.command.results import as_object, show
    from pellucid.tasks.gestures.findings import findings_to_json
    from pellucid.tasks.gestures.learn import answered
    from pellucid.text import percent

    confidence = run.model.confidence
    assert confidence is not None  # `learn` and `go_on` fit it
    selected, answered_text = answered(run, collection)
    if as_json:
        selective = {
            "coverage": None if selected is None else selected.coverage,
            "accuracy": None if selected is None else selected.answered_accuracy,
            "measured": answered_text,
        }
        emit(
            {
                **as_object(run),
                "confidence": {**confidence.to_json(), **selective},
                "collection": findings_to_json(collection),
            }
        )
        return
    show([run], as_json=False)
    if selected is None:
        say(f"  confidence {answered_text}")
    else:
        accuracy = "" if selected.answered_accuracy is None else f" with accuracy {percent(selected.answered_accuracy)}"
        say(f"  answers {percent(selected.coverage)} of the held-out images{accuracy}; the others are unsure")
        say(f"  (confidence {answered_text})")
    say(f"try it:  {command()} gestures predict {shlex.quote(str(run.path))} IMAGE")
