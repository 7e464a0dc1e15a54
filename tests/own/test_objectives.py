"""Objectives of two networks train as with autograd, resume exactly, and name the part with an error."""

from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional as F

import pellucid
from pellucid import L2, SGD, Adam, Conv2d, Dense, Flatten, Layer, Mode, Model, Objective, Sequential
from pellucid.base.errors import PellucidError
from pellucid.data import Batch
from pellucid.extend.registry import REGISTERED
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.metrics import Metric
from pellucid.nested import flatten, map_tree
from pellucid.run.history import History
from pellucid.training.step import TrainingStep
from tests.own import two_networks
from tests.own.two_networks import GAN, Distill, distill, gan, gan_model
from tests.training.killed import killed_and_resumed
from tests.training.small import digits

NAN = float("nan")


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(
        "pellucid.extend.registry.REGISTERED",
        {**REGISTERED, "GAN": GAN, "Distill": Distill, "PixelClassifier": PixelClassifier},
    )


def leaf_params(params):
    return map_tree(lambda tensor: tensor.detach().clone().requires_grad_(True), params)


def dense(x, params):
    return F.linear(x, params["weight"], params["bias"])


def student(x, params):
    return dense(x.flatten(1), params["scores"])


def teacher(x, params):
    return dense(F.leaky_relu(dense(x.flatten(1), params["hidden"]), 0.01), params["scores"])


def discriminator(x, params):
    return dense(F.leaky_relu(dense(x.flatten(1), params["hidden"]), 0.01), params["score"])


def generator(z, params):
    return dense(F.leaky_relu(dense(z, params["hidden"]), 0.01), params["pixels"]).reshape(-1, 1, 8, 8)


def to_float64(params):
    return map_tree(torch.Tensor.double, params)


def batches(count=3):
    data = digits()
    return [Batch(data.x[20 * k : 20 * k + 20].double(), data.y[20 * k : 20 * k + 20]) for k in range(count)]


def test_training_two_networks_by_a_weighted_sum_of_losses_equals_autograd():
    weights = {"soft": 0.5, "teacher": 2.0}
    objective = distill(weights)
    params = to_float64(objective.init((1, 8, 8), torch.Generator().manual_seed(0))[0])
    torch_params = leaf_params(params)
    step = TrainingStep(objective, params, Adam(0.01), examples=100, clip=0.1)
    torch_optimizer = torch.optim.Adam(flatten(torch_params).values(), 0.01)
    for batch in batches():
        with torch.inference_mode():
            update = step(batch, 0.01)
        y, teacher_logits = (
            student(batch.images, torch_params["student"]),
            teacher(batch.images, torch_params["teacher"]),
        )
        losses = {
            "hard": F.cross_entropy(y, batch.targets),
            "soft": F.cross_entropy(y, teacher_logits.softmax(1).detach()),
            "teacher": F.cross_entropy(teacher_logits, batch.targets),
        }
        assert update == pytest.approx({name: value.item() for name, value in losses.items()}, rel=1e-10)
        torch_optimizer.zero_grad()
        (losses["hard"] + 0.5 * losses["soft"] + 2.0 * losses["teacher"]).backward()
        torch.nn.utils.clip_grad_norm_(flatten(torch_params).values(), 0.1)
        torch_optimizer.step()
    for path, tensor in flatten(torch_params).items():
        torch.testing.assert_close(flatten(params)[path].clone(), tensor.detach(), rtol=1e-7, atol=1e-9)


def test_training_two_networks_in_turns_equals_autograd():
    objective = gan()
    params = to_float64(objective.init((1, 8, 8), torch.Generator().manual_seed(0))[0])
    torch_params = leaf_params(params)
    optimizers = {"generator": Adam(0.01), "discriminator": SGD(0.05)}
    step = TrainingStep(objective, params, optimizers, examples=100, regularizers=(L2(3.0),))
    decay = 3.0 / 100

    def param_groups(network):
        flat = flatten(torch_params[network])
        weights = [tensor for path, tensor in flat.items() if path.endswith("weight")]
        biases = [tensor for path, tensor in flat.items() if path.endswith("bias")]
        return [{"params": weights, "weight_decay": decay}, {"params": biases}]

    torch_optimizers = (
        torch.optim.Adam(param_groups("generator"), 0.01),
        torch.optim.SGD(param_groups("discriminator"), 0.05),
    )
    torch.set_default_dtype(torch.float64)  # for the random values that the objective draws
    try:
        for number, batch in enumerate(batches()):
            with torch.inference_mode():
                update = step(batch, 0.01, torch.Generator().manual_seed(number))
            z = torch.randn(20, 4, generator=torch.Generator().manual_seed(number))
            fakes = generator(z, torch_params["generator"])
            scores = discriminator(torch.cat([batch.images, fakes.detach()]), torch_params["discriminator"])
            truth = torch.cat([torch.ones(20, 1), torch.zeros(20, 1)])
            discriminator_loss = F.binary_cross_entropy_with_logits(scores, truth)
            torch_optimizers[1].zero_grad()
            discriminator_loss.backward()
            torch_optimizers[1].step()
            generator_loss = F.binary_cross_entropy_with_logits(
                discriminator(fakes, torch_params["discriminator"]), truth[:20]
            )
            torch_optimizers[0].zero_grad()
            generator_loss.backward()
            torch_optimizers[0].step()
            assert update == pytest.approx(
                {"discriminator": discriminator_loss.item(), "generator": generator_loss.item()}, rel=1e-9
            )
    finally:
        torch.set_default_dtype(torch.float32)
    for path, tensor in flatten(torch_params).items():
        torch.testing.assert_close(flatten(params)[path].clone(), tensor.detach(), rtol=1e-6, atol=1e-9)


def test_each_loss_has_its_columns_and_the_total_is_their_weighted_sum(tmp_path):
    model = Model(distill({"soft": 0.5}), optimizer=Adam(0.01), metrics=["accuracy"])
    data, validation = digits(), digits(300, 350)
    history = model.fit(data, epochs=2, batch_size=50, validation=validation, run=tmp_path / "run", verbose=False)
    history_of_run = History.read(tmp_path / "run")
    assert list(history_of_run.rows[0]) == list(history.rows[0])
    for role in ("train", "val"):
        names = [f"{role}_{name}_loss" for name in ("hard", "soft", "teacher")]
        for row in history_of_run.rows:
            hard, soft, teacher_loss = (row[name] for name in names)
            assert row[f"{role}_loss"] == pytest.approx(hard + 0.5 * soft + teacher_loss)
    y, teacher_logits = (
        net(validation.x, model.params[name]) for net, name in ((student, "student"), (teacher, "teacher"))
    )
    evaluation = model.evaluate(validation)
    assert evaluation["hard_loss"] == pytest.approx(F.cross_entropy(y, validation.y).item(), rel=1e-5)
    assert evaluation["soft_loss"] == pytest.approx(F.cross_entropy(y, teacher_logits.softmax(1)).item(), rel=1e-5)
    assert evaluation["accuracy"] == pytest.approx((y.argmax(1) == validation.y).float().mean().item())
    assert history["val_hard_loss"][-1] == pytest.approx(evaluation["hard_loss"])
    loaded = Model.load(tmp_path / "run" / "weights" / "last.safetensors")
    assert loaded.objective == model.objective
    assert torch.equal(loaded.predict(validation.x), model.predict(validation.x))
    assert "student.scores.weight" in loaded.weights
    assert "student.scores" in str(loaded)
    assert history.plot().axes[1].get_ylabel() == "hard_loss"


def test_a_frozen_teacher_is_unchanged_and_the_student_learns():
    model = Model(distill(), optimizer=Adam(0.01), input_shape=(1, 8, 8))
    before = {path: tensor.clone() for path, tensor in model.weights.items()}
    model.freeze("teacher.*")
    model.fit(digits(), epochs=1, batch_size=50, verbose=False)
    unchanged = {path for path, tensor in model.weights.items() if torch.equal(tensor, before[path])}
    assert unchanged == {path for path in before if path.startswith("teacher.")}


@pytest.mark.heavy
@pytest.mark.slow
def test_repeatedly_killed_training_of_two_networks_ends_in_the_same_weights(tmp_path):
    expected = two_networks.train(tmp_path / "whole")
    result, steps = killed_and_resumed(two_networks.train, tmp_path / "killed", kills=2)
    assert result == expected
    assert steps == sorted(set(steps))
    rows = [History.read(tmp_path / name).rows for name in ("whole", "killed")]
    for one, other in zip(*rows, strict=True):
        assert {k: v for k, v in one.items() if k not in ("seconds", "images_per_second")} == {
            k: v for k, v in other.items() if k not in ("seconds", "images_per_second")
        }
    model = Model(gan(), optimizer=Adam(0.01))
    with pytest.raises(PellucidError, match="begun with other settings: optimizer"):
        model.fit(
            digits(), epochs=6, batch_size=20, validation=digits(300, 350), run=tmp_path / "whole", resume=True,
            verbose=False,
        )  # fmt: skip


class SetWeight(pellucid.Callback):
    """Write a value into a weight after a step."""

    def __init__(self, model, path, step, value):
        self.model, self.path, self.step, self.value = model, path, step, value

    def on_step(self, training):
        if training.step == self.step:
            self.model.weights[self.path].fill_(self.value)


def test_nan_in_the_second_network_is_named():
    model = gan_model(input_shape=(1, 8, 8))
    with pytest.raises(PellucidError) as caught:
        model.fit(
            digits(), epochs=1, batch_size=20, verbose=False,
            callbacks=[SetWeight(model, "discriminator.hidden.weight", 3, 3e38)],
        )  # fmt: skip
    assert "in step 4 (epoch 1, batch 4): discriminator.hidden (Dense): the output y contains " in str(caught.value)
    model = gan_model(input_shape=(1, 8, 8))
    with pytest.raises(PellucidError, match=r"in step 3 .*discriminator\.hidden: weight contains NaN \(1024 of 1,024"):
        model.fit(
            digits(), epochs=1, batch_size=20, verbose=False,
            callbacks=[SetWeight(model, "discriminator.hidden.weight", 2, NAN)],
        )  # fmt: skip


class NaNLoss(Distill):
    def gradients(self, params, batch, mode):
        losses, dparams = super().gradients(params, batch, mode)
        return {**losses, "soft": losses["soft"] * (NAN if mode.train else 1)}, dparams


class NaNGradient(Distill):
    def gradients(self, params, batch, mode):
        y, cache = self.teacher.forward(params["teacher"], batch.images, mode)
        dy = torch.full_like(y, NAN if mode.train else 0)
        return {"one": y.sum(), "two": y.sum()}, {"teacher": self.teacher.backward(params["teacher"], cache, dy)[1]}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (NaNLoss, "the loss: the value of 'soft' contains NaN"),
        (NaNGradient, "teacher.scores: bias contains NaN (10 of 10 values"),
    ],
)
def test_the_loss_that_is_not_finite_is_named(kind, message):
    model = Model(kind(**distill().nets), optimizer=SGD(0.1))
    with pytest.raises(PellucidError) as caught:
        model.fit(digits(), epochs=1, batch_size=100, verbose=False)
    assert f"in step 1 (epoch 1, batch 1): {message}" in str(caught.value)


class ChangedGradients(Distill):
    change = staticmethod(lambda losses, dparams: (losses, dparams))

    def gradients(self, params, batch, mode):
        return self.change(*super().gradients(params, batch, mode))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda losses, dparams: (losses, {"studnt": dparams["student"]}), "'studnt.scores.weight', which is not a p"),
        (lambda losses, dparams: ({"hard": torch.ones(2)}, dparams), "the loss 'hard' must be a tensor of one number"),
        (lambda losses, dparams: ({**losses, "loss": losses["hard"]}, dparams), "'loss' is the name of their sum"),
        (lambda losses, dparams: (losses, {"student": {"scores": {"bias": torch.ones(3)}}}), "the shape (3,), but"),
        (lambda losses, dparams: losses, "must return (losses, dparams)"),
    ],
)
def test_wrong_return_values_of_gradients_are_reported_before_the_first_step(monkeypatch, change, message):
    monkeypatch.setattr(ChangedGradients, "change", staticmethod(change))
    model = Model(ChangedGradients(**distill().nets), optimizer=SGD(0.1))
    with pytest.raises(PellucidError) as caught:
        model.fit(digits(), epochs=1, batch_size=100, verbose=False)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Model(gan(), optimizer={"generator": "adam"}), "the network 'discriminator' has none"),
        (lambda: Model(gan(), optimizer={"genrator": "adam"}), "no network 'genrator'; did you mean 'generator'"),
        (lambda: Model(Sequential(Dense(2)), optimizer={"net": "adam"}), "the model has one network"),
        (lambda: Model(gan(), "hinge"), "GAN has its own losses; leave out loss='hinge'"),
        (
            lambda: gan_model(input_shape=(1, 8, 8)).explain(digits().x[:1]),
            "the losses of GAN; this works for one network with one loss",
        ),
        (
            lambda: Model(distill({"sft": 2.0})).fit(digits(), epochs=1, verbose=False),
            "no loss 'sft'; did you mean 'soft'",
        ),
    ],
)
def test_invalid_objectives_are_refused(make, message):
    with pytest.raises(PellucidError) as caught:
        make()
    assert message in str(caught.value)


class Brightness(Metric):
    """The mean brightness of the images that are classified correctly."""

    def __init__(self):
        self.total, self.count = 0.0, 0

    def update(self, outputs, targets):
        raise AssertionError("update_batch takes its place")

    def update_batch(self, outputs, batch):
        is_correct = outputs.argmax(1) == batch.targets
        self.total += float(batch.images[is_correct].sum())
        self.count += int(is_correct.sum()) * batch.images[0].numel()

    def compute(self):
        return {"brightness": self.total / max(self.count, 1)}


def test_a_metric_may_read_the_images():
    data = digits()
    model = Model(Sequential(Flatten(), Dense(10)), metrics=Brightness(), input_shape=(1, 8, 8))
    is_correct = data.x[model.predict(data.x).argmax(1) == data.y]
    assert model.evaluate(data)["brightness"] == pytest.approx(is_correct.mean().item(), rel=1e-5)


class Misshapen(Distill):
    """An objective whose `predict` returns one number per image, unlike the shape returned by `init`."""

    def predict(self, params, images):
        return super().predict(params, images)[:, :1]


class Raising(Distill):
    def gradients(self, params, batch, mode):
        return params["pupil"]


class InPlace(Distill):
    def predict(self, params, images):
        return super().predict(params, images.mul_(2))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Misshapen, r"Misshapen\.predict returned \(2, 1\) torch.float32 for 2 images, but its init returned \(10,\)"),
        (Raising, r"Raising\.gradients raised KeyError: 'pupil'"),
        (InPlace, r"InPlace changes batch\.images"),
    ],
)
def test_errors_of_objectives_are_named_before_the_first_step(kind, message):
    objective = distill()
    with pytest.raises(PellucidError, match=message):
        Model(kind(objective.student, objective.teacher)).fit(digits(), epochs=1, verbose=False)


@dataclass(frozen=True)
class PixelClassifier(Objective):
    """Classification of each pixel."""

    net: Layer

    def gradients(self, params, batch, mode):
        y, cache = self.net.forward(params["net"], batch.images, mode)
        value, dy = SoftmaxCrossEntropy()(y, batch.targets)
        return {"pixels": value}, {"net": self.net.backward(params["net"], cache, dy)[1]}

    def predict(self, params, images):
        return self.net.forward(params["net"], images, Mode())[0].softmax(1)


def test_an_objective_over_images_of_any_size_is_saved_and_loaded(tmp_path):
    model = Model(PixelClassifier(Sequential(Conv2d(3, 3, padding=1))), metrics=(), input_shape=(1, None, None))
    x, y = torch.rand(6, 1, 8, 8), torch.zeros(6, 8, 8, dtype=torch.long)
    model.fit(x, y, epochs=1, run=tmp_path / "run", verbose=False)
    model.save(tmp_path / "maps.safetensors")
    for file in (tmp_path / "maps.safetensors", tmp_path / "run" / "weights" / "last.safetensors"):
        loaded = Model.load(file, custom=[PixelClassifier])
        assert (loaded.input_shape, loaded.output_shape) == ((1, None, None), (3, None, None))
        for side in (8, 11):
            images = torch.rand(2, 1, side, side)
            assert torch.equal(loaded.predict(images), model.predict(images))


def test_a_model_of_an_objective_is_displayed_with_a_line_for_each_layer():
    lines = str(Model(distill(), metrics=(), input_shape=(1, 8, 8))).splitlines()
    assert lines[1].split() == ["path", "layer"]
    assert ["student.scores", "Dense(10)"] in [line.split() for line in lines[2:]]
    assert len(lines) == 2 + sum(len(net.layers) for net in distill().nets.values())
    assert "\\n" not in "".join(lines)
