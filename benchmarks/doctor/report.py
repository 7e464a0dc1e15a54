"""The results of the benchmark: docs/doctor.md for people, docs/doctor.json for programs."""

import json
import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.doctor.openings import expectation
from benchmarks.doctor.tally import Alarms, Row, by_fault, by_kind, count_alarms, count_faults
from pellucid.command.out import to_json_types
from pellucid.metrics.bootstrap import wilson

Record = dict[str, Any]
TOTAL_NAME = "**all**"
LINE_LENGTH = 120
HEADING = """# The doctor, measured
"""
METHOD = """## Faults that the checks were written for

Trainings with one injected fault, and healthy trainings, in which the doctor should find nothing. Each case has its own
seed, which determines the data, the initial weights and the order of the examples; the faults, their strengths and the
doctor's thresholds were chosen on other seeds. These rates say that the checks work as intended, and not what to expect
of other mistakes. *Named*: the check for the fault has a finding. *As a cause*: that finding is a cause or a likely
cause, neither a symptom nor a consequence of another one. *First*: it is the first finding. Intervals are Wilson's,
95 %. The cases, and what else was found in each, are in [doctor.json](doctor.json).
"""
OTHERS = """\
Measured otherwise: [mistakes of all tasks](causes.md), at the opening of each list and since, and [mistakes from public
trackers](mistakes.md).
"""


def page(records: Sequence[Record], command: str, machine: str, code: str, date: str) -> str:
    """Return the page. code: the version of the measured code. date: of the measurement."""
    kinds = by_kind(records)
    broken, healthy = kinds.broken, kinds.healthy
    parts = [HEADING, wrapped(expectation()), OTHERS, METHOD, _summary(count_faults(broken), count_alarms(healthy))]
    if broken:
        parts += [_checks_table(broken)]
    if count_alarms(healthy).alarmed:
        parts += ["## False alarms\n", _alarms_table(count_alarms(healthy))]
    if errors := [record for record in records if "error" in record]:
        parts += ["## Errors\n", "".join(f"- {_case_name(record)}: {record['error']}\n" for record in errors)]
    parts.append(f"Measured {date} by `{command}` with {machine}; code {code}. {_time_sentence(records)}\n")
    return "\n".join(parts)


def wrapped(text: str) -> str:
    """Return a paragraph in lines of the usual length."""
    return textwrap.fill(text, LINE_LENGTH, break_long_words=False, break_on_hyphens=False) + "\n"


def _case_name(record: Record) -> str:
    return f"{record['fault'] or 'healthy'} ({record['about']}) in {record['setting']}, seed {record['seed']}"


def _summary(faulty: Row, healthy: Alarms) -> str:
    errors = faulty.errors + healthy.errors
    error_text = f" Errors, which count against the doctor: {errors}." if errors else ""
    named_text = f"{share(faulty.named, faulty.cases)} are named** ({interval(faulty.named, faulty.cases)})"
    cause_text = f"{share(faulty.cause, faulty.cases)} as a cause and {share(faulty.first, faulty.cases)} first"
    alarm_text = (
        f"{share(healthy.alarmed, healthy.cases)} get any finding** ({interval(healthy.alarmed, healthy.cases)})"
    )
    cause_alarm_text = f"{share(healthy.caused, healthy.cases)} any cause"
    return (
        f"**Of {faulty.cases:,} faults {named_text}, {cause_text}. **Of {healthy.cases:,} healthy trainings "
        f"{alarm_text}, {cause_alarm_text}.{error_text}\n"
    )


def _checks_table(broken: Sequence[Record]) -> str:
    """Return a table of the faults by the check that should find them."""
    lines = ["| check | cases | named | as a cause | first |", "|---|---:|---:|---:|---:|"]
    for check in dict.fromkeys(record["fault"] for record in broken):
        lines.append(_check_line(count_faults([one for one in broken if one["fault"] == check]), check))
    lines.append(_check_line(count_faults(broken), TOTAL_NAME))
    return "\n".join(lines) + "\n"


def _check_line(row: Row, name: str) -> str:
    shares = [
        share(row.named, row.cases),
        share(row.cause, row.cases),
        share(row.first, row.cases),
    ]
    return f"| {name} | {row.cases} | {' | '.join(shares)} |"


def _alarms_table(alarm_counts: Alarms) -> str:
    lines = ["| check | healthy trainings that it finds something in |", "|---|---:|"]
    lines += [
        f"| {name} | {count} ({share(count, alarm_counts.cases)}) |" for name, count in alarm_counts.checks.items()
    ]
    return "\n".join(lines) + "\n"


def _time_sentence(records: Sequence[Record]) -> str:
    seconds = sorted(record["doctor"] for record in records if "doctor" in record)
    return f"The doctor took {seconds[len(seconds) // 2]:.1f} s per case (median, one thread)." if seconds else ""


def share(part: int, total: int) -> str:
    """Return part / total in percent; "-" if total is 0."""
    return f"{100 * part / total:.1f} %" if total else "-"


def interval(part: int, total: int) -> str:
    """Return Wilson's interval of part / total in percent; "-" if total is 0."""
    low, high = wilson(part, total)
    return f"{100 * low:.1f} to {100 * high:.1f} %" if total else "-"


def _rounded_interval(part: int, total: int) -> list[float]:
    return [round(bound, 6) for bound in wilson(part, total)]


def to_json(records: Sequence[Record], command: str, machine: str, code: str, date: str) -> dict[str, Any]:
    """Return the results as JSON values."""
    kinds = by_kind(records)
    alarm_counts = count_alarms(kinds.healthy)
    return {
        "command": command,
        "machine": machine,
        "code": code,
        "date": date,
        "faults": _total(kinds.broken),
        "healthy": {**asdict(alarm_counts), "interval": _rounded_interval(alarm_counts.alarmed, alarm_counts.cases)},
        "by_fault": [{"check": one.fault, "about": one.about, **_row_to_json(one)} for one in by_fault(kinds.broken)],
        "cases": [
            {key: value for key, value in record.items() if key not in ("key", "findings")} for record in records
        ],
    }


def _total(records: Sequence[Record]) -> dict[str, Any]:
    fault_row = count_faults(records)
    return {**_row_to_json(fault_row), "interval": _rounded_interval(fault_row.named, fault_row.cases)}


def _row_to_json(one: Row) -> dict[str, Any]:
    return {key: value for key, value in asdict(one).items() if key not in ("fault", "about")}


def write(records: Sequence[Record], docs: Path, command: str, machine: str, code: str) -> None:
    """Write docs/doctor.md and docs/doctor.json, with `docs` as the folder."""
    docs.mkdir(parents=True, exist_ok=True)
    date = time.strftime("%Y-%m-%d")
    (docs / "doctor.md").write_text(page(records, command, machine, code, date), "utf-8")
    content = to_json_types(to_json(records, command, machine, code, date))
    cases = ",\n".join(json.dumps(case, ensure_ascii=False) for case in content.pop("cases"))
    summary_json = json.dumps(content, ensure_ascii=False, indent=1)[:-2]
    (docs / "doctor.json").write_text(f'{summary_json},\n "cases": [\n{cases}\n ]\n}}\n', "utf-8")


def stored_page(results: dict[str, Any]) -> str:
    """Return the page of results that were stored as doctor.json."""
    return page(results["cases"], results["command"], results["machine"], results["code"], results["date"])
