"""Training steps whose batch is divided into shards, in one process or in many, with the same bits.

Each shard's gradients are computed as if it were a batch of its own: its batch norm takes its own statistics, and its
random numbers depend on its number alone. They are added in a fixed binary tree, so that the sum does not depend on
which process computed which shard.
"""

import math
import operator
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple, cast

import torch

from pellucid.combine.nets import all_buffers
from pellucid.data.seeds import mix
from pellucid.data.source import Batch
from pellucid.errors import PellucidError
from pellucid.layers.base import Cache, Layer, Params
from pellucid.nested import flatten, nest
from pellucid.objective import Gradients, Objective, Supervised, mean_losses, seeded
from pellucid.run.history import Row
from pellucid.training.device import device_of
from pellucid.training.distributed import LostProcessError, Processes, dealt
from pellucid.training.layers import DROPOUT
from pellucid.training.learner import Learner
from pellucid.training.reducer import BUCKET_MB, MEGABYTE, Reducer
from pellucid.training.shard_loaders import shards_of
from pellucid.training.step import NotFiniteError, StepLosses, TrainingStep

# Numbers of a shard beside its losses: whether its process was asked to stop, whether it is time to check the
# parameters, the shard's number of examples, and its weight in a mean.
COLUMNS = 4


class LossDivisors(NamedTuple):
    """The divisor of a loss in each shard, and that in the whole batch."""

    of_shards: Sequence[float]
    total: float

    def mean(self, values: Sequence[float]) -> float:
        """Return the loss of the whole batch from those of the shards."""
        return math.fsum(map(operator.mul, self.of_shards, values)) / self.total


class ShardedStep:
    """One training step from the shards of a batch: `sharded(parts, lr, number, ...)`.

    step: of the model, without updates during the backward pass. shards: their number in all processes, at least that
    of the processes. exact: whether the bits are the same for any number of processes. bucket_mb: the megabytes that
    are exchanged at once, see `Reducer`. After a step, `weight` and `examples` are those of the whole batch, and
    `asked` and `due` what the processes agreed on.
    """

    def __init__(
        self,
        model: Learner,
        step: TrainingStep,
        processes: Processes,
        shards: int,
        exact: bool = True,
        bucket_mb: float = BUCKET_MB,
    ) -> None:
        self.model, self.step, self.processes, self.shards = model, step, processes, shards
        if model.objective.indivisible:
            raise PellucidError(f"fit: shards: {model.objective.indivisible}; leave out shards and accumulate")
        self.is_sum = model.objective.is_sum
        self.own = shards_of(processes, shards)
        device = device_of(step.params)
        self.rngs = [seeded(device) for _ in self.own]
        changing = all_buffers(model.objective.nets) - step.frozen
        self.buffers = [tensor for path, tensor in flatten(step.params).items() if path in changing]
        self.flags = 0.0, 0.0
        self.weight, self.examples = 0.0, 0
        self.asked = self.due = False
        self.waited = 0.0  # seconds of this epoch in which this process waited for others to finish their shards
        self._counts: dict[str, LossDivisors] = {}  # of the current batch by loss, see `Objective.counts`
        self.reducer = Reducer(processes, shards, self.buffers, exact, bucket_mb * MEGABYTE)
        if processes.count > 1 and isinstance(step.objective, Supervised):  # others may change gradients afterwards
            step.objective = step.objective.watched(_unwatched, self.reducer.watch)

    def __call__(
        self, parts: Sequence[Batch], lr: float, number: int, stop: bool = False, due: bool = False
    ) -> StepLosses:
        """Update the parameters from the shards of step `number`, and return the losses of the whole batch by name.

        stop: whether this process was asked to stop; it is agreed if one was. due: whether to check the parameters
        after this step, which the first process decides.
        Raises NotFiniteError for a loss of any shard that is NaN or infinite, and LostProcessError, which names the
        step.
        """
        self.flags = float(stop), float(due)
        try:
            return self._step(parts, lr, number)
        except LostProcessError as error:
            raise LostProcessError(f"training stopped in step {number + 1}: {error}") from error

    def _step(self, parts: Sequence[Batch], lr: float, number: int) -> StepLosses:
        weights = [float(self.model.objective.total_weight(part)) for part in parts]
        if self.step.parts is not None:
            self.step.parts.weight = self._factor(weights[0])
        factors = self._count(parts, weights, number)
        self._seed(number)
        own_parts = zip(parts, self.rngs, factors, strict=True)
        turns = [_turns(self.step, part, lr, rng, factor) for part, rng, factor in own_parts]
        losses_of_parts: list[StepLosses] = []
        while (turn := self._turn(turns, parts, weights)) is not None:
            losses_of_parts.append(self.step.learn(*turn, lr))
        if self.step.average is not None:
            self.step.average.update()
        return mean_losses(losses_of_parts)

    def waits(self) -> Row:
        """Return the process that the others waited for in this epoch, and the longest wait in seconds; begin anew."""
        waits = self.processes.from_all(self.waited)
        self.waited = 0.0
        slowest = min(range(len(waits)), key=waits.__getitem__)
        return {"slowest_process": slowest, "wait_seconds": round(max(waits) - waits[slowest], 3)}

    def whose(self, error: NotFiniteError) -> str:
        """Return a text on a loss that is not finite in another process."""
        count = self.processes.count
        rank = next(rank for rank in range(count) if error.shard in dealt(rank, count, self.shards))
        return f"{error.name} is {error.value} in process {rank}; see its message"

    def _factor(self, weight: float) -> float:
        """Return the factor of a shard's gradients in the sum of all, for the shard's weight in a mean."""
        return 1.0 if self.is_sum else weight or 1.0  # the loss of a shard without weight has no gradients

    def _seed(self, number: int) -> None:
        """Seed the random generators of this process's shards for a step."""
        for rng, shard in zip(self.rngs, self.own, strict=True):
            rng.manual_seed(mix(self.model.seed, DROPOUT, number, shard))

    def _count(self, parts: Sequence[Batch], weights: Sequence[float], number: int) -> list[dict[str, float]]:
        """Add the objective's counts of all shards; return, for each own shard, the factors of losses by name.

        A loss of a shard is divided by the shard's own count n, but has to be divided by that of all shards, N; and the
        mean of all shards multiplies it by w/W, with the weight w of the shard and W of all. So its factor is n/N W/w.
        """
        if type(self.model.objective).counts is Objective.counts:
            return [{} for _ in parts]
        before = [tensor.clone() for tensor in self.buffers]
        self._seed(number)
        rows: list[list[float]] = []
        names: tuple[str, ...] = ()
        for part, rng, weight in zip(parts, self.rngs, weights, strict=True):
            counts = self.step.counts(part, rng)
            names = tuple(counts)
            rows.append([weight, *counts.values()])
            for buffer, old in zip(self.buffers, before, strict=True):
                buffer.copy_(old)
        of_all, *columns = zip(*self._gathered(rows, 1 + len(names)), strict=True)
        self._counts = {
            name: LossDivisors([max(n, 1.0) for n in column], max(math.fsum(column), 1.0))
            for name, column in zip(names, columns, strict=True)
        }
        total = 1.0 if self.is_sum else math.fsum(of_all) or 1.0
        return [
            {name: of[shard] / count * total / self._factor(weight) for name, (of, count) in self._counts.items()}
            for shard, weight in zip(self.own, weights, strict=True)
        ]

    def _gathered(self, rows: Sequence[Sequence[float]], columns: int) -> list[list[float]]:
        """Return the rows of all shards, in their order, from those of this process's shards."""
        count = self.processes.count
        table = torch.zeros(-(-self.shards // count), columns, dtype=torch.float64)
        table[: len(rows)] = torch.tensor(rows, dtype=torch.float64)
        started = time.perf_counter()
        tables = self.processes.gathered(table)
        self.waited += time.perf_counter() - started
        counts = [len(dealt(rank, count, self.shards)) for rank in range(count)]
        every = torch.cat([rank_table[:count] for rank_table, count in zip(tables, counts, strict=True)])
        return cast(Any, every).tolist()

    def _turn(
        self, turns: Sequence[Iterator[Gradients]], parts: Sequence[Batch], weights: Sequence[float]
    ) -> Gradients | None:
        """Return losses and gradients of the next turn of the whole batch; None after the last one."""
        rows: list[list[float]] = []
        names, like = (), cast(Params, {})
        self.reducer.turn()
        for k, shard in enumerate(self.own):
            self.reducer.begin(shard, self._factor(weights[k]))
            try:
                turn = next(turns[k], None)
            except NotFiniteError as error:
                self.reducer.skip()
                rows.append([*self.flags, len(parts[k].images), weights[k], *repeat(error.value, max(1, len(names)))])
                continue
            if turn is None:
                return None
            losses, like = turn
            rows.append([*self.flags, len(parts[k].images), weights[k], *map(float, losses.values())])
            names = tuple(losses)
            self.reducer.add(like)
            del turn
        try:
            losses = self._agree(rows, names)
        except NotFiniteError:
            self.reducer.ended()
            raise
        return losses, nest(like, self.reducer.summed(1.0 if self.is_sum else self.weight))

    def _agree(self, rows: list[list[float]], names: Sequence[str]) -> StepLosses:
        """Return the means of the losses over all shards, and set what the processes agree on."""
        all_rows = self._gathered(rows, COLUMNS + max(1, len(names)))
        stop_requests, due, examples, weights, *losses = zip(*all_rows, strict=True)
        self.asked, self.due = any(stop_requests), bool(due[0])
        for name, values in zip(names or ("loss",), losses, strict=False):
            for shard, value in enumerate(values):
                if not math.isfinite(value):
                    raise NotFiniteError(name, value, shard)
        self.examples = int(sum(examples))
        self.weight = math.fsum(weights) or 1.0  # 0 where the loss ignores all examples
        divisors = LossDivisors([1.0] * self.shards, 1.0) if self.is_sum else LossDivisors(weights, self.weight)
        return {name: self._counts.get(name, divisors).mean(values) for name, values in zip(names, losses, strict=True)}


def _unwatched(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
    """Do nothing after the forward pass of a layer."""


def _turns(
    step: TrainingStep, part: Batch, lr: float, rng: torch.Generator, factors: Mapping[str, float]
) -> Iterator[Gradients]:
    """Yield the turns of one shard; nothing is computed before the first is asked for."""
    result = step.gradients(part, lr, rng, factors)
    if isinstance(result, tuple):
        single = [result]
        del result
        yield single.pop()  # not held here, so that the gradients are freed once they are added
    else:
        yield from result
