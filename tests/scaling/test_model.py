"""The model of scaling, compared with closed forms, scipy, and simulations of single messages."""

import json

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from benchmarks.scaling.large import BATCH, GPU_RATE, Cluster, buckets, slowest_of_normal
from benchmarks.scaling.model import (
    Link,
    Machine,
    all_gather,
    all_to_all,
    exact_step,
    median_slowest,
    overlapped,
    ring_all_reduce,
)
from benchmarks.scaling.page import page

MB = 1e6


@pytest.mark.parametrize("count", [2, 3, 4, 16, 512])
def test_ring_all_reduce_sends_each_gradient_almost_twice(count):
    sent = sum(100 * MB / count for _ in range(2 * (count - 1)))  # each message has 1 / count of the gradients
    assert ring_all_reduce(100 * MB, count, Link(1e9)) == pytest.approx(sent / 1e9, rel=1e-12)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_the_exchange_sends_as_much_as_a_ring_all_reduce(count):
    link = Link(1e9)
    exchange = all_to_all(16 * MB, count, link) + all_gather(16 * MB / count, count, link)
    assert exchange == pytest.approx(ring_all_reduce(16 * MB, count, link), rel=1e-12)


def test_a_single_process_sends_no_gradients():
    assert all_gather(MB, 1, Link(1.0)) == all_to_all(MB, 1, Link(1.0)) == ring_all_reduce(MB, 1, Link(1.0)) == 0.0


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_median_slowest_equals_the_median_of_the_maximum(count):
    samples = stats.gamma(4).ppf(np.linspace(0, 1, 20_002)[1:-1]).tolist()  # evenly spaced, skewed distribution
    expected = optimize.brentq(lambda x: stats.gamma(4).cdf(x) ** count - 0.5, 0, 100)
    assert median_slowest(samples, count) == pytest.approx(expected, rel=1e-3)
    assert median_slowest([0.3, 0.1, 0.2], 1) == pytest.approx(np.median([0.3, 0.1, 0.2]))


@pytest.mark.parametrize("count", [1, 2, 3, 64, 512])
def test_slowest_of_normal_equals_scipys_integral(count):
    def density(x):
        return x * count * stats.norm.pdf(x) * stats.norm.cdf(x) ** (count - 1)

    assert slowest_of_normal(count) == pytest.approx(integrate.quad(density, -12, 12)[0], abs=1e-6)


def test_overlap_equals_a_simulation_of_two_queues():
    rng = np.random.default_rng(0)
    for _ in range(20):
        forward, durations = rng.uniform(0, 1), rng.uniform(0, 1, (5, 2))
        ready_times = forward + np.cumsum(durations[:, 0])
        free_time = 0.0
        for ready_time, (_, duration) in zip(ready_times, durations, strict=True):
            free_time = max(ready_time, free_time) + duration
        assert overlapped(forward, [tuple(part) for part in durations]) == pytest.approx(
            max(free_time, ready_times[-1]), rel=1e-12
        )
    assert overlapped(1.0, [(2.0, 0.0), (3.0, 0.0)]) == 6.0


def test_a_transfer_within_the_burst_takes_no_time():
    link = Link(1e6, burst=1e5)
    assert link.transfer(1e5) == 0.0
    assert link.transfer(3e5) == pytest.approx(0.2)


def test_more_processes_than_cores_slow_each_other_down():
    machine = Machine(1e-9, 1e-9, 1e-9, cores=2)
    times = [exact_step([0.1], 0.0, 0.0, count, machine, Link(1e9)) for count in (1, 2, 4, 8)]
    assert times == pytest.approx([0.1, 0.1, 0.2, 0.4])


def test_delays_are_counted_for_readiness_and_for_each_message():
    link = Link(1e12, delay=1.0)  # measured with gloo for two processes: 2 delays, 4 for an exchange and for a ring
    times = [operation(1.0, 2, link) for operation in (all_gather, all_to_all, ring_all_reduce)]
    assert times == pytest.approx([2.0, 2.0, 4.0])
    assert all_gather(1.0, 5, link) == pytest.approx(5.0)


def test_the_time_of_copies_depends_on_the_number_of_processes():
    machine = Machine(scale=1e-9, divide=2e-9, add=4e-9, cores=2)
    assert machine.copies(1e6, 1) == pytest.approx(3e-3)
    assert machine.copies(1e6, 4) == pytest.approx(6e-3)


def test_buckets_of_resnet50_contain_all_parameters_and_computation():
    assert sum(size for _, size in buckets()) == 4 * 25_557_032  # float32 parameters of torchvision's resnet50
    assert sum(part for part, _ in buckets()) == pytest.approx(1)


def test_the_limiting_factor_of_a_cluster_is_named():
    assert Cluster(1, 10e9).step() == pytest.approx(BATCH / GPU_RATE)
    assert Cluster(64, 1e15).limit() == "computing"
    assert Cluster(64, 1e9).limit() == "network"
    assert Cluster(64, 100e9, cores=8).limit() == "decoding"
    assert Cluster(64, 100e9, cores=8).rate() == pytest.approx(8 * 8 * 273)
    assert Cluster(512, 1e15, spread=0.2).limit() == "waiting for the slowest GPU"
    slow, fast = Cluster(64, 10e9), Cluster(64, 20e9)
    assert slow.purchases()["twice the network"] == pytest.approx(fast.rate() / slow.rate())


def test_the_page_has_the_errors_of_the_predictions():
    rows = [
        {"network": "mlp", "setting": "a", "predicted": 1.1, "measured": 1.0},
        {"network": "mlp", "setting": "b", "predicted": 0.7, "measured": 1.0},
    ]
    result = page({"validation": {"links mlp": {"measured": "today", "rows": rows}}})
    assert "| mlp | b | 700.0 ms | 1,000.0 ms | -30 % |" in result
    assert "| mlp | a |" not in result  # within 15 %
    assert "| exact sum (Pellucid), and one process | 1 of 2 | 20 % | 30 % |" in result


def test_the_committed_page_is_generated_from_its_json_file():
    from benchmarks.scaling.page import DOCS, predictions

    results = json.loads((DOCS / "scaling.json").read_text(encoding="utf-8"))
    assert (DOCS / "scaling.md").read_text(encoding="utf-8") == page(results)
    assert results["predictions"] == json.loads(json.dumps(predictions()))
