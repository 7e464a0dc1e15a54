"""Networks made by hypothesis from all layers and combinators: traced, explained from end to end, and nudged."""

import json
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from pellucid.layers import Layer
from pellucid.trace import Trace
from pellucid.trace.record import TracedNumber
from tests.combine.random_networks import networks
from tests.combine.test_random_networks import inputs
from tests.oracle import Sample, difference, ours
from tests.trace.oracle import assert_adds_up, by_autograd, numbers, traced


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(network=networks(), train=st.booleans(), batch=st.integers(2, 3), seed=st.integers(0, 99))
def test_random_networks_are_explained(network: tuple[Layer, Any], train: bool, batch: int, seed: int) -> None:
    net, shape = network
    sample = Sample(net, shape, train=train, make=inputs)
    trace = traced(sample, batch)
    params, x = sample.inputs(batch)
    _, _, dx, dparams = ours(net, params, x, sample.mode(), trace.dy)
    for path, leaf in dx.items():
        assert torch.equal(trace[f"dx.{path}".rstrip(".")], leaf), "the trace computes what training computes"
    for path, leaf in dparams.items():
        assert torch.equal(trace.gradients[path], leaf)
    expected = by_autograd(trace)
    assume(all(difference(trace[f"d{path}"], leaf) < 1e-9 for path, leaf in expected[0].items() if f"d{path}" in trace))
    drawn = numbers(trace, each=1, seed=seed)
    for number in drawn[:: max(1, len(drawn) // 6)]:
        it = json.loads(json.dumps(trace.explain(number.label, top=None, expand=2).to_json()))
        for link in it["links"]:
            assert_adds_up(link)
        assert any(link["where"] == "loss" or not link["count"] for link in it["links"]), (
            "it goes to the loss or nowhere"
        )
        assert number.gradient == it["gradient"]
    compare_nudges(trace, drawn[:: max(1, len(drawn) // 4)])


def compare_nudges(trace: Trace, drawn: list[TracedNumber]) -> None:
    """Hold gradients against central differences made of two nudges, but where the loss has a corner."""
    for number in drawn:
        if number.target.call is not None and not number.target.what.startswith("x."):
            continue  # one use of a parameter cannot move alone
        h = 1e-6
        above, below = trace.nudge(number.label, h), trace.nudge(number.label, -h)
        slope = (above.after - below.after) / (2 * h)
        bend = abs(above.actual + below.actual) / h
        noise = 1e-13 * (abs(above.after) + 1) / h
        error = abs(slope - number.gradient)
        if error > 1e-5 * (1 + abs(number.gradient)) + noise:
            event("corner")  # the slopes on both sides differ, by about as much as the gradient is off
            assert bend > 0.2 * error, f"{number.label}: {number.gradient} is not {slope}"
