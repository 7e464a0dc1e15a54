"""`pellucid gestures train`: `pellucid train classify` on a folder of images that is checked first."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.base.errors import PellucidError
from pellucid.command.args import Parser
from pellucid.command.progress import CountProgress

if TYPE_CHECKING:
    from pellucid.recipe.checked.collection import Collection
    from pellucid.recipe.job import Run

RECIPE_NAME = "gestures"  # of the run folders
DEFAULT_BACKBONE = "cifar"


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
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="settings that override those of `train classify`"
    )
    parser.add_argument(
        "--backbone",
        metavar="NAME|FILE",
        default="",
        help=f"initial weights: a pretrained model, a run folder or a weights file (default: {DEFAULT_BACKBONE})",
    )
    parser.add_argument("--epochs", metavar="N", type=int, help="number of epochs (default: 12 or more)")
    parser.add_argument(
        "--size", metavar="N", type=int, help="side length in pixels of the resized images (default: 64)"
    )
    parser.seed_option(default=None)
    parser.add_argument("--out", metavar="DIR", default="runs", help="folder for the run folder (default: runs)")
    parser.add_argument("--resume", metavar="RUN", help="resume this run folder with its own recipe")
    return parser.json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the findings on the folder, train, and print the results and a command to try the model."""
    from pellucid.base.files import write_atomically
    from pellucid.command.files import check_folder
    from pellucid.command.out import print_lines, repeat_command
    from pellucid.recipe.checked.findings import finding_lines, findings_to_json
    from pellucid.recipe.checked.reading import read_checked
    from pellucid.recipe.job import begin_run, train_in
    from pellucid.recipe.own import recipe_for
    from pellucid.recipe.recipe import FINDINGS_FILE, recipe_of_run
    from pellucid.tasks.classify.own import MIN_EPOCHS
    from pellucid.tasks.gestures.backbone import enough_epochs

    settings = _settings(args)
    if args.resume is None:
        check_folder(Path(args.out))
        recipe, _ = recipe_for("classify", args.folder, {"train.epochs": MIN_EPOCHS, **settings})
    elif not (Path(args.resume) / FINDINGS_FILE).is_file():
        raise PellucidError(
            f"{args.resume} has no {FINDINGS_FILE}; give a run folder that `pellucid gestures train` started"
        )
    else:
        recipe = recipe_of_run(args.resume)
    reading_progress = CountProgress(not args.json)
    collection = read_checked(recipe, reading_progress)
    reading_progress.end()
    if not args.json:
        print_lines(*finding_lines(collection))
    if args.resume is None:
        if "train.epochs" not in settings:
            epochs = enough_epochs(recipe, len(collection.train))
            recipe = replace(recipe, train=replace(recipe.train, epochs=epochs))
        options = {"--backbone": args.backbone, "--epochs": args.epochs, "--size": args.size, "--seed": args.seed}
        command = repeat_command(["gestures", "train", args.folder], options, args.settings)
        path, model = begin_run(recipe, collection, args.out)
        findings = {"command": command, **findings_to_json(collection)}
        write_atomically(path / FINDINGS_FILE, (json.dumps(findings, indent=1) + "\n").encode())
        run = train_in(path, collection, command=command, model=model)
    else:
        run = train_in(Path(args.resume), collection, recipe=recipe)
    _print_results(run, collection, args.json)
    return 0


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that override those of `train classify`.

    Raises PellucidError for arguments that exclude each other.
    """
    from pellucid.recipe.recipe import parse_overrides
    from pellucid.tasks.gestures.backbone import backbone_settings

    options = {"train.epochs": args.epochs, "data.size": args.size, "recipe.seed": args.seed}
    option_settings = {key: value for key, value in options.items() if value is not None}
    if args.resume is not None:
        if args.folder is not None or args.settings or args.backbone or option_settings:
            raise PellucidError("--resume uses the run's recipe; leave out all other arguments but --json")
        return {}
    if args.folder is None:
        raise PellucidError("pellucid gestures train needs a FOLDER with one folder of images for each class")
    settings = parse_overrides(args.settings)
    for key in option_settings:
        if key in settings:
            raise PellucidError(f"{key} is set twice, by --{key.split('.')[1]} and by {key}=; give it once")
    if "data.name" in settings:
        raise PellucidError(f"the folder comes first: pellucid gestures train {settings['data.name']}")
    # A small network trains in a minute or two, which the plan of `train classify` for photos does not.
    backbone = backbone_settings(args.backbone) if args.backbone else {"start.weights": DEFAULT_BACKBONE}
    return {"recipe.name": RECIPE_NAME, **backbone, **option_settings, **settings, "data.check": True}


def _print_results(run: "Run", collection: "Collection", as_json: bool) -> None:
    """Print the results, the fraction of held-out images above the confidence threshold, and the next command."""
    import shlex

    from pellucid.base.text import percent
    from pellucid.command.out import print_json, print_lines, program_command
    from pellucid.command.results import print_runs, run_values
    from pellucid.recipe.checked.findings import findings_to_json
    from pellucid.tasks.classify.confidence import measure_confidence

    selective, measured_text = measure_confidence(run.model, collection)
    if as_json:
        confidence = run.model.confidence
        confidence_values = {"temperature": None, "threshold": None} if confidence is None else confidence.to_json()
        selective_json = {
            "coverage": None if selective is None else selective.coverage,
            "accuracy": None if selective is None else selective.answered_accuracy,
            "measured": measured_text,
        }
        print_json(
            {
                **run_values(run),
                "confidence": {**confidence_values, **selective_json},
                "collection": findings_to_json(collection),
            }
        )
        return
    print_runs([run], as_json=False)
    if selective is None:
        print_lines(f"  confidence {measured_text}")
    else:
        accuracy_text = (
            "" if selective.answered_accuracy is None else f" with accuracy {percent(selective.answered_accuracy)}"
        )
        print_lines(
            f"  answers {percent(selective.coverage)} of the held-out images{accuracy_text}; the others are unsure"
        )
        print_lines(f"  (confidence {measured_text})")
    print_lines(f"try it:  {program_command()} gestures predict {shlex.quote(str(run.path))} IMAGE")
