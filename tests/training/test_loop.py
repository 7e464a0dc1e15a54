"""The training loop compared with a plain loop in PyTorch, and the values in its history."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data import Batch, Loader
from pellucid.layers import Dense, Flatten, LayerNorm, Mode
from pellucid.losses import Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.objective import Supervised
from pellucid.optim import SGD, Adam, AdamW
from pellucid.optim.regularizers import L2
from pellucid.optim.schedules import InverseTime, OneCycle, ReduceOnPlateau, Warmup
from pellucid.training.callbacks import Callback
from pellucid.training.layer_statistics import layer_rows
from tests.training.small import digits, flip, small_conv, small_mlp


def torch_twin(model):
    """Return the same 64-16-10 network with the same weights in PyTorch."""
    twin = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.Sigmoid(), torch.nn.Linear(16, 10))
    with torch.no_grad():
        for parameter, tensor in zip(twin.parameters(), model.weights.values(), strict=True):
            parameter.copy_(tensor)
    return twin


def train_in_torch(twin, optimizer, epochs, batch_size, rates=None, decay=0.0, clip=None):
    """Train `twin` on the same batches; return the mean loss and the gradient norms in the last step of each epoch."""
    data, means, gradients, step = digits(), [], [], 0
    for epoch in range(epochs):
        total = 0.0
        for x, y in Loader(data, batch_size, 0).epoch(epoch):
            for group in optimizer.param_groups:
                group["lr"] = rates(step) if rates else group["lr"]
            optimizer.zero_grad()
            loss = F.cross_entropy(twin(x), y)
            loss.backward()
            norms = [parameter.grad.norm().item() for parameter in twin.parameters()]
            for parameter in twin.parameters():
                if parameter.dim() == 2:
                    parameter.grad += decay / len(data) * parameter.detach()
            if clip:
                torch.nn.utils.clip_grad_norm_(twin.parameters(), clip)
            optimizer.step()
            total += loss.item() * len(y)
            step += 1
        means.append(total / len(data))
        gradients.append(norms)
    return means, gradients


def assert_weights_close(model, twin):
    for (path, tensor), parameter in zip(model.weights.items(), twin.parameters(), strict=True):
        assert torch.allclose(tensor, parameter, rtol=1e-4, atol=1e-5), path


def test_sgd_trains_as_torch_does():
    model = small_mlp(input_shape=(1, 8, 8))
    twin = torch_twin(model)
    means, gradients = train_in_torch(twin, torch.optim.SGD(twin.parameters(), 0.5), 3, 40)
    history = model.fit(digits(), epochs=3, batch_size=40, verbose=False)
    assert_weights_close(model, twin)
    assert history["train_loss"] == pytest.approx(means, rel=1e-4)
    assert history["step"] == [8, 16, 24]  # 7 batches of 40 and one of 20
    assert history["lr"] == [0.5] * 3
    grad_norms = [row["grad_norm"] for row in history.layers]
    assert grad_norms == pytest.approx([norm for epoch in gradients for norm in epoch], rel=1e-3)


def test_adam_with_a_schedule_decay_and_clipping_trains_as_torch_does():
    model = Model(
        mlp((64, 16, 10)),
        optimizer=Adam(0.01),
        schedule=InverseTime(t0=10, t1=10, unit="steps"),
        regularizer=L2(5.0),
        clip=0.5,
        input_shape=(1, 8, 8),
    )
    twin = torch_twin(model)
    train_in_torch(
        twin, torch.optim.Adam(twin.parameters(), 0.01), 2, 50, lambda step: 0.01 * 10 / (step + 10), 5.0, 0.5
    )
    history = model.fit(digits(), epochs=2, batch_size=50, verbose=False)
    assert_weights_close(model, twin)
    assert history["lr"] == pytest.approx([0.01 * 10 / 15, 0.01 * 10 / 21])


def test_update_ratio_is_the_rms_of_the_last_update_divided_by_that_of_the_weights():
    weights_by_step = []

    class RecordWeights(Callback):
        def on_step(self, training):
            weights_by_step.append({path: tensor.clone() for path, tensor in model.weights.items()})

    model = small_mlp()
    history = model.fit(digits(), epochs=1, batch_size=100, callbacks=[RecordWeights()], verbose=False)
    before, after = weights_by_step[-2], weights_by_step[-1]
    for row in history.layers:
        old, new = before[row["path"]], after[row["path"]]
        rms = [((tensor) ** 2).mean().sqrt().item() for tensor in (new - old, old)]
        assert row["update_ratio"] == pytest.approx(rms[0] / rms[1], rel=1e-4)
    assert [row["path"] for row in history.layers] == list(model.weights)


def test_measuring_gradients_changes_neither_weights_nor_running_statistics():
    from pellucid.training import loop

    data = digits()
    unmeasured, measured = small_conv(input_shape=(1, 8, 8)), small_conv(input_shape=(1, 8, 8))
    measured.fit(data, epochs=2, batch_size=50, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "layer_rows", lambda *arguments: list)
        unmeasured.fit(data, epochs=2, batch_size=50, verbose=False)
    assert unmeasured.sha256() == measured.sha256()


def test_the_history_has_the_metrics_after_each_epoch():
    model, validation = small_mlp(), digits(300, 400)
    history = model.fit(digits(), epochs=4, batch_size=10, validation=validation, verbose=False)
    columns = "epoch step lr train_loss train_accuracy val_loss val_accuracy seconds images_per_second"
    assert list(history.last) == columns.split()
    assert history["epoch"] == [1, 2, 3, 4]
    evaluation = model.evaluate(validation)
    assert (history.last["val_loss"], history.last["val_accuracy"]) == (evaluation["loss"], evaluation["accuracy"])
    assert history.last["train_accuracy"] == model.evaluate(digits())["accuracy"]  # 300 images are less than a sample
    assert history["train_loss"][3] < history["train_loss"][0]
    assert history.last["images_per_second"] == pytest.approx(300 / history.last["seconds"], rel=1e-3)


def test_train_accuracy_of_a_large_data_set_is_measured_on_a_sample():
    model = small_mlp()
    correct_count = 500 * model.fit(digits(0, 1797), epochs=1, batch_size=10, verbose=False).last["train_accuracy"]
    assert correct_count == pytest.approx(round(correct_count), abs=1e-3)  # a fraction of 500 images, not of 1,797
    assert correct_count / 500 == pytest.approx(model.evaluate(digits(0, 1797))["accuracy"], abs=0.05)


def test_validation_examples_are_drawn_by_class_from_data_sets_and_at_random_from_arrays():
    data = digits()
    for x, y in ((data, None), (data.x, data.y)):
        model = small_mlp()
        history = model.fit(x, y, epochs=1, batch_size=10, validation=0.2, verbose=False)
        assert history.last["step"] in (24, 25)  # 240 examples; a split by class rounds the count of each class
        assert "val_accuracy" in history.last
    with pytest.raises(PellucidError, match=r"validation=0\.001 of 300 examples leaves a part empty"):
        small_mlp().fit(data.x, data.y, epochs=1, batch_size=10, validation=0.001, verbose=False)


def test_equal_seeds_give_equal_weights():
    models = [small_conv(seed=4) for _ in range(2)] + [small_conv(seed=5)]
    for model in models:
        model.fit(digits(), epochs=2, batch_size=30, augment=flip, verbose=False)
    assert models[0].sha256() == models[1].sha256() != models[2].sha256()


def test_xor_is_learned_with_float_targets():
    x, y = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]), torch.tensor([[0.0], [1], [1], [0]])
    net = mlp((2, 3, 1), activation="tanh", output="tanh", init_weight="normal")
    model = Model(net, Quadratic(), SGD(0.5), metrics="accuracy", seed=1)
    history = model.fit(x, y, epochs=300, batch_size=1, verbose=False)
    assert history.last["train_accuracy"] == 1.0
    assert torch.allclose(model.predict(x), y, atol=0.2)


def test_a_plateau_schedule_receives_the_validation_loss():
    model = Model(mlp((64, 10)), optimizer=SGD(5.0), schedule=ReduceOnPlateau(drop=0.5, patience=0))
    history = model.fit(digits(), epochs=8, batch_size=10, validation=digits(300, 350), verbose=False)
    rates, losses, best = [5.0], history["val_loss"], float("inf")
    for loss in losses[:-1]:
        rates.append(rates[-1] if loss < best * (1 - 1e-4) else rates[-1] / 2)
        best = min(best, loss)
    assert history["lr"] == rates
    assert rates[-1] < 5.0


@pytest.mark.parametrize("schedule", [ReduceOnPlateau(), Warmup(3, ReduceOnPlateau())])
def test_a_plateau_schedule_without_validation_data_is_refused(schedule):
    model = Model(mlp((64, 10)), schedule=schedule)
    with pytest.raises(PellucidError, match="needs the validation loss; give validation"):
        model.fit(digits(), epochs=2, batch_size=10, verbose=False)
    model.fit(digits(), epochs=1, batch_size=10, validation=0.1, verbose=False)


def test_adamw_decays_the_parameters_that_layers_declare():
    net = Sequential(norm=LayerNorm(), flatten=Flatten(), dense=Dense(10))
    models = [Model(net, optimizer=AdamW(0.01, weight_decay=decay), input_shape=(1, 8, 8)) for decay in (0.0, 50.0)]
    for model in models:
        model.fit(digits(), epochs=1, batch_size=300, verbose=False)
    (plain, decayed), initial = models, Model(net, input_shape=(1, 8, 8)).weights["dense.weight"]
    for path, weight in plain.weights.items():  # after one step; norm.weight (1, 8, 8) is not decayed
        expected = weight - 0.01 * 50 * initial if path == "dense.weight" else weight
        assert torch.allclose(decayed.weights[path], expected, atol=1e-6), path


def test_gradients_too_large_for_float32_to_square_are_measured_and_saved(tmp_path):
    x = torch.full((40, 3), 1e15) * torch.arange(1, 4)
    model = Model(Sequential(dense=Dense(1)), Quadratic(), SGD(1e-36), metrics=(), seed=3)
    data = (x, torch.zeros(40, 1))
    history = model.fit(*data, epochs=2, batch_size=10, run=tmp_path, verbose=False)
    norm = next(row["grad_norm"] for row in history.layers if row["path"] == "dense.weight")
    initial = Model(Sequential(dense=Dense(1)), input_shape=(3,), seed=3).weights
    y = x[:1].double() @ initial["dense.weight"].double().T  # all inputs are equal, and the weights hardly change
    assert norm == pytest.approx((y.item() * x[0].double()).norm().item(), rel=1e-3)
    assert norm > 1e30 / 10


def test_metrics_that_are_not_finite_are_stored_as_missing():
    net, params = Sequential(dense=Dense(1)), {"dense": {"weight": torch.full((1, 1), 1e30), "bias": torch.zeros(1)}}
    x, target = torch.full((1, 1), 1e8), torch.zeros(1, 1)
    rows = layer_rows(Supervised(net, Quadratic()), params, Batch(x, target), Mode(True), params)()  # dw overflows
    assert [(row["grad_norm"], row["update_ratio"]) for row in rows] == [(None, 0.0), (pytest.approx(1e38), None)]


def test_callbacks_are_called_in_the_documented_order():
    calls = []

    class Watch(Callback):
        def on_start(self, training):
            calls.append("start")

        def on_step(self, training):
            calls.append(training.step)

        def on_epoch_end(self, training, row):
            calls.append(f"epoch {row['epoch']}")
            if row["epoch"] == 2:
                training.stop = "enough"

        def on_end(self, training):
            calls.append("end")

        def on_close(self):
            calls.append("close")

    small_mlp().fit(digits(), epochs=9, batch_size=100, callbacks=[Watch()], verbose=False)
    assert calls == ["start", 1, 2, 3, "epoch 1", 4, 5, 6, "epoch 2", "end", "close"]


class FailAfterStep(Callback):
    def __init__(self, fail):
        self.fail = fail

    def on_step(self, training):
        self.fail()


def out_of_memory():
    raise MemoryError


@pytest.mark.parametrize("fail", [out_of_memory, lambda: torch.empty(1 << 60, dtype=torch.uint8)])
def test_the_error_for_too_little_memory_names_the_batch_size(fail):
    message = r"^not enough memory to train with batch_size 7; lower it \(train\.batch_size of a recipe\), or make the "
    with pytest.raises(PellucidError, match=message) as info:
        small_mlp().fit(digits(), epochs=1, batch_size=7, callbacks=[FailAfterStep(fail)], verbose=False)
    assert isinstance(info.value.__cause__, (MemoryError, RuntimeError))


def test_other_errors_in_training_are_unchanged():
    def fail():
        raise RuntimeError("another")

    with pytest.raises(RuntimeError, match=r"^another$"):
        small_mlp().fit(digits(), epochs=1, callbacks=[FailAfterStep(fail)], verbose=False)


def test_one_cycle_ends_at_its_final_learning_rate():
    model = Model(mlp((64, 10)), optimizer=SGD(1.0), schedule=OneCycle())
    history = model.fit(digits(), epochs=4, batch_size=100, verbose=False)
    assert history.last["lr"] == pytest.approx(1 / 25 / 1e4)


def test_epochs_below_1_are_refused():
    with pytest.raises(PellucidError, match="epochs must be a whole number of at least 1, not 0"):
        small_mlp().fit(digits(), epochs=0, batch_size=10)


def test_a_processor_without_bfloat16_is_reported(monkeypatch, capsys):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    model = small_mlp(precision="bf16")
    model.fit(digits(), epochs=1, batch_size=100, verbose=False)
    assert "no bfloat16 instructions, so training uses float32" in capsys.readouterr().err


def test_the_functions_from_fit_to_the_loss_are_those_of_the_architecture_page(monkeypatch):
    """The list on the page is the stack of calls in the first step of a training."""
    stacks = []
    compute = SoftmaxCrossEntropy.compute

    def recorded(loss, y, target):
        stack, frame = [("losses/softmax_cross_entropy.py", "SoftmaxCrossEntropy.compute")], sys._getframe()
        while stack[0] != ("training/model.py", "BaseModel.fit") and (frame := frame.f_back):
            stack.insert(
                0, (Path(frame.f_code.co_filename).as_posix().rpartition("pellucid/")[2], frame.f_code.co_qualname)
            )
        stacks.append(stack)
        return compute(loss, y, target)

    monkeypatch.setattr(SoftmaxCrossEntropy, "compute", recorded)
    dataset = torch.utils.data.TensorDataset(digits().x, digits().y)
    small_mlp().fit(torch.utils.data.DataLoader(dataset, batch_size=100), epochs=1, verbose=False)
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
    lines = page.partition("```text\n")[2].partition("\n```")[0].splitlines()
    listed = [tuple(line.split()[:2]) for line in lines]
    assert next(stack for stack in stacks if ("training/loop.py", "Loop._epoch") in stack) == listed
