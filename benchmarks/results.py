"""Train recipes over several seeds and write docs/results.md: `python -m benchmarks.results [RECIPE ...]`.

`--set KEY=VALUE`, which may be repeated, trains them with other settings; such trainings have separate rows.
Each training is one call of `pellucid train`. Its results are added to docs/results.json as soon as it ends, and the
table is rewritten from that file.
"""

import argparse
import fcntl
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pellucid import shipped_files
from pellucid.run.folder import environment

ROOT = Path(__file__).resolve().parent.parent
RESULTS, TABLE = ROOT / "docs/results.json", ROOT / "docs/results.md"
TARGETS = {
    "mnist-mlp": 0.950, "mnist-mlp-100": 0.978, "mnist-lenet": 0.990, "mnist-conv": 0.995, "digits": 0.960,
    "mnist-alexnet": 0.990, "mnist-vgg": 0.990, "mnist-resnet": 0.990, "cifar": 0.930, "cifar-resnet20": 0.9125,
    "cifar-vit": 0.80,
    "signs-best": 0.990, "camvid-fcn8": 0.62, "camvid-unet": 0.40,
    "faces-heatmap": 0.060, "faces-regression": 0.065, "bccd-single": 0.54, "bccd-faster": 0.52,
    "pennfudan-mask": 0.48,
}  # fmt: skip
MEASURES = {
    "miou": "mean IoU",
    "nme": "NME",
    "mask_ap": "AP of masks",
    "ap": "AP",
    "accuracy": "accuracy",
}  # a result is measured by the first of these keys that it has
OTHER_MEASURES = {"ap50": "AP50", "mask_ap50": "AP50 of masks", "ap": "AP of boxes"}  # additional measures of detectors
OTHER_TARGETS = {
    "bccd-single": {"ap50": 0.88}, "bccd-faster": {"ap50": 0.86}, "bccd-ssd": {"ap50": 0.85},
    "bccd-yolo3": {"ap50": 0.85}, "bccd-yolo1": {"ap50": 0.60},
    "pennfudan-mask": {"ap50": 0.93, "mask_ap50": 0.90, "ap": 0.56},
}  # fmt: skip
HEADING = """# Results

Results of single networks on test data, with the last weights of each training, or with the weights chosen on a
validation part of the training images. Each is the mean of `pellucid train RECIPE recipe.seed=N` over some seeds N.
Written by `python -m benchmarks.results`; nothing is typed by hand. The losses, machines and versions of each training
are in [results.json](results.json). For `xor`, the loss there is
the relevant measure: half the squared error, averaged over its four patterns.

| recipe | measure | mean | min to max | target | others | seeds | time per run | measured |
|---|---|---:|---:|---:|---|---|---:|---|
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="default: all of them")
    parser.add_argument("--seeds", default="0,1,2", metavar="N,N,...", help="default: 0,1,2")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for `pellucid train`")
    parser.add_argument("--out", default="runs/results", help="where the run folders go")
    args = parser.parse_args()
    names = args.recipes or [name for name in shipped_files.recipe_names() if name != "mnist-overfit-cured"]
    for name in names:
        shipped_files.recipe_file(name)  # raises an error for a wrong name before anything is trained
    for name in names:
        for seed in map(int, args.seeds.split(",")):
            for result in train(name, args.set, seed, args.out):
                record(result["recipe"], args.set, seed, result)
                key = measure_key(result)
                print(f"{result['recipe']} seed {seed}: {key} {result[key]:.4f} in {result['wall']:.0f} s", flush=True)
    write_table()


def train(name: str, settings: list[str], seed: int, out: str) -> list[dict[str, Any]]:
    """Train a recipe with one seed; return its result, and that of the recipe that its `then` names, if any."""
    start_time = time.perf_counter()
    results_of_command = run_pellucid("train", name, *settings, f"recipe.seed={seed}", "--out", out)
    results = [results_of_command, *([results_of_command.pop("then")] if "then" in results_of_command else [])]
    wall = time.perf_counter() - start_time
    for result in results:  # the wall time of the command is divided in proportion to the training times
        result["wall"] = wall * result["seconds"] / sum(other["seconds"] for other in results)
    return results


def run_pellucid(*words: str) -> dict[str, Any]:
    """Return the JSON object that `pellucid WORDS --json` prints; exit with its error message if it fails."""
    command = [sys.executable, "-m", "pellucid", *words, "--json"]
    completed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if completed.returncode:
        sys.exit(f"{' '.join(command[2:])}: {completed.stderr.strip()}")
    return json.loads(completed.stdout)


def record(name: str, settings: list[str], seed: int, result: dict[str, Any]) -> None:
    """Add one result to docs/results.json; results of another version of the recipe are removed."""
    key = " ".join([name, *settings])
    recipe = recipe_digest(shipped_files.recipe_file(name))
    kept_keys = [
        measure_key(result),
        "loss",
        "n",
        "epochs",
        "seconds",
        "sha256",
        *(name for name in OTHER_MEASURES if name in result),
    ]
    with open_results() as results:
        entry = results.get(key, {})
        seeds = entry["seeds"] if entry.get("recipe_sha256") == recipe else {}
        seeds[str(seed)] = (
            {one: result[one] for one in kept_keys} | {"wall": round(result["wall"], 1)} | measured_with()
        )
        results[key] = {"recipe_sha256": recipe, "seeds": dict(sorted(seeds.items()))}


def recipe_digest(file: Path) -> str:
    """Return the SHA-256 of the settings in a recipe file, without the description."""
    settings = tomllib.loads(file.read_text(encoding="utf-8"))
    settings["recipe"].pop("about", None)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def measure_key(result: Mapping[str, Any]) -> str:
    """Return the key of a result's main measure."""
    key = next((key for key in MEASURES if key in result), None)
    if key is None:
        sys.exit(f"{result['recipe']}: measured by `python -m benchmarks.generated RUN`; none of {', '.join(MEASURES)}")
    return key


@contextmanager
def open_results(path: Path = RESULTS) -> Iterator[dict[str, Any]]:
    """Within the context, yield the results in a file, locked for other processes, and write them back at the end."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        results: dict[str, Any] = json.loads(text) if text else {}
        yield results
        file.truncate(0)
        file.write(json.dumps(results, indent=2, sort_keys=True) + "\n")


def measured_with() -> dict[str, Any]:
    """Return the date, the number of cores, the versions and the processor of a measurement."""
    machine_info = environment()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)),
        **{key: machine_info[key] for key in ("pellucid", "torch", "cpu")},
    }


def machine(measured: Mapping[str, Any]) -> str:
    """Return the number of cores and the processor of a measurement, as text."""
    cores = measured["cores"]
    return f"{cores} core{'' if cores == 1 else 's'} of {measured['cpu']}"


def write_table() -> None:
    """Write docs/results.md from docs/results.json."""
    with open_results() as results:
        TABLE.write_text(page(results), encoding="utf-8")
    print(f"wrote {TABLE.relative_to(ROOT)}")


def page(results: Mapping[str, Any]) -> str:
    """Return the page of the results, as they are in docs/results.json."""
    return HEADING + "".join(f"{row(name, entry)}\n" for name, entry in sorted(results.items()))


def row(training: str, entry: dict[str, Any]) -> str:
    """Return one row of the table."""
    name = training.split(maxsplit=1)[0]
    runs = list(entry["seeds"].values())
    measure_name = measure_key(runs[0])
    figures = [100 * one[measure_name] for one in runs]
    wall = statistics.mean(one["wall"] for one in runs)
    others = [
        other_figure(name, key, runs)
        for key in OTHER_MEASURES
        if key != measure_name and all(key in one for one in runs)
    ]
    cells = [
        f"`{training}`",
        MEASURES[measure_name],
        f"{statistics.mean(figures):.2f} %",
        f"{min(figures):.2f} to {max(figures):.2f} %",
        f"{100 * TARGETS[name]:.1f} %" if name in TARGETS and "data.name=" not in training else "-",
        "; ".join(others) or "-",
        ", ".join(entry["seeds"]),
        f"{wall / 60:.1f} min" if wall >= 60 else f"{wall:.0f} s",
        max(one["date"] for one in runs),
    ]
    return f"| {' | '.join(cells)} |"


def other_figure(recipe: str, key: str, runs: list[dict[str, Any]]) -> str:
    """Return the text of an additional measure of a detector, such as "AP50 89.52 % (target 85.0 %)"."""
    target = OTHER_TARGETS.get(recipe, {}).get(key)
    suffix = f" (target {100 * target:.1f} %)" if target is not None else ""
    return f"{OTHER_MEASURES[key]} {100 * statistics.mean(one[key] for one in runs):.2f} %{suffix}"


if __name__ == "__main__":
    main()
