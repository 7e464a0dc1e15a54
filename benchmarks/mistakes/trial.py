"""One case of the benchmark: train with and without a mistake, run the doctor, and record its findings."""

import os
import time
from dataclasses import dataclass
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported: there is a process for each core

from benchmarks.mistakes.listed import read_diagnosis

Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One training: a mistake of the list, or with `healthy` a training of healthy.py."""

    id: str
    seed: int
    healthy: bool = False

    @property
    def key(self) -> str:
        """Unique key of the job."""
        return f"{'healthy' if self.healthy else 'mistake'}|{self.id}|{self.seed}"


def run_job(job: Job) -> Record:
    """Return the doctor's findings; a case that raises is recorded with its error."""
    from benchmarks.mistakes.cases import CASES
    from benchmarks.mistakes.healthy import HEALTHY
    from benchmarks.mistakes.training import score_of
    from pellucid.doctor import diagnose
    from pellucid.errors import PellucidError

    record: Record = {"key": job.key, "id": job.id, "seed": job.seed, "healthy": job.healthy}
    start_time = time.perf_counter()
    try:
        if job.healthy:
            training = HEALTHY[job.id](job.seed)
            case = training.run()
            record["learned"] = round(score_of(case.model, training.train), 4)
            record["reached"] = round(score_of(case.model, training.validation), 4)
        else:
            trained_pair = CASES[job.id](job.seed)
            case = trained_pair.case
            record |= {
                "harmed": round(trained_pair.harmed, 4),
                "sound": round(trained_pair.sound, 4),
                "measure": trained_pair.measure,
            }
    except PellucidError as error:  # the library itself rejects the mistake
        return {**record, "refused": str(error)}
    except Exception as error:  # of whatever kind: the other cases go on
        return {**record, "error": f"{type(error).__name__}: {error}"}
    training_end = time.perf_counter()
    try:
        diagnosis = diagnose(case).to_json()
    except Exception as error:
        return {**record, "error": f"{type(error).__name__}: {error}"}
    findings = read_diagnosis(diagnosis)
    return {
        **record,
        "causes": list(findings.causes),
        "others": list(findings.others),
        "training": round(training_end - start_time, 2),
        "doctor": round(time.perf_counter() - training_end, 2),
    }
