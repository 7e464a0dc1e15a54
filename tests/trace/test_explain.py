"""The printed sums of products of every explanation, recomputed as fractions, equal autograd's gradient."""

import json
import math
import re
from typing import Any

import pytest
import torch

from pellucid.layers import GRU, LAYERS, LSTM, RNN, SoftArgmax
from pellucid.trace.columns import explainer
from pellucid.trace.columns.base import fallback
from tests.cases import each_sample
from tests.combine.samples import NETWORKS
from tests.layers.samples import SAMPLES
from tests.oracle import Sample, difference
from tests.trace.oracle import assert_adds_up, autograd_gradients, draw_elements, trace_sample

BATCH = 2


def explain_as_json(trace: Any, name: str, **options: Any) -> dict[str, Any]:
    """Explain an element and return its explanation as parsed from JSON."""
    return json.loads(json.dumps(trace.explain(name, top=None, **options).to_json(), allow_nan=False))


@pytest.mark.slow
@each_sample([*SAMPLES, *NETWORKS.values()])
def test_products_add_up_to_the_gradient(sample: Sample) -> None:
    trace = trace_sample(sample, BATCH)
    for element in draw_elements(trace, per_tensor=2):
        explanation = explain_as_json(trace, element.label)
        assert explanation["exact"], element.label
        assert explanation["value"] == element.value
        assert explanation["gradient"] == element.gradient
        for link in explanation["links"]:
            assert_adds_up(link)


@pytest.mark.slow
@each_sample([*SAMPLES[::3], *NETWORKS.values()])
def test_products_add_up_in_float32(sample: Sample) -> None:
    trace = trace_sample(sample, BATCH, torch.float32)
    for element in draw_elements(trace, per_tensor=1):
        explanation = explain_as_json(trace, element.label)
        assert explanation["dtype"] == "float32"
        for link in explanation["links"]:
            assert_adds_up(link, 2**-23)


@each_sample([*SAMPLES, *NETWORKS.values()])
def test_the_gradients_are_those_of_autograd(sample: Sample) -> None:
    trace = trace_sample(sample, BATCH)
    dx, dparams = autograd_gradients(trace)
    assert trace.gradients.keys() <= dparams.keys()
    actual = {path: trace[f"d{path}"] for path in dx if f"d{path}" in trace} | trace.gradients
    for path, expected in {**dx, **dparams}.items():  # unused tensors have no gradient: it is 0
        assert difference(actual.get(path, torch.zeros_like(expected)), expected) < 1e-9, path


@each_sample([*SAMPLES, *NETWORKS.values()])
def test_an_activation_is_the_sum_of_its_products(sample: Sample) -> None:
    trace = trace_sample(sample, BATCH)
    for element in draw_elements(trace, per_tensor=2):
        inputs = explain_as_json(trace, element.label, expand=0).get("made_of")
        if inputs is None:
            continue
        assert inputs["count"] == len(inputs["inputs"])
        if inputs["linear"]:
            products = [part["value"] * part["slope"] for part in inputs["inputs"]]
            magnitude = sum(map(abs, products)) + abs(inputs["constant"])
            tolerance = (len(products) + 8) * 2**-52 * magnitude
            assert sum(products) + inputs["constant"] == pytest.approx(element.value, rel=0, abs=tolerance)


SMOOTH_SAMPLES = [sample for sample in SAMPLES if sample.smooth]


@each_sample(SMOOTH_SAMPLES)
def test_the_factors_of_a_layer_equal_gradients_of_one_hot_outputs(sample: Sample) -> None:
    """The Jacobian column of each rule, against the layer's backward pass for one one-hot dy after the other."""
    trace = trace_sample(sample, BATCH)
    call = trace.calls[0]
    tensors = {f"x.{part}": value.tensor for part, value in enumerate(call.inputs)} | call.params
    for argument, tensor in tensors.items():
        if argument in sample.layer.buffers or not tensor.is_floating_point():
            continue
        index = tensor.numel() // 2
        columns = []
        for rule in (explainer(sample.layer, argument), fallback):
            column = rule(call, argument, index)
            slopes = torch.ones(len(column.output_positions), dtype=torch.float64)
            for factors in column.factors:
                slopes = slopes * factors.values
            columns.append(
                torch.zeros(call.y.numel(), dtype=torch.float64).index_add(0, column.output_positions, slopes)
            )
        assert difference(*columns) < 1e-12, argument


def test_every_layer_has_an_explanation() -> None:
    layers = {type(sample.layer): sample.layer for sample in SAMPLES}
    assert layers.keys() == set(LAYERS)
    # Each output of these depends on a full map or on all steps before it, so that a few factors explain no more than
    # the derivative.
    unexplained = {kind for kind, layer in layers.items() if explainer(layer) is fallback}
    assert unexplained == {GRU, LSTM, RNN, SoftArgmax}, "add the others to pellucid/trace/columns/__init__.py"


def test_a_gradient_of_one_product_equals_it_to_the_last_bit() -> None:
    from pellucid.combine import Sequential
    from pellucid.layers import Dense, Sigmoid

    trace = trace_sample(Sample(Sequential(Dense(4), Sigmoid(), Dense(3)), (5,)), batch=1)
    for name, n_factors in {"dense1.weight[2, 3]": 2, "dense2.weight[0, 3]": 2, "dense1.bias[1]": 1}.items():
        link = explain_as_json(trace, name)["links"][0]
        assert link["count"] == 1
        assert len(link["terms"][0]["factors"]) == n_factors
        assert math.prod(factor["value"] for factor in link["terms"][0]["factors"]) == link["gradient"]


@each_sample([*SAMPLES, *NETWORKS.values()])
def test_every_explanation_can_be_written_in_latex(sample: Sample) -> None:
    trace = trace_sample(sample, BATCH)
    for element in draw_elements(trace, per_tensor=1):
        text = trace.explain(element.label, top=None).latex()
        assert text.isascii(), text
        unescaped = text.replace(r"\{", "").replace(r"\}", "").replace(r"\$", "")
        assert unescaped.count("{") == unescaped.count("}")
        assert all(piece.count("$") % 2 == 0 for piece in re.findall(r"\\text\{(?:[^{}]|\{[^{}]*\})*\}", unescaped))


def test_products_that_are_not_listed_are_reported_as_one_sum() -> None:
    from pellucid.layers import Conv2d

    trace = trace_sample(Sample(Conv2d(2, 3, padding=1), (2, 6, 6)))
    full = trace.explain("weight[1, 0, 2, 2]", top=None).links[0]
    truncated = trace.explain("weight[1, 0, 2, 2]", top=4).links[0]
    assert truncated.count == len(full.terms) == 2 * 5 * 5
    assert truncated.terms == full.terms[:4] or [term.value for term in truncated.terms] == [
        term.value for term in full.terms[:4]
    ]
    sizes = [abs(term.value) for term in full.terms]
    assert sizes == sorted(sizes, reverse=True)
    assert truncated.rest == pytest.approx(sum(term.value for term in full.terms[4:]), rel=1e-12)
    assert truncated.total == full.total


def test_a_window_of_zeros_has_derivative_zero() -> None:
    """The p-norm is not differentiable at 0; its gradient is 0 by convention, not 0 times infinity."""
    from pellucid.layers import LpPool2d

    zeros = Sample(LpPool2d(2), (1, 4, 4), make=lambda shape, rng: torch.zeros(shape, dtype=torch.float64))
    link = explain_as_json(trace_sample(zeros), "x[0, 0, 1, 1]")["links"][0]
    assert link["gradient"] == 0
    assert link["count"] == 0
    assert link["exact"]
