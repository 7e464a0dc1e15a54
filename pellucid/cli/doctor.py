"""`pellucid doctor`: diagnose a model, its data and its training, and suggest fixes."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically
from pellucid.base.text import note, printable
from pellucid.command.args import Parser
from pellucid.command.files import html_output_path, write_html
from pellucid.command.models import open_model
from pellucid.command.out import print_result

if TYPE_CHECKING:
    from pellucid.doctor.training_case import ExaminedCase
    from pellucid.recipe.data_page import DataPage
    from pellucid.task import Task

EVIDENCE_HINT = ("", "the measurements are in the output of --json, and on the page of --html")


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
    parser.add_argument(
        "--budget",
        type=float,
        metavar="TIMES",
        help="limit for the short trainings that test causes, as a multiple of the computations of the whole training; "
        "with it, further causes are looked for after the first (default: 6, 3 more to find the part with the fault, "
        "and only the first cause)",
    )
    return parser.device_option().html_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Diagnose the model, and print the findings and fixes; write the page of `--html`."""
    from pellucid.doctor import examined
    from pellucid.doctor.training_case import optional_fields
    from pellucid.training.device import usable_device

    html_path, device = html_output_path(args), usable_device(args.device or "cpu")
    task, case = _diagnosis_case(args.model, args.data)
    trainable = optional_fields(case).trainable
    if args.attempts and trainable is False:
        raise PellucidError(f"--try: {args.model} lacks the training settings; give the run folder of its training")
    examination = examined(task, case, args.attempts, device, note, args.budget)
    if examination.intervention_effects and (recipe := Path(args.model) / "recipe.toml").is_file():
        text = json.dumps([effect.to_json() for effect in examination.intervention_effects], indent=1)
        write_atomically(recipe.with_name("experiments.json"), text.encode())
    if html_path is not None:
        write_html(html_path, _data_of(case)._repr_html_() + examination._repr_html_(), args.model)
    explained_or_tried = {*examination.cause_by_consequence, *examination.symptoms, *examination.attempts}
    has_untried_fix = any(
        finding.remedy is not None
        for index, finding in enumerate(examination.findings)
        if index not in explained_or_tried
    )
    hint = ["", "use --try to test each fix in a short training"]
    print_result(
        args,
        {"model": args.model, **examination.to_json()},
        *f"{printable(args.model)}: {examination}".split("\n"),
        *(hint if not args.attempts and trainable and has_untried_fix else []),
        *(EVIDENCE_HINT if examination.findings else []),
    )
    return 0


def _data_of(case: "ExaminedCase") -> "DataPage":
    """Return the page of the data of a case, the first section of the doctor's page."""
    from pellucid.doctor.training_case import repeats_training
    from pellucid.recipe.data_page import page_of_parts

    parts = {"training": case.train, "validation": case.validation}
    if not repeats_training(case):
        return page_of_parts(parts, "data")
    return page_of_parts(parts, "data", case.model, case.augment)


def _diagnosis_case(name: str, data: str | None) -> "tuple[Task, Any]":
    """Return the task, and the case to diagnose: the model, its data, and its training if MODEL is a run folder."""
    from pellucid import shipped_files
    from pellucid.doctor.run_case import case_of_model, case_of_run, read_history
    from pellucid.recipe.recipe import load_recipe
    from pellucid.task import task_for, task_of

    path = Path(name)
    if name in shipped_files.pretrained_names() or not (path / "recipe.toml").is_file():
        model = open_model(name)
        task = task_of(model)
        history = read_history(path) if path.is_dir() else None  # `model.fit(run=...)` writes folders without a recipe
        case = task.case_of_model(model, data, history)
        return task, case_of_model(model, data, history) if case is None else case
    task = task_for(load_recipe(path / "recipe.toml").training_objective())
    case = task.case_of_run(path, data)
    return task, case_of_run(path, data) if case is None else case
