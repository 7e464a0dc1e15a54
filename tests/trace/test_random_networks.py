"""Networks drawn by Hypothesis from all layers and combinators: traced, explained up to the loss, and nudged."""

import json
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from pellucid.layers import Layer
from pellucid.trace import Trace
from pellucid.trace.record import TracedElement
from tests.combine.random_networks import networks
from tests.combine.test_random_networks import inputs
from tests.oracle import Sample, difference, forward_backward
from tests.trace.oracle import assert_adds_up, autograd_gradients, draw_elements, trace_sample


@pytest.mark.heavy
@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(network=networks(), train=st.booleans(), batch=st.integers(2, 3), seed=st.integers(0, 99))
def test_random_networks_are_explained(network: tuple[Layer, Any], train: bool, batch: int, seed: int) -> None:
    net, shape = network
    sample = Sample(net, shape, train=train, make=inputs)
    trace = trace_sample(sample, batch)
    params, x = sample.inputs(batch)
    _, _, dx, dparams = forward_backward(net, params, x, sample.mode(), trace.dy)
    for path, leaf in dx.items():
        assert torch.equal(trace[f"dx.{path}".rstrip(".")], leaf), "the trace computes what training computes"
    for path, leaf in dparams.items():
        assert torch.equal(trace.gradients[path], leaf)
    expected = autograd_gradients(trace)
    assume(all(difference(trace[f"d{path}"], leaf) < 1e-9 for path, leaf in expected[0].items() if f"d{path}" in trace))
    elements = draw_elements(trace, per_tensor=1, seed=seed)
    for element in elements[:: max(1, len(elements) // 6)]:
        explanation = json.loads(json.dumps(trace.explain(element.label, top=None, expand=2).to_json()))
        for link in explanation["links"]:
            assert_adds_up(link)
        assert any(link["where"] == "loss" or not link["count"] for link in explanation["links"]), (
            "it goes to the loss or nowhere"
        )
        assert element.gradient == explanation["gradient"]
    compare_nudges(trace, elements[:: max(1, len(elements) // 4)])


def compare_nudges(trace: Trace, elements: list[TracedElement]) -> None:
    """Compare gradients with central differences of two nudges, unless the loss is not differentiable there."""
    for element in elements:
        if element.target.call is not None and not element.target.argument.startswith("x."):
            continue  # a single use of a parameter cannot be changed
        h = 1e-6
        up, down = trace.nudge(element.label, h), trace.nudge(element.label, -h)
        slope = (up.after - down.after) / (2 * h)
        kink = abs(up.actual + down.actual) / h
        rounding = 1e-13 * (abs(up.after) + 1) / h
        error = abs(slope - element.gradient)
        if error > 1e-5 * (1 + abs(element.gradient)) + rounding:
            event("corner")  # the one-sided slopes differ by about the error of the gradient
            assert kink > 0.2 * error, f"{element.label}: {element.gradient} is not {slope}"
