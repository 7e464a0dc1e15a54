"""`pellucid doctor`: what is wrong with a model, its data or its training, and what would mend it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.cli.args import Parser
from pellucid.cli.models import MODEL_HELP

if TYPE_CHECKING:
    from pellucid.doctor import Case
    from pellucid.doctor.detection import DetectionCase


def parser() -> Parser:
    """Return the parser of this command."""
    it = Parser(
        "doctor",
        "Say what is wrong with a model, its data or its training: the evidence in numbers, and the cause with a fix "
        "where it is measured or a short training without it does better; else symptoms. Of a run folder the training "
        "itself is examined too; a model file alone lacks the training settings.",
    )
    it.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    it.add_argument(
        "--data",
        metavar="NAME|DIR",
        help="another data set, an image folder or zip, or the folder that holds the data sets (default: the data it "
        "was trained on)",
    )
    it.add_argument("--try", dest="attempts", action="store_true", help="try each fix in a short training")
    return it.device_option().html_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the diagnosis."""
    from dataclasses import replace

    from pellucid.cli.files import html_place, write_html
    from pellucid.cli.out import emit, say, say_text
    from pellucid.doctor import diagnose
    from pellucid.doctor.detection import DetectionCase, diagnose_detector
    from pellucid.errors import PellucidError
    from pellucid.text import printable
    from pellucid.training.device import usable_device

    place, device = html_place(args), usable_device(args.device or "cpu")
    case = _case(args.model, args.data)
    if isinstance(case, DetectionCase):
        if args.attempts:
            raise PellucidError("--try: nothing is tried for detectors, whose causes are measured; leave it out")
        found, trainable = diagnose_detector(case), False
    else:
        case, trainable = replace(case, device=device), case.trainable
        if args.attempts and not trainable:
            raise PellucidError(f"--try: {args.model} lacks the training settings; give the run folder of its training")
        found = diagnose(case, args.attempts)
    if place is not None:
        write_html(place, found._repr_html_(), args.model)
    if args.json:
        emit({"model": args.model, **found.to_json()})
        return 0
    say_text(f"{printable(args.model)}: {found}")
    causes = (index for index in range(len(found.findings)) if found.kind(index) == "cause")
    untried = any(found.findings[index].remedy is not None for index in causes if index not in found.attempts)
    if not args.attempts and trainable and untried:
        say("", "--try tries the fixes in short trainings")
    return 0


def _case(name: str, data: str | None) -> "Case | DetectionCase":
    """Return the case of MODEL: with its training where it is a run folder with a recipe."""
    from pellucid import assets
    from pellucid.cli.models import open_model
    from pellucid.detectors import DETECTORS
    from pellucid.recipe.doctor_case import (
        case_of_detector,
        case_of_detector_model,
        case_of_model,
        case_of_run,
        read_history,
    )
    from pellucid.recipe.recipe import load_recipe
    from pellucid.tasks.detect import is_detector
    from pellucid.tasks.gestures.learn import FOUND, begun, read_for

    path = Path(name)
    if name in assets.pretrained_names() or not path.is_dir():
        model = open_model(name)
        return case_of_detector_model(model, data) if is_detector(model) else case_of_model(model, data)
    if not (path / "recipe.toml").is_file():  # what `model.fit(run=...)` wrote
        model = open_model(name)
        return case_of_model(model, data, read_history(path))
    if load_recipe(path / "recipe.toml").objective.name in DETECTORS:
        return case_of_detector(path, data)
    if not (path / FOUND).is_file():
        return case_of_run(path, data)
    material = None if data is not None else read_for(begun(path)).material()  # split by what is in the pictures
    return case_of_run(path, data, material, "pellucid gestures train --resume")
