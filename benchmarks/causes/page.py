"""Write docs/causes.md and docs/causes.json: `python -m benchmarks.causes.page`.

From the diagnoses, and what a reader judged of them.
"""

import argparse
import json
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.causes.diagnose import FOLDER
from benchmarks.causes.listed import HERE, listed, unopened
from benchmarks.doctor.report import interval, share
from pellucid.command.out import plain
from pellucid.files import write_atomically

JUDGEMENTS = ("named", "general", "wrong", "symptom", "silent", "refused", "not examined")
HEADING = """# Mistakes of all tasks, and what the doctor says first

`benchmarks/causes/list.toml` was frozen before the doctor's interventions were written: mistakes from public trackers,
each with a harm of more than two standard deviations over three seeds (`benchmarks/causes/harm`). Half of it, drawn by
a seed within each task, was run for the first time with the doctor as it is described here; the opened half is the one
it was written with. A reader judged the first thing that the doctor says (`judged.toml`): *named*, the listed cause or
what to change is said; *general*, it is true, but the user must still look for the place; *wrong*, something else is
called a cause; *symptom*, no cause is called. All trainings are of seconds. Intervals are Wilson's, 95 %.
Written by `python -m benchmarks.causes.page` from `python -m benchmarks.causes.diagnose` (`--unopened`, `--healthy`,
`--pairs`; pairs were made of opened mistakes, and a search for a second cause after the first found none in them).
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.causes.page", description=__doc__)
    parser.add_argument("--results", type=Path, default=FOLDER, help="the folder of diagnoses")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="the folder of the page (docs)")
    args = parser.parse_args()
    records = [json.loads(path.read_text("utf-8")) for path in sorted(args.results.glob("*.json"))]
    judged = tomllib.loads((HERE / "judged.toml").read_text("utf-8"))
    write_atomically(args.docs / "causes.md", page(records, judged).encode())
    short = [{name: value for name, value in record.items() if name != "diagnosis"} for record in records]
    write_atomically(args.docs / "causes.json", (json.dumps(short, indent=1) + "\n").encode())
    return 0


def page(records: Sequence[dict[str, Any]], judged: dict[str, dict[str, str]]) -> str:
    """Return the page. judged: by "mistakes" and "pairs", the judgement of each id."""
    ids = {record["id"].removesuffix("-0"): record for record in records}
    halves = {"unopened": unopened(), "opened": {one.id for one in listed()} - unopened()}
    table = [("half", "mistakes", *JUDGEMENTS, "named, 95 %"), ("---",) + ("---:",) * (len(JUDGEMENTS) + 2)]
    for half, members in halves.items():
        counts = Counter(judged["mistakes"][id] for id in members if id in ids)
        total = sum(counts.values())
        named = f"{share(counts['named'], total)} ({interval(counts['named'], total)})"
        table.append((half, str(total), *(str(counts[one]) for one in JUDGEMENTS), named))
    both = Counter(judged["pairs"][id] for id in ids if "+" in id)
    sound = [record for id, record in ids.items() if id.startswith("healthy-")]
    accused = [record["id"] for record in sound if record["verdict"] in ("cause", "likely cause")]
    found = [("mistake", "listed cause", "what the doctor says first", "judged", "times the training")]
    found.append(("---", "---", "---", "---", "---:"))
    for entry in listed():
        if record := ids.get(entry.id):
            said = ": ".join(filter(None, (record["verdict"], record["first"])))
            found.append((entry.id, entry.cause, said, judged["mistakes"][entry.id], cost(record)))
    named = f"both are named in {both['both']}, one in {both['one']}, none in {both['none']}"
    return "\n".join((
        HEADING, f"Measured on {time.strftime('%Y-%m-%d')}.", "", *map(row, table), "",
        f"Of {sum(both.values())} trainings with two mistakes, {named}.", "",
        f"Of {len(sound)} healthy trainings of all tasks, {len(accused)} are accused{': ' if accused else ''}"
        f"{', '.join(accused)}.", "",
        f"Over all of these the doctor needs {costs(records)} times the training's own seconds.", "",
        *map(row, found), "",
    ))  # fmt: skip


def row(cells: Sequence[str]) -> str:
    """Return a row of a table in Markdown."""
    return "| " + " | ".join(plain(cell).replace("|", "/") for cell in cells) + " |"


def cost(record: dict[str, Any]) -> str:
    """Return how many times the training's seconds the doctor needed."""
    seconds = record.get("seconds")
    return f"{seconds['doctor'] / seconds['training']:.1f}" if seconds else "-"


def costs(records: Iterable[dict[str, Any]]) -> str:
    """Return the median, the ninth decile and the largest cost."""
    values = sorted(float(value) for record in records if (value := cost(record)) != "-")
    ninth = values[int(0.9 * len(values))]
    return f"{median(values):.1f} (median), {ninth:.1f} (ninth decile), {values[-1]:.1f} (largest)"


if __name__ == "__main__":
    sys.exit(main())
