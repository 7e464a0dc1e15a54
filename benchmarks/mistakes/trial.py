"""One case of the benchmark: train with and without a mistake, run the doctor, and record its findings."""

import os
import time
from dataclasses import dataclass
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported: one process runs on each core

from benchmarks.mistakes.listed import read_diagnosis

Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One training. id: of a mistake of list.toml, or if `healthy`, a name of a training in healthy.py."""

    id: str
    seed: int
    healthy: bool = False

    @property
    def key(self) -> str:
        """Unique key of the job."""
        return f"{'healthy' if self.healthy else 'mistake'}|{self.id}|{self.seed}"


def run_job(job: Job) -> Record:
    """Return a record of the doctor's findings, or of the error if the case raises one."""
    from benchmarks.mistakes.cases import CASES
    from benchmarks.mistakes.healthy import HEALTHY
    from benchmarks.mistakes.training import score_of
    from pellucid.base.errors import PellucidError
    from pellucid.doctor import diagnose

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
    except Exception as error:  # any error: the other cases still run
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
