"""One case of the bench: train with a mistake and without, ask the doctor, and note what it says."""

import os
import time
from dataclasses import dataclass
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported: there is a process for each core

from benchmarks.mistakes.listed import read

Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One training: a mistake of the list, or with `healthy` a training of healthy.py."""

    id: str
    seed: int
    healthy: bool = False

    @property
    def key(self) -> str:
        """What tells it from every other one."""
        return f"{'healthy' if self.healthy else 'mistake'}|{self.id}|{self.seed}"


def tried(job: Job) -> Record:
    """Return what the doctor said; a case that fails is noted with its error."""
    from benchmarks.mistakes.cases import CASES
    from benchmarks.mistakes.healthy import HEALTHY
    from benchmarks.mistakes.training import reached
    from pellucid.doctor import diagnose
    from pellucid.errors import PellucidError

    record: Record = {"key": job.key, "id": job.id, "seed": job.seed, "healthy": job.healthy}
    begun = time.perf_counter()
    try:
        if job.healthy:
            training = HEALTHY[job.id](job.seed)
            case = training.run()
            record["learned"] = round(reached(case.model, training.train), 4)
            record["reached"] = round(reached(case.model, training.validation), 4)
        else:
            made = CASES[job.id](job.seed)
            case = made.case
            record |= {"harmed": round(made.harmed, 4), "sound": round(made.sound, 4), "measure": made.measure}
    except PellucidError as error:  # the library itself says no
        return {**record, "refused": str(error)}
    except Exception as error:  # of whatever kind: the other cases go on
        return {**record, "error": f"{type(error).__name__}: {error}"}
    ready = time.perf_counter()
    try:
        found = diagnose(case).to_json()
    except Exception as error:
        return {**record, "error": f"{type(error).__name__}: {error}"}
    said = read(found)
    return {
        **record,
        "causes": list(said.causes),
        "others": list(said.others),
        "training": round(ready - begun, 2),
        "doctor": round(time.perf_counter() - ready, 2),
    }
