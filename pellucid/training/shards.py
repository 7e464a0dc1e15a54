"""Training steps whose batch is divided into shards, with the same bits in one process or in many.

Each shard's gradients are computed as if the shard were a separate batch: batch norm uses the shard's statistics, and
random numbers depend only on the shard's number. The gradients are added in a fixed binary tree, so the sum does not
depend on which process computed which shard.
"""

import math
import operator
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple, cast

import torch

from pellucid.base.errors import PellucidError
from pellucid.combine.nets import all_buffers
from pellucid.data.seeds import mix
from pellucid.data.source import Batch
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.nested import flatten, nest
from pellucid.objective import Gradients, Objective, Supervised, mean_losses, seeded_generator
from pellucid.run.history import Row
from pellucid.training.device import device_of
from pellucid.training.diagnose import NotFinite, step_fault
from pellucid.training.distributed import LostProcessError, Processes, assigned_range
from pellucid.training.layer_statistics import DRAW_SEED
from pellucid.training.learner import Learner
from pellucid.training.process import StopSignals
from pellucid.training.reducer import BUCKET_MB, MEGABYTE, Reducer
from pellucid.training.shard_loaders import shards_of_process
from pellucid.training.step import NotFiniteError, StepLosses, TrainingStep

# The values that are exchanged for a shard in addition to its losses: whether its process is requested to stop, whether
# to check the parameters, the shard's number of examples, and its weight in a mean.
STATUS_COLUMNS = 4


class LossDivisors(NamedTuple):
    """The divisor of a loss in each shard, and its divisor in the whole batch."""

    shard_divisors: Sequence[float]
    total: float

    def mean(self, values: Sequence[float]) -> float:
        """Return the loss of the whole batch from those of the shards."""
        return math.fsum(map(operator.mul, self.shard_divisors, values)) / self.total


class ShardedStep:
    """One training step from the shards of a batch, with the interface of a `WholeBatchStep`.

    After a step, `batch_weight` and `n_examples` are those of the whole batch, and all processes have the same
    `stop_requested` and `check_due`. An objective that updates its networks in turns has several turns in a step.

    step: the step of the model, without updates during the backward pass.
    shards: the number of shards in all processes, at least one for each process.
    signals: the requests to stop this process; all stop if one is requested to.
    exact: whether the bits are the same for any number of processes.
    bucket_mb: the megabytes of one exchange, see `Reducer`.
    """

    def __init__(
        self,
        model: Learner,
        step: TrainingStep,
        processes: Processes,
        shards: int,
        signals: StopSignals,
        exact: bool = True,
        bucket_mb: float = BUCKET_MB,
    ) -> None:
        self.model = model
        self.step = step
        self.processes = processes
        self.shards = shards
        self.signals = signals
        # for example the Dice loss: a mean of ratios over shards is another loss than the ratio of the batch
        if model.objective.indivisible:
            raise PellucidError(f"fit: shards: {model.objective.indivisible}; leave out shards and accumulate")
        self.is_sum = model.objective.is_sum
        self.own_shards = shards_of_process(processes, shards)
        self.rngs = [seeded_generator(device_of(step.params)) for _ in self.own_shards]
        buffer_paths = all_buffers(model.objective.nets) - step.frozen
        self.buffers = [tensor for path, tensor in flatten(step.params).items() if path in buffer_paths]
        self.own_requests = 0.0, 0.0  # of this process in this step: to stop, and to check the parameters, 1.0 or 0.0
        self.batch_weight = 0.0
        self.n_examples = 0
        self.stop_requested = self.check_due = False
        self.wait_seconds = 0.0  # seconds of this epoch in which this process waited for others to finish their shards
        self._divisors: dict[str, LossDivisors] = {}  # of the current batch by loss, see `Objective.counts`
        self.reducer = Reducer(processes, shards, self.buffers, exact, bucket_mb * MEGABYTE)
        if processes.count > 1 and isinstance(step.objective, Supervised):  # others may change gradients later
            step.objective = step.objective.watched(_ignore_forward, self.reducer.watch)

    def __call__(
        self, shard_batches: Sequence[Batch], lr: float, step_number: int, check_due: bool = False
    ) -> StepLosses:
        """Update the parameters from the shards of a step, and return the losses of the whole batch by name.

        check_due: whether to check the parameters after this step; the first process decides.
        Raises NotFiniteError for a loss of any shard that is NaN or infinite, and LostProcessError, which names the
        step.
        """
        self.own_requests = float(self.signals.stop_requested), float(check_due)
        try:
            return self._step(shard_batches, lr, step_number)
        except LostProcessError as error:
            raise LostProcessError(f"training stopped in step {step_number + 1}: {error}") from error

    def _step(self, shard_batches: Sequence[Batch], lr: float, step_number: int) -> StepLosses:
        shard_weights = [float(self.model.objective.total_weight(shard_batch)) for shard_batch in shard_batches]
        # batch parts are used without `exact` only, where this process's part is its only shard
        if self.step.batch_parts is not None:
            self.step.batch_parts.weight = self._gradient_factor(shard_weights[0])
        factors_by_shard = self._loss_factors(shard_batches, shard_weights, step_number)
        self._seed(step_number)
        shard_arguments = zip(shard_batches, self.rngs, factors_by_shard, strict=True)
        turns = [
            _turns_of_shard(self.step, shard_batch, lr, rng, loss_factors)
            for shard_batch, rng, loss_factors in shard_arguments
        ]
        losses_of_turns: list[StepLosses] = []
        while (turn := self._next_turn(turns, shard_batches, shard_weights)) is not None:
            losses_of_turns.append(self.step.learn(*turn, lr))
        if self.step.average is not None:
            self.step.average.update()
        return mean_losses(losses_of_turns)

    def wait_columns(self) -> Row:
        """Return the process that the others waited for in this epoch, and the longest wait in seconds; reset it."""
        wait_times = self.processes.from_all(self.wait_seconds)
        self.wait_seconds = 0.0
        # the process for which the others wait waits least itself
        slowest = min(range(len(wait_times)), key=wait_times.__getitem__)
        return {"slowest_process": slowest, "wait_seconds": round(max(wait_times) - wait_times[slowest], 3)}

    def first_part(self, shard_batches: Sequence[Batch]) -> Batch:
        """Return the first shard of this process."""
        return shard_batches[0]

    def fault(self, shard_batches: Sequence[Batch], step_number: int, error: NotFiniteError) -> NotFinite | None:
        """Return what is not finite in a step, found by repeating its shard; None if another process has this shard."""
        if error.shard not in self.own_shards:
            return None
        self._seed(step_number)
        k = error.shard - self.own_shards.start
        example_numbers = range(error.shard, len(shard_batches[k].images) * self.shards, self.shards)
        mode = Mode(train=True, rng=self.rngs[k])
        return step_fault(self.model, self.step, shard_batches[k], mode, error, example_numbers)

    def _gradient_factor(self, shard_weight: float) -> float:
        """Return the factor of a shard's gradients in the sum of all, for the shard's weight in a mean."""
        return 1.0 if self.is_sum else shard_weight or 1.0  # the loss of a shard without weight has no gradients

    def _seed(self, step_number: int) -> None:
        """Seed the random generators of this process's shards for a step."""
        for rng, shard in zip(self.rngs, self.own_shards, strict=True):
            # by shard: if each process drew for the whole batch, dropout would cost as many times as much
            rng.manual_seed(mix(self.model.seed, DRAW_SEED, self.model.earlier_steps + step_number, shard))

    def _loss_factors(
        self, shard_batches: Sequence[Batch], shard_weights: Sequence[float], step_number: int
    ) -> list[dict[str, float]]:
        """Add the objective's counts of all shards; return, for each own shard, the factors of losses by name.

        A loss of a shard is divided by the shard's own count n, but must be divided by the sum N of all counts; and the
        mean of all shards multiplies it by w/W, with the weight w of the shard and W of all. So its factor is n/N W/w.
        """
        # no loss is divided by a count, so the weights of the shards are right as they are
        if type(self.model.objective).counts is Objective.counts:
            return [{} for _ in shard_batches]
        buffers_before = [tensor.clone() for tensor in self.buffers]
        self._seed(step_number)
        rows: list[list[float]] = []
        names: tuple[str, ...] = ()
        for shard_batch, rng, shard_weight in zip(shard_batches, self.rngs, shard_weights, strict=True):
            # a pass of its own: caches of all shards until all counts are known would take the memory of the batch
            counts = self.step.counts(shard_batch, rng)
            names = tuple(counts)
            rows.append([shard_weight, *counts.values()])
            for buffer, value_before in zip(self.buffers, buffers_before, strict=True):
                buffer.copy_(value_before)
        all_weights, *columns = zip(*self._gather_rows(rows, 1 + len(names)), strict=True)
        self._divisors = {
            name: LossDivisors([max(n, 1.0) for n in column], max(math.fsum(column), 1.0))
            for name, column in zip(names, columns, strict=True)
        }
        weight_sum = 1.0 if self.is_sum else math.fsum(all_weights) or 1.0
        factors_by_shard: list[dict[str, float]] = []
        for shard, shard_weight in zip(self.own_shards, shard_weights, strict=True):
            factors: dict[str, float] = {}
            for name, (shard_divisors, total_divisor) in self._divisors.items():
                factors[name] = shard_divisors[shard] / total_divisor * weight_sum / self._gradient_factor(shard_weight)
            factors_by_shard.append(factors)
        return factors_by_shard

    def _gather_rows(self, rows: Sequence[Sequence[float]], n_columns: int) -> list[list[float]]:
        """Return the rows of all shards, in their order, from those of this process's shards."""
        n_processes = self.processes.count
        # as many rows in every process, of which those after its last shard are not used
        own_rows = torch.zeros(-(-self.shards // n_processes), n_columns, dtype=torch.float64)
        own_rows[: len(rows)] = torch.tensor(rows, dtype=torch.float64)
        started = time.perf_counter()
        all_tables = self.processes.gather(own_rows)
        self.wait_seconds += time.perf_counter() - started
        shard_counts = [len(assigned_range(rank, n_processes, self.shards)) for rank in range(n_processes)]
        all_rows = torch.cat([table[:n_shards] for table, n_shards in zip(all_tables, shard_counts, strict=True)])
        return cast(Any, all_rows).tolist()

    def _next_turn(
        self, turns: Sequence[Iterator[Gradients]], shard_batches: Sequence[Batch], shard_weights: Sequence[float]
    ) -> Gradients | None:
        """Return the losses and gradients of the next turn of the whole batch; None after the last one."""
        rows: list[list[float]] = []
        names = ()
        dparams = cast(Params, {})
        self.reducer.begin_turn()
        for k, shard in enumerate(self.own_shards):
            self.reducer.begin_shard(shard, self._gradient_factor(shard_weights[k]))
            status = [*self.own_requests, len(shard_batches[k].images), shard_weights[k]]  # see STATUS_COLUMNS
            try:
                turn = next(turns[k], None)
            except NotFiniteError as error:
                # the other processes wait for this shard's gradients, and learn of the loss with the rows below
                self.reducer.skip_shard()
                rows.append([*status, *repeat(error.value, max(1, len(names)))])
                continue
            if turn is None:
                return None
            losses, dparams = turn
            rows.append([*status, *map(float, losses.values())])
            names = tuple(losses)
            self.reducer.end_shard(dparams)
            del turn
        try:
            losses = self._combine_rows(rows, names)
        except NotFiniteError:
            self.reducer.wait_for_exchanges()
            raise
        return losses, nest(dparams, self.reducer.finish_turn(1.0 if self.is_sum else self.batch_weight))

    def _combine_rows(self, rows: list[list[float]], names: Sequence[str]) -> StepLosses:
        """Return the means of the losses over all shards, and set the values that are the same in all processes."""
        all_rows = self._gather_rows(rows, STATUS_COLUMNS + max(1, len(names)))
        stop_requests, check_due, examples, weights, *losses = zip(*all_rows, strict=True)
        # all processes stop in the same step, or some would wait for the others forever
        self.stop_requested = any(stop_requests)
        # only the first process reads its clock
        self.check_due = bool(check_due[0])
        for name, values in zip(names or ("loss",), losses, strict=False):
            for shard, value in enumerate(values):
                if not math.isfinite(value):
                    raise NotFiniteError(name, value, shard)
        self.n_examples = int(sum(examples))
        self.batch_weight = math.fsum(weights) or 1.0  # the sum is 0 if the loss ignores all examples
        divisors = LossDivisors([1.0] * self.shards, 1.0) if self.is_sum else LossDivisors(weights, self.batch_weight)
        return {
            name: self._divisors.get(name, divisors).mean(values) for name, values in zip(names, losses, strict=True)
        }


def _ignore_forward(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
    """Do nothing after the forward pass of a layer."""


def _turns_of_shard(
    step: TrainingStep, batch: Batch, lr: float, rng: torch.Generator, loss_factors: Mapping[str, float]
) -> Iterator[Gradients]:
    """Yield the turns of one shard; nothing is computed before the first call of `next`."""
    result = step.gradients(batch, lr, rng, loss_factors)
    if isinstance(result, tuple):
        single = [result]
        del result
        yield single.pop()  # without a reference here, so that the gradients are freed once they are added
    else:
        yield from result
