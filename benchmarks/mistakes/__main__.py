"""Run the doctor on trainings with the listed mistakes and on healthy ones: `python -m benchmarks.mistakes`.

The result of each case is stored in the work folder when the case ends. The same command resumes an interrupted run, as
long as the code is unchanged.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported: one process runs on each core

from benchmarks.doctor.__main__ import machine, run_jobs
from benchmarks.doctor.store import ROOT, SOURCES, Store, commit, fingerprint
from benchmarks.mistakes import report
from benchmarks.mistakes.listed import VERDICTS, mistakes
from benchmarks.mistakes.trial import Job, run_job

DEFAULT_SEEDS = (100,)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mistakes", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=DEFAULT_SEEDS, metavar="SEED", help="of each mistake")
    parser.add_argument("--only", nargs="*", default=[], metavar="ID", help="these mistakes")
    parser.add_argument(
        "--healthy", type=int, metavar="N", help="healthy trainings (default: one of each kind, none with --only)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: the cores)")
    parser.add_argument("--out", type=Path, default=Path("runs/mistakes"), help="the work folder (runs/mistakes)")
    parser.add_argument("--docs", type=Path, help="where the report goes (default: docs, for all mistakes)")
    args = parser.parse_args()
    known_ids = [one.id for one in mistakes()]
    if unknown := sorted(set(args.only) - set(known_ids)):
        parser.error(f"no mistake {', '.join(unknown)}; known: {', '.join(known_ids)}")
    jobs = plan_jobs(
        [id for id in known_ids if not args.only or id in args.only], args.seeds, args.healthy, bool(args.only)
    )
    sources = (*SOURCES, "benchmarks/mistakes")
    code, known_to_git = fingerprint(ROOT, sources), commit(ROOT, sources)
    store = Store(args.out, code)
    for record in run_jobs([job for job in jobs if job.key not in store.records], args.jobs, run_job):
        store.add(record)
    records = store.records_of(job.key for job in jobs)
    docs = args.docs or (ROOT / "docs" if not args.only else args.out)
    command = " ".join(["python -m benchmarks.mistakes", *sys.argv[1:]])
    report.write(records, docs, command, machine(args.jobs), f"{code}, commit {known_to_git}" if known_to_git else code)
    verdict_counts, healthy = report.counts(records), [record for record in records if record["healthy"]]
    print(
        ", ".join(f"{name} {verdict_counts[name]}" for name in (*VERDICTS, "error") if verdict_counts[name]), end="; "
    )
    print(f"{sum(map(report.has_false_cause, healthy))} of {len(healthy)} healthy ones given a cause")
    print(f"wrote {docs / 'mistakes.md'}")
    return 0


def plan_jobs(ids: list[str], seeds: list[int], healthy: int | None, only_some: bool) -> list[Job]:
    """Return the jobs: each mistake with each seed, and `healthy` healthy trainings, whose kinds alternate."""
    from benchmarks.mistakes.healthy import HEALTHY

    kinds = list(HEALTHY)
    count = (0 if only_some else len(kinds)) if healthy is None else healthy
    return [Job(id, seed) for seed in seeds for id in ids] + [
        Job(kinds[k % len(kinds)], seeds[0] + k // len(kinds), healthy=True) for k in range(count)
    ]


if __name__ == "__main__":
    sys.exit(main())
