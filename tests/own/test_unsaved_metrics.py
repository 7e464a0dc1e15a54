"""Metric functions that are not registered: files contain only their names, and loaded models work without them."""

import pytest
import torch

import pellucid
from pellucid import Dense, Model, PellucidError, Sequential
from pellucid.base.text import note_first_time
from pellucid.layers import Flatten
from pellucid.run.weights import read_weights, write_weights
from tests.own.parts import output_std
from tests.training.small import digits


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """Replace the registry by an empty one, and reset the messages that are shown once per process."""
    monkeypatch.setattr("pellucid.extend.registry.REGISTERED", {})
    note_first_time.cache_clear()


def mean_top(outputs, targets):
    """A user-defined metric that is not registered."""
    return float(outputs.amax(1).mean())


def test_a_function_as_metric_does_not_block_save(tmp_path, capsys):
    """The file contains its name, inference and evaluation work without it, and `custom` restores it."""
    path = tmp_path / "m.safetensors"
    model = Model(Sequential(Flatten(), d=Dense(10)), metrics=["accuracy", mean_top, lambda outputs, targets: 1.0])
    model.fit(digits(0, 50), epochs=2, verbose=False, run=tmp_path / "run")
    error_output = capsys.readouterr().err
    assert error_output.count("the metric mean_top is not registered, so the weights file contains only its name") == 1
    assert "pellucid.register(mean_top)" in error_output
    model.save(path)
    loaded = Model.load(path)
    assert torch.equal(loaded.predict(digits(50, 60).x), model.predict(digits(50, 60).x))
    evaluation, evaluation_without = model.evaluate(digits(50, 90)), loaded.evaluate(digits(50, 90))
    assert {**evaluation, "loss": evaluation_without["loss"]} == {
        **evaluation_without,
        **{name: evaluation[name] for name in ("mean_top", "<lambda>")},
    }
    loaded.evaluate(digits(50, 90))
    assert capsys.readouterr().err.count("evaluation lacks the metric mean_top") == 1
    second_file = tmp_path / "again.safetensors"
    loaded.save(second_file)
    assert read_weights(second_file)[1]["metrics"] == ["accuracy", {"unsaved": "mean_top"}, {"unsaved": "<lambda>"}]
    assert Model.load(second_file, custom=[mean_top]).evaluate(digits(50, 90))["mean_top"] == evaluation["mean_top"]


def test_a_function_with_the_name_of_another_registered_one_is_refused(tmp_path):
    pellucid.register(output_std)
    other = type(mean_top)(mean_top.__code__, {}, "output_std")
    model = Model(Sequential(Flatten(), d=Dense(2)), input_shape=(3,), metrics=[other])
    with pytest.raises(PellucidError, match="another class or function is registered as output_std"):
        model.save(tmp_path / "m.safetensors")


def test_the_order_of_metrics_is_that_of_the_model_before_saving(tmp_path):
    path = tmp_path / "m.safetensors"
    model = Model(Sequential(Flatten(), d=Dense(2)), input_shape=(3,), metrics=[mean_top, "accuracy", output_std])
    model.save(path)
    assert [getattr(metric, "name", metric) for metric in Model.load(path).metrics] == [
        "mean_top",
        "accuracy",
        "output_std",
    ]
    assert list(Model.load(path, custom=[mean_top, output_std]).metrics) == [mean_top, "accuracy", output_std]


def test_unsaved_metrics_of_a_file_are_names(tmp_path):
    path = tmp_path / "m.safetensors"
    model = Model(Sequential(Flatten(), d=Dense(2)), input_shape=(3,))
    write_weights(path, model.weights, {**model.about(), "metrics": [{"unsaved": 1}]})
    with pytest.raises(PellucidError, match="unsaved must be the name of a function, not 1"):
        Model.load(path)
