"""Time a grid search over a small network in one process and in joblib's workers: `python -m benchmarks.estimators`.

Each search runs in its own process, first on an idle machine and then while other processes keep the cores busy; with
the number of threads that the estimator chooses, and with two threads in each worker. Each process runs the search
twice. The seconds of the second search, which do not include imports, are printed, with their ratio to those of one
process with the estimator's choice.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BUSY_LOOP = "while True: pass"
CASES = (("loky", 1, "chosen"), ("loky", 1, "2"), ("threading", 2, "chosen"), ("loky", 2, "chosen"), ("loky", 2, "2"))
TIMEOUT = 300


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Run `count` processes that compute in an endless loop while the context is open."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def fit_and_score(threads: str, batch_size: int, x: Any, y: Any, fold: Any) -> float:
    """Return the test score of a small network on a fold; threads: their number, or "chosen" for the estimator's."""
    import torch

    from pellucid.estimators import NetworkClassifier, base

    if threads != "chosen":
        base.MAX_ONE_THREAD_WORK = 0
        torch.set_num_threads(int(threads))
    train, test = fold
    network = NetworkClassifier(epochs=10, batch_size=batch_size, random_state=0).fit(x[train], y[train])
    return float(network.score(x[test], y[test]))


def time_search(backend: str, jobs: int, threads: str) -> float:
    """Return the seconds of the second of two searches; threads: the number in each worker, or "chosen"."""
    import numpy as np
    from joblib import Parallel, delayed, parallel_config
    from sklearn.datasets import load_digits
    from sklearn.model_selection import StratifiedKFold

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    folds = [*StratifiedKFold(3).split(x, y)]
    tasks = [(size, fold) for size in (50, 100, 200, 400) for fold in folds]  # in the order of GridSearchCV
    seconds = 0.0
    with parallel_config(backend, n_jobs=jobs):
        for _ in range(2):
            start = time.perf_counter()
            Parallel()(delayed(fit_and_score)(threads, size, x, y, fold) for size, fold in tasks)
            seconds = time.perf_counter() - start
    return seconds


def main() -> None:
    n_busy = int(sys.argv[1]) if len(sys.argv) > 1 else len(os.sched_getaffinity(0))
    for count in (0, n_busy):
        with busy_processes(count):
            print(f"beside {count} busy processes", flush=True)
            baseline = 0.0
            for case in CASES:
                command = [sys.executable, "-m", "benchmarks.estimators", "case", *map(str, case)]
                completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT)
                seconds = float(completed.stdout)
                baseline = baseline or seconds
                backend, jobs, threads = case
                ratio = f"{seconds:6.2f} s  x {seconds / baseline:.2f}"
                print(f"  {backend:9}  jobs {jobs}  threads {threads:6}  {ratio}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["case"]:
        print(time_search(sys.argv[2], int(sys.argv[3]), sys.argv[4]))
    else:
        main()
