"""`pellucid train`: train a network with a recipe."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pellucid.cli.args import Parser
from pellucid.cli.out import emit, say
from pellucid.errors import PellucidError
from pellucid.text import percent, plural

if TYPE_CHECKING:
    from pellucid.recipe.job import Run


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "train", "Train a network with a recipe, and write a new run folder; `pellucid recipes` lists the recipes."
    )
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="a built-in name or a TOML file")
    parser.add_argument(
        "settings", nargs="*", metavar="key=value", help="settings that override the recipe, such as optimizer.lr=0.5"
    )
    parser.add_argument("--out", metavar="DIR", default="runs", help="folder for run folders (default: runs)")
    parser.add_argument("--resume", metavar="RUN", help="resume this run folder with its own recipe")
    return parser.data_option().device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Train, and print the test results and the paths of the run folder and the report."""
    from pellucid.recipe.job import resume_runs, train_recipe
    from pellucid.recipe.recipe import load_recipe, parse_overrides

    if args.resume is not None:
        if args.recipe is not None:
            raise PellucidError(f"--resume uses the run's recipe; leave out {args.recipe!r}")
        if args.device is not None:
            raise PellucidError("--resume uses the run's device; leave out --device, or start a new training")
        show(resume_runs(args.resume, data=args.data), args.json)
        return 0
    if args.recipe is None:
        raise PellucidError("pellucid train needs a RECIPE; `pellucid recipes` lists them")
    if "=" in args.recipe:
        raise PellucidError(f"the recipe comes first: pellucid train RECIPE {args.recipe}")
    overrides = parse_overrides(args.settings)
    if args.device is not None:
        overrides["recipe.device"] = args.device
    runs = train_recipe(load_recipe(args.recipe, overrides), overrides, data=args.data, out=args.out)
    show(runs, args.json)
    return 0


def show(runs: Sequence["Run"], as_json: bool) -> None:
    """Print the results of the runs.

    As JSON, they are one object: the results of the first run, and those of the second, if the recipe compares two, as
    the value of the key "then".
    """
    if as_json:
        first, *rest = [as_object(run) for run in runs]
        emit({**first, "then": rest[0]} if rest else first)
        return
    for run in runs:
        found = run.metrics
        accuracy = f"accuracy {percent(found['accuracy'])}, " if "accuracy" in found else ""
        say(f"{run.recipe.name}: {accuracy}loss {found['loss']:.4f} on {found['n']:,} test examples")
        say(f"  {plural(found['epochs'], 'epoch')} in {found['seconds']:.1f} s ({found['weights']} weights)")
        say(f"  run     {run.path}")
        say(f"  report  {run.report}")


def as_object(run: "Run") -> dict[str, Any]:
    """Return the recipe's name, the paths and the test results of a run as one dict."""
    return {"recipe": run.recipe.name, "run": str(run.path), "report": str(run.report), **run.metrics}
