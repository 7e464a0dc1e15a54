"""`pellucid doctor`: diagnose a model, its data and its training, and suggest fixes."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.command.args import Parser
from pellucid.command.files import html_place, write_html
from pellucid.command.models import open_model
from pellucid.command.out import answer
from pellucid.errors import PellucidError
from pellucid.text import printable

if TYPE_CHECKING:
    from pellucid.doctor import Case
    from pellucid.doctor.detection import DetectionCase


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "doctor",
        "Diagnose a model, its data and its training, with the evidence in numbers. A finding that is measured "
        "directly, or without which a short training does better, is a cause and comes with a fix; other findings are "
        "symptoms. For a run folder the training is examined too; a weights file alone lacks the training settings.",
    )
    parser.model_argument()
    parser.add_argument(
        "--data",
        metavar="NAME|DIR",
        help="another data set, an image folder or zip file, or the folder that contains the data sets (default: the "
        "data that the model was trained on)",
    )
    parser.add_argument("--try", dest="attempts", action="store_true", help="try each fix in a short training")
    return parser.device_option().html_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Print the diagnosis."""
    from pellucid.doctor import diagnose
    from pellucid.doctor.detection import DetectionCase, diagnose_detector
    from pellucid.training.device import usable_device

    place, device = html_place(args), usable_device(args.device or "cpu")
    case = _case(args.model, args.data)
    if isinstance(case, DetectionCase):
        if args.attempts:
            raise PellucidError("--try does not apply to detectors, whose checks measure directly; leave it out")
        if device.type != "cpu":
            raise PellucidError("--device: detectors are examined on the CPU; leave it out")
        found, trainable = diagnose_detector(case), False
    else:
        case, trainable = replace(case, device=device), case.trainable
        if args.attempts and not trainable:
            raise PellucidError(f"--try: {args.model} lacks the training settings; give the run folder of its training")
        found = diagnose(case, args.attempts)
    if place is not None:
        write_html(place, found._repr_html_(), args.model)
    explained_or_tried = {*found.follows, *found.symptoms, *found.attempts}
    untried = any(one.remedy is not None for index, one in enumerate(found.findings) if index not in explained_or_tried)
    hint = ["", "use --try to test each fix in a short training"]
    answer(
        args,
        {"model": args.model, **found.to_json()},
        *f"{printable(args.model)}: {found}".split("\n"),
        *(hint if not args.attempts and trainable and untried else []),
    )
    return 0


def _case(name: str, data: str | None) -> "Case | DetectionCase":
    """Return what to diagnose: the model, its data, and its training if MODEL is a run folder with a recipe."""
    from pellucid import assets
    from pellucid.detectors import DETECTORS
    from pellucid.recipe.doctor_case import (
        case_of_detector,
        case_of_detector_model,
        case_of_model,
        case_of_run,
        read_history,
    )
    from pellucid.recipe.recipe import load_recipe
    from pellucid.tasks.detect.finder import is_detector
    from pellucid.tasks.gestures.learn import FINDINGS_FILE, read_for, recipe_of_run

    path = Path(name)
    if name in assets.pretrained_names() or not path.is_dir():
        model = open_model(name)
        return case_of_detector_model(model, data) if is_detector(model) else case_of_model(model, data)
    if not (path / "recipe.toml").is_file():  # a run folder of `model.fit(run=...)`
        model = open_model(name)
        return case_of_model(model, data, read_history(path))
    if load_recipe(path / "recipe.toml").objective.name in DETECTORS:
        return case_of_detector(path, data)
    if not (path / FINDINGS_FILE).is_file():
        return case_of_run(path, data)
    # The recipe alone does not determine which images the check of the folder left out.
    material = None if data is not None else read_for(recipe_of_run(path)).material()
    return case_of_run(path, data, material, "pellucid gestures train --resume")
