"""The processes of one training, which torchrun starts, and the values that they exchange."""

import atexit
import functools
import gc
import os
import re
import socket
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import numpy as np
import PIL
import torch
import torch.distributed as dist
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.version import __version__
from pellucid.training.device import device_name

# PyTorch gives some of these functions no type annotations.
_dist = cast(Any, dist)
T = TypeVar("T")
Part = TypeVar("Part")
WaitFunction = Callable[[], Tensor]  # waits for the result of an operation that all processes have begun
TIMEOUT = timedelta(minutes=30)  # until a process that does not answer counts as lost, without `processes(timeout)`
MAX_SHOWN = 40  # characters of a value that an error shows
FAILURE_WAIT = 2.0  # seconds in which the processes that still run say so, after one of them failed


class LostProcessError(PellucidError):
    """A process that ended or does not answer."""


@dataclass(frozen=True)
class Processes:
    """The processes of one training: the number of this one, and of all; without torchrun, there is one.

    Every process calls the same methods in the same order. Each method raises LostProcessError, which names the
    processes that ended or do not answer.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that decides and writes."""
        return self.rank == 0

    def from_first(self, compute: Callable[[], T]) -> T:
        """Return the result of `compute`, or raise its PellucidError, in the first process; others do not call it."""
        if self.count == 1:
            return compute()
        received: list[Any] = [None]
        if self.is_first:
            try:
                received = [compute()]
            except PellucidError as error:
                received = [error]
        with self._naming_lost_processes():
            dist.broadcast_object_list(received)
        if isinstance(received[0], PellucidError):
            raise received[0]
        return cast(T, received[0])

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Copy the tensors of the first process into those of all others, in place."""
        if self.count > 1:
            with self._naming_lost_processes():
                for tensor in tensors:
                    contiguous = tensor.contiguous()
                    dist.broadcast(contiguous, 0, group=self._group_of(tensor))
                    tensor.copy_(contiguous)

    def from_all(self, value: T) -> list[T]:
        """Return the values of all processes, in the order of their numbers."""
        if self.count == 1:
            return [value]
        received: list[Any] = [None] * self.count
        with self._naming_lost_processes():
            _dist.all_gather_object(received, value)
        return cast(list[T], received)

    def shared(self, parts: Sequence[Part], compute: Callable[[Part], T]) -> Iterator[T]:
        """Yield `compute(part)` for each part of a work, in order; each process computes some of the parts.

        One process computes each when it is asked for, many before the first. The PellucidError of any process is
        raised in all.
        """
        if self.count == 1:
            yield from map(compute, parts)
            return
        own_indices = assigned_range(self.rank, self.count, len(parts))
        own_results: list[T] | PellucidError
        try:
            own_results = [compute(part) for part in parts[own_indices.start : own_indices.stop]]
        except PellucidError as error:
            own_results = error
        all_results = self.from_all(own_results)
        for results in all_results:
            if isinstance(results, PellucidError):
                raise results
        yield from (result for results in all_results for result in cast(list[T], results))

    def gather(self, row: Tensor) -> Tensor:
        """Return the rows (...) of all processes as (count, ...)."""
        return self.begin_gather(row)()

    def begin_gather(self, row: Tensor) -> WaitFunction:
        """Begin what `gather` does; the function that is returned waits for the result.

        Here and below, the tensors must not change until then.
        """
        rows = row.new_empty(self.count, *row.shape)
        if self.count == 1:
            return lambda: rows.copy_(row)
        group = self._group_of(row)
        return self._begin(rows, lambda: _dist.all_gather([*rows.unbind()], row, group=group, async_op=True))

    def begin_all_to_all(self, chunks: Tensor, row_counts: Sequence[int]) -> WaitFunction:
        """Begin to send chunks[:, p] to process p; the function returns what all sent here, (sum of row_counts, ...).

        chunks: (n, count, ...), where process p has n = row_counts[p].
        """
        receive_buffer = chunks.new_empty(sum(row_counts), *chunks.shape[2:])
        send_buffer = chunks.transpose(0, 1).reshape(-1, *chunks.shape[2:])
        sizes = [*row_counts], [len(chunks)] * self.count
        group = self._group_of(chunks)
        return self._begin(
            receive_buffer,
            lambda: _dist.all_to_all_single(receive_buffer, send_buffer, *sizes, group=group, async_op=True),
        )

    def begin_all_reduce(self, values: Tensor) -> WaitFunction:
        """Begin to add the values of all processes, in place; the function returns the sum.

        The order of the terms depends on the number of processes; of two, it does not change the bits.
        """
        group = self._group_of(values)
        return self._begin(values, lambda: _dist.all_reduce(values, group=group, async_op=True))

    def _group_of(self, tensor: Tensor) -> Any:
        """Return the process group that exchanges a tensor; None for the default one, for tensors on the CPU."""
        if tensor.device.type != "cuda":
            return None
        with self._naming_lost_processes():
            return _gpu_group(self, _dist.group.WORLD)

    def _begin(self, result: Tensor, start_exchange: Callable[[], Any]) -> WaitFunction:
        """Begin an operation of all processes; return the function that waits for its end and returns its result."""
        with self._naming_lost_processes():
            work = start_exchange()

        def wait() -> Tensor:
            with self._naming_lost_processes():
                work.wait()
            return result

        return wait

    def check_equal(self, values: Mapping[str, str]) -> None:
        """Raise PellucidError unless `values` are the same in all processes; it names the first that differs."""
        all_values = self.from_all({"host": socket.gethostname(), **values})
        for rank, peer in enumerate(all_values):
            differences = [
                _difference(name, peer.get(name), all_values[0].get(name))
                for name in values
                if peer.get(name) != all_values[0].get(name)
            ]
            if differences:
                raise PellucidError(
                    f"process {rank} on {peer['host']} differs from process 0 in: {', '.join(differences)}; give "
                    "all processes the same recipe, data, versions, device and number of threads"
                )

    @contextmanager
    def answering_within(self, seconds: float) -> Generator[None, None, None]:
        """Within the context, a process that does not answer for so many seconds counts as lost; after it, TIMEOUT."""
        if self.count > 1:
            _dist.distributed_c10d._set_pg_timeout(timedelta(seconds=seconds))
        try:
            yield
        finally:
            if self.count > 1 and dist.is_initialized():
                _dist.distributed_c10d._set_pg_timeout(TIMEOUT)

    @contextmanager
    def _naming_lost_processes(self) -> Generator[None, None, None]:
        """Within the context, a lost process becomes a LostProcessError that names it."""
        try:
            yield
        except RuntimeError as error:
            store = _dist.distributed_c10d._get_default_store()
            try:
                store.set(f"pellucid/running/{self.rank}", socket.gethostname())
                time.sleep(FAILURE_WAIT)
                lost_ranks = [rank for rank in range(self.count) if not store.check([f"pellucid/running/{rank}"])]
                lost_names = [f"{rank} on {store.get(f'pellucid/host/{rank}').decode()}" for rank in lost_ranks]
            except RuntimeError:  # the store is gone with its process, which is the first one or torchrun
                lost_names = []
            peers = f"process {', '.join(lost_names)}" if lost_names else "another process"
            reason = re.sub(r"^\[.*?\] ", "", str(error).partition("\n")[0])  # without a line of PyTorch's sources
            raise LostProcessError(
                f"{peers} ended or does not answer ({reason}); its own message, which may stand above, says why, "
                "and the run folder resumes from its last checkpoint"
            ) from error


def _difference(name: str, value: str | None, first_value: str | None) -> str:
    """Return the name of a value that differs from that of the first process, with both if they are short."""
    if any(text is None or len(text) > MAX_SHOWN for text in (value, first_value)):
        return name
    return f"{name} ({value} instead of {first_value})"


ALONE = Processes()


def assigned_range(rank: int, n_processes: int, n_parts: int) -> range:
    """Return the numbers of the parts of a work that one of `n_processes` does: contiguous, in order."""
    return range(rank * n_parts // n_processes, (rank + 1) * n_parts // n_processes)


def processes(timeout: float | None = None) -> Processes:
    """Return the processes that torchrun started with this one, connected; one process without torchrun.

    A process group that a script has made is used as it is. timeout: the seconds after which a process that does not
    answer counts as lost from now on, also while the processes connect; None for no change, or TIMEOUT to connect.
    """
    is_started_by_torchrun = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= {*os.environ} and os.environ["WORLD_SIZE"] != "1"
    if not dist.is_available() or not (is_started_by_torchrun or dist.is_initialized()):
        return Processes()
    if not dist.is_initialized():
        _connect(TIMEOUT if timeout is None else timedelta(seconds=timeout))
    elif timeout is not None:
        _dist.distributed_c10d._set_pg_timeout(timedelta(seconds=timeout))
    # decisions and losses are exchanged on the CPU, also in trainings on GPUs
    if dist.get_world_size() > 1 and not _has_cpu_backend():
        raise PellucidError(
            f"this process group ({dist.get_backend()}) exchanges no tensors on the CPU; leave out init_process_group, "
            'or call init_process_group("cpu:gloo,cuda:nccl")'
        )
    _store_host(_dist.group.WORLD)
    return Processes(dist.get_rank(), dist.get_world_size())


def _connect(timeout: timedelta) -> None:
    """Connect the processes; those of an earlier attempt, whose addresses torchrun's store still has, are not used."""
    try:
        store, rank, count = next(_dist.rendezvous("env://", timeout=timeout))
        restart_count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        atexit.register(_disconnect)
        dist.init_process_group(
            "gloo", store=_dist.PrefixStore(restart_count, store), rank=rank, world_size=count, timeout=timeout
        )
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise PellucidError(f"the processes cannot be connected ({reason}); look for the message of another") from error


def _has_cpu_backend() -> bool:
    """Return whether the processes can exchange tensors on the CPU."""
    return "cpu" in str(_dist.distributed_c10d.get_backend_config())


def _disconnect() -> None:
    """End the connections; the threads of a group that lives until Python has ended abort the process."""
    if dist.is_initialized():
        dist.destroy_process_group()
    gc.collect()


@functools.cache
def _gpu_group(group_processes: Processes, default_group: Any) -> Any:
    """Return the process group for tensors on GPUs: NCCL's if each process has a GPU of its own, otherwise gloo's."""
    own_gpu = cast(Any, torch.cuda).get_device_properties(torch.cuda.current_device())
    gpus = group_processes.from_all(str(own_gpu.uuid))
    # NCCL refuses two processes on the same GPU
    has_own_gpus = dist.is_nccl_available() and len({*gpus}) == len(gpus)
    timeout = default_group._get_backend(torch.device("cpu")).options._timeout
    return _dist.new_group(backend="nccl" if has_own_gpus else "gloo", timeout=timeout)


@functools.cache
def _store_host(default_group: Any) -> None:
    """Store once for the other processes on which machine this one runs, for messages about it."""
    store = _dist.distributed_c10d._get_default_store()
    store.set(f"pellucid/host/{dist.get_rank()}", socket.gethostname())


def launch_name() -> str:
    """Return a name of the command by which torchrun started this process, the same when it starts it again."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return f"{socket.gethostname()} {os.getppid()}" if name == "none" else name


def versions(device: torch.device) -> dict[str, str]:
    """Return what changes the bits of a training on a device, in addition to its settings."""
    libraries = {
        "PyTorch": torch.__version__,
        "Pellucid": __version__,
        "NumPy": np.__version__,
        "Pillow": PIL.__version__,
        "cuDNN": torch.backends.cudnn.version() if device.type == "cuda" else None,
    }
    library_versions = {f"version of {name}": str(version) for name, version in libraries.items()}
    return {**library_versions, "device": device_name(device), "number of threads": str(torch.get_num_threads())}
