"""Write docs/causes.md and docs/causes.json: `python -m benchmarks.causes.page`.

From new diagnoses, what a reader judged of them, and the diagnoses that docs/causes.json has of all other trainings.
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

from benchmarks.causes.diagnose import DIAGNOSES_FOLDER
from benchmarks.causes.listed import HERE, LATER_LISTS, later_mistakes, listed_mistakes, unopened_ids
from benchmarks.doctor.openings import expectation, openings_table
from benchmarks.doctor.report import interval, share, wrapped
from pellucid.base.files import write_atomically
from pellucid.base.text import plural
from pellucid.command.out import to_json_types
from pellucid.doctor.paired import DEFAULT_BUDGET

JUDGEMENTS = ("named", "part", "general", "wrong", "symptom", "silent", "refused", "not examined")
HEADING = """# Mistakes of all tasks
"""
OPENED = """## When each list was opened

The lists were written by someone who had not seen the doctor, and each was opened once. A reader judged the first thing
that the doctor says: *named*, the listed cause or what to change is said; *general*, it is true, but the user must
still look for the place; *wrong*, something else is called a cause; *symptom*, no cause is called. Since 2026-11-29,
also *part*: an exchange for a reference has shown the part of the training with the fault (its data, its settings or
its network), and that is the right one.
"""
LATER = """\
What is missing is neither certainty nor budget, but changes that would remove these mistakes: with ten times the
budget, the doctor that opened the third list said the same first of all of its mistakes; given the listed change of
each mistake that it does not name (`python -m benchmarks.causes.with_listed_change`), it would name 27 of the 36 of the
fifth.

## Since then

The doctor has been improved with every opened list, so these rates do not say what to expect of other mistakes. The
first list, from public trackers, was frozen before the doctor's interventions were written; its unopened half, drawn by
a seed, was opened with the doctor of 2026-11-25, which named 67.6 % of it. Each mistake harms by more than two standard
deviations over three seeds, in trainings of seconds. Intervals are Wilson's, 95 %.
"""
RAW = """\
Each mistake, what the doctor says first of it, the judgement and the time are in [causes.json](causes.json); the
sources and the listed causes in `benchmarks/causes/*.toml`. Written by `python -m benchmarks.causes.page` from `python
-m benchmarks.causes.diagnose`. [cleanlab on mistakes in the targets](cleanlab.md) compares some of these.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.causes.page", description=__doc__)
    parser.add_argument("--results", type=Path, default=DIAGNOSES_FOLDER, help="the folder of diagnoses")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="the folder of the page (docs)")
    args = parser.parse_args()
    records = [json.loads(path.read_text("utf-8")) for path in sorted(args.results.glob("*.json"))]
    judged = judgements_by_id()
    date = time.strftime("%Y-%m-%d")
    earlier = {one["id"]: one for one in json.loads((args.docs / "causes.json").read_text("utf-8"))}
    new = {record["id"]: summary(record, date, judged) for record in records}
    rejudged = {id: summary(record, record["measured"], judged) for id, record in earlier.items()}
    summaries = [one for _, one in sorted((rejudged | new).items())]
    write_atomically(args.docs / "causes.json", (json.dumps(summaries, indent=1) + "\n").encode())
    write_atomically(args.docs / "causes.md", page(summaries, read_judgements()).encode())
    return 0


def read_judgements() -> dict[str, dict[str, str]]:
    """Return what a reader judged: by "mistakes", the later lists and "pairs", the judgement of each id."""
    return tomllib.loads((HERE / "judged.toml").read_text("utf-8"))


def judgements_by_id() -> dict[str, str]:
    """Return the judgement of each mistake of all lists."""
    judgements = read_judgements()
    return {id: word for name in ("mistakes", *LATER_LISTS) for id, word in judgements.get(name, {}).items()}


def summary(record: dict[str, Any], date: str, judged: dict[str, str]) -> dict[str, Any]:
    """Return a record without its diagnosis, with its date and, for a listed mistake, its judgement."""
    result = {name: value for name, value in record.items() if name != "diagnosis"} | {"measured": date}
    if word := judged.get(record["id"].removesuffix("-0")):
        result["judged"] = word
    return result


def page(records: Sequence[dict[str, Any]], judgements: dict[str, dict[str, str]]) -> str:
    """Return the page. records: as in causes.json. judgements: as in judged.toml."""
    records_by_id = {record["id"].removesuffix("-0"): record for record in records}
    ids_by_half = {"unopened": unopened_ids(), "opened": {one.id for one in listed_mistakes()} - unopened_ids()}
    ids_by_half |= {f"{name} list": {one.id for one in later_mistakes(name)} for name in LATER_LISTS}
    half_rows = [("list", "mistakes", *JUDGEMENTS, "named, 95 %"), ("---",) + ("---:",) * (len(JUDGEMENTS) + 2)]
    judged_mistakes = {id: word for name in ("mistakes", *LATER_LISTS) for id, word in judgements.get(name, {}).items()}
    for half, half_ids in ids_by_half.items():
        counts = Counter(judged_mistakes[id] for id in half_ids if id in records_by_id)
        n_judged = sum(counts.values())
        if not n_judged:
            continue  # a list that is not opened yet
        named_share = f"{share(counts['named'], n_judged)} ({interval(counts['named'], n_judged)})"
        half_rows.append((half, str(n_judged), *(str(counts[one]) for one in JUDGEMENTS), named_share))
    pair_texts = [
        pair_text(f"With {trainings}", Counter(judged[id] for id in judged if f"{id}{suffix}" in records_by_id))
        for trainings, suffix, judged in (
            (f"the default budget of {DEFAULT_BUDGET:g} trainings", "", judgements["pairs"]),
            ("a budget of 18", "-0-budget-18", judgements["pairs-budget-18"]),
        )
    ]
    default_records = [record for record in records if "-budget-" not in record["id"]]
    healthy_records = [record for id, record in records_by_id.items() if id.startswith("healthy-")]
    accusations = ("cause", "likely cause", "part")
    false_alarms = [record["id"] for record in healthy_records if record["verdict"] in accusations]
    dates = Counter(record["measured"] for record in records)
    date_texts = [f"{plural(dates[date], 'training')} on {date}" for date in sorted(dates)]
    return "\n".join((
        HEADING, wrapped(expectation()), OPENED, openings_table(), LATER, *map(markdown_row, half_rows), "",
        *pair_texts, "",
        f"Of {len(healthy_records)} healthy trainings of all tasks, "
        f"{len(false_alarms)} are accused{': ' if false_alarms else ''}{', '.join(false_alarms)}.", "",
        f"Over all of these the doctor needs {time_ratio_summary(default_records)} times the training's own seconds, "
        "with the default budget.", "",
        RAW,
        f"Measured with the doctor of each day: {', '.join(date_texts)}.", "",
    ))  # fmt: skip


def pair_text(start: str, counts: Counter[str]) -> str:
    """Return how many trainings with two mistakes have both named, one or none."""
    named = f"both are named in {counts['both']}, one in {counts['one']}, none in {counts['none']}"
    return f"{start}, of {sum(counts.values())} trainings with two mistakes, {named}."


def markdown_row(cells: Sequence[str]) -> str:
    """Return a row of a table in Markdown."""
    return "| " + " | ".join(to_json_types(cell).replace("|", "/") for cell in cells) + " |"


def time_ratio(record: dict[str, Any]) -> str:
    """Return how many times the training's seconds the doctor needed."""
    seconds = record.get("seconds")
    return f"{seconds['doctor'] / seconds['training']:.1f}" if seconds else "-"


def time_ratio_summary(records: Iterable[dict[str, Any]]) -> str:
    """Return the median, the ninth decile and the largest cost."""
    ratios = sorted(float(value) for record in records if (value := time_ratio(record)) != "-")
    ninth_decile = ratios[int(0.9 * len(ratios))]
    return f"{median(ratios):.1f} (median), {ninth_decile:.1f} (ninth decile), {ratios[-1]:.1f} (largest)"


if __name__ == "__main__":
    sys.exit(main())
