"""The time of a training step on many processes: computing, copies, communication, waiting, and decoding.

All times are in seconds, sizes in bytes, rates in bytes per second.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """A network between processes, in each direction at once.

    delay: until a byte arrives. software: of one collective operation without any delay. burst: the bytes that a rate
    limiter lets pass at once after a pause.
    """

    rate: float
    delay: float = 0.0
    software: float = 0.0
    burst: float = 0.0

    def transfer(self, size: float) -> float:
        """Return the time in which `size` bytes leave a process after a pause."""
        return max(size - self.burst, 0.0) / self.rate


def all_gather(size: float, count: int, link: Link) -> float:
    """Return the time until each of `count` processes has the `size` bytes of all, sent around a ring.

    A message leaves when its receiver has said that it is ready: there and back for the first, one way for the others,
    whose receivers said so before.
    """
    return _sequence(count - 1, size * (count - 1), link)


def all_to_all(size: float, count: int, link: Link) -> float:
    """Return the time until each of `count` processes has sent an equal part of its `size` bytes to every other."""
    return _sequence(min(count - 1, 1), size * (count - 1) / count, link)


def ring_all_reduce(size: float, count: int, link: Link) -> float:
    """Return the time until all processes have the sum of `size` bytes: parts are added around a ring, then gathered.

    These are 2 (count - 1) messages of size / count.
    Source: Patarasuk and Yuan 2009, Bandwidth optimal all-reduce algorithms for clusters of workstations.
    """
    return 2 * all_gather(size / count, count, link)


def _sequence(messages: int, sent: float, link: Link) -> float:
    """Return the time of `messages` one after another, in which a process sends `sent` bytes in all."""
    return link.software + (messages + 1) * link.delay + link.transfer(sent) if messages else 0.0


def median_slowest(samples: Sequence[float], count: int) -> float:
    """Return the median time of the slowest of `count` processes, each of which draws its time from the samples.

    The distribution of the largest of `count` draws is the power `count` of that of one (David and Nagaraja 2003, Order
    Statistics), so that its median is the quantile 2^(-1 / count) of the samples.
    """
    ordered = sorted(samples)
    position = (len(ordered) - 1) * 0.5 ** (1 / count)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def overlapped(forward: float, buckets: Sequence[tuple[float, float]]) -> float:
    """Return the time of a step whose gradients are sent in buckets while the backward pass goes on.

    forward: the time before the backward pass. buckets: for each the time of its part of the backward pass, and that of
    its communication; one bucket is sent after another.
    """
    computed, sent = forward, 0.0
    for compute, communication in buckets:
        computed += compute
        sent = max(sent, computed) + communication
    return max(computed, sent)


@dataclass(frozen=True)
class Machine:
    """Measured times of one process: seconds a byte of a scaled copy, a division in place, an addition.

    cores: of all processes.
    """

    scale: float
    divide: float
    add: float
    cores: int

    def copies(self, size: float, count: int) -> float:
        """Return the time of the copies around an exchange: scaled into one tensor, added by parts, divided."""
        return size * (self.scale + self.divide + self.add * (count - 1) / count)

    def shared(self, count: int) -> float:
        """Return by how much `count` processes of one thread slow each other down, as they take turns on the cores."""
        return max(1.0, count / self.cores)


def exact_step(
    computing: Sequence[float], size: float, table: float, count: int, machine: Machine, link: Link
) -> float:
    """Return the time of a step of pellucid.training.shards, in which each process computes one shard.

    computing: samples of the time of a shard. size: of the gradients. table: bytes of what a process sends about them.
    Nothing overlaps: all wait for the slowest shard, exchange parts of their gradients, and gather the sums. Between
    processes that share cores, an exchange is computing too.
    """
    slowdown = machine.shared(count)
    slowed_link = Link(link.rate / slowdown, link.delay, link.software * slowdown, link.burst)
    table_time = all_gather(table, count, slowed_link)
    exchange_time = all_to_all(size, count, slowed_link) + all_gather(size / count, count, slowed_link)
    return slowdown * (median_slowest(computing, count) + machine.copies(size, count)) + table_time + exchange_time


def decoding_cores(images_per_second: float, rate_of_a_core: float) -> float:
    """Return the number of cores that decode so many images."""
    return images_per_second / rate_of_a_core
