"""`pellucid train`: train a network with a recipe."""

import argparse

from pellucid.command.args import Parser
from pellucid.command.results import show
from pellucid.errors import PellucidError


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
    from pellucid.recipe.job import Job, new_jobs, resume_runs
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
    jobs = new_jobs(load_recipe(args.recipe, overrides), overrides, data=args.data, out=args.out)
    show(list(map(Job.train, jobs)), args.json)
    return 0
