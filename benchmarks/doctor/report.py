"""The results of the benchmark: docs/doctor.md for people, docs/doctor.json for programs."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.doctor.fault import Fault
from benchmarks.doctor.healthy import HEALTHY
from benchmarks.doctor.plan import faults, synthetic
from benchmarks.doctor.settings import SETTINGS
from benchmarks.doctor.tally import Alarms, Row, by_fault, by_kind, count_alarms, count_faults, wilson
from pellucid.command.out import plain

Record = dict[str, Any]
TOTAL_NAME, SYNTHETIC_NAME = "**all**", "**synthetic history**"
MAX_OTHER_CHECKS = 4  # other checks listed in a row
HEADING = """# The doctor, measured

The findings of `pellucid doctor` in trainings with one injected fault, and in healthy trainings, where it should find
nothing. A fault is injected into the trainings that its row names, in turn; the reasons for leaving trainings out are
listed below the table. Each case has its own seed, which determines the data, the initial weights and the order of the
examples; none of the doctor's thresholds was chosen on these seeds. The healthy trainings are those that faults are
injected into, without the fault, and trainings of other kinds. *Named*: the check for the fault has a finding. *As a
cause*: the finding is a cause or a likely cause, neither a symptom nor a consequence of another finding (if a setting
is the cause, the check of that setting has a finding in addition to the symptom that the row names). *First*: the
finding is the first one. The faults, their strengths and their trainings were chosen on seeds 0 to 5, on which harmless
faults were removed or made stronger. Intervals are Wilson's, 95 %. A *synthetic history* is not a faulty training:
invented losses of a generator and a discriminator are written into the history of a healthy training. Such cases are
listed below the totals and are not included in them. Written by `python -m benchmarks.doctor`, except for the figures
of the additional mistakes, which were counted separately.
"""
# Counted once, by an audit whose list is not in this repository.
FURTHER = """\
A list of 29 additional mistakes was frozen before the checks were read. Of these, 28 % were named (Wilson 15 to 46 %):
3 of 12 in classification and regression, 3 of 8 in detection, 0 of 5 in segmentation, 1 of 3 in GANs. Of four
later lists of 31, 34, 29 and 36 mistakes of all tasks, by someone who had not seen the doctor, it named 32 %, 44 %,
34 % and 28 % when they were opened ([causes](causes.md)).
"""


def page(records: Sequence[Record], command: str, machine: str, code: str) -> str:
    """Return the page. code: the version of the measured code."""
    kinds = by_kind(records, synthetic())
    broken, healthy = kinds.broken, kinds.healthy
    parts = [HEADING, _summary(count_faults(broken), count_alarms(healthy)), FURTHER]
    if broken or kinds.synthetic:
        parts += ["## Faults\n", _faults_table(broken, kinds.synthetic), _exclusion_reasons(broken)]
    parts += ["## By training\n", _settings_table(records)]
    if count_alarms(healthy).alarmed:
        parts += ["## False alarms\n", _alarms_table(count_alarms(healthy))]
    if errors := [record for record in records if "error" in record]:
        parts += ["## Errors\n", "".join(f"- {record['key']}: {record['error']}\n" for record in errors)]
    parts.append(
        f"Measured {time.strftime('%Y-%m-%d')} by `{command}` with {machine}; code {code}. {_time_sentence(records)}\n"
    )
    return "\n".join(parts)


def _summary(faulty: Row, healthy: Alarms) -> str:
    errors = faulty.errors + healthy.errors
    error_text = f" {errors} cases ended in an error, and count against the doctor." if errors else ""
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


def _faults_table(broken: Sequence[Record], synthetic: Sequence[Record]) -> str:
    lines = [
        "| check | how it is broken | in | seeds | cases | named | 95 % | as a cause | first | what else was said |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for records, name in ((broken, TOTAL_NAME), (synthetic, SYNTHETIC_NAME)):
        if records:
            lines += [
                *(_fault_line(one, one.fault, one.about) for one in by_fault(records)),
                _fault_line(count_faults(records), name, ""),
            ]
    return "\n".join(lines) + "\n"


def _fault_line(fault_row: Row, name: str, about: str) -> str:
    other_checks = (
        []
        if name in (TOTAL_NAME, SYNTHETIC_NAME)
        else [f"{check} {count}" for check, count in fault_row.others.items()]
    )
    others_text = ", ".join(other_checks[:MAX_OTHER_CHECKS]) + (", ..." if len(other_checks) > MAX_OTHER_CHECKS else "")
    shares = [
        share(fault_row.named, fault_row.cases),
        interval(fault_row.named, fault_row.cases),
        share(fault_row.cause, fault_row.cases),
    ]
    where = [_setting_names(fault_row.settings), seed_range(fault_row.seeds), str(fault_row.cases)]
    return f"| {' | '.join([name, about, *where, *shares, share(fault_row.first, fault_row.cases), others_text])} |"


def _setting_names(settings: Sequence[str]) -> str:
    names = [setting.name for setting in SETTINGS]
    return f"all {len(names)}" if set(settings) == set(names) else ", ".join(settings)


def seed_range(seeds: Sequence[int]) -> str:
    """Return the seeds as a range ("100 to 109") if they are consecutive, and as a list otherwise."""
    low, high = min(seeds), max(seeds)
    if len(seeds) == high - low + 1 > 1:
        return f"{low} to {high}"
    return ", ".join(map(str, sorted(seeds)))


def _exclusion_reasons(records: Sequence[Record]) -> str:
    """Return a list of the reasons why some faults are not injected into all settings."""
    shown_faults = {(record["fault"], record["about"]) for record in records}
    faults_by_reason: dict[tuple[tuple[str, ...], str], list[Fault]] = {}
    for fault in faults():
        if fault.exclusion_reason and (fault.name, fault.about) in shown_faults:
            faults_by_reason.setdefault((tuple(fault.settings), fault.exclusion_reason), []).append(fault)
    lines = [
        f"- Only in {', '.join(settings)}, because {why}: "
        + "; ".join(f"{one.name} ({one.about})" for one in group_faults)
        for (settings, why), group_faults in faults_by_reason.items()
    ]
    return "".join(f"{line}.\n" for line in lines)


def _settings_table(records: Sequence[Record]) -> str:
    lines = ["| training | data | faults | named | healthy | false alarms |", "|---|---|---:|---:|---:|---:|"]
    for setting in HEALTHY:
        kinds = by_kind([record for record in records if record["setting"] == setting.name], synthetic())
        fault_row, alarm_counts = count_faults(kinds.broken), count_alarms(kinds.healthy)
        cells = (
            fault_row.cases,
            share(fault_row.named, fault_row.cases),
            alarm_counts.cases,
            share(alarm_counts.alarmed, alarm_counts.cases),
        )
        lines.append(f"| {setting.name} | {setting.data} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


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


def to_json(records: Sequence[Record], command: str, machine: str, code: str) -> dict[str, Any]:
    """Return the results as JSON values."""
    kinds = by_kind(records, synthetic())
    alarm_counts = count_alarms(kinds.healthy)
    return {
        "command": command,
        "machine": machine,
        "code": code,
        "date": time.strftime("%Y-%m-%d"),
        "faults": _total(kinds.broken),
        "synthetic_histories": _total(kinds.synthetic),
        "healthy": {**asdict(alarm_counts), "interval": _rounded_interval(alarm_counts.alarmed, alarm_counts.cases)},
        "by_fault": [
            {"check": one.fault, "about": one.about, "synthetic": group is kinds.synthetic, **_row_to_json(one)}
            for group in (kinds.broken, kinds.synthetic)
            for one in by_fault(group)
        ],
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
    (docs / "doctor.md").write_text(page(records, command, machine, code), "utf-8")
    content = plain(to_json(records, command, machine, code))
    cases = ",\n".join(json.dumps(case, ensure_ascii=False) for case in content.pop("cases"))
    summary_json = json.dumps(content, ensure_ascii=False, indent=1)[:-2]
    (docs / "doctor.json").write_text(f'{summary_json},\n "cases": [\n{cases}\n ]\n}}\n', "utf-8")
