"""`pellucid sweep`: train a recipe with many settings, and compare them on one page."""

import argparse
from typing import TYPE_CHECKING, Any

from pellucid.base.errors import PellucidError
from pellucid.command.args import Parser
from pellucid.command.out import print_result
from pellucid.command.progress import StatusLine

if TYPE_CHECKING:
    from pellucid.tuning.results import TuningResult

MAX_PRINTED_TRIALS = 5  # number of the best trials that are printed


def parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser(
        "sweep",
        "Train a recipe with many settings, in several processes, and compare the runs on one page. The same command "
        "continues a sweep that was stopped; on other machines with the same folder, it joins it.",
    )
    parser.add_argument("recipe", nargs="?", metavar="RECIPE|TASK", help="as for `pellucid train`")
    parser.add_argument("settings", nargs="*", metavar="DATA|key=value", help="as for `pellucid train`")
    parser.add_argument(
        "--over",
        action="append",
        default=[],
        metavar="KEY=VALUES",
        help="values of a key: a,b,c; LOW..HIGH; LOW..HIGH:log on a logarithmic scale; LOW..HIGH:N for N numbers",
    )
    parser.add_argument("--seeds", metavar="SEEDS", help="train each trial with these seeds: 0..4, or 0,7,9")
    parser.add_argument("--trials", type=int, metavar="N", help="search with N trials (default: every combination)")
    parser.add_argument("--sampler", metavar="NAME", help="how a search chooses: tpe (default; Optuna), or random")
    parser.add_argument("--prune", action="store_true", help="end runs that are worse than the median (Optuna)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="number of processes (default: 1)")
    parser.add_argument("--out", metavar="DIR", help="folder of the sweep (default: runs/NAME-sweep)")
    parser.add_argument("--resume", metavar="DIR", help="continue or join the sweep in this folder")
    parser.add_argument(
        "--slurm",
        nargs="?",
        const="",
        metavar="KEY=VALUE,...",
        help="submit the processes as jobs of SLURM: partition=, time=, cpus=, gpus=, memory= of each job",
    )
    return parser.data_option().device_option().json_flag()


def handle(args: argparse.Namespace) -> int:
    """Start or resume the sweep; print the best trials, and the paths of the folder and the page."""
    from pellucid.recipe.own import recipe_of_words
    from pellucid.tuning.launch import begin_or_continue, resume_sweep
    from pellucid.tuning.slurm import read_options

    launch_options: dict[str, Any] = {
        "jobs": args.jobs,
        "data": args.data,
        "slurm": None if args.slurm is None else read_options(args.slurm),
        "progress": _TrialProgress(),
    }
    if args.resume is not None:
        plan_arguments = ("recipe", "over", "seeds", "trials", "sampler", "prune", "out", "device")
        given_arguments = [name for name in plan_arguments if getattr(args, name)]
        if given_arguments:
            raise PellucidError(f"--resume continues a sweep as it was planned; leave out {given_arguments[0]}")
        with launch_options["progress"]:
            results = resume_sweep(args.resume, **launch_options)
    else:
        if args.recipe is None:
            raise PellucidError("pellucid sweep needs a RECIPE; `pellucid recipes` lists them")
        recipe, overrides = recipe_of_words(args.recipe, args.settings, args.device, args.data)
        device = [] if args.device is None else [f"recipe.device={args.device}"]
        with launch_options["progress"]:
            results = begin_or_continue(
                recipe,
                _parse_ranges(args.over),
                seeds=None if args.seeds is None else _parse_seeds(args.seeds),
                trials=args.trials,
                sampler=args.sampler,
                prune=args.prune,
                out=args.out,
                overridden_keys=[*overrides],
                words=[args.recipe, *args.settings, *device],
                **launch_options,
            )
    _print_results(args, results, submitted=args.slurm is not None)
    return 0


def _print_results(args: argparse.Namespace, results: "TuningResult", submitted: bool) -> None:
    from pellucid.base.text import table
    from pellucid.tuning.page import command_of, merit_of, settings_text, value_text

    merit, best_trial = merit_of(results), results.best
    counts = ", ".join(f"{count} {state}" for state, count in results.counts.items() if count)
    rows = [
        (f"trial {trial.number}", value_text(merit, trial.value), settings_text(trial))
        for trial in results.ranked[:MAX_PRINTED_TRIALS]
    ]
    lines = [f"{results.plan.name}: {results.plan.trials} trials: {counts}"]
    lines += table([("", merit.label, "settings"), *rows], right=[1]) if rows else []
    if best_trial is not None:
        lines += ["", f"best    {command_of(results, best_trial, best_trial.runs[0])}"]
    lines += [f"folder  {results.folder.path}", f"page    {results.page}"]
    if submitted:
        lines.append(f"the jobs are submitted; their logs are in {results.folder.path / 'slurm'}")
    print_result(args, results.to_json(), *lines)


def _parse_ranges(words: list[str]) -> dict[str, str]:
    """Return the VALUES of each `--over KEY=VALUES` by key; raise PellucidError for other text."""
    ranges: dict[str, str] = {}
    for word in words:
        key, equals, values = word.partition("=")
        if not equals or not key or not values:
            raise PellucidError(f"--over {word!r} is not KEY=VALUES; write optimizer.lr=1e-4..1e-1:log, or KEY=a,b")
        if key in ranges:
            raise PellucidError(f"--over {key} is given twice; give it once")
        ranges[key] = values
    return ranges


def _parse_seeds(text: str) -> list[int]:
    """Return the seeds of "0..4" or "0,7,9"; raise PellucidError for other text."""
    from pellucid.tuning.space import ValueRange, read_values

    values = read_values(text, "--seeds")
    if isinstance(values, ValueRange) and not (values.whole and not values.log and values.high - values.low < 1000):
        raise PellucidError(f"--seeds {text!r} are no seeds; write whole numbers, such as 0..4 or 0,7,9")
    return list(values.grid)


class _TrialProgress:
    """A status line with the number of finished trials and the best trial; as a context, it ends the line."""

    def __init__(self) -> None:
        self._line = StatusLine()

    def __call__(self, results: "TuningResult") -> None:
        from pellucid.tuning.page import merit_of, value_text

        best_trial, n_done = results.best, results.plan.trials - results.counts["unfinished"]
        best_text = (
            ""
            if best_trial is None
            else f", best {value_text(merit_of(results), best_trial.value)} (trial {best_trial.number})"
        )
        self._line.show(f"{n_done:,} of {results.plan.trials:,} trials{best_text}")

    def __enter__(self) -> None:
        """Begin the context, without a line."""

    def __exit__(self, *error: object) -> None:
        self._line.end()
