"""`pellucid train`: train a network with a recipe, or for a task on a user's own data."""

import argparse
from typing import TYPE_CHECKING

from pellucid.base.errors import PellucidError
from pellucid.base.text import note
from pellucid.command.args import Parser
from pellucid.command.results import print_runs
from pellucid.task import tasks

if TYPE_CHECKING:
    from pellucid.recipe.job import Run


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "train",
        "Train a network, and write a new run folder: with a recipe (`pellucid recipes` lists them), or on your own "
        "data, `pellucid train TASK DATA`, with a recipe that fits the data and starts from a shipped model. TASK is "
        f"one of {', '.join(task.verb for task in reversed(tasks()) if task.verb)}.",
    )
    parser.add_argument("recipe", nargs="?", metavar="RECIPE|TASK", help="a built-in name or a TOML file; or a task")
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="DATA|key=value",
        help="for a task, the folder or file of the data first; settings that override the recipe, such as "
        "optimizer.lr=0.5",
    )
    parser.add_argument("--out", metavar="DIR", default="runs", help="folder for run folders (default: runs)")
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="resume this run folder with its own recipe; train.epochs=N extends a finished run to N epochs",
    )
    return parser.data_option().device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Train, and print the test results and the paths of the run folder and the report."""
    from pellucid.recipe.job import Job, new_jobs
    from pellucid.recipe.own import plan_text, recipe_of_words, tasks_by_verb
    from pellucid.recipe.resume import interrupted_run, resume_runs
    from pellucid.training.distributed import processes

    if args.resume is not None:
        if args.recipe is not None and "=" not in args.recipe:
            raise PellucidError(f"--resume uses the run's recipe; leave out {args.recipe!r}")
        if args.device is not None:
            raise PellucidError("--resume uses the run's device; leave out --device, or start a new training")
        epochs = _parse_epochs([args.recipe, *args.settings] if args.recipe else [])
        _print_runs(resume_runs(args.resume, data=args.data, epochs=epochs), args.json)
        return 0
    if args.recipe is None:
        raise PellucidError("pellucid train needs a RECIPE; `pellucid recipes` lists them")
    recipe, overrides = recipe_of_words(args.recipe, args.settings, args.device, args.data)
    run = interrupted_run(args.out, recipe.distributed.timeout)
    if run is not None:
        _print_runs(resume_runs(run, data=args.data), args.json)
        return 0
    jobs = new_jobs(recipe, overrides, data=args.data, out=args.out)
    if args.recipe in tasks_by_verb() and processes().is_first:  # the task chose the recipe
        job = jobs[0]
        cost = "" if recipe.train.minutes else job.cost()  # which was measured and said to find the epochs
        note(plan_text(job.recipe, job.material, job.model.input_shape, cost, job.path))
    _print_runs(list(map(Job.train, jobs)), args.json)
    return 0


def _print_runs(runs: "list[Run]", as_json: bool) -> None:
    """Print finished runs; with several processes, only the first prints."""
    from pellucid.training.distributed import processes

    if processes().is_first:
        print_runs(runs, as_json)


def _parse_epochs(settings: list[str]) -> int | None:
    """Return `train.epochs` of the settings of a resumed run, or None; raise PellucidError for any other setting."""
    from pellucid.recipe.recipe import parse_overrides

    overrides = parse_overrides(settings)
    epochs = overrides.pop("train.epochs", None)
    if overrides:
        raise PellucidError(f"--resume uses the run's recipe; leave out {next(iter(overrides))}")
    if epochs is not None and type(epochs) is not int:
        raise PellucidError(f"train.epochs must be a whole number, not {epochs!r}")
    return epochs
