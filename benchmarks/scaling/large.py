"""Predictions for ResNet-50 on up to 512 GPUs: the time of a step, the limiting resource, and gains by purchases.

No GPU was measured: the constants below are assumptions; the page lists them with their sources.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist

from benchmarks.scaling.model import Link, decoding_cores, overlapped, ring_all_reduce
from pellucid.model import Model
from pellucid.models import resnet50

HOST_GPUS = 8  # GPUs per host
BATCH = 256  # images per GPU
GPU_RATE = 2470.0  # images per second of one GPU, trained in mixed precision
CORE_RATE = 273.0  # images per second decoded by one core
LOCAL_RATE = 300e9  # bytes per second between the GPUs of a host, in each direction
HOP_SECONDS = 20e-6  # latency of a message between hosts, including software
LOCAL_HOP_SECONDS = 5e-6  # the same between the GPUs of a host
BUCKET_BYTES = 25 << 20  # gradients sent in one operation; the default of DistributedDataParallel
STEP_DEVIATION = 0.01  # standard deviation of the time of a GPU's step, relative to its mean
BACKWARD_FRACTION = 2 / 3  # time of the backward pass relative to a step without communication
IMAGE_BYTES = 110e3  # bytes of a stored image
HOST_CORES = 128  # cores per host
GPUS = (1, 8, 16, 32, 64, 128, 256, 512)
NETWORK_RATES = (10e9, 100e9, 400e9)  # bits per second and host
IMAGENET_IMAGES, EPOCHS = 1.28e6, 90

SOURCES = (
    (
        f"{GPU_RATE:,.0f} images/s of a GPU",
        "one A100 with 80 GB, mixed precision, batch 256: table of training performance in "
        "[NVIDIA's examples](https://github.com/NVIDIA/DeepLearningExamples/tree/master/PyTorch/Classification/"
        "ConvNets/resnet50v1.5), which also has 16,621 images/s for eight, input pipeline included",
    ),
    (f"{CORE_RATE:.0f} images/s of a core", "decoding and resizing, measured with this library on another machine"),
    (f"{LOCAL_RATE / 1e9:.0f} GB/s inside a host", "half of the 600 GB/s in both directions of the A100's NVLink"),
    (
        f"{HOP_SECONDS * 1e6:.0f} and {LOCAL_HOP_SECONDS * 1e6:.0f} microseconds a message",
        "between hosts and inside one: a guess",
    ),
    (f"{STEP_DEVIATION:.0%} standard deviation of a GPU's step", "a guess; scaling.json has the cost of other values"),
    (f"{IMAGE_BYTES / 1e3:.0f} kB of an image", "a guess, about a JPEG file of half a megapixel"),
    (f"{HOST_CORES} cores of a host", "a guess: two processors of 64 cores; scaling.json has fewer cores"),
    ("float32 gradients", "of all parameters, in buckets of 25 MiB, sent during the backward pass"),
)


@cache
def slowest_of_normal(count: int) -> float:
    """Return the expected largest of `count` standard normal draws, by the trapezoidal rule.

    It is the integral of 1 - F(x)^n over x > 0 minus the integral of F(x)^n over x < 0 (David and Nagaraja 2003, 3.1).
    """
    step, normal = 0.01, NormalDist()
    xs = [step * k for k in range(-1000, 1001)]
    values = [(x > 0) - normal.cdf(x) ** count + (0.5 if x == 0 else 0.0) for x in xs]
    return step * math.fsum(values)


@cache
def buckets() -> tuple[tuple[float, float], ...]:
    """Return (fraction of the backward pass, bytes of gradients) of ResNet-50's buckets, from the last layer on."""
    rows = Model(resnet50(1000), input_shape=(3, 224, 224)).summary().rows
    work = sum(row.multiply_adds for row in rows)
    full_buckets: list[tuple[float, float]] = []
    part, size = 0.0, 0.0
    for row in reversed(rows):
        part, size = part + row.multiply_adds / work, size + 4.0 * row.parameters
        if size >= BUCKET_BYTES:
            full_buckets.append((part, size))
            part, size = 0.0, 0.0
    return (*full_buckets, (part, size))


@dataclass(frozen=True)
class Cluster:
    """A cluster of GPUs in hosts of eight. Times are in seconds.

    network: bits per second of a host in each direction. cores: number per host. spread: see STEP_DEVIATION.
    """

    gpus: int
    network: float
    cores: int = HOST_CORES
    spread: float = STEP_DEVIATION

    @property
    def hosts(self) -> int:
        """The number of hosts."""
        return -(-self.gpus // HOST_GPUS)

    def _all_reduce_time(self, size: float) -> float:
        """Return the time of a ring all-reduce of `size` bytes; the ring enters and leaves each host once."""
        rate = LOCAL_RATE if self.hosts == 1 else min(LOCAL_RATE, self.network / 8)
        ring = ring_all_reduce(size, self.gpus, Link(rate))
        return ring + 2 * (self.hosts - 1) * HOP_SECONDS + 2 * (self.gpus - self.hosts) * LOCAL_HOP_SECONDS

    def computing(self) -> float:
        """Return the time of a step without communication on the slowest GPU."""
        return BATCH / GPU_RATE * (1 + self.spread * slowest_of_normal(self.gpus))

    def communicating(self) -> float:
        """Return the time of all all-reduces without overlap."""
        return sum(self._all_reduce_time(size) for _, size in buckets()) if self.gpus > 1 else 0.0

    def step(self) -> float:
        """Return the time of a step that never waits for its input."""
        computing = self.computing()
        bucket_times = [(part * computing * BACKWARD_FRACTION, self._all_reduce_time(size)) for part, size in buckets()]
        return overlapped(computing * (1 - BACKWARD_FRACTION), bucket_times) if self.gpus > 1 else computing

    def limits(self) -> dict[str, float]:
        """Return the images per second that each resource allows, by name."""
        images = BATCH * self.gpus
        return {
            "computing": images / (BATCH / GPU_RATE),
            "waiting for the slowest GPU": images / self.computing(),
            "network": images / self.step(),
            "decoding": self.hosts * self.cores * CORE_RATE,
        }

    def rate(self) -> float:
        """Return the images per second."""
        return min(self.limits().values())

    def limit(self) -> str:
        """Return the limiting resource: a key of `limits`, "computing" if the others cost less than 5 %."""
        limits = self.limits()
        if self.rate() >= 0.95 * limits["computing"]:
            return "computing"
        if limits["decoding"] <= limits["network"]:
            return "decoding"
        lost = limits["computing"] - limits["waiting for the slowest GPU"], limits["computing"] - limits["network"]
        return "waiting for the slowest GPU" if lost[0] > 0.5 * lost[1] else "network"

    def hours(self, images: float) -> float:
        """Return the hours for one pass over `images` images."""
        return images / self.rate() / 3600

    def needed_cores(self) -> float:
        """Return the number of cores per host that decode as fast as its GPUs compute."""
        return decoding_cores(min(self.gpus, HOST_GPUS) * BATCH / self.step(), CORE_RATE)

    def reading(self) -> float:
        """Return the bits per second of images that a host reads, from its disk or from network storage."""
        return self.rate() / self.hosts * IMAGE_BYTES * 8

    def purchases(self) -> dict[str, float]:
        """Return the factor by which each purchase increases the rate."""
        larger_clusters = {
            "twice the network": replace(self, network=2 * self.network),
            "twice the cores": replace(self, cores=2 * self.cores),
            "twice the hosts": replace(self, gpus=2 * self.gpus),
        }
        return {name: cluster.rate() / self.rate() for name, cluster in larger_clusters.items()}


def clusters() -> Iterator[Cluster]:
    """Yield the clusters in the page's tables, for each rate of NETWORK_RATES and count of GPUS."""
    for network in NETWORK_RATES:
        for gpus in GPUS:
            yield Cluster(gpus, network)
