"""Traces: names of tensors, derivatives of shared values, and errors."""

import copy
import re
from typing import Any

import pytest
import torch

from pellucid import Mode
from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.layers import Add, BatchNorm, Concat, Conv2d, Dense, Dropout, Identity, ReLU, Tanh
from pellucid.losses import Quadratic
from pellucid.model import Model
from pellucid.optim.regularizers import L1, L2
from pellucid.trace import PassSettings, Trace, trace
from tests.oracle import Sample
from tests.trace.oracle import trace_sample


def test_every_tensor_of_a_layer_has_a_name() -> None:
    record = trace_sample(Sample(Sequential(conv1=Conv2d(2, 3), relu1=ReLU()), (1, 4, 4)))
    assert record.names() == (
        "x", "conv1.x", "conv1.weight", "conv1.dweight", "conv1.bias", "conv1.dbias", "conv1.cache.x", "conv1.y",
        "conv1.dy", "conv1.dx", "relu1.x", "relu1.cache.y", "relu1.y", "relu1.dy", "relu1.dx", "y", "dy", "dx",
        "target", "loss.cost", "loss",
    )  # fmt: skip
    assert record.names("dparams") == ("conv1.dweight", "conv1.dbias")
    assert record.names("cache") == ("conv1.cache.x", "relu1.cache.y")
    assert record.tensors["conv1.dweight"].path == "conv1"
    assert torch.equal(record["conv1.y"], record["relu1.x"])
    assert torch.equal(record["conv1.dy"], record["relu1.dx"])
    assert torch.equal(record["dx"], record["conv1.dx"])
    assert float(record["conv1.weight[1, 0, -1, 2]"]) == float(record["conv1.weight"][1, 0, 2, 2])
    assert "conv1.dy" in record
    assert "conv9.dy" not in record


def test_a_layer_that_runs_several_times_has_numbered_calls_whose_gradients_add_up() -> None:
    net = Graph({"a": (Dense(3), "input"), "t": (Tanh(), "a"), "b": ("a", "t"), "s": (Add(), "b", "a")}, ("s",))
    record = trace_sample(Sample(net, (3,)))
    assert {"a:1.y", "a:2.y", "a:1.dweight", "a:2.dweight", "a.dweight", "a.weight"} <= set(record.names())
    assert "a.y" not in record
    torch.testing.assert_close(record["a:1.dweight"] + record["a:2.dweight"], record["a.dweight"])
    summed = record.explain("a.weight[1, 2]")
    assert [term.factors[0].name for term in summed.links[0].terms] in (
        ["a:1.dweight", "a:2.dweight"],
        ["a:2.dweight", "a:1.dweight"],
    )
    assert summed.gradient == float(record["a.dweight[1, 2]"])
    second_use = record.explain("a:2.weight[1, 2]")
    assert second_use.gradient == float(record["a:2.dweight[1, 2]"])
    with pytest.raises(PellucidError, match="one use of a shared parameter"):
        record.nudge("a:2.weight[1, 2]")
    first_output = record.explain("a:1.y[0, 1]").links[0]
    assert "2 layers or losses receive this value" in first_output.words


def test_gradients_of_the_uses_of_a_shared_layer_add_up() -> None:
    net = Sequential(heads=Fork(Dense(3), Sequential(Dense(3), ReLU())), tower=Shared(Dense(2)), join=Concat())
    record = trace_sample(Sample(net, (4,)))
    torch.testing.assert_close(
        record["tower.layer:1.dweight"] + record["tower.layer:2.dweight"], record["tower.layer.dweight"]
    )
    assert record["heads.y.1"].shape == (2, 3)
    assert record.explain("heads.dense1.weight[0, 0]").exact


def test_a_value_keeps_its_name_after_an_identity_layer() -> None:
    record = trace_sample(Sample(Parallel((Identity(), Identity()), Add()), (3,)))
    first = record.explain("x[0, 1]").links[0]
    assert [term.factors[0].name for term in first.terms] == ["identity1.dx", "identity2.dx"]
    assert record.explain("identity2.y[0, 1]").links[0].where == "merge"


def test_an_unused_parameter_has_no_gradient() -> None:
    net = Graph({"used": (Dense(2), "input"), "idle": (Dense(2), "input")}, ("used",))
    record = trace_sample(Sample(net, (3,)))
    assert "idle.y" in record
    assert "idle.dy" not in record
    explanation = record.explain("idle.weight[0, 0]")
    assert explanation.gradient == 0
    assert explanation.exact
    assert "does not depend" in explanation.links[0].words
    assert record.nudge("idle.weight[0, 0]", 1.0).actual == 0


def test_evaluation_applies_no_dropout() -> None:
    net = Sequential(first=Dense(3), drop=Dropout(0.5), last=Dense(2))
    model = Model(net, Quadratic(), input_shape=(4,), metrics=())
    x, y = torch.rand(2, 4), torch.rand(2, 2)
    assert "no value is dropped" in str(trace(model, x, y).explain("first.weight[0, 0]"))
    trained = trace(model, x, y, train=True)
    text = "".join(str(trained.explain(f"first.weight[{unit}, 0]")) for unit in range(3))
    assert "no value is dropped" not in text
    assert "it was kept and scaled by 2" in text


def test_training_mode_draws_the_same_mask_for_a_seed_and_leaves_statistics_unchanged() -> None:
    net = Sequential(Dense(6), BatchNorm(), Dropout(0.5), Dense(2))
    model = Model(net, Quadratic(), input_shape=(4,), metrics=(), seed=3)
    before = copy.deepcopy(model.weights)
    x, y = torch.rand(8, 4), torch.rand(8, 2)
    first, second = (trace(model, x, y, train=True, seed=5) for _ in range(2))
    assert torch.equal(first["dropout1.cache.mask"], second["dropout1.cache.mask"])
    assert not first["dropout1.cache.mask"].all()
    assert not torch.equal(first["dropout1.cache.mask"], trace(model, x, y, train=True, seed=6)["dropout1.cache.mask"])
    assert first.nudge("dense2.bias[0]", 1e-3).before == first.loss
    assert all(torch.equal(model.weights[path], leaf) for path, leaf in before.items())
    with pytest.raises(PellucidError, match="running statistic"):
        first.explain("batchnorm1.running_mean[0]")


def test_a_float32_trace_has_the_values_of_the_model() -> None:
    model = Model(Sequential(Dense(5), Tanh(), Dense(3)), input_shape=(4,), classes=3)
    x, y = torch.rand(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    record = trace(model, x, y, dtype=torch.float32)
    assert torch.equal(record["y"], model.net.forward(model.params, x, Mode())[0])
    assert record.explain("dense1.weight").exact
    with pytest.raises(PellucidError, match="dtype must be"):
        trace(model, x, y, dtype=torch.bfloat16)


def test_regularizers_have_their_own_gradient() -> None:
    net = Sequential(Dense(3), Dense(2))
    model = Model(net, Quadratic(), input_shape=(4,), metrics=(), regularizer=[L2(0.5), L1(0.1)])
    record = trace(model, torch.rand(5, 4), torch.rand(5, 2), n=20)
    w = {path: leaf.double() for path, leaf in model.weights.items() if path.endswith("weight")}
    cost = sum(0.5 / 40 * float((weight**2).sum()) + 0.1 / 20 * float(weight.abs().sum()) for weight in w.values())
    assert record.regularizer == pytest.approx(cost, rel=1e-12)
    assert float(record["cost"]) == pytest.approx(record.loss + cost, rel=1e-12)
    expected = 0.5 / 20 * w["dense2.weight"] + 0.1 / 20 * w["dense2.weight"].sign()
    torch.testing.assert_close(record["dense2.dweight.regularizer"], expected)
    link = record.explain("dense2.weight[1, 2]").links[0]
    assert [term.factors[0].role for term in link.terms].count("penalty") == 2
    assert link.gradient == pytest.approx(float(record["dense2.dweight"][1, 2] + expected[1, 2]), rel=1e-12)
    assert record.explain("dense2.bias[1]").links[0].where == "dense2"
    change = record.nudge("dense2.weight[1, 2]", 1e-6)
    assert change.actual == pytest.approx(change.predicted, rel=1e-4)


MISTAKES = {
    "dense3.weight[0, 0]": "did you mean 'dense2.weight'",
    "dense2.weight[0]": "2 axes",
    "dense2.weight[0, 99]": "from 0 to 2",
    "dense2.weight[a, 0]": "not an index",
    "dense2.weight[0, 0": "is not a tensor's name",
    "loss.cost[0]": "is an intermediate result",
}


@pytest.mark.parametrize("name", MISTAKES)
def test_unknown_tensors_and_invalid_indices_are_reported_in_one_line(name: str) -> None:
    record = trace_sample(Sample(Sequential(Dense(3), Dense(2)), (4,)))
    with pytest.raises(PellucidError, match=MISTAKES[name]) as caught:
        record.explain(name)
    assert "\n" not in str(caught.value)


def test_data_that_do_not_fit_are_refused() -> None:
    model = Model(Sequential(Dense(3)), classes=3)
    with pytest.raises(PellucidError, match="no weights yet"):
        trace(model, torch.rand(1, 4), torch.tensor([0]))
    model.build((4,))
    with pytest.raises(PellucidError, match=r"inputs of shape \(5,\), but the network takes \(4,\)"):
        trace(model, torch.rand(1, 5), torch.tensor([0]))
    with pytest.raises(PellucidError, match="classes"):
        trace(model, torch.rand(1, 4), torch.tensor([7]))
    record = Trace(PassSettings(model.net, model.params, torch.rand(2, 4), torch.tensor([0, 1]), model.loss))
    for h in (0, float("nan"), True):
        with pytest.raises(PellucidError, match="other than 0"):
            record.nudge("dense1.bias[0]", h)
    with pytest.raises(PellucidError, match="top must be a whole number of at least 1"):
        record.explain("dense1.bias[0]", top=0)
    with pytest.raises(PellucidError, match="the model has no optimizer"):
        record.step()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "trace: n must be a whole number of at least 1, not 0"),
        ({"n": -1}, "at least 1, not -1"),
        ({"n": 2.5}, "n must be a whole number"),
        ({"trian": True}, "trace has no option 'trian'; did you mean 'train'"),
        ({"bogus": 1}, "trace has no option 'bogus'; known: train, seed, dtype, n"),
    ],
)
def test_unknown_options_and_values_are_refused(options: dict[str, object], message: str) -> None:
    model = Model(Sequential(Dense(2)), Quadratic(), input_shape=(3,), regularizer=L2(0.1), metrics=())
    with pytest.raises(PellucidError, match=re.escape(message)):
        model.trace(torch.zeros(1, 3), torch.zeros(1, 2), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 2.5}, "trace.explain: top must be a whole number of at least 1, not 2.5"),
        ({"top": 0}, "top must"),
        ({"top": True}, "top must"),
        ({"expand": 1.5}, "trace.explain: expand must be a whole number of at least 0, not 1.5"),
        ({"expand": -1}, "expand must"),
        ({"expand": None}, "expand must"),
    ],
)
def test_explain_refuses_invalid_values_of_top_and_expand(options: dict[str, Any], message: str) -> None:
    record = trace_sample(Sample(Sequential(a=Dense(2)), (3,)))
    with pytest.raises(PellucidError, match=re.escape(message)):
        record.explain("a.weight", **options)


def test_the_default_target_is_a_class_with_a_loss_above_0() -> None:
    """It is the predicted class, or the second if the predicted one has a loss, and so derivatives, of almost 0."""
    model = Model(Sequential(scores=Dense(3)), loss="softmax_cross_entropy", input_shape=(3,), classes=["a", "b", "c"])
    model.params["scores"]["weight"].copy_(torch.eye(3))
    model.params["scores"]["bias"].zero_()
    unsure, certain = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([0.0, 5.0, 20.0])
    predicted = model.trace(unsure[None])
    assert "one example in evaluation mode, target b (predicted): loss" in str(predicted)
    assert predicted.loss == model.trace(unsure[None], [1]).loss
    second = model.trace(certain[None])
    assert "target b (the second, since the loss of the predicted class, c, is only 3.6e-07): loss" in str(second)
    assert "target b (the second" in second._repr_html_()
    assert second.loss == pytest.approx(15, rel=1e-4)
    both = model.trace(torch.stack([unsure, certain]))
    assert "target b, b (predicted, or the second where the loss is below 0.001)" in str(both)
    assert both.tensors["target"].tensor.tolist() == [1, 1]
    assert "target" not in str(model.trace(unsure[None], [1])).splitlines()[0]
    regression = Model(Sequential(Dense(2)), loss="quadratic", input_shape=(3,))
    with pytest.raises(PellucidError, match="only a classifier has default ones"):
        regression.trace(unsure[None])
