"""What the bench found: docs/mistakes.md for people, docs/mistakes.json for programs."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.doctor.report import FURTHER, MEASURED_IN_SECONDS, interval, share
from benchmarks.mistakes.listed import VERDICTS, Mistake, mistakes, verdict
from benchmarks.mistakes.trial import Record
from pellucid.command.out import plain
from pellucid.files import write_atomically

MEANT = 0.02  # what a mistake must cost to count as harm
GAP = 0.12  # between training and validation data, that a healthy training may have
HEADING = """# Mistakes that the doctor was not written for

`benchmarks/mistakes/list.toml` holds mistakes collected from public trackers and teaching material. It was frozen
before the doctor's checks were read, and is not changed; `names.toml` says which of the doctor's names mean which
cause. Each mistake is made as a user would make it, in a training that is sound without it, and its harm is measured:
what the mistaken training reaches, and the same one without the mistake. *Named*: the right name is among the causes.
*Refused*: the library does not accept it. *Wrong cause*: something else is called a cause, and the right one is not.
*Symptom only*: what is said is no more than that it learns badly. How strong each mistake is was settled by its
harm alone, on seeds 0 and 100.
Healthy trainings are of other kinds than those of [the bench of faults](doctor.md). Intervals are Wilson's, 95 %.
Written by `python -m benchmarks.mistakes`, except for the figures of further mistakes, which were counted apart.
"""


def judged(record: Record) -> str:
    """Return the verdict on a record; a case that ended in an error was not named."""
    if "refused" in record:
        return "refused"
    if "error" in record:
        return "error"
    return verdict(_mistake(record["id"]), record["causes"], record["others"])


def counts(records: Sequence[Record]) -> Counter[str]:
    """Return how often each verdict was given on mistakes."""
    return Counter(judged(record) for record in records if not record["healthy"])


def accused(record: Record) -> bool:
    """Tell whether a healthy training was given a cause, or could not be examined."""
    return bool(record.get("causes")) or "error" in record or "refused" in record


def noticed(record: Record) -> bool:
    """Tell whether anything was said of a healthy training."""
    return accused(record) or bool(record.get("others"))


def _mistake(id: str) -> Mistake:
    return next(one for one in mistakes() if one.id == id)


def page(records: Sequence[Record], command: str, machine: str, code: str, docs: Path) -> str:
    """Return the whole page. docs: where the other bench's numbers are."""
    broken = [record for record in records if not record["healthy"]]
    healthy = [record for record in records if record["healthy"]]
    parts = [HEADING, _side_by_side(broken, healthy, docs), FURTHER, MEASURED_IN_SECONDS]
    if broken:
        parts += ["## Mistakes\n", _mistakes(broken)]
    if healthy:
        parts += ["## Healthy trainings\n", _healthy(healthy)]
    if harmless := [f"{record['id']} (seed {record['seed']})" for record in broken if not _harms(record)]:
        parts.append(f"Cost less than {MEANT:g}: {', '.join(harmless)}.\n")
    if errors := [record for record in records if "error" in record or "refused" in record]:
        lines = [f"- {one['key']}: {one.get('error') or one.get('refused')}\n" for one in errors]
        parts += ["## Errors and refusals\n", "".join(lines)]
    times = sorted(record["doctor"] for record in records if "doctor" in record)
    took = f" The doctor took {times[len(times) // 2]:.1f} s per case (median, one thread)." if times else ""
    parts.append(f"Measured {time.strftime('%Y-%m-%d')} by `{command}` with {machine}; code {code}.{took}\n")
    return "\n".join(parts)


def _side_by_side(broken: Sequence[Record], healthy: Sequence[Record], docs: Path) -> str:
    """Compare with the bench of the faults that the checks were written for."""
    lines = [
        "| bench | cases | named as a cause | 95 % | refused | wrong cause | symptom only | nothing | healthy | with a "
        "cause | with any finding |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    n, m, found = len(broken), len(healthy), counts(broken)
    lost = found["nothing"] + found["error"]
    cells = [
        "mistakes", str(n), share(found["named"], n), interval(found["named"], n), share(found["refused"], n),
        share(found["wrong cause"], n), share(found["symptom only"], n), share(lost, n), str(m),
        share(sum(map(accused, healthy)), m), share(sum(map(noticed, healthy)), m),
    ]  # fmt: skip
    lines.append(f"| {' | '.join(cells)} |")
    if (path := docs / "doctor.json").is_file():
        old = json.loads(path.read_text("utf-8"))
        faults, well = old["faults"], old["healthy"]
        named, alarmed = (faults["cause"], faults["cases"]), share(well["alarmed"], well["cases"])
        cells = [
            "[faults](doctor.md)", f"{faults['cases']:,}", share(*named), interval(*named), "-", "-", "-", "-",
            f"{well['cases']:,}", "-", alarmed,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mistakes(records: Sequence[Record]) -> str:
    lines = ["| mistake | what was done | verdict | causes named | with | without |", "|---|---|---|---|---:|---:|"]
    for one in mistakes():
        mine = [record for record in records if record["id"] == one.id]
        if not mine:
            continue
        verdicts = Counter(map(judged, mine))
        said = ", ".join(
            verdicts
            if len(mine) == 1
            else (f"{name} {verdicts[name]}" for name in (*VERDICTS, "error") if verdicts[name])
        )
        names = Counter(name for record in mine for name in record.get("causes", ()))
        causes = ", ".join(name if len(mine) == 1 else f"{name} {count}" for name, count in names.most_common())
        scores = [f"{_mean(mine, name):.3f}" if any(name in it for it in mine) else "-" for name in ("harmed", "sound")]
        link = f"[{one.id}]({one.url})"
        lines.append(f"| {' | '.join([link, one.mistake.replace('|', '/'), said, causes, *scores])} |")
    return "\n".join(lines) + "\n"


def _mean(records: Sequence[Record], name: str) -> float:
    values = [record[name] for record in records if name in record]
    return sum(values) / len(values)


def _harms(record: Record) -> bool:
    return "harmed" not in record or record["sound"] - record["harmed"] >= MEANT


def _healthy(records: Sequence[Record]) -> str:
    said = [record for record in records if noticed(record)]
    kinds = len({record["id"] for record in records})
    head = f"{len(records)} trainings of {kinds} kinds; something was said of {len(said)}.\n"
    lines = [
        f"- {record['id']} (seed {record['seed']}): {', '.join(record.get('causes', [])) or 'no cause'}"
        + (f"; also {', '.join(record['others'])}" if record.get("others") else "")
        + "\n"
        for record in said
    ]
    if apart := [it["id"] for it in records if it.get("learned", 0.0) - it.get("reached", 0.0) > GAP]:
        lines.append(f"\nMore than {GAP:g} better on training than on validation data: {', '.join(apart)}.\n")
    return head + ("\n" + "".join(lines) if lines else "")


def to_json(records: Sequence[Record], command: str, machine: str, code: str) -> dict[str, Any]:
    """Return all of it as values of JSON."""
    healthy = [record for record in records if record["healthy"]]
    return {
        "command": command,
        "machine": machine,
        "code": code,
        "date": time.strftime("%Y-%m-%d"),
        "mistakes": {"cases": len(records) - len(healthy), **counts(records)},
        "healthy": {
            "cases": len(healthy),
            "with_a_cause": sum(map(accused, healthy)),
            "with_any_finding": sum(map(noticed, healthy)),
        },
        "cases": [record if record["healthy"] else {**record, "verdict": judged(record)} for record in records],
    }


def write(records: Sequence[Record], docs: Path, command: str, machine: str, code: str) -> None:
    """Write both files, each whole or not at all."""
    docs.mkdir(parents=True, exist_ok=True)
    write_atomically(docs / "mistakes.md", page(records, command, machine, code, docs).encode())
    found = plain(to_json(records, command, machine, code))
    cases = ",\n".join(json.dumps(case, ensure_ascii=False) for case in found.pop("cases"))
    head = json.dumps(found, ensure_ascii=False, indent=1)[:-2]
    write_atomically(docs / "mistakes.json", f'{head},\n "cases": [\n{cases}\n ]\n}}\n'.encode())
