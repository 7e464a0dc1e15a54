"""The results of the benchmark: docs/mistakes.md for people, docs/mistakes.json for programs."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.doctor.openings import expectation
from benchmarks.doctor.report import interval, share, wrapped
from benchmarks.mistakes.listed import VERDICTS, Mistake, mistakes, verdict
from benchmarks.mistakes.trial import Record
from pellucid.base.files import write_atomically
from pellucid.command.out import to_json_types

MIN_HARM = 0.02  # score without the mistake minus score with it
MAX_GENERALIZATION_GAP = 0.12  # score of a healthy training on training data minus that on validation data
HEADING = """# Mistakes from public trackers
"""
METHOD = """## Method

`benchmarks/mistakes/list.toml` lists mistakes of classification and regression from public trackers and teaching
material, with their sources. It was frozen before its author read the doctor's checks. At its first measurement, 34.6 %
were named as a cause; the doctor was improved with it afterwards. Each mistake is made as a user would make it, in a
training that is healthy without it; its strength was chosen by its harm alone. *Named*: the right name is among the
causes. *Refused*: the library raises an error before the training begins. *Wrong cause*: another cause is reported, and
the right one is not. *Symptom only*: the findings are symptoms, or say only in which part the fault is. *Nothing or
error*: there is no finding, or the case raised an error. Intervals are Wilson's, 95 %. What was found in each case, and
the scores with and without the mistake, are in [mistakes.json](mistakes.json).
"""


def verdict_of(record: Record) -> str:
    """Return the verdict on a record, or "error" for a case that raised."""
    if "refused" in record:
        return "refused"
    if "error" in record:
        return "error"
    return verdict(mistake_of(record["id"]), record["causes"], record["others"])


def counts(records: Sequence[Record]) -> Counter[str]:
    """Return the number of mistakes with each verdict."""
    return Counter(verdict_of(record) for record in records if not record["healthy"])


def has_false_cause(record: Record) -> bool:
    """Return whether the doctor reported a cause in a healthy training, or the training raised an error."""
    return bool(record.get("causes")) or "error" in record or "refused" in record


def has_finding(record: Record) -> bool:
    """Return whether the doctor reported any finding in a healthy training, or the training raised an error."""
    return has_false_cause(record) or bool(record.get("others"))


def mistake_of(id: str) -> Mistake:
    return next(one for one in mistakes() if one.id == id)


def page(records: Sequence[Record], command: str, machine: str, source_version: str, date: str, docs: Path) -> str:
    """Return the page. docs: the folder with the results of the benchmark of faults."""
    broken = [record for record in records if not record["healthy"]]
    healthy = [record for record in records if record["healthy"]]
    parts = [HEADING, wrapped(expectation()), METHOD, _side_by_side(broken, healthy, docs)]
    if missed := [record for record in broken if verdict_of(record) != "named"]:
        parts += ["## Not named\n", _mistakes(missed)]
    if healthy:
        parts += ["## Healthy trainings\n", _healthy(healthy)]
    if harmless := [f"{record['id']} (seed {record['seed']})" for record in broken if not _harms(record)]:
        parts.append(f"Cost less than {MIN_HARM:g}: {', '.join(harmless)}.\n")
    if errors := [record for record in records if "error" in record or "refused" in record]:
        lines = [f"- {one['key']}: {one.get('error') or one.get('refused')}\n" for one in errors]
        parts += ["## Errors and refusals\n", "".join(lines)]
    times = sorted(record["doctor"] for record in records if "doctor" in record)
    took = f" The doctor took {times[len(times) // 2]:.1f} s per case (median, one thread)." if times else ""
    parts.append(f"Measured {date} by `{command}` with {machine}; code {source_version}.{took}\n")
    return "\n".join(parts)


def _side_by_side(broken: Sequence[Record], healthy: Sequence[Record], docs: Path) -> str:
    """Return the table that compares the mistakes with the faults (docs/doctor.md) that the checks were written for."""
    lines = [
        "| bench | cases | named as a cause | 95 % | refused | wrong cause | symptom only | nothing or error | healthy "
        "| with a cause | with any finding |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    n_mistakes, n_healthy, count_of = len(broken), len(healthy), counts(broken)
    n_missed = count_of["nothing"] + count_of["error"]
    cells = [
        "mistakes", str(n_mistakes), share(count_of["named"], n_mistakes), interval(count_of["named"], n_mistakes),
        share(count_of["refused"], n_mistakes), share(count_of["wrong cause"], n_mistakes),
        share(count_of["symptom only"], n_mistakes), share(n_missed, n_mistakes), str(n_healthy),
        share(sum(map(has_false_cause, healthy)), n_healthy), share(sum(map(has_finding, healthy)), n_healthy),
    ]  # fmt: skip
    lines.append(f"| {' | '.join(cells)} |")
    if (path := docs / "doctor.json").is_file():
        fault_results = json.loads(path.read_text("utf-8"))
        faults, fault_healthy = fault_results["faults"], fault_results["healthy"]
        named, alarmed = (faults["cause"], faults["cases"]), share(fault_healthy["alarmed"], fault_healthy["cases"])
        cells = [
            "[faults](doctor.md)", f"{faults['cases']:,}", share(*named), interval(*named), "-", "-", "-", "-",
            f"{fault_healthy['cases']:,}", "-", alarmed,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mistakes(records: Sequence[Record]) -> str:
    lines = ["| mistake | what was done | verdict | causes named | with | without |", "|---|---|---|---|---:|---:|"]
    for one in mistakes():
        records_of_one = [record for record in records if record["id"] == one.id]
        if not records_of_one:
            continue
        verdicts = Counter(map(verdict_of, records_of_one))
        verdict_text = ", ".join(
            verdicts
            if len(records_of_one) == 1
            else (f"{name} {verdicts[name]}" for name in (*VERDICTS, "error") if verdicts[name])
        )
        names = Counter(name for record in records_of_one for name in record.get("causes", ()))
        causes = ", ".join(
            name if len(records_of_one) == 1 else f"{name} {count}" for name, count in names.most_common()
        )
        scores = [
            f"{_mean(records_of_one, name):.3f}" if any(name in it for it in records_of_one) else "-"
            for name in ("harmed", "sound")
        ]
        link = f"[{one.id}]({one.url})"
        lines.append(f"| {' | '.join([link, one.mistake.replace('|', '/'), verdict_text, causes, *scores])} |")
    return "\n".join(lines) + "\n"


def _mean(records: Sequence[Record], name: str) -> float:
    values = [record[name] for record in records if name in record]
    return sum(values) / len(values)


def _harms(record: Record) -> bool:
    return "harmed" not in record or record["sound"] - record["harmed"] >= MIN_HARM


def _healthy(records: Sequence[Record]) -> str:
    with_findings = [record for record in records if has_finding(record)]
    kinds = len({record["id"] for record in records})
    head = f"{len(records)} trainings of {kinds} kinds; with findings: {len(with_findings)}.\n"
    lines = [
        f"- {record['id']} (seed {record['seed']}): {', '.join(record.get('causes', [])) or 'no cause'}"
        + (f"; also {', '.join(record['others'])}" if record.get("others") else "")
        + "\n"
        for record in with_findings
    ]
    if overfitted := [
        it["id"] for it in records if it.get("learned", 0.0) - it.get("reached", 0.0) > MAX_GENERALIZATION_GAP
    ]:
        lines.append(
            f"\nMore than {MAX_GENERALIZATION_GAP:g} better on training than on validation data: "
            f"{', '.join(overfitted)}.\n"
        )
    return head + ("\n" + "".join(lines) if lines else "")


def to_json(records: Sequence[Record], command: str, machine: str, source_version: str, date: str) -> dict[str, Any]:
    """Return the results as JSON values."""
    healthy = [record for record in records if record["healthy"]]
    return {
        "command": command,
        "machine": machine,
        "code": source_version,
        "date": date,
        "mistakes": {"cases": len(records) - len(healthy), **counts(records)},
        "healthy": {
            "cases": len(healthy),
            "with_a_cause": sum(map(has_false_cause, healthy)),
            "with_any_finding": sum(map(has_finding, healthy)),
        },
        "cases": [record if record["healthy"] else {**record, "verdict": verdict_of(record)} for record in records],
    }


def write(records: Sequence[Record], docs: Path, command: str, machine: str, source_version: str) -> None:
    """Write docs/mistakes.md and docs/mistakes.json atomically, with `docs` as the folder."""
    docs.mkdir(parents=True, exist_ok=True)
    date = time.strftime("%Y-%m-%d")
    write_atomically(docs / "mistakes.md", page(records, command, machine, source_version, date, docs).encode())
    content = to_json_types(to_json(records, command, machine, source_version, date))
    cases = ",\n".join(json.dumps(case, ensure_ascii=False) for case in content.pop("cases"))
    summary_json = json.dumps(content, ensure_ascii=False, indent=1)[:-2]
    write_atomically(docs / "mistakes.json", f'{summary_json},\n "cases": [\n{cases}\n ]\n}}\n'.encode())


def stored_page(results: dict[str, Any], docs: Path) -> str:
    """Return the page of results that were stored as mistakes.json."""
    return page(results["cases"], results["command"], results["machine"], results["code"], results["date"], docs)
