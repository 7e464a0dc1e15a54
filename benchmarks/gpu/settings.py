"""How large the parts of the benchmark are, and how their times are taken."""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

WARM_UP = 3  # steps before any is timed
MIN_STEPS = 5


@dataclass(frozen=True)
class Settings:
    """The sizes of the parts of the benchmark.

    deadline: seconds of time.monotonic after which no measurement begins. side: height and width of the images. batch:
    the batch size of timed steps. batches: the batch sizes of the steps whose memory is measured. seconds: the length
    of one measurement. compiler: the backend of torch.compile. backend: that of torch.distributed. values: the number
    of float32 values in an exchange between processes, and in a copy to or from the device. pictures: the number of
    images that a thread decodes.
    """

    device: torch.device
    deadline: float
    side: int = 224
    batch: int = 64
    batches: tuple[int, ...] = (32, 64, 128)
    seconds: float = 2.0
    precisions: tuple[str, ...] = ("float32", "bf16")
    compiler: str = "inductor"
    backend: str = "nccl"
    values: int = 25_000_000
    pictures: int = 256
    cores: int = os.cpu_count() or 1

    @property
    def is_late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.deadline

    def synchronize(self) -> None:
        """Wait until the device has computed everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def time(self, step: Callable[[], object]) -> float:
        """Return the median seconds of a step, each of which is waited for, after some that warm up."""
        for _ in range(WARM_UP):
            step()
        self.synchronize()
        times: list[float] = []
        end = time.monotonic() + self.seconds
        while len(times) < MIN_STEPS or time.monotonic() < end:
            start = time.perf_counter()
            step()
            self.synchronize()
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def peak(self, step: Callable[[], object]) -> int | None:
        """Return the most bytes that tensors take on the device in a step; None on the CPU."""
        if self.device.type != "cuda":
            step()
            return None
        self.synchronize()
        torch.cuda.reset_peak_memory_stats(self.device)
        step()
        self.synchronize()
        return torch.cuda.max_memory_allocated(self.device)

    def try_measure(self, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the figures, or the error, after which other measurements continue."""
        if self.is_late:
            return {"error": "no time left"}
        try:
            return measure()
        except Exception as error:
            return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        finally:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
