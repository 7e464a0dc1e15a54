"""One trial: train, ask the doctor, and record what it says."""

import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from benchmarks.doctor.lists import Entry
from benchmarks.doctor.store import Record
from pellucid.base.errors import PellucidError
from pellucid.base.text import first_line


def tried(entry: Entry, seed: int, mistake: bool = True) -> Record:
    """Return the verdict, the first check, the first sentences and the processor's seconds for training and doctor.

    The verdict is the kind of the first finding, "silent" if there is none, "refused" if the library refuses the
    training, "not examined" if the doctor refuses it, or "error" for any other error.
    """
    times, refusal = [time.process_time()], "refused"
    try:
        ask = entry.train(seed, mistake)
        times.append(time.process_time())
        refusal = "not examined"
        said = what_is_said(ask())
        times.append(time.process_time())
    except PellucidError as error:
        said = {"verdict": refusal, "check": "", "words": first_line(error)}
    except (Exception, SystemExit) as error:  # any other: the other trainings still run
        said = {"verdict": "error", "check": "", "words": f"{type(error).__name__}: {error}"}
    seconds = (round(end - begin, 2) for begin, end in pairwise(times))
    return {**entry.about, **said, "seconds": dict(zip(("training", "doctor"), seconds, strict=False))}


def what_is_said(diagnosis: Mapping[str, Any]) -> Record:
    """Return what a diagnosis says first, the checks that have findings, those of causes, and the diagnosis."""
    findings = diagnosis["findings"]
    first = next(iter(findings), {"kind": "silent", "check": ""})
    return {
        "verdict": first["kind"],
        "check": first["check"],
        "words": diagnosis["summary"],
        "names": list(dict.fromkeys(one["check"] for one in findings)),
        "causes": list(dict.fromkeys(one["check"] for one in findings if one["kind"] in ("cause", "likely cause"))),
        "diagnosis": diagnosis,
    }
