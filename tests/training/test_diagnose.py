"""Diagnosis of NaN and infinity: step, layer and tensor are reported, and the last finite checkpoint is kept."""

import inspect
import json
from pathlib import Path

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Parallel, Sequential
from pellucid.data import Batch
from pellucid.layers import Add, Dense, Dropout, Flatten, Identity, Mode, ReLU, Sigmoid
from pellucid.losses import Quadratic
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.optim import SGD, Adagrad, Adam, RMSprop
from pellucid.run.records import to_record
from pellucid.training import loop
from pellucid.training.callbacks import Callback
from pellucid.training.diagnose import NotFinite, StoppedError, diagnose, diagnose_output
from pellucid.training.examples import examples
from pellucid.training.options import FitOptions
from pellucid.training.plan import FitPlan
from pellucid.training.step import TrainingStep
from tests.training.small import digits, small_conv

INF, NAN = float("inf"), float("nan")


class WriteValue(Callback):
    """Writes a value into the first element of a weight, or into all elements, after a step."""

    def __init__(self, path, step, value, fill=False):
        self.path, self.step, self.value, self.fill = path, step, value, fill

    def on_step(self, training):
        if training.step == self.step:
            self.model.weights[self.path].view(-1)[slice(None if self.fill else 1)] = self.value


def deep_model(optimizer=None):
    net = Sequential(
        flatten=Flatten(),
        first=Dense(12),
        middle=Sequential(act=Sigmoid(), dense=Dense(11)),
        act=ReLU(),
        last=Dense(10),
    )
    return Model(net, optimizer=optimizer or SGD(0.1))


def fit_error(model, x=None, y=None, callback=None, run=None):
    data = digits()
    if callback is not None:
        callback.model = model
    with pytest.raises(PellucidError) as caught:
        model.fit(
            data.x if x is None else x,
            data.y if y is None else y,
            epochs=3,
            batch_size=10,
            callbacks=[] if callback is None else [callback],
            run=run,
            verbose=False,
        )
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam()], ids=repr)
def test_a_nan_in_the_input_is_diagnosed(optimizer):
    x = digits().x.clone()
    x[7, 0, 3, 3] = NAN
    model = deep_model(optimizer)
    assert fit_error(model, x) == "x: example 7 contains NaN; the data must be finite, clean them first"
    assert not model.built


@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam()], ids=repr)
def test_a_nan_from_the_augmentation_is_diagnosed(optimizer):
    def insert_nan(x, rng):
        x = x.clone()
        x[4, 0, 3, 3] = NAN
        return x

    model, data = deep_model(optimizer), digits()
    with pytest.raises(PellucidError) as caught:
        model.fit(data, epochs=1, batch_size=10, augment=insert_nan, verbose=False)
    message = str(caught.value)
    assert message.startswith(
        "training stopped in step 1 (epoch 1, batch 1): the input x contains NaN (1 of 640 values, "
    )
    assert "first in example 4 of the batch, caused by the augmentation or the preprocessing" in message
    assert "learning rate" not in message
    assert all(bool(torch.isfinite(tensor).all()) for tensor in model.weights.values())  # the weights were not updated


@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam()], ids=repr)
@pytest.mark.parametrize("value", [NAN, INF])
def test_a_nan_written_into_a_weight_stops_the_next_step(optimizer, value):
    message = fit_error(deep_model(optimizer), callback=WriteValue("middle.dense.weight", 17, value))
    assert "not caused by an update" in message
    assert message.startswith("training stopped in step 18 (epoch 1, batch 18): middle.dense: weight contains ")
    kind = "NaN" if value != value else "infinity"  # noqa: PLR0124
    assert f"contains {kind} (1 of 132 values, shape (11, 12))" in message


def test_an_overflow_in_a_middle_layer_is_diagnosed():
    write_value = WriteValue("middle.dense.weight", 3, 3e38, fill=True)  # finite, but the sums of products overflow
    message = fit_error(deep_model(), callback=write_value)
    assert (
        "step 4 (epoch 1, batch 4): middle.dense (Dense): the output y contains infinity (110 of 110 values" in message
    )


def test_a_diverging_learning_rate_is_diagnosed():
    message = fit_error(deep_model(SGD(1e30)))
    assert "step 2 " in message or "step 3 " in message
    assert "lower the learning rate (1e+30)" in message
    assert any(f"{layer}" in message for layer in ("first", "middle", "last"))


def test_an_overflow_of_the_loss_is_diagnosed():
    model = Model(Sequential(dense=Dense(1)), Quadratic(), SGD(0.0), metrics=())
    message = fit_error(model, torch.ones(20, 1), torch.full((20, 1), 1e30))
    assert "the loss: its value contains infinity" in message


def test_a_gradient_that_overflows_is_diagnosed():
    # Forward: 1e-38 x 1e25 x 1e14 = 10. Backward: 10 / 2 x 1e14 x 1e25 overflows float32.
    net = Sequential(low=Dense(1, bias=False), high=Dense(1, bias=False), top=Dense(1, bias=False))
    model = Model(net, Quadratic(), SGD(0.0), metrics=(), input_shape=(1,))
    for path, value in (("low.weight", 1e-38), ("high.weight", 1e25), ("top.weight", 1e14)):
        model.weights[path].fill_(value)
    x, target = torch.ones(2, 1), torch.zeros(2, 1)
    message = diagnose(model.objective, model.params, model.weights, Batch(x, target), Mode(True))
    assert str(message).startswith("high (Dense): the gradient dx contains infinity (2 of 2 values")


def test_the_paths_of_layers_inside_combinators_are_reported():
    nodes = {"a": (Dense(3), "input"), "b": (Dense(3), "a")}
    net = Sequential(
        graph=Graph(nodes, ("b",)),
        block=Parallel({"skip": Identity(), "body": Dense(3)}, Add()),
        heads=Fork(left=Dense(1), right=Dense(2)),
    )
    for path in ("graph.b", "block.body", "heads.right"):
        params, _ = net.init((3,), torch.Generator().manual_seed(0))
        node = params
        for name in path.split("."):
            node = node[name]
        node["weight"].fill_(3e38)
        result = diagnose_output(net, params, torch.ones(1, 3) * 10)
        assert (result.kind, result.path, result.layer, result.tensor) == ("output", path, "Dense", "the output y")


def test_the_last_finite_checkpoint_is_named_and_unchanged(tmp_path):
    message = fit_error(deep_model(), callback=WriteValue("last.bias", 45, NAN), run=tmp_path / "run")
    last = tmp_path / "run" / "weights" / "last.safetensors"
    assert f"the last good checkpoint, of step 30, is {last}" in message
    assert all(bool(torch.isfinite(tensor).all()) for tensor in Model.load(last).weights.values())


def test_running_statistics_that_overflow_are_never_saved(tmp_path):
    model, data = small_conv(input_shape=(1, 8, 8)), digits()
    write_value = WriteValue("norm.running_var", 2, INF)
    write_value.model = model
    with pytest.raises(PellucidError, match=r"norm: running_var contains infinity"):
        model.fit(data, epochs=1, batch_size=100, callbacks=[write_value], run=tmp_path, verbose=False)
    assert not (tmp_path / "weights" / "last.safetensors").exists()


def test_the_diagnosis_repeats_the_dropout_of_the_failed_step():
    net = Sequential(drop=Dropout(0.5), dense=Dense(2, init_weight="zeros"))
    model = Model(net, optimizer=SGD(0.1))
    x = torch.ones(20, 4)
    x[:, 0] = 3e38  # dropout doubles kept values to infinity, and 0 x infinity is NaN
    message = fit_error(model, x, torch.zeros(20, dtype=torch.int64))
    assert "step 1 (epoch 1, batch 1): drop (Dropout): the output y contains infinity" in message


def test_large_finite_values_do_not_stop_the_training():
    model = Model(mlp((64, 10)), optimizer=SGD(1e-30))
    data = digits()
    assert model.fit(data.x * 1e15, data.y, epochs=1, batch_size=100, verbose=False).last["train_loss"] > 0


def test_an_infinity_that_does_not_change_the_loss_is_found_in_the_weights():
    model = Model(Sequential(first=Dense(3), act=Sigmoid(), last=Dense(2)), optimizer=SGD(0.1))
    write_value = WriteValue("first.weight", 5, INF)  # sigmoid(infinity) is 1
    message = fit_error(model, torch.ones(60, 4), torch.arange(60) % 2, write_value)
    assert "step 6 (epoch 1, batch 6): first: weight contains infinity (1 of 12 values" in message
    assert message.startswith("training stopped in step 6 (epoch 1, batch 6): first: weight contains infinity")
    assert "from the update of step 6" in message


def test_an_infinity_of_an_update_in_the_backward_pass_names_step_and_layer():
    # The loss is finite, but dx of `high` overflows, and so do the updates of `low` and `first`.
    net = Sequential(first=Dense(1), low=Dense(1, bias=False), high=Dense(1, bias=False), top=Dense(1, bias=False))
    model = Model(net, Quadratic(), SGD(1e-30), metrics=(), input_shape=(1,))
    for path, value in (("first.weight", 1.0), ("low.weight", 1e-38), ("high.weight", 1e25), ("top.weight", 1e14)):
        model.weights[path].fill_(value)
    message = fit_error(model, torch.ones(20, 1), torch.zeros(20, 1))
    assert message.startswith(
        "training stopped in step 1 (epoch 1, batch 1): low: weight contains infinity (1 of 1 value"
    )
    assert ", from the update of step 1; " in message


@pytest.mark.parametrize("optimizer", [Adam(), RMSprop(), Adagrad()], ids=repr)
def test_a_mean_square_of_gradients_that_overflows_is_reported(optimizer):
    model = Model(Sequential(dense=Dense(1, init_weight="zeros")), Quadratic(), optimizer, metrics=())
    message = fit_error(model, torch.full((20, 1), 1e22), torch.ones(20, 1))  # dw = -1e22, whose square overflows
    assert "step 1 (epoch 1, batch 1): dense: the optimizer's square_" in message
    assert "of weight contains infinity (1 of 1 value, shape (1, 1)), from the update of step 1" in message


def test_clipping_by_a_norm_that_overflows_stops_the_training():
    model = Model(Sequential(dense=Dense(1, init_weight="zeros")), Quadratic(), SGD(0.1), metrics=(), clip=1.0)
    message = fit_error(model, torch.full((20, 1), 1e20), torch.ones(20, 1))
    assert "step 1 (epoch 1, batch 1): dense: " in message
    assert "contains NaN" in message


def test_rare_checks_report_all_steps_since_the_last_check(monkeypatch):
    model = Model(Sequential(first=Dense(3), act=Sigmoid(), last=Dense(2)), optimizer=SGD(0.1))
    real_step, step_count = TrainingStep.__call__, [0]

    def step_with_infinity(self, *arguments):
        value = real_step(self, *arguments)
        step_count[0] += 1
        if step_count[0] == 23:
            self.weights[0][0, 0] = INF  # the sigmoid hides it from the loss
        return value

    monkeypatch.setattr(TrainingStep, "__call__", step_with_infinity)
    # Checks after steps 1, 11 and 21, and at the end of the epoch.
    monkeypatch.setattr(loop.Loop, "_steps_to_next_check", lambda self, seconds_per_step: 10)
    message = fit_error(model, torch.ones(300, 4), torch.arange(300) % 2)
    assert message.startswith("training stopped in step 30 (epoch 1, batch 30): first: weight contains infinity")
    assert ", from the update of one of the steps 22 to 30; " in message


def test_the_interval_of_checks_follows_from_their_cost():
    defaults = {name: argument.default for name, argument in inspect.signature(Model.fit).parameters.items()}
    options = FitOptions.of({**defaults, "epochs": 1, "batch_size": 10})
    training = loop.Loop(deep_model(), FitPlan(options, examples(digits()), None, [], None, {}))
    assert training._steps_to_next_check(seconds_per_step=1e-4) == 1  # the cost of a check is not known yet
    training.check_seconds = 1.4e-5
    assert training._steps_to_next_check(seconds_per_step=1e-3) == 1  # a check costs 1.4 % of a step
    assert (
        training._steps_to_next_check(seconds_per_step=1e-4) == 4
    )  # the interval grows to at most four times its length
    training.check_steps = 4
    assert training._steps_to_next_check(seconds_per_step=1e-4) == 7  # 14 us per 7 steps of 100 us


def test_non_finite_initial_weights_are_not_attributed_to_an_update():
    model = Model(Sequential(first=Dense(3), act=Sigmoid(), last=Dense(2)), optimizer=SGD(0.1), input_shape=(4,))
    model.weights["first.weight"][0, 0] = INF
    message = fit_error(model, torch.ones(60, 4), torch.arange(60) % 2)
    assert "first: weight contains infinity (1 of 12 values, shape (3, 4)), not caused by an update" in message


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            NotFinite.of(torch.tensor([1.0, INF]), "output", "the output y", "block.dense", "Dense"),
            "block.dense (Dense): the output y contains infinity (1 of 2 values, shape (2,))",
        ),
        (
            NotFinite.of(torch.tensor([[NAN, INF]]), "gradient", "the gradient dx", "", "Dense"),
            "Dense: the gradient dx contains NaN (2 of 2 values, shape (1, 2))",
        ),
        (
            NotFinite.of(torch.tensor([NAN]), "weight", "bias", "dense"),
            "dense: bias contains NaN (1 of 1 value, shape (1,))",
        ),
        (NotFinite.of(torch.tensor([NAN]), "weight", "bias"), "bias contains NaN (1 of 1 value, shape (1,))"),
        (
            NotFinite.of(torch.tensor(NAN), "loss", "its value"),
            "the loss: its value contains NaN (1 of 1 value, shape ())",
        ),
        (
            NotFinite("input", "", "", "the input x", "NaN", 1, (2, 3), "first in example 1 of the batch"),
            "the input x contains NaN (1 of 6 values, shape (2, 3)), first in example 1 of the batch",
        ),
    ],
)
def test_the_message_contains_the_fields_of_the_json(result: NotFinite, message: str) -> None:
    assert str(result) == message
    assert message.endswith(result.without_path)
    assert to_record(json.loads(json.dumps(result.to_json())), NotFinite, "a file") == result


def test_only_the_first_non_finite_tensor_is_reported() -> None:
    parts = (torch.ones(2), None, (torch.tensor([INF, 0.0, 0.0]), torch.tensor([NAN])))
    result = NotFinite.of(parts, "output", "the output y")
    assert result is not None
    assert (result.what, result.count, result.shape) == ("infinity", 1, (3,))
    assert NotFinite.of((torch.ones(2), torch.arange(3), None), "output", "the output y") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error": 3}, "error must be text, not 3"),
        ({"step": "3"}, "step must be a whole number, not '3'"),
        ({"step": 3.5}, "step must be a whole number, not 3.5"),
        ({"fault": []}, r"fault must be values by name, not \[\]"),
        ({"fault": {}}, "fault: kind is missing"),
        ({"other": 1}, "unknown key 'other'; known: error, step, fault"),
    ],
)
def test_an_invalid_error_file_is_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    valid = StoppedError("stopped", 3, NotFinite("weight", "dense", "", "bias", "NaN", 1, (4,))).to_json()
    (tmp_path / "error.json").write_text(json.dumps({**valid, **change}))
    with pytest.raises(PellucidError, match=rf"error\.json: {message}; remove it, or train again"):
        StoppedError.read(tmp_path / "error.json")
    (tmp_path / "error.json").write_text(json.dumps(valid))
    restored = StoppedError.read(tmp_path / "error.json")
    assert restored is not None
    assert restored.to_json() == valid


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "wheel"}, "kind must be one of 'input', .*, not 'wheel'"),
        ({"path": 3}, "path must be text, not 3"),
        ({"shape": 3}, "shape must be a list of whole numbers, not 3"),
        ({"shape": ["a"]}, r"shape must be a list of whole numbers, not \['a'\]"),
        ({"shape": [-1]}, "shape must be that of a tensor"),
        ({"shape": [1 << 62]}, "shape must be that of a tensor"),
        ({"count": None}, "count must be a whole number, not None"),
        ({"note": None}, "note must be text, not None"),
        ({"more": 1}, "unknown key 'more'"),
    ],
)
def test_an_invalid_fault_is_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    fault = {**NotFinite("weight", "dense", "", "bias", "NaN", 1, (4,)).to_json(), **change}
    (tmp_path / "error.json").write_text(json.dumps({"error": "stopped", "step": 3, "fault": fault}))
    with pytest.raises(PellucidError, match=rf"error\.json.*: {message}"):
        StoppedError.read(tmp_path / "error.json")
