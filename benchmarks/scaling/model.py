"""A model of the time of a training step on many processes: computing, copies, communication, waiting and decoding.

Times are in seconds, sizes in bytes, and rates in bytes per second.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """A network between processes that sends in both directions simultaneously.

    delay: time until a byte arrives. software: time of a collective operation on a network without delay. burst: bytes
    that a rate limiter lets pass without limit after a pause.
    """

    rate: float
    delay: float = 0.0
    software: float = 0.0
    burst: float = 0.0

    def transfer(self, size: float) -> float:
        """Return the time to send `size` bytes after a pause."""
        return max(size - self.burst, 0.0) / self.rate


def all_gather(size: float, count: int, link: Link) -> float:
    """Return the time of a ring all-gather: each of `count` processes receives the `size` bytes of every other.

    A message is sent after its receiver has reported that it is ready. The first message therefore takes two delays;
    the others take one, because their receivers report earlier.
    """
    return _sequence(count - 1, size * (count - 1), link)


def all_to_all(size: float, count: int, link: Link) -> float:
    """Return the time of an all-to-all: each of `count` processes sends `size` / `count` bytes to every other."""
    return _sequence(min(count - 1, 1), size * (count - 1) / count, link)


def ring_all_reduce(size: float, count: int, link: Link) -> float:
    """Return the time of a ring all-reduce of `size` bytes: parts are added around a ring and then gathered.

    Each process sends 2 (count - 1) messages of size / count bytes.
    Source: Patarasuk and Yuan 2009, Bandwidth optimal all-reduce algorithms for clusters of workstations.
    """
    return 2 * all_gather(size / count, count, link)


def _sequence(messages: int, sent: float, link: Link) -> float:
    """Return the time of consecutive `messages`, in which a process sends `sent` bytes in total."""
    return link.software + (messages + 1) * link.delay + link.transfer(sent) if messages else 0.0


def median_slowest(samples: Sequence[float], count: int) -> float:
    """Return the median time of the slowest of `count` processes, each of which draws its time from the samples.

    The distribution function of the largest of `count` draws is that of one draw to the power `count` (David and
    Nagaraja 2003, Order Statistics), so its median is the quantile 2^(-1 / count) of the samples.
    """
    ordered = sorted(samples)
    position = (len(ordered) - 1) * 0.5 ** (1 / count)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def overlapped(forward: float, buckets: Sequence[tuple[float, float]]) -> float:
    """Return the time of a step whose gradients are sent in buckets during the backward pass.

    forward: the time before the backward pass. buckets: for each bucket, the time of its part of the backward pass and
    the time of its communication; the buckets are sent one after another.
    """
    computed, sent = forward, 0.0
    for compute, communication in buckets:
        computed += compute
        sent = max(sent, computed) + communication
    return max(computed, sent)


@dataclass(frozen=True)
class Machine:
    """Measured times of one process, in seconds per byte: of a scaled copy, an in-place division and an addition.

    cores: the number of cores that all processes share.
    """

    scale: float
    divide: float
    add: float
    cores: int

    def copies(self, size: float, count: int) -> float:
        """Return the time of the copies around an exchange: a scaled copy, additions of the parts, and a division."""
        return size * (self.scale + self.divide + self.add * (count - 1) / count)

    def shared(self, count: int) -> float:
        """Return the factor by which `count` processes with one thread each slow down, because they share the cores."""
        return max(1.0, count / self.cores)


def exact_step(
    computing: Sequence[float], size: float, table: float, count: int, machine: Machine, link: Link
) -> float:
    """Return the time of a step of pellucid.training.shards, in which each process computes one shard.

    computing: samples of the time of a shard. size: bytes of the gradients. table: bytes that a process sends to
    describe them. Nothing overlaps: all processes wait for the slowest shard, exchange parts of their gradients, and
    gather the sums. Two processes use an all-reduce, since the sum of two numbers does not depend on their order. For
    processes that share cores, an exchange slows down like computing.
    """
    slowdown = machine.shared(count)
    slowed_link = Link(link.rate / slowdown, link.delay, link.software * slowdown, link.burst)
    table_time = all_gather(table, count, slowed_link)
    if count == 2:
        exchange_time = ring_all_reduce(size, count, slowed_link)
    else:
        exchange_time = all_to_all(size, count, slowed_link) + all_gather(size / count, count, slowed_link)
    return slowdown * (median_slowest(computing, count) + machine.copies(size, count)) + table_time + exchange_time


def decoding_cores(images_per_second: float, rate_of_a_core: float) -> float:
    """Return the number of cores that decode `images_per_second`."""
    return images_per_second / rate_of_a_core
