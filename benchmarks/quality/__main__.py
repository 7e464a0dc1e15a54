"""Measure what trainings reach in a processor time: `python -m benchmarks.quality [--set NAME] [--minutes 1] [--page]`.

Each point is a training of its own process, from scratch unless its row says otherwise. It is stored in
docs/quality.json as soon as it is measured, and a point that is there is not measured again: delete it from the file to
measure it anew. `make quality` installs the other libraries. docs/quality.md is written at the end; `--page` only
writes the page.
"""

import argparse
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.quality import page
from benchmarks.quality.point import PEERS_PYTHON, FailedCommandError, measure
from benchmarks.quality.sets import SETS
from benchmarks.results import ROOT, measured_with, open_results
from pellucid.data import data_root

STORE = ROOT / "docs/quality.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--set", choices=SETS, action="append", help="default: all of them")
    parser.add_argument("--row", action="append", help="the title of a row; default: all of them")
    parser.add_argument("--minutes", type=int, nargs="*", default=list(page.MINUTES), help="of processor time")
    parser.add_argument("--seed", type=int, nargs="*", default=list(page.SEEDS))
    parser.add_argument("--threads", type=int, default=2, help="of each training; 1 on a machine with other work")
    parser.add_argument("--data", type=Path, nargs="*", default=[data_root(), ROOT.parent / "sets"])
    parser.add_argument("--page", action="store_true", help="only write docs/quality.md")
    options = parser.parse_args()
    if not options.page:
        for name in options.set or SETS:
            measure_set(name, options)
    with open_results(STORE) as results:
        page.PAGE.write_text(page.text(results), encoding="utf-8")
    print(f"wrote {page.PAGE.relative_to(ROOT)}")


def measure_set(name: str, options: argparse.Namespace) -> None:
    """Measure the missing points of a set, each stored at once."""
    source = next((root / SETS[name].source for root in options.data if (root / SETS[name].source).exists()), None)
    if source is None:
        print(f"{name}: not measured: {SETS[name].source} is in none of {', '.join(map(str, options.data))}")
        return
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        SETS[name].write(source, pictures)
        for row in page.rows(name):
            if options.row and row not in options.row:
                continue
            if row == SETS[name].peer_title and not PEERS_PYTHON.exists():
                print(f"{name}, {row}: not measured: `make quality` installs it")
                continue
            for minutes in options.minutes:
                for seed in options.seed:
                    measure_point(name, row, minutes, seed, options.threads, pictures)


def measure_point(name: str, row: str, minutes: int, seed: int, threads: int, pictures: Path) -> None:
    """Measure and store a point, unless it is stored."""
    key, pace_key = page.point_key(name, row, minutes, seed), f"{name}; {row}; {threads} threads"
    with open_results(STORE) as results:
        if key in results.get("points", {}):
            return
        paces: list[list[float]] = results.get("paces", {}).get(pace_key, [])
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as out:
        try:
            point = measure(name, row, minutes, seed, threads, pictures, Path(out), paces)
        except FailedCommandError as error:
            print(f"{key}: not measured: {error}", flush=True)
            return
    point |= {"load": round(load, 1), **conditions()}
    with open_results(STORE) as results:
        results.setdefault("points", {})[key] = point
        results.setdefault("paces", {})[pace_key] = paces
    figures = ", ".join(f"{title} {100 * point[figure]:.1f} %" for figure, title in SETS[name].figures.items())
    print(f"{key}: {figures}; {point['epochs']} epochs, {point['seconds']:.0f} s", flush=True)


def conditions() -> dict[str, Any]:
    """Return the date, the commit, the machine and the versions of a point."""
    git = ["git", "rev-parse", "--short=8", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    return {"commit": commit, **measured_with()}


if __name__ == "__main__":
    main()
