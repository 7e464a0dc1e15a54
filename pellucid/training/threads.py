"""The fastest number of PyTorch's CPU threads for a work that is repeated, such as training steps or predictions.

PyTorch's threads wait actively for each other: if other processes use the same processors, many threads can be slower
than one, by a factor of 20. Which number is fastest also depends on the network and the batch size, so it is measured.
"""

import statistics
from collections.abc import Callable, Sequence
from copy import copy
from time import perf_counter
from typing import Any, Literal, NamedTuple, cast

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import integer
from pellucid.base.text import note, plural, shown
from pellucid.data.loader import usable_processors
from pellucid.data.source import Arrays, Source
from pellucid.nested import map_tree
from pellucid.objective import seeded_generator
from pellucid.run.history import Row
from pellucid.training.cached import without_frozen_front
from pellucid.training.callbacks import Callback, Training
from pellucid.training.layer_statistics import seed_step
from pellucid.training.learner import Learner
from pellucid.training.process import torch_threads
from pellucid.training.reading import Augmentation, batch_loader
from pellucid.training.step import NotFiniteError, TrainingStep

Threads = int | Literal["auto"]
MAX_THREADS = 1024
MIN_ROUNDS, ROUNDS = 3, 5  # bursts of calls with each number of threads
ROUNDS_SECONDS = 2.0  # time after which there are no more rounds than MIN_ROUNDS
BURST_SECONDS = 0.05  # duration of a burst, which is at least one call
MAX_RATIO = 2.0  # a number of threads that takes this multiple of the shortest time is not measured again
WINDOW_SECONDS = 1.0  # time of work over which the throughput is averaged
MIN_THROUGHPUT = 0.7  # fraction of the highest throughput below which the threads are measured again
MEASURING_FRACTION = 0.05  # maximum fraction of the time for measurements after the first


class FastestThreads(NamedTuple):
    """The fastest number of threads for a work."""

    threads: int
    seconds: float = 0.0  # per call with this number of threads, 0 if unknown


def check_threads(subject: str, threads: object) -> None:
    """Raise PellucidError unless `threads` is a number of threads, 0 for PyTorch's number, or "auto"."""
    if threads != "auto" and not (type(threads) is int and 0 <= threads <= MAX_THREADS):
        raise PellucidError(
            f'{subject} must be "auto", or a whole number from 0 (PyTorch\'s own number) to {MAX_THREADS}, not '
            f"{shown(threads)}"
        )


def check_on_cpu(subject: str, device: torch.device) -> None:
    """Raise PellucidError for "auto" with a model on another device than the CPU."""
    if device.type != "cpu":
        raise PellucidError(f'{subject}: "auto" measures on the CPU, and the model is on {device}; leave it out')


def thread_counts() -> list[int]:
    """Return the numbers of threads to measure: 1, 2, 4, ... and the number of usable processors."""
    processors = usable_processors()
    return sorted({processors, *(2**k for k in range(processors.bit_length()))})


def fastest_threads(work: Callable[[], object]) -> FastestThreads:
    """Return the number of threads with which `work` takes the shortest median time; the process keeps its number.

    The numbers take turns in ROUNDS rounds, so that changes of the machine's load affect all of them.
    """
    times: dict[int, list[float]] = {n_threads: [] for n_threads in thread_counts()}
    start = perf_counter()
    for k in range(ROUNDS):
        if k >= MIN_ROUNDS and perf_counter() - start >= ROUNDS_SECONDS:
            break
        shortest = min(map(_median, times.values()))
        for n_threads in [n_threads for n_threads in times if _median(times[n_threads]) <= MAX_RATIO * shortest]:
            with torch_threads(n_threads):
                if k == 0:
                    work()  # not timed, since it also starts threads and prepares kernels
                times[n_threads].append(_seconds_per_call(work))
    fastest = min(times, key=lambda n_threads: _median(times[n_threads]))
    return FastestThreads(fastest, _median(times[fastest]))


def _median(times: Sequence[float]) -> float:
    # The shortest time would hide the waits for threads that the system has suspended, and one long burst would decide
    # a mean: other processes begin and end while the threads are measured.
    return statistics.median(times) if times else 0.0


def _seconds_per_call(work: Callable[[], object]) -> float:
    start = perf_counter()
    calls = 0
    while True:
        work()
        calls += 1
        seconds = perf_counter() - start
        if seconds >= BURST_SECONDS:
            return seconds / calls


def fastest_training_threads(
    model: Learner, data: Source, batch_size: int, augment: Augmentation | None
) -> FastestThreads:
    """Return the number of threads with which training steps of a model on a batch of the data are fastest.

    batch_size: the number of examples that are computed at once. The steps change a copy of the weights only, by a
    learning rate of 0; random numbers and the order of the data of a training are the same as without this.
    """
    measured_model: Any = copy(model)
    measured_model.params = map_tree(torch.clone, model.params)
    # `fit` trains only the layers after the frozen ones then, so these are measured
    if augment is None and model.frozen and isinstance(data, Arrays):
        sample = Arrays(data.x[:batch_size], data.y[:batch_size], data.classes)
        measured_model, data, _ = without_frozen_front(cast(Learner, measured_model), sample, validation=None)
    loader = batch_loader(measured_model, data, min(batch_size, len(data)), augment)
    batches = loader.epoch(0)
    batch = next(batches)
    del batches  # ends the loader's threads
    step = TrainingStep.of(measured_model, len(data))
    rng = seeded_generator(model.device)

    def train() -> None:
        # with a rate of 0 the loss cannot diverge
        step(batch, 0.0, seed_step(rng, model.seed, 0))

    try:
        with torch.inference_mode():
            return fastest_threads(train)
    except NotFiniteError:  # the first step of the training reports it, with its cause
        return FastestThreads(torch.get_num_threads())


class ThreadChoice:
    """The number of threads of a repeated work, which is measured again when the work becomes slower.

    count: the number.
    first: the number that was measured first; as long as another one is used after a drop, the threads are measured
        again from time to time, since the load that caused the drop may have ended.
    is_due: whether to measure again.
    """

    def __init__(self, fastest: FastestThreads, first: int = 0) -> None:
        self.count = fastest.threads
        self.first = first or fastest.threads
        self.is_measurement_due = False
        self._next_measurement_time = 0.0  # of the clock, before which nothing is measured
        # A drop is relative to the measured time: relative to the first window, a number that was chosen in a quiet
        # moment would stay if a load begins right after.
        self._restart(fastest.seconds)

    def _restart(self, seconds: float) -> None:
        self._best_throughput = 1 / seconds if seconds else 0.0
        self._window_calls = 0
        self._window_seconds = 0.0

    def add(self, calls: int, seconds: float) -> None:
        """Add calls of the work, and the seconds that they took."""
        self._window_calls += calls
        self._window_seconds += seconds
        if self._window_seconds < WINDOW_SECONDS:
            return
        throughput = self._window_calls / self._window_seconds
        self._window_calls = 0
        self._window_seconds = 0.0
        self._best_throughput = max(self._best_throughput, throughput)
        has_changed = throughput < MIN_THROUGHPUT * self._best_throughput or self.count != self.first
        self.is_measurement_due = has_changed and perf_counter() >= self._next_measurement_time

    def measure(self, measure: Callable[[], FastestThreads]) -> None:
        """Set the number of threads to the result of `measure`."""
        start = perf_counter()
        count_before = self.count
        self.count, seconds = measure()
        self._next_measurement_time = perf_counter() + (perf_counter() - start) / MEASURING_FRACTION
        self.is_measurement_due = False
        # With the same number, the drop has another cause, such as slow reading of the data: only a further one counts.
        self._restart(0.0 if self.count == count_before else seconds)


class AutoThreads(Callback):
    """Train with a measured number of threads, which checkpoints contain, so that a resumed training uses it again.

    fastest: the number. measure: a function that returns the number to use after a drop of the throughput; None for a
    training that must not depend on measured times, which then has the same number from its first step to its last.
    """

    def __init__(self, fastest: FastestThreads, measure: Callable[[], FastestThreads] | None) -> None:
        self.fastest = fastest
        self.measure = measure
        self._choice = ThreadChoice(fastest)
        self._last_added: tuple[int, float] | None = None  # the last step that was added, and its second of the epoch

    def on_start(self, training: Training) -> None:
        """Set the number of threads; `torch_threads` around the training restores the earlier number."""
        torch.set_num_threads(self._choice.count)
        self._last_added = None

    def on_tick(self, training: Training) -> None:
        """Measure again if the throughput has dropped."""
        self._add(training.step, training.seconds)
        if self._choice.is_measurement_due and self.measure is not None:
            before = self._choice.count
            self._choice.measure(self.measure)
            self._last_added = None  # the next tick's seconds contain the time of the measurement
            if self._choice.count != before:
                torch.set_num_threads(self._choice.count)
                note(f"{plural(self._choice.count, 'thread')} instead of {before} from step {training.step + 1:,}")

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Add the end of the epoch."""
        self._add(training.step, row["seconds"])
        self._last_added = training.step, 0.0

    def _add(self, step: int, seconds: float) -> None:
        if self._last_added is not None:
            last_step, last_seconds = self._last_added
            self._choice.add(step - last_step, seconds - last_seconds)
        self._last_added = step, seconds

    def state_dict(self) -> dict[str, Any]:
        """Return the number of threads, and the first one."""
        return {"threads": self._choice.count, "first": self._choice.first}

    def load_state_dict(self, state: Any) -> None:
        """Restore the numbers of threads."""
        count, first = (
            integer(state.get(name), f"checkpoint: {name} of AutoThreads", 1) for name in ("threads", "first")
        )
        self._choice = ThreadChoice(FastestThreads(count), first)
