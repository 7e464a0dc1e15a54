"""One case of the benchmark: train, run the doctor, and record its findings."""

import os
import time
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported: one process runs on each core

from benchmarks.doctor.healthy import HEALTHY
from benchmarks.doctor.plan import Job, faults

Record = dict[str, Any]


def prepare() -> None:
    """Initialize a worker process: one thread, and no warnings."""
    import warnings

    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def run_job(job: Job) -> Record:
    """Return a record of the doctor's findings, or of the error if the case raises one."""
    from pellucid.doctor import diagnose

    start_time = time.perf_counter()
    try:
        setting = next(one for one in HEALTHY if one.name == job.setting).replace(seed=job.seed)
        if job.fault:
            matching_faults = (one for one in faults() if (one.name, one.about) == (job.fault, job.about))
            case = next(matching_faults).make(setting)
        else:
            case = setting.train()
        training_end = time.perf_counter()
        diagnosis = diagnose(case)
    except Exception as error:  # any error: the other cases still run
        return {**_key(job), "error": f"{type(error).__name__}: {error}"}
    return {
        **_key(job),
        "names": list(diagnosis.names),
        "causes": list(diagnosis.causes),
        "findings": [[one.check, one.path, dict(one.evidence)] for one in diagnosis.findings],
        "checks": len(diagnosis.checks),
        "training": round(training_end - start_time, 2),
        "doctor": round(time.perf_counter() - training_end, 2),
    }


def _key(job: Job) -> Record:
    return {"key": job.key, "fault": job.fault, "about": job.about, "setting": job.setting, "seed": job.seed}
