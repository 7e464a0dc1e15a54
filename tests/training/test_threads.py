"""The number of threads of trainings and predictions: its measurement, by a clock of the test, and its effects."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.model import Model
from pellucid.training import engines, threads
from pellucid.training.callbacks import Callback, Training
from pellucid.training.threads import (
    AutoThreads,
    FastestThreads,
    ThreadChoice,
    fastest_threads,
    fastest_training_threads,
)
from tests.training.small import StopAt, Stopped, digits, small_conv, small_mlp


class Clock:
    """A clock that only `work` advances: by the seconds of a call with the current number of threads."""

    def __init__(self) -> None:
        self.now = 0.0
        self.seconds = {1: 1.0, 2: 1.0, 4: 1.0, 6: 1.0}
        self.calls: list[int] = []

    def __call__(self) -> float:
        return self.now

    def work(self) -> None:
        count = torch.get_num_threads()
        self.calls.append(count)
        self.now += self.seconds[count]


@pytest.fixture(autouse=True)
def restored_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of the measurements on a machine with six processors."""
    clock = Clock()
    monkeypatch.setattr(threads, "usable_processors", lambda: 6)
    monkeypatch.setattr(threads, "perf_counter", clock)
    monkeypatch.setattr(engines, "perf_counter", clock)
    return clock


class ThreadsOfSteps(Callback):
    """Collects the number of threads after each step."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def on_step(self, training: Training) -> None:
        self.numbers.append(torch.get_num_threads())


@pytest.mark.parametrize(("processors", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_powers_of_two_and_all_processors_are_measured(
    monkeypatch: pytest.MonkeyPatch, processors: int, counts: list[int]
) -> None:
    monkeypatch.setattr(threads, "usable_processors", lambda: processors)
    assert threads.thread_counts() == counts


@pytest.mark.parametrize("fastest", [1, 2, 4, 6])
def test_the_number_with_the_shortest_time_is_the_fastest(clock: Clock, fastest: int) -> None:
    torch.set_num_threads(3)
    clock.seconds[fastest] = 0.75
    assert fastest_threads(clock.work) == (fastest, 0.75)
    assert torch.get_num_threads() == 3


def test_the_load_of_one_round_does_not_change_the_number(clock: Clock) -> None:
    clock.seconds = {1: 1.0, 2: 0.4, 4: 0.5, 6: 0.6}

    def work() -> None:
        clock.work()
        if clock.calls.count(2) == 3:  # one slow call with the fastest number
            clock.now += 100.0

    assert fastest_threads(work).threads == 2


def test_numbers_that_take_twice_the_time_are_measured_in_the_first_round_only(clock: Clock) -> None:
    clock.seconds = {1: 0.06, 2: 0.07, 4: 0.11, 6: 0.13}
    assert fastest_threads(clock.work).threads == 1
    # One unmeasured call and a burst of one call in the first round, then one call in each round.
    assert [clock.calls.count(count) for count in (1, 2, 4, 6)] == [6, 6, 6, 2]


def test_slow_steps_are_measured_in_three_rounds(clock: Clock) -> None:
    assert fastest_threads(clock.work).threads == 1  # the first of equal ones
    assert [clock.calls.count(count) for count in (1, 2, 4, 6)] == [4, 4, 4, 4]


def test_a_drop_of_the_throughput_makes_a_measurement_due(clock: Clock) -> None:
    choice = ThreadChoice(FastestThreads(4))
    for images in (100, 120, 90, 85):  # 85 / 120 = 0.708
        choice.add(images, 1.0)
        assert not choice.is_measurement_due
    choice.add(83, 1.0)  # 83 / 120 = 0.692
    assert choice.is_measurement_due
    choice.measure(lambda: FastestThreads(4, 0.001))
    assert not choice.is_measurement_due
    choice.add(30, 1.0)  # the throughput after a measurement is the new reference
    assert not choice.is_measurement_due


def test_a_load_that_begins_right_after_a_measurement_is_noticed(clock: Clock) -> None:
    choice = ThreadChoice(FastestThreads(4, 0.01))
    choice.add(69, 1.0)  # of 100 calls a second
    assert choice.is_measurement_due
    choice.measure(lambda: FastestThreads(1, 0.02))
    choice.add(36, 1.0)  # of 50
    assert choice.is_measurement_due  # since the first number may be the fastest again
    choice.measure(lambda: FastestThreads(4, 0.01))
    choice.add(71, 1.0)
    assert not choice.is_measurement_due
    choice.add(69, 1.0)
    assert choice.is_measurement_due


def test_short_work_is_averaged_over_a_second(clock: Clock) -> None:
    choice = ThreadChoice(FastestThreads(4))
    choice.add(100, 1.0)
    for _ in range(9):
        choice.add(1, 0.1)
        assert not choice.is_measurement_due
    choice.add(1, 0.11)
    assert choice.is_measurement_due


def test_after_a_drop_the_threads_are_measured_until_the_first_number_is_fastest_again(clock: Clock) -> None:
    def measure(count: int) -> Callable[[], FastestThreads]:
        def fastest() -> FastestThreads:
            clock.now += 2.0  # so that 40 seconds must pass before the next measurement
            return FastestThreads(count)

        return fastest

    choice = ThreadChoice(FastestThreads(4))
    choice.add(100, 1.0)
    choice.add(10, 1.0)
    choice.measure(measure(1))
    for now, is_due in ((10.0, False), (41.9, False), (42.1, True)):
        clock.now = now
        choice.add(50, 1.0)
        assert choice.is_measurement_due == is_due
    choice.measure(measure(4))
    clock.now = 1000.0
    choice.add(100, 1.0)
    assert (choice.count, choice.is_measurement_due) == (4, False)


@pytest.mark.parametrize("make", [small_mlp, small_conv])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_measurement_changes_no_bit_of_the_training(make: Callable[..., Model], frozen: bool) -> None:
    hashes: list[str] = []
    for is_measured in (False, True):
        model = make(input_shape=(1, 8, 8), classes=10, seed=3)
        if frozen:
            model.freeze("features.*" if make is small_mlp else "conv.*")
        random_state = torch.get_rng_state()
        before = model.sha256()
        if is_measured:
            assert fastest_training_threads(model, digits(), 30, None).threads in threads.thread_counts()
        assert model.sha256() == before
        assert torch.equal(torch.get_rng_state(), random_state)
        model.fit(digits(), epochs=2, batch_size=30, verbose=False)
        hashes.append(model.sha256())
    assert hashes[0] == hashes[1]


def test_a_loss_that_is_nan_is_reported_by_the_training_not_by_the_measurement() -> None:
    data = digits()
    data.x[:] = float("nan")
    assert fastest_training_threads(small_mlp(input_shape=(1, 8, 8)), data, 30, None) == (torch.get_num_threads(), 0.0)


def test_a_resumed_training_takes_the_number_of_its_checkpoint(tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 2, "batch_size": 30, "run": tmp_path, "verbose": False}
    with pytest.raises(Stopped):
        small_conv().fit(digits(), callbacks=[AutoThreads(FastestThreads(2), None), StopAt(15)], **options)
    steps = ThreadsOfSteps()
    small_conv().fit(digits(), callbacks=[AutoThreads(FastestThreads(3), None), steps], resume=True, **options)
    assert {*steps.numbers} == {2}


def test_a_drop_changes_the_threads_of_a_training_with_measure_only(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for measure, expected in ((None, 4), (lambda: FastestThreads(1), 1)):
        callback = AutoThreads(FastestThreads(4), measure)
        training = Training(small_mlp(), epochs=2, batches=100, batch_size=10)
        callback.on_start(training)
        for steps in (100, 100, 10, 10):
            training.step, training.seconds = training.step + steps, training.seconds + 1
            callback.on_tick(training)
        assert torch.get_num_threads() == expected
    assert capsys.readouterr().err == "pellucid: 1 thread instead of 4 from step 211\n"
    assert callback.state_dict() == {"threads": 1, "first": 4}
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(("slow_epoch", "expected"), [(-1, 4), (7, 1)])
def test_the_throughput_is_that_of_all_epochs_without_their_evaluation(
    clock: Clock, slow_epoch: int, expected: int
) -> None:
    callback = AutoThreads(FastestThreads(4), lambda: FastestThreads(1))
    training = Training(small_mlp(), epochs=9, batches=10, batch_size=10)
    callback.on_start(training)
    for epoch in range(9):
        clock.now += 100.0  # of an evaluation
        seconds = 2.0 if epoch == slow_epoch else 0.6
        training.step, training.seconds = 10 * epoch + 4, 0.4 * seconds
        callback.on_tick(training)
        training.epoch, training.step, training.seconds = epoch + 1, 10 * epoch + 10, 0.0
        callback.on_epoch_end(training, {"seconds": seconds})
    assert torch.get_num_threads() == expected


def test_predictions_with_measured_threads_are_those_of_the_model() -> None:
    model, before = small_conv(input_shape=(1, 8, 8), classes=10), torch.get_num_threads()
    predict = model.predictor(threads="auto")
    assert predict.threads == 0
    for count in (1, 7):
        x = digits().x[:count]
        torch.testing.assert_close(predict(x), model.predict(x), rtol=1e-5, atol=1e-6)
        assert predict.threads in threads.thread_counts()
    assert torch.get_num_threads() == before


def test_a_given_number_of_threads_computes_the_predictions() -> None:
    model = small_conv(input_shape=(1, 8, 8), classes=10)
    predict, numbers = model.predictor(threads=2), list[int]()
    run = predict._run_functions["pellucid"]
    predict._run_functions["pellucid"] = lambda x: (numbers.append(torch.get_num_threads()), run(x))[1]
    torch.set_num_threads(1)
    predict(digits().x[:2])
    assert (numbers, torch.get_num_threads()) == ([2], 1)


def test_predictions_of_each_shape_have_their_number_which_a_drop_changes(clock: Clock) -> None:
    predict = small_conv(input_shape=(1, 8, 8), classes=10).predictor(threads="auto")
    run = predict._run_functions["pellucid"]
    seconds = {1: {1: 0.1, 2: 0.2, 4: 0.2, 6: 0.2}, 64: {1: 0.3, 2: 0.2, 4: 0.1, 6: 0.2}}

    def delayed(x: torch.Tensor) -> torch.Tensor:
        clock.seconds = seconds[len(x)]
        clock.work()
        return run(x)

    predict._run_functions["pellucid"] = delayed
    for count, expected in ((1, 1), (64, 4), (1, 1)):
        predict(digits().x[:count])
        assert predict.threads == expected
    for _ in range(10):
        predict(digits().x[:64])
    assert predict.threads == 4
    seconds[64] = {1: 0.3, 2: 0.4, 4: 5.0, 6: 9.0}  # other processes use the processors
    predict(digits().x[:64])
    predict(digits().x[:64])
    assert predict.threads == 1
    predict(digits().x[:1])
    assert predict.threads == 1


@pytest.mark.parametrize("number", ["fast", -1, 1025, 1.5, True, None])
def test_invalid_numbers_of_threads_are_refused(number: Any) -> None:
    model = small_mlp(input_shape=(1, 8, 8))
    with pytest.raises(PellucidError, match=r'predictor: threads must be "auto", or a whole number from 0 .*, not'):
        model.predictor(threads=number)


@pytest.mark.parametrize("engine", ["onnxruntime", "auto"])
@pytest.mark.parametrize("number", [1, "auto"])
def test_threads_of_another_engine_are_refused(engine: str, number: Any) -> None:
    model = small_mlp(input_shape=(1, 8, 8))
    with pytest.raises(PellucidError, match='predictor: threads needs engine="pellucid"'):
        model.predictor(engine, threads=number)


def test_measured_threads_on_a_gpu_are_refused() -> None:
    with pytest.raises(PellucidError, match='predictor: threads: "auto" measures on the CPU, and the model is on cuda'):
        threads.check_on_cpu("predictor: threads", torch.device("cuda"))
