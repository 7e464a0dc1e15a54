"""Model: building, evaluating, predicting and saving."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.layers import Conv2d, Dense, Flatten, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from pellucid.losses import BinaryCrossEntropy, Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.optim import SGD, Adam
from tests.training.small import digits, small_conv, small_mlp


def conv_model():
    net = Sequential(conv=Conv2d(3, 3, padding=1), relu=ReLU(), flatten=Flatten(), dense=Dense(10))
    return Model(net, input_shape=(1, 8, 8), classes=10, seed=3)


def logits_by_torch(model, x):
    w = model.weights
    y = F.relu(F.conv2d(x, w["conv.weight"], w["conv.bias"], padding=1)).flatten(1)
    return F.linear(y, w["dense.weight"], w["dense.bias"])


def test_predictions_equal_those_of_the_same_network_in_torch():
    model, x = conv_model(), digits().x
    expected = logits_by_torch(model, x).softmax(1)
    assert torch.allclose(model.predict(x), expected, atol=1e-6)
    assert torch.allclose(model.predict(digits(), batch_size=7), expected, atol=1e-6)
    assert torch.allclose(model.predict(x.numpy()), expected, atol=1e-6)


def test_evaluation_returns_the_mean_loss_and_the_accuracy():
    model, data = conv_model(), digits()
    y = logits_by_torch(model, data.x)
    evaluation = model.evaluate(data, batch_size=64)
    assert evaluation["loss"] == pytest.approx(F.cross_entropy(y, data.y).item(), rel=1e-6)
    assert evaluation["accuracy"] == (y.argmax(1) == data.y).double().mean().item()
    assert evaluation["n"] == 300
    assert model.evaluate(data.x, data.y.tolist()) == pytest.approx(evaluation)


@pytest.mark.parametrize("options", [{"class_weights": tuple(range(1, 11))}, {"ignore": 3}])
def test_weighted_losses_are_averaged_over_all_batches(options):
    """Each batch has mostly one class, so the mean of the batches' means differs from the weighted mean."""
    net = Sequential(flatten=Flatten(), dense=Dense(10))
    model = Model(net, SoftmaxCrossEntropy(**options), SGD(1e-12), input_shape=(1, 8, 8), seed=1)
    order = digits().y.argsort()
    x, y = digits().x[order], digits().y[order]
    logits = F.linear(x.flatten(1), model.weights["dense.weight"], model.weights["dense.bias"])
    weights = torch.tensor(options.get("class_weights", (1.0,) * 10)).float()
    expected = F.cross_entropy(logits, y, weights, ignore_index=options.get("ignore", -100)).item()
    for size in (7, 30, 300):
        assert model.evaluate(x, y, batch_size=size)["loss"] == pytest.approx(expected, rel=1e-5)
    history = model.fit(x, y, epochs=1, batch_size=7, verbose=False)
    assert history["train_loss"][0] == pytest.approx(expected, rel=1e-5)


def test_metrics_are_found_by_name():
    model = Model(mlp((64, 10)), metrics=("accuracy", "top5"), input_shape=(1, 8, 8))
    result, data = model.evaluate(digits()), digits()
    y = F.linear(data.x.flatten(1), model.weights["head.scores.weight"], model.weights["head.scores.bias"])
    top_classes = y.argsort(1, descending=True)[:, :5]
    assert result["top5"] == (top_classes == data.y[:, None]).any(1).double().mean().item()
    with pytest.raises(PellucidError, match=r"no metric 'acuracy'.*did you mean 'accuracy'"):
        Model(mlp((64, 10)), metrics=("acuracy",))


def test_accuracy_of_one_output_has_the_threshold_one_half():
    model = Model(Sequential(dense=Dense(1)), Quadratic(), SGD(0.1), metrics="accuracy", input_shape=(1,))
    model.weights["dense.weight"].fill_(1.0)
    x = torch.tensor([[0.0], [0.4], [0.6], [1.0]])
    assert model.evaluate(x, torch.tensor([0, 1, 1, 1]))["accuracy"] == 0.75
    assert model.evaluate(x, torch.tensor([[0.0], [1.0], [1.0], [1.0]]))["accuracy"] == 0.75


def test_uint8_inputs_are_divided_by_255():
    model = conv_model()
    x = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    assert torch.equal(model.predict(x), model.predict(x.float() / 255))


def test_inputs_are_standardized_by_every_method():
    plain, data = conv_model(), digits()
    model = Model(plain.net, input_shape=(1, 8, 8), seed=3, preprocess={"mean": [0.3], "std": [0.5]})
    assert torch.allclose(model.predict(data.x), plain.predict((data.x - 0.3) / 0.5), atol=1e-6)
    for trained_model, x in ((model, data.x), (plain, (data.x - 0.3) / 0.5)):
        trained_model.optimizer = SGD(0.1)
        trained_model.fit(x, data.y, epochs=1, batch_size=50, verbose=False)
    assert torch.allclose(model.weights["conv.weight"], plain.weights["conv.weight"], atol=1e-5)


def test_the_seed_determines_the_weights():
    first, same, other = (small_mlp(input_shape=(1, 8, 8), seed=seed) for seed in (1, 1, 2))
    assert first.sha256() == same.sha256() != other.sha256()


def test_weights_are_drawn_for_the_shape_of_the_first_data():
    model = small_mlp()
    assert not model.built
    with pytest.raises(PellucidError, match="no weights yet"):
        model.predict(digits())
    model.fit(digits(), epochs=1, batch_size=100, verbose=False)
    assert model.input_shape == (1, 8, 8)
    assert model.output_shape == (10,)
    assert model.classes == tuple("0123456789")


def test_a_saved_model_is_restored_completely(tmp_path):
    model = small_conv(metrics=("accuracy", "top5"), preprocess={"mean": [0.3], "std": [0.5], "data": "digits"})
    model.fit(digits(), epochs=1, batch_size=50, verbose=False)
    model.save(tmp_path / "m.safetensors")
    loaded = Model.load(tmp_path / "m.safetensors")
    assert (loaded.net, loaded.loss, loaded.metrics, loaded.classes) == (
        model.net,
        model.loss,
        model.metrics,
        model.classes,
    )
    assert loaded.preprocess == model.preprocess
    assert loaded.sha256() == model.sha256()
    assert torch.equal(loaded.predict(digits()), model.predict(digits()))
    assert list(loaded.weights) == list(model.weights)


def test_training_of_a_loaded_model_can_be_continued(tmp_path):
    model = small_mlp(input_shape=(1, 8, 8))
    model.save(tmp_path / "m.safetensors")
    loaded = Model.load(tmp_path / "m.safetensors")
    loaded.optimizer = model.optimizer
    for trained_model in (model, loaded):
        trained_model.fit(digits(), epochs=1, batch_size=10, verbose=False)
    assert loaded.sha256() == model.sha256()


def test_the_description_in_the_file_is_plain_json(tmp_path):
    from safetensors import safe_open

    conv_model().save(tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["network"])["children"]["conv"] == {
        "type": "Conv2d", "filters": 3, "kernel": 3, "stride": 1, "padding": 1, "dilation": 1, "groups": 1,
        "bias": True, "init_weight": "he", "init_bias": "zeros",
    }  # fmt: skip
    assert json.loads(metadata["input_shape"]) == [1, 8, 8]
    assert json.loads(metadata["loss"])["type"] == "SoftmaxCrossEntropy"


@pytest.mark.parametrize(
    ("last", "loss"),
    [(Softmax(), SoftmaxCrossEntropy()), (LogSoftmax(), SoftmaxCrossEntropy()), (Sigmoid(), BinaryCrossEntropy())],
)
def test_an_activation_that_is_part_of_the_loss_is_refused(last, loss):
    with pytest.raises(PellucidError, match=rf"end\.act: {type(last).__name__} is followed by .* remove that layer"):
        Model(Sequential(dense=Dense(2), end=Sequential(act=last)), loss)


@pytest.mark.parametrize("last", [Sigmoid(), Softmax(), Tanh()])
def test_other_pairs_of_activation_and_loss_are_accepted(last):
    Model(Sequential(dense=Dense(2), act=last), "quadratic")


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(PellucidError, match=r"no loss 'quadratik'.*did you mean 'quadratic'"):
        Model(ReLU(), "quadratik")
    with pytest.raises(PellucidError, match=r"no optimizer 'adamm'.*did you mean 'adam'"):
        Model(ReLU(), optimizer="adamm")
    assert Model(ReLU(), optimizer="adam").optimizer == Adam()


def test_inputs_of_another_shape_are_refused_with_both_shapes():
    model = conv_model()
    with pytest.raises(
        PellucidError, match=r"x has the shape \(2, 28, 28\), but the network takes batches \(N, 1, 8, 8\)"
    ):
        model.predict(torch.zeros(2, 28, 28))
    with pytest.raises(PellucidError, match=r"validation contains inputs of shape \(1, 9, 9\)"):
        model.fit(digits(), epochs=1, batch_size=9, validation=(np.zeros((2, 1, 9, 9), "f"), [0, 1]), verbose=False)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[0.0]], None, "no targets"),
        ([[0.0]], [0, 1], "1 input and 2 targets"),
        (np.zeros((2, 1), np.int64), [0, 1], "x is int64"),
        ([["a"]], [0], "not an array of numbers"),
        ("digit.png", [0], "x is 'digit.png', not an array"),
        (1.0, [0], "one number"),
        (np.zeros((2, 1), "f"), [0, 7], "classes 0 to 7"),
    ],
)
def test_invalid_data_are_refused(x, y, message):
    with pytest.raises(PellucidError, match=message):
        Model(Sequential(Dense(2)), input_shape=(1,)).evaluate(x, y)


def test_evaluation_names_the_layer_that_overflows():
    model = conv_model()
    model.weights["conv.weight"].fill_(3e38)
    with pytest.raises(PellucidError, match=r"evaluation: conv \(Conv2d\): the output y contains infinity"):
        model.evaluate(digits())


def test_a_model_has_summary_and_verify():
    model = small_mlp(input_shape=(1, 8, 8))
    assert model.summary().parameters == 64 * 16 + 16 + 16 * 10 + 10
    assert "head.scores" in str(model.summary())
    assert model.verify(digits(0, 4)).ok


def test_predictor_agrees_with_predict():
    model = small_conv(input_shape=(1, 8, 8), classes=10)
    data = digits()
    model.fit(data, epochs=1, batch_size=50, verbose=False)
    predict = model.predictor()
    for start in range(3):
        x = data.x[start : start + 2]
        torch.testing.assert_close(predict(x), model.predict(x), rtol=1e-5, atol=1e-6)
    with pytest.raises(PellucidError, match="the network takes"):
        predict(torch.zeros(1, 1, 9, 9))
