"""Inject faults into trainings, run the doctor, and report how often it is right: `python -m benchmarks.doctor`.

The result of each case is stored in the work folder when the case ends. The same command resumes an interrupted run, as
long as the code is unchanged.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported: one process runs on each core

from benchmarks.doctor import report
from benchmarks.doctor.plan import faults, plan_jobs, select_faults
from benchmarks.doctor.store import ROOT, Record, Store, commit, fingerprint
from benchmarks.doctor.tally import by_kind, count_alarms, count_faults
from benchmarks.doctor.trial import prepare, run_job

N_SEEDS, FIRST_SEED = 1, 100


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.doctor", description=__doc__)
    parser.add_argument(
        "--seeds",
        type=int,
        default=N_SEEDS,
        help=f"cases of each fault for each of its settings (default: {N_SEEDS}, and ten cases at least)",
    )
    parser.add_argument(
        "--first",
        type=int,
        default=FIRST_SEED,
        help=f"the first seed; each further case has the next one (default: {FIRST_SEED})",
    )
    parser.add_argument("--only", nargs="*", default=[], metavar="CHECK", help="the faults of these checks")
    parser.add_argument(
        "--healthy",
        type=int,
        metavar="N",
        help="healthy trainings (default: as many as faults and 200 at least, none with --only)",
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th of the faults' cases only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: the cores)")
    parser.add_argument("--out", type=Path, default=Path("runs/doctor"), help="the work folder (default: runs/doctor)")
    parser.add_argument("--docs", type=Path, help="where the report goes (default: docs, for all faults)")
    args = parser.parse_args()
    known_faults = faults()
    if unknown := sorted(set(args.only) - {fault.name for fault in known_faults}):
        parser.error(
            f"no fault of {', '.join(unknown)}; known: {', '.join(dict.fromkeys(one.name for one in known_faults))}"
        )
    jobs = plan_jobs(
        select_faults(known_faults, args.only),
        args.seeds,
        args.first,
        0 if args.only and args.healthy is None else args.healthy,
        args.every,
    )
    code, known_to_git = fingerprint(), commit()  # both may change during the hours of training
    store = Store(args.out, code)
    code_version = f"{code}, commit {known_to_git}" if known_to_git else code
    for record in run_jobs([job for job in jobs if job.key not in store.records], args.jobs, run_job):
        store.add(record)
    records = store.records_of(job.key for job in jobs)
    docs = args.docs or (ROOT / "docs" if not args.only else args.out)
    report.write(records, docs, command(), machine(args.jobs), code_version)
    kinds = by_kind(records)
    faulty, healthy = count_faults(kinds.broken), count_alarms(kinds.healthy)
    print(
        f"{faulty.named} of {faulty.cases} faults named; {healthy.alarmed} of {healthy.cases} healthy ones called ill"
    )
    print(f"wrote {docs / 'doctor.md'}")
    return 0


def run_jobs(jobs: Sequence[Any], workers: int, run_job: Callable[[Any], Record]) -> Iterator[Record]:
    """Yield the record of each job when it finishes, and print the progress on stderr."""
    start_time = time.monotonic()
    with ProcessPoolExecutor(max(workers, 1), get_context("spawn"), prepare) as pool:
        try:
            for n_done, future in enumerate(as_completed([pool.submit(run_job, job) for job in jobs]), start=1):
                yield future.result()
                seconds_left = (time.monotonic() - start_time) / n_done * (len(jobs) - n_done)
                print(
                    f"{n_done} of {len(jobs)}, {seconds_left / 60:.0f} min left",
                    end="\033[K\r",
                    file=sys.stderr,
                    flush=True,
                )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print(end="\033[K", file=sys.stderr)


def command() -> str:
    """Return the command line without --out and --docs, which name folders of this machine."""
    words = iter(sys.argv[1:])
    shown_words = [word for word in words if word not in ("--out", "--docs") or not next(words)]
    return " ".join(["python -m benchmarks.doctor", *shown_words])


def machine(jobs: int) -> str:
    """Return the versions of Pellucid and PyTorch, the number of processes and the processor, for the report."""
    import torch

    from pellucid import __version__
    from pellucid.run.folder import processor

    return (
        f"pellucid {__version__}, torch {torch.__version__}, {jobs} process{'' if jobs == 1 else 'es'} on {processor()}"
    )


if __name__ == "__main__":
    sys.exit(main())
