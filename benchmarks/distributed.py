"""The efficiency of two processes, of Pellucid and of PyTorch's DistributedDataParallel (DDP).

`python -m benchmarks.distributed [NETWORK ...]`.

One process computes training steps on a batch; then each of two processes computes half of the batch, with one thread
each. Efficiency is the time of the one process divided by the sum of both processes' times, in processor time and in
wall-clock time. The processes stay alive, and each round runs all cases in bursts of about a second, so that a ratio
compares times that are seconds apart. The medians of the rounds' ratios are printed and written to docs/scaling.json
and docs/scaling.md.
"""

import statistics
import sys
from collections.abc import Sequence

from benchmarks.scaling.page import record
from benchmarks.scaling.steps import JOBS
from benchmarks.scaling.validate import Group, group
from benchmarks.table import conditions

ROUNDS = 21
RATIO_COLUMNS = (
    "ours: processor", "ours: clock", "no exchange: processor", "DDP: processor", "DDP: clock", "DDP's time over ours",
    "time of exact=false over ours",
)  # fmt: skip


def burst(workers: Group, side: str, name: str) -> tuple[float, float]:
    """Return the processor seconds summed over all processes, and the wall-clock seconds of the slowest."""
    job = JOBS[name]
    answers = workers.ask("burst", side, name, job.batch // len(workers.processes), repetitions=job.steps)
    return sum(busy for busy, _ in answers), max(wall for _, wall in answers)


def measure_ratios(name: str) -> list[list[float]]:
    """Return one network's columns (RATIO_COLUMNS), each with one value per round."""
    rounds: list[list[float]] = []
    with group(1) as one, group(2) as two:
        for _ in range(1 + ROUNDS):
            busy_fit, wall_fit = burst(one, "fit", name)
            busy_exact, wall_exact = burst(two, "exact", name)
            _, wall_inexact = burst(two, "inexact", name)
            busy_alone, _ = burst(two, "alone", name)
            busy_ddp, wall_ddp = burst(two, "ddp", name)
            busy_torch, wall_torch = burst(one, "ddp-alone", name)
            rounds.append(
                [
                    busy_fit / busy_exact,
                    wall_fit / (2 * wall_exact),
                    busy_fit / busy_alone,
                    busy_torch / busy_ddp,
                    wall_torch / (2 * wall_ddp),
                    wall_ddp / wall_exact,
                    wall_inexact / wall_exact,
                ]
            )
    return [[*column] for column in zip(*rounds[1:], strict=True)]  # the first bursts have to build the networks


def main(names: Sequence[str]) -> None:
    """Measure the named networks (by default all), print the medians, and write the page."""
    for name in names or JOBS:
        columns = dict(zip(RATIO_COLUMNS, measure_ratios(name), strict=True))
        medians = (f"{column} {statistics.median(values):.2f}" for column, values in columns.items())
        print(f"{name}: {', '.join(medians)}", flush=True)
        record("efficiency", {name: {"measured": conditions(), "columns": columns}})


if __name__ == "__main__":
    main(sys.argv[1:])
