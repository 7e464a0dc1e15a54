"""A process of a measurement: it runs the orders on stdin, one JSON list per line, and prints lists of seconds."""

import functools
import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.distributed as dist

from benchmarks.scaling.steps import make_model, plain_step, sharded_step, torch_step
from pellucid.base.allocator import keeping_freed_memory
from pellucid.nested import flatten
from pellucid.training.distributed import Processes, processes
from pellucid.training.reducer import BUCKET_MB


class Worker:
    """Runs orders; all processes of the group run the same ones simultaneously."""

    def __init__(self, group: Processes) -> None:
        self.group = group
        self.step = functools.cache(self._step)

    def _step(self, side: str, name: str, batch: int) -> Callable[[], object]:
        """Return a training step on `batch` examples in each process.

        side: "exact" or "inexact"; "ours", exact and without overlap, as in model.py; "ddp"; without communication:
        "alone", "fit", which updates during the backward pass, as `fit` does in one process, or "ddp-alone".
        """
        if side.startswith("ddp"):
            return torch_step(name, batch, parallel=side == "ddp")
        if side in ("alone", "fit"):
            return plain_step(name, batch, in_sweep=side == "fit")
        bucket_mb = math.inf if side == "ours" else BUCKET_MB
        return sharded_step(name, batch, self.group, bucket_mb, exact=side != "inexact")

    def operation(self, kind: str, size: int) -> Callable[[], object]:
        """Return a function that runs a collective operation on, or copies, `size` bytes of each process."""
        values, count = torch.zeros(size // 4 // self.group.count * self.group.count), self.group.count
        output = torch.ones_like(values)

        def exchange() -> None:
            if count == 2:
                self.group.begin_all_reduce(values)()
            else:
                self.group.gather(self.group.begin_all_to_all(values.view(1, count, -1), [1] * count)()[0])

        return {
            "gather": lambda: self.group.gather(values),
            "exchange": exchange,
            "scale": lambda: torch.mul(values, 2.0, out=output),
            "divide": lambda: values.div_(2.0),
            "add": lambda: values.add_(output),
        }[kind]

    def size(self, name: str) -> int:
        """Return the bytes of a network's gradients."""
        return sum(4 * tensor.numel() for tensor in flatten(make_model(name).params).values())

    def obey(self, order: list[Any]) -> Any:
        """Return the result of an order: the seconds of each repetition, after `warm` unmeasured ones.

        Of "burst", a "step" as well, the processor seconds and the wall-clock seconds of all repetitions.
        """
        kind, *arguments, warm, repetitions = order
        if kind == "size":
            return self.size(*arguments)
        is_step = kind in ("step", "burst")
        run = self.step(*arguments) if is_step else self.operation(kind, *arguments)
        with torch.inference_mode(not (is_step and arguments[0].startswith("ddp"))):
            for _ in range(warm):
                run()
            if self.group.count > 1:
                dist.barrier()
            seconds: list[float] = []
            busy = time.process_time()
            for _ in range(repetitions):
                start = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - start)
            busy = time.process_time() - busy
        return [busy, sum(seconds)] if kind == "burst" else seconds


def main() -> None:
    """Run the orders on stdin, and print the answers."""
    torch.set_num_threads(1)
    group = processes() if int(os.environ["WORLD_SIZE"]) > 1 else Processes()
    worker = Worker(group)
    with keeping_freed_memory():
        for line in sys.stdin:
            print("answer " + json.dumps(worker.obey(cast(list[Any], json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
