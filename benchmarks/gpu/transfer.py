"""What reaches the device, and leaves it: exchanges of a process group, copies from the host, and decoded images."""

import io
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor

from benchmarks.gpu.settings import Settings
from pellucid.data.images import load_image

JPEG_SIZE = (500, 375)  # the usual one of ImageNet's
_untyped_dist = cast(Any, dist)  # PyTorch gives some of these functions no type annotations


def collectives(settings: Settings) -> dict[str, Any]:
    """Return bytes a second of the operations of a process group with one rank, and whether their results are right."""
    values = torch.arange(settings.values, dtype=torch.float32, device=settings.device)
    rows = torch.empty_like(values)
    _untyped_dist.init_process_group(settings.backend, store=_untyped_dist.HashStore(), rank=0, world_size=1)
    try:
        operations = {
            "all_reduce": lambda: _untyped_dist.all_reduce(rows.copy_(values)),
            "all_gather": lambda: _untyped_dist.all_gather([rows], values),
            "all_to_all": lambda: _untyped_dist.all_to_all_single(rows, values),
            "broadcast": lambda: _untyped_dist.broadcast(rows.copy_(values), 0),
        }

        def measure(name: str) -> dict[str, Any]:
            rows.zero_()
            seconds = settings.time(operations[name])
            return {"bytes_per_second": values.nbytes / seconds, "is_right": bool(torch.equal(rows, values))}

        return {name: settings.try_measure(lambda name=name: measure(name)) for name in operations}
    finally:
        _untyped_dist.destroy_process_group()


def copies(settings: Settings) -> dict[str, Any]:
    """Return bytes a second that are copied to the device from usual and from pinned memory, and back."""
    host, on_device = torch.rand(settings.values), torch.rand(settings.values, device=settings.device)
    pinned = host.pin_memory() if settings.device.type == "cuda" else host

    def measure(target: Tensor, source: Tensor) -> dict[str, Any]:
        seconds = settings.time(lambda: target.copy_(source, non_blocking=True))
        return {"bytes_per_second": source.nbytes / seconds, "is_right": bool(torch.equal(target.cpu(), source.cpu()))}

    return {
        "to the device": settings.try_measure(lambda: measure(on_device, host)),
        "to the device, pinned": settings.try_measure(lambda: measure(on_device, pinned)),
        "from the device, pinned": settings.try_measure(lambda: measure(pinned, on_device.neg())),
    }


def decoding(settings: Settings) -> dict[str, Any]:
    """Return the JPEG images a second that one thread and all cores decode and resize."""
    pixels = torch.rand(JPEG_SIZE[1] // 25, JPEG_SIZE[0] // 25, 3, generator=torch.Generator().manual_seed(0))
    image = Image.fromarray((255 * pixels).byte().numpy()).resize(JPEG_SIZE)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    data = file.getvalue()

    def measure(threads: int) -> dict[str, Any]:
        count = settings.pictures * threads
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            start, cpu_start = time.perf_counter(), time.process_time()
            for _ in pool.map(lambda _: load_image(data, size=settings.side), range(count)):
                pass
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        return {"images_per_second": count / seconds, "images_per_cpu_second": count / cpu_seconds}

    return {f"{n} threads": settings.try_measure(lambda n=n: measure(n)) for n in sorted({1, settings.cores})}
