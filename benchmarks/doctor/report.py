"""The pages of what the doctor said: docs/doctor.md, mistakes.md and causes.md, from stored results of their names."""

import json
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.doctor.listed import LATER, UNUSUAL, judgements, mistakes, read
from benchmarks.doctor.openings import expectation, openings_table
from benchmarks.doctor.store import Record
from benchmarks.doctor.tally import (
    VERDICTS,
    Counts,
    counted,
    has_finding,
    is_accused,
    is_error,
    judged,
)
from pellucid.base.files import write_atomically
from pellucid.base.text import plural
from pellucid.command.out import to_json_types
from pellucid.doctor.paired import DEFAULT_BUDGET
from pellucid.metrics.bootstrap import wilson

Results = Mapping[str, Any]  # {"cases": records}, and of two pages how they were first measured
PAGES = {"faults": "doctor", "usual": "mistakes", **dict.fromkeys((*UNUSUAL, "unusual"), "causes")}  # of lists
LINE_LENGTH = 120
MIN_HARM = 0.02  # score without the mistake minus score with it
JUDGEMENTS = ("named", "part", "general", "wrong", "symptom", "silent", "refused", "not examined")  # of readers

FAULTS = """\
Measured otherwise: [mistakes of all tasks](causes.md), at the opening of each list and since, and [mistakes from public
trackers](mistakes.md).

## Faults that the checks were written for

Trainings with one injected fault, and healthy trainings, in which the doctor should find nothing. Each case has its own
seed, which determines the data, the initial weights and the order of the examples; the faults, their strengths and the
doctor's thresholds were chosen on other seeds. These rates say that the checks work as intended, and not what to expect
of other mistakes. *Named*: the check for the fault has a finding. *As a cause*: that finding is a cause or a likely
cause, neither a symptom nor a consequence of another one. *First*: it is the first finding. Intervals are Wilson's,
95 %. The cases, and what else was found in each, are in [doctor.json](doctor.json).
"""
USUAL = """## Method

`benchmarks/doctor/lists/usual.toml` lists mistakes of classification and regression from public trackers and teaching
material, with their sources. It was frozen before its author read the doctor's checks. At its first measurement, 34.6 %
were named as a cause; the doctor was improved with it afterwards. Each mistake is made as a user would make it, in a
training that is healthy without it; its strength was chosen by its harm alone. *Named*: the right name is among the
causes. *Refused*: the library raises an error before the training begins. *Wrong cause*: another cause is reported, and
the right one is not. *Symptom only*: the findings are symptoms, or say only in which part the fault is. *Nothing or
error*: there is no finding, or the case raised an error. Intervals are Wilson's, 95 %. What was found in each case, and
the scores with and without the mistake, are in [mistakes.json](mistakes.json).
"""
OPENED = """## When each list was opened

The lists were written by someone who had not seen the doctor, and each was opened once. A reader judged the first thing
that the doctor says: *named*, the listed cause or what to change is said; *general*, it is true, but the user must
still look for the place; *wrong*, something else is called a cause; *symptom*, no cause is called. Since 2026-11-29,
also *part*: an exchange for a reference has shown the part of the training with the fault (its data, its settings or
its network), and that is the right one.
"""
SINCE = """\
What is missing is neither certainty nor budget, but changes that would remove these mistakes: with ten times the
budget, the doctor that opened the third list said the same first of all of its mistakes; given the listed change of
each mistake that it does not name, it would name 27 of the 36 of the fifth.

## Since then

The doctor has been improved with every opened list, so these rates do not say what to expect of other mistakes. The
first list, from public trackers, was frozen before the doctor's interventions were written; its unopened half, drawn by
a seed, was opened with the doctor of 2026-11-25, which named 67.6 % of it. Each mistake harms by more than two standard
deviations over three seeds, in trainings of seconds. Intervals are Wilson's, 95 %.
"""
RAW = """\
Each mistake, what the doctor says first of it, the judgement and the time are in [causes.json](causes.json); the
sources and the listed causes in `benchmarks/doctor/lists/*.toml`. Measured by `python -m benchmarks.doctor`, and
written by `python -m benchmarks.pages`. [cleanlab on mistakes in the targets](cleanlab.md) compares some of these.
"""


def stored(docs: Path, page: str) -> dict[str, Any]:
    """Return the stored results of a page."""
    return json.loads((docs / f"{page}.json").read_text("utf-8"))


def take(records: Sequence[Record], docs: Path) -> None:
    """Put records into the stored results, in place of those of the same trainings; a list without a page has none."""
    taken = [record for record in records if not record["healthy"]]
    for page in dict.fromkeys(PAGES.values()):
        results = stored(docs, page)
        cases = {key_of(one): one for one in results["cases"]}
        for record in taken:
            kind = record["name"].partition(": ")[0] if record["list"] == "healthy" else record["list"]
            if PAGES.get(kind) == page:
                said = {name: value for name, value in record.items() if name not in ("healthy", "diagnosis")}
                cases[key_of(record)] = cases.get(key_of(record), {}) | said | {"measured": time.strftime("%Y-%m-%d")}
        for one in cases.values():
            if word := judgements(one["list"]).get(one["name"]):
                one["judged"] = word
        lines = ",\n".join(json.dumps(to_json_types(one), ensure_ascii=False) for one in cases.values())
        head = json.dumps(results | {"cases": []}, ensure_ascii=False, indent=1).removesuffix("[]\n}")
        write_atomically(docs / f"{page}.json", f"{head}[\n{lines}\n ]\n}}\n".encode())


def key_of(record: Record) -> tuple[str, str, int]:
    """Return what is the same only in records of the same training."""
    return record["list"], record["name"], record["seed"]


def wrapped(text: str) -> str:
    """Return a paragraph in lines of the usual length."""
    return textwrap.fill(text, LINE_LENGTH, break_long_words=False, break_on_hyphens=False) + "\n"


def share(part: int, total: int) -> str:
    """Return part / total in percent; "-" if total is 0."""
    return f"{100 * part / total:.1f} %" if total else "-"


def interval(part: int, total: int) -> str:
    """Return Wilson's interval of part / total in percent; "-" if total is 0."""
    low, high = wilson(part, total)
    return f"{100 * low:.1f} to {100 * high:.1f} %" if total else "-"


def table(heads: Sequence[str], alignment: Sequence[str], rows: Iterable[Sequence[Any]], space: str = " ") -> str:
    """Return a table in Markdown. alignment: "---" of a column of words, "---:" of numbers. space: beside these."""
    lines = ["| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in (heads, *rows)]
    return "\n".join((lines[0], f"|{space}{f'{space}|{space}'.join(alignment)}{space}|", *lines[1:])) + "\n"


def numbered(heads: Sequence[str], rows: Iterable[Sequence[Any]], words: int = 1) -> str:
    """Return a table of numbers behind some columns of words."""
    return table(heads, ("---",) * words + ("---:",) * (len(heads) - words), rows, space="")


def halves(results: Results) -> tuple[list[Record], list[Record]]:
    """Return the records of trainings with a mistake, and of healthy ones."""
    cases = results["cases"]
    return [one for one in cases if one["list"] != "healthy"], [one for one in cases if one["list"] == "healthy"]


def measured(results: Results) -> str:
    """Return the last sentences of a page: how it was measured, and how long that took."""
    text = f"Measured {results['date']} by `{results['command']}` with {results['machine']}; code {results['code']}."
    again = Counter(one["measured"] for one in results["cases"] if "measured" in one)
    text += "".join(f" Again on {date}: {plural(again[date], 'training')}." for date in sorted(again))
    times = sorted(one["seconds"]["doctor"] for one in results["cases"] if "doctor" in one["seconds"])
    return f"{text} The doctor took {times[len(times) // 2]:.1f} s per case (median, one thread).\n"


def doctor_page(results: Results) -> str:
    """Return docs/doctor.md."""
    broken, healthy = halves(results)
    counts, alarmed = counted(broken), sum(map(has_finding, healthy))
    errors = [record for record in results["cases"] if is_error(record)]
    summary = (
        f"**Of {counts.cases:,} faults {share(counts.named, counts.cases)} are named** "
        f"({interval(counts.named, counts.cases)}), {share(counts.cause, counts.cases)} as a cause and "
        f"{share(counts.first, counts.cases)} first. **Of {len(healthy):,} healthy trainings "
        f"{share(alarmed, len(healthy))} get any finding** ({interval(alarmed, len(healthy))}), "
        f"{share(sum(map(is_accused, healthy)), len(healthy))} any cause."
        f"{f' Errors, which count against the doctor: {len(errors)}.' if errors else ''}\n"
    )
    checks = dict.fromkeys(record["fault"] for record in broken)
    rows = [fault_row(check, counted([one for one in broken if one["fault"] == check])) for check in checks]
    heads = ("check", "cases", "named", "as a cause", "first")
    parts = ["# The doctor, measured\n", wrapped(expectation()), FAULTS, summary]
    parts.append(numbered(heads, [*rows, fault_row("**all**", counts)]))
    if found := Counter(check for record in healthy for check in record.get("names", ())):
        alarms = [(check, f"{count} ({share(count, len(healthy))})") for check, count in found.most_common()]
        parts += ["## False alarms\n", numbered(("check", "healthy trainings that it finds something in"), alarms)]
    if errors:
        parts += ["## Errors\n", "".join(f"- {error_name(one)}: {one['words']}\n" for one in errors)]
    return "\n".join((*parts, measured(results)))


def error_name(record: Record) -> str:
    """Return the name of a training with its seed."""
    name = "{fault} ({about}) in {setting}".format(**record) if "fault" in record else record["name"]
    return f"{name}, seed {record['seed']}"


def fault_row(name: str, counts: Counts) -> tuple[str, ...]:
    """Return a row of the table of faults."""
    return name, str(counts.cases), *(share(one, counts.cases) for one in (counts.named, counts.cause, counts.first))


def mistakes_page(results: Results, faults: Results) -> str:
    """Return docs/mistakes.md. faults: the results of docs/doctor.md."""
    broken, healthy = halves(results)
    count_of, total = Counter(map(judged, broken)), len(broken)
    accused, found = sum(map(is_accused, healthy)), sum(map(has_finding, healthy))
    cells = [
        "mistakes", total, share(count_of["named"], total), interval(count_of["named"], total),
        *(share(count_of[word], total) for word in VERDICTS[1:4]),
        share(count_of["nothing"] + count_of["error"], total), len(healthy), share(accused, len(healthy)),
        share(found, len(healthy)),
    ]  # fmt: skip
    faulty, unfaulty = halves(faults)
    counts = counted(faulty)
    of_faults = [
        "[faults](doctor.md)", f"{counts.cases:,}", share(counts.cause, counts.cases),
        interval(counts.cause, counts.cases), *"----", f"{len(unfaulty):,}", "-",
        share(sum(map(has_finding, unfaulty)), len(unfaulty)),
    ]  # fmt: skip
    heads = (
        "bench", "cases", "named as a cause", "95 %", *VERDICTS[1:4], "nothing or error", "healthy", "with a cause",
        "with any finding",
    )  # fmt: skip
    parts = ["# Mistakes from public trackers\n", wrapped(expectation()), USUAL]
    parts.append(numbered(heads, [cells, of_faults]))
    if missed := [missed_row(record) for record in broken if judged(record) != "named"]:
        heads = ("mistake", "what was done", "verdict", "causes named", "with", "without")
        parts += ["## Not named\n", numbered(heads, missed, 4)]
    lines = [
        f"- {one['name'].partition(': ')[2]} (seed {one['seed']}): {', '.join(one['causes']) or 'no cause'}"
        + (f"; also {', '.join(others)}" if (others := [it for it in one["names"] if it not in one["causes"]]) else "")
        for one in healthy
        if one.get("names")
    ]
    kinds = len({one["name"] for one in healthy})
    parts.append(f"## Healthy trainings\n\n{len(healthy)} trainings of {kinds} kinds; with findings: {found}.\n")
    parts += ["\n".join(lines) + "\n"] if lines else []
    harmless = [one for one in broken if one.get("sound", 1.0) - one.get("harmed", 0.0) < MIN_HARM]
    if harmless:
        names = ", ".join(f"{one['name']} (seed {one['seed']})" for one in harmless)
        parts.append(f"Cost less than {MIN_HARM:g}: {names}.\n")
    if ended := [one for one in results["cases"] if is_error(one) or one.get("verdict") == "refused"]:
        parts += ["## Errors and refusals\n", "".join(f"- {error_name(one)}: {one['words']}\n" for one in ended)]
    return "\n".join((*parts, measured(results)))


def missed_row(record: Record) -> tuple[str, ...]:
    """Return a row of a usual mistake that is not named."""
    one = mistakes("usual")[record["name"]]
    scores = (f"{record[name]:.3f}" if name in record else "-" for name in ("harmed", "sound"))
    return f"[{one.id}]({one.url})", one.mistake, judged(record), ", ".join(record.get("causes", ())), *scores


def causes_page(results: Results) -> str:
    """Return docs/causes.md."""
    records, (_, healthy) = results["cases"], halves(results)
    rows = []
    for name in ("unopened", "first", *LATER):
        asked = {one["name"] for one in records if one["list"] == name}
        counts = Counter(word for id, word in judgements(name).items() if id in asked)
        if total := sum(counts.values()):  # a list that is not opened yet has none
            head = {"unopened": name, "first": "opened"}.get(name, f"{name} list")
            named_share = f"{share(counts['named'], total)} ({interval(counts['named'], total)})"
            rows.append((head, total, *(counts[word] for word in JUDGEMENTS), named_share))
    pairs = [
        pair_text(f"With {budget}", Counter(read("judged")[name].values()))
        for budget, name in (
            (f"the default budget of {DEFAULT_BUDGET:g} trainings", "pairs"),
            ("a budget of 18", "pairs-budget-18"),
        )
    ]
    accused = [one["name"] for one in healthy if is_accused(one)]
    ratios = sorted(
        round(one["seconds"]["doctor"] / one["seconds"]["training"], 1)
        for one in records
        if one["list"] != "pairs-budget-18" and "doctor" in one["seconds"]
    )
    dates = Counter(one["measured"] for one in records)
    days = [f"{plural(dates[date], 'training')} on {date}" for date in sorted(dates)]
    heads = ("list", "mistakes", *JUDGEMENTS, "named, 95 %")
    return "\n".join((
        "# Mistakes of all tasks\n", wrapped(expectation()), OPENED, openings_table(), SINCE,
        table(heads, ("---",) + ("---:",) * (len(heads) - 1), rows),
        *pairs, "",
        f"Of {len(healthy)} healthy trainings of all tasks, "
        f"{len(accused)} are accused{': ' if accused else ''}{', '.join(accused)}.", "",
        f"Over all of these the doctor needs {median(ratios):.1f} (median), {ratios[int(0.9 * len(ratios))]:.1f} "
        f"(ninth decile), {ratios[-1]:.1f} (largest) times the training's own seconds, with the default budget.", "",
        RAW,
        f"Measured with the doctor of each day: {', '.join(days)}.", "",
    ))  # fmt: skip


def pair_text(start: str, counts: Counter[str]) -> str:
    """Return how many trainings with two mistakes have both named, one or none."""
    named = f"both are named in {counts['both']}, one in {counts['one']}, none in {counts['none']}"
    return f"{start}, of {sum(counts.values())} trainings with two mistakes, {named}."
