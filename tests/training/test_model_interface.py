"""The Model interface for users of other libraries: layers by path, calls, new heads, class names, tables."""

import re
from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.combine.nets import parameter_counts
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten, MaxPool2d, ReLU
from pellucid.model import Model
from pellucid.models import lenet, resnet18
from pellucid.run.history import History
from tests.training.small import digits, small_mlp

NAMES = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"]


def model_from_list(**options):
    return Model(Sequential([Conv2d(4, 3), ReLU(), Flatten(), Dense(10)]), input_shape=(1, 8, 8), **options)


def nested_model():
    body = Sequential(conv1=Conv2d(4, 3), norm=BatchNorm(), relu=ReLU())
    return Model(Sequential(features=body, flatten=Flatten(), scores=Dense(10)), input_shape=(1, 8, 8))


def test_a_network_from_a_list_trains_and_is_restored_from_its_file(tmp_path):
    model = model_from_list()
    model.fit(digits(), epochs=1, verbose=False)
    assert list(model.weights) == ["conv2d1.weight", "conv2d1.bias", "dense1.weight", "dense1.bias"]
    model.save(tmp_path / "m.safetensors")
    loaded = Model.load(tmp_path / "m.safetensors")
    assert loaded.net == model.net
    assert torch.equal(loaded.predict(digits()), model.predict(digits()))


def test_the_default_batch_size_is_32():
    first, second = model_from_list(), model_from_list()
    first.fit(digits(), epochs=1, verbose=False)
    second.fit(digits(), epochs=1, batch_size=32, verbose=False)
    assert first.sha256() == second.sha256()
    assert first.fit(digits(), epochs=1, verbose=False)["step"] == [10]  # 300 / 32, rounded up


def test_layers_accessed_by_path_have_the_trained_weights():
    model = nested_model()
    result = model["features.conv1"]
    assert result.layer == Conv2d(4, 3)
    assert result.params["weight"] is model.weights["features.conv1.weight"]
    names = {path.removeprefix("features.") for path in model.weights if path.startswith("features.")}
    assert set(model["features"].params) == names
    assert [layer.path for layer in model.layers] == [
        "features.conv1", "features.norm", "features.relu", "flatten", "scores",
    ]  # fmt: skip
    assert model.layers[-1].layer == Dense(10)
    for path, message in (
        ("features.conv", "did you mean 'features.conv1'?"),
        ("zzz", "known: features"),
        (0, "no layer 0"),
    ):
        with pytest.raises(PellucidError, match=re.escape(message)):
            model[path]
    assert Model(nested_model().net)["scores"].params == {}  # no weights yet


def test_a_layer_has_a_one_line_repr_a_table_and_html():
    model = model_from_list()
    weight = model.weights["conv2d1.weight"]
    assert repr(model["conv2d1"]) == "<conv2d1: Conv2d(4, 3); weight 4 x 1 x 3 x 3, bias 4>"
    line = str(model["conv2d1"]).splitlines()[2].split()
    assert line[:1] == ["weight"]
    assert line[-4:] == [f"{statistic:.4g}" for statistic in (weight.double().mean(), weight.double().std(correction=0),
                                                  weight.double().min(), weight.double().max())]  # fmt: skip
    assert "<caption>conv2d1: Conv2d(4, 3)</caption>" in model["conv2d1"]._repr_html_()
    assert repr(nested_model()["features"]).startswith(
        "<features: Sequential of conv1, norm, relu; conv1.weight 4 x 1 x 3 x 3"
    )


def test_calling_a_model_gives_the_outputs_of_the_network():
    model, x = model_from_list(), digits().x
    w = model.weights
    y = F.relu(F.conv2d(x, w["conv2d1.weight"], w["conv2d1.bias"])).flatten(1)
    expected = F.linear(y, w["dense1.weight"], w["dense1.bias"])
    for inputs in (x, x.numpy(), digits()):
        assert torch.allclose(model(inputs), expected, atol=1e-5)
    assert torch.allclose(model(x).softmax(1), model.predict(x), atol=1e-6)
    model = nested_model()
    before = {path: tensor.clone() for path, tensor in model.weights.items()}
    # Batch normalization uses running statistics; results of different batch sizes differ by rounding.
    torch.testing.assert_close(model(x[:4]), model(x)[:4])
    assert all(torch.equal(before[path], tensor) for path, tensor in model.weights.items())


def test_an_image_that_is_too_small_raises_an_error_with_the_path_of_the_layer() -> None:
    model = Model(Sequential(conv=Conv2d(3, 3), conv2=Conv2d(2, 3)), input_shape=(1, None, None))
    small, large = torch.rand(1, 1, 2, 2), torch.rand(1, 1, 6, 7)
    assert model.predict(large).shape == (1, 2, 2, 3)
    for call in (model.predict, model, lambda x: model.fit(x, torch.zeros(1, 1, 1), epochs=1, verbose=False)):
        with pytest.raises(PellucidError, match="conv: Conv2d: the input is smaller than the window"):
            call(small)


@pytest.mark.parametrize("net", [lenet(10), Sequential([Flatten(), Dense(16), ReLU(), Dense(10)])], ids=["zoo", "list"])
def test_a_new_head_keeps_all_other_weights_and_learns_other_classes(net):
    model = Model(net, input_shape=(1, 28, 28), classes=10)
    model.freeze("*")
    before = {path: tensor.clone() for path, tensor in model.weights.items()}
    model.replace_head(["bird", "cat", "dog"])
    changed = [path for path in before if model.weights[path].shape != before[path].shape]
    assert len(changed) == 2  # weight and bias of the last layer
    assert all(torch.equal(model.weights[path], before[path]) for path in before if path not in changed)
    assert (model.output_shape, model.classes) == ((3,), ("bird", "cat", "dog"))
    assert model.frozen == set(before) - set(changed)
    x = torch.rand(12, 1, 28, 28)
    model.fit(x, ["cat", "dog", "bird"] * 4, epochs=1, verbose=False)
    assert model.predict(x).shape == (12, 3)
    model.replace_head(2)
    assert model.classes is None
    model.fit(x, ["yes", "no"] * 6, epochs=1, verbose=False)
    assert model.classes == ("no", "yes")


def test_a_new_head_needs_a_network_with_a_known_last_layer():
    model = Model(Sequential([Flatten(), Dense(16), BatchNorm()]), input_shape=(1, 8, 8))
    with pytest.raises(PellucidError, match="not made of 'features' and 'head'"):
        model.replace_head(3)


@pytest.mark.parametrize("convert", [list, np.array, lambda y: np.array(y, object)])
def test_labels_may_be_names(convert):
    data = digits()
    names = [NAMES[k] for k in data.y.tolist()]
    by_name, by_number = small_mlp(), small_mlp()
    by_name.fit(data.x, convert(names), epochs=2, batch_size=10, validation=(data.x[:50], names[:50]), verbose=False)
    by_number.fit(data.x, data.y, epochs=2, batch_size=10, verbose=False)
    assert by_name.classes == tuple(NAMES)
    assert by_name.sha256() == by_number.sha256()
    assert by_name.evaluate(data.x, convert(names)) == by_number.evaluate(data.x, data.y)
    few_results = by_name.evaluate(data.x[:3], convert(names[:3]))  # a subset of the classes keeps its indices
    assert few_results == by_name.evaluate(data.x[:3], data.y[:3])
    with pytest.raises(PellucidError, match=r"the targets of x contains the unknown class 'foks'; did you mean"):
        by_name.evaluate(data.x[:2], ["fox", "foks"])


@pytest.mark.parametrize("call", ["evaluate", "verify", "trace", "doctor"])
def test_class_names_are_refused_by_a_model_without_class_names(call):
    data, model = digits(), small_mlp()
    model.fit(data.x, data.y, epochs=1, verbose=False)  # trained with class indices, so the model has no class names
    assert model.classes is None
    twos = data.x[data.y == 2][:4]
    with pytest.raises(PellucidError, match=r"targets of x are class names .* 'cat', but the model has no class names"):
        getattr(model, call)(twos, ["cat"] * 4)  # otherwise, "cat" would become class 0
    with pytest.raises(PellucidError, match="the targets of validation are class names"):
        model.fit(data.x, data.y, epochs=1, validation=(twos, ["cat"] * 4), verbose=False)
    with pytest.raises(PellucidError, match="the targets of validation are class names"):
        model.doctor(data.x, data.y, validation=(twos, ["cat"] * 4))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((5, 8, 8, 1), np.float32), "channels are the last axis; give x.transpose(0, 3, 1, 2) of an array"),
        (np.zeros((1, 8, 8), np.float32), "x is one input of shape (1, 8, 8) without the batch axis; give x[None]"),
        (np.zeros((8, 8), np.float32), "x is one input of shape (8, 8) without the batch axis; give x[None, None]"),
        (
            np.zeros((8, 8, 1), np.float32),
            "x is one input of shape (8, 8, 1) without the batch axis; give x.tr",
        ),
        (np.zeros((5, 8, 8), np.float32), "add the axis of channels: x[:, None]"),
        (
            np.zeros((5, 1, 9, 9), np.float32),
            "x contains inputs of shape (1, 9, 9), but the network takes (1, 8, 8)",
        ),
    ],
)
def test_the_error_for_inputs_of_a_wrong_shape_says_what_to_do(x, message):
    model = model_from_list()
    for call in (model.predict, model, model.explain, lambda x: model.evaluate(x, [0] * len(x))):
        with pytest.raises(PellucidError, match=re.escape(message)) as caught:
            call(x)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (8, 8, 3), (20, 20, 3), (17, 17, 4)])
def test_a_channels_last_array_is_refused_before_weights_are_drawn(shape):
    x, net = np.zeros((6, *shape), np.float32), Sequential([Conv2d(4, 3), Flatten(), Dense(2)])
    with pytest.raises(PellucidError, match=r"x: \(\d+, \d+, \d\) is channels last"):
        Model(net).fit(x, [0, 1] * 3, epochs=1)
    with pytest.raises(PellucidError, match=r"input_shape: \(\d+, \d+, \d\) is channels last"):
        Model(net, input_shape=shape)
    Model(net).fit(x.transpose(0, 3, 1, 2), [0, 1] * 3, epochs=1, verbose=False)


def test_uint8_values_and_wide_windows_identify_channels_last_arrays():
    net = Sequential([Conv2d(4, 3, padding=1), Flatten(), Dense(2)])
    for x in (np.zeros((6, 10, 12, 3), np.uint8), np.zeros((6, 8, 8, 1), np.float32)):
        with pytest.raises(PellucidError, match=r"x: \(\d+, \d+, \d\) is channels last"):
            Model(net).fit(x, [0, 1] * 3, epochs=1, verbose=False)


def test_the_error_for_one_image_without_batch_axis_says_how_to_add_it():
    for y in ([3], 3):
        with pytest.raises(PellucidError, match=r"8 inputs and 1 target; .*needs the batch axis, x\[None\]"):
            small_mlp().fit(np.zeros((8, 8), np.float32), y, epochs=1)


@pytest.mark.parametrize(
    "net",
    [
        Sequential([Conv2d(4, 3), Dense(10)]),
        Sequential(features=Sequential(conv=Conv2d(4, 3), act=ReLU(), pool=MaxPool2d(2)), scores=Dense(10)),
        Dense(10),
    ],
)
def test_the_error_for_images_before_dense_suggests_flatten(net):
    with pytest.raises(PellucidError, match=r"Dense takes vectors, not images .*; put Flatten before it"):
        Model(net, input_shape=(1, 8, 8))


def test_parameters_are_counted_without_buffers():
    """Compare with the published number for ResNet-18, whose 20 batch normalizations have 4,800 channels."""
    model = Model(resnet18(), input_shape=(3, 224, 224))
    assert "11,689,512 parameters and 9,600 values in buffers, 3 x 224 x 224 -> 1000" in repr(model)
    assert model.summary().parameters == 11_689_512
    assert parameter_counts({"a": model.net, "b": Dense(1)}, {"a": model.params}) == (11_689_512, 9_600)


def test_a_model_has_a_one_line_repr_a_table_and_html():
    model = model_from_list(classes=["<b>", *NAMES[1:]])
    count = sum(tensor.numel() for tensor in model.weights.values())
    assert repr(model) == f"<Model: 4 layers, {count:,} parameters, 1 x 8 x 8 -> 10; SoftmaxCrossEntropy, Adam>"
    assert str(model) == f"{model!r}\n{model.summary()}"
    assert "<td>Conv2d(4, 3)</td><td>4 x 6 x 6</td>" in model._repr_html_()
    assert "<b>" not in model._repr_html_()
    unbuilt = Model(Sequential([Dense(3)]))
    assert repr(unbuilt) == "<Model: 1 layer, no weights yet; SoftmaxCrossEntropy, Adam>"
    assert "Dense(3)" in unbuilt._repr_html_()
    model_with_html = Model(Sequential(**{"<script>": Dense(3)}), input_shape=(4,))
    assert "<script>" not in model_with_html._repr_html_()
    assert "&lt;script&gt;" in model_with_html._repr_html_()


def test_a_history_has_a_one_line_repr_a_table_and_html():
    history = small_mlp().fit(digits(), epochs=3, validation=0.2, verbose=False)
    last = history.last
    values = ", ".join(
        f"{name} {last[name]:.4g}" for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    )
    assert repr(history) == f"<History: 3 epochs; {values}>"
    head, *rows = str(history).splitlines()
    assert head.split() == list(last)
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert history._repr_html_().count("<tr>") == 4
    assert (repr(History()), str(History())) == ("<History: 0 epochs>", "<History: 0 epochs>")
    history_with_html = History([{"epoch": 1, "train_<i>": 0.5, "train_loss": None}])
    assert "<i>" not in history_with_html._repr_html_()
    with pytest.raises(PellucidError, match="did you mean 'val_loss'"):
        history["val_los"]


def test_a_history_is_plotted():
    history = small_mlp().fit(digits(), epochs=3, validation=0.2, verbose=False)
    figure = history.plot()
    assert isinstance(figure, Figure)
    loss, accuracy = figure.axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert list(loss.lines[1].get_ydata()) == history["val_loss"]
    assert list(accuracy.lines[0].get_ydata()) == history["train_accuracy"]
    file = BytesIO()
    figure.savefig(file)
    assert Image.open(file).size[0] > 500
    assert Image.open(BytesIO(figure._repr_png_())).format == "PNG"
    rows = [{"epoch": 1, "train_loss": 1.0, r"train_$\frac{$": None}]
    History(rows).plot().savefig(BytesIO())  # names are not parsed as formulas
    with pytest.raises(PellucidError, match="no finished epoch to plot"):
        History().plot()


CONVERSIONS = {
    "meta": lambda x: x.to("meta"),
    "sparse": torch.Tensor.to_sparse,
    "sparse_csr": lambda x: x.flatten(1).to_sparse_csr(),
    "nested": lambda x: torch.nested.as_nested_tensor(list(x)),
    "mkldnn": torch.Tensor.to_mkldnn,
}
REMEDIES = {"meta": r"create it on the CPU or a GPU$", "nested": r"convert it with \.to_padded_tensor\(0\.0\), or"}


@pytest.mark.filterwarnings("ignore:.*prototype.*:UserWarning", "ignore:.*beta state.*:UserWarning")
@pytest.mark.parametrize("kind", CONVERSIONS)
@pytest.mark.parametrize("call", ["predict", "evaluate", "fit", "__call__"])
def test_a_tensor_without_dense_values_is_refused_in_one_line(kind, call):
    model = Model(Sequential(Flatten(), Dense(3)), input_shape=(1, 4, 4))
    x, y = torch.rand(6, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    options = {"epochs": 1, "verbose": False} if call == "fit" else {}
    remedy = REMEDIES.get(kind, r"convert it with \.to_dense\(\)$")
    with pytest.raises(PellucidError, match=rf"^x is a .*tensor.*; {remedy}") as info:
        getattr(model, call)(CONVERSIONS[kind](x), *([y] if call in ("fit", "evaluate") else []), **options)
    assert "\n" not in str(info.value)
    if call in ("fit", "evaluate"):
        with pytest.raises(PellucidError, match=r"^the targets of x is"):
            getattr(model, call)(x, CONVERSIONS[kind](y.float()[:, None]), **options)


@pytest.mark.filterwarnings("ignore:.*prototype.*:UserWarning", "ignore:.*beta state.*:UserWarning")
def test_the_conversions_suggested_in_errors_preserve_the_values():
    x = torch.rand(6, 1, 4, 4)
    for kind in ("sparse", "mkldnn"):
        assert torch.equal(CONVERSIONS[kind](x).to_dense(), x)
    assert torch.equal(CONVERSIONS["sparse_csr"](x).to_dense(), x.flatten(1))
    assert torch.equal(CONVERSIONS["nested"](x).to_padded_tensor(0.0), x)


@pytest.mark.parametrize("path", [None, 3, b"model.safetensors", []])
def test_a_file_to_load_must_be_a_path(path):
    with pytest.raises(PellucidError, match=r"^a weights file must be a path, not"):
        Model.load(path)


UNIT_RANGE = {"mean": [0.4], "std": [0.3]}


@pytest.mark.parametrize("preprocess", [UNIT_RANGE, {"data": "mnist"}, {"data": "mnist", **UNIT_RANGE}])
@pytest.mark.parametrize("call", ["predict", "evaluate", "fit", "__call__"])
def test_float_images_of_0_to_255_are_refused_if_0_to_1_is_expected(preprocess, call):
    model = Model(Sequential(Flatten(), Dense(3)), input_shape=(1, 4, 4), preprocess=preprocess)
    x, y = torch.rand(6, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    options = {"epochs": 1, "verbose": False} if call == "fit" else {}
    targets = [y] if call in ("fit", "evaluate") else []
    with pytest.raises(PellucidError, match=r"^x contains floats from .* to 2\d\d.*, but .* 0 to 1; give uint8 images"):
        getattr(model, call)(x * 255, *targets, **options)
    getattr(model, call)((x * 255).to(torch.uint8), *targets, **options)
    getattr(model, call)(x + torch.randn(x.shape), *targets, **options)  # noise is not refused


@pytest.mark.parametrize("preprocess", [{}, {"mean": [120.0], "std": [60.0]}, {"mean": [0.1], "std": [1.0]}])
def test_floats_of_any_range_are_accepted_if_no_range_is_expected(preprocess):
    model = Model(Sequential(Flatten(), Dense(3)), input_shape=(1, 4, 4), preprocess=preprocess)
    model.predict(torch.rand(6, 1, 4, 4) * 255)
    features = Model(Sequential(Dense(3)), input_shape=(4,), preprocess={"data": "wine"})
    features.predict(torch.rand(6, 4) * 1000)


@pytest.mark.parametrize("call", [lambda m, x: m(x), lambda m, x: m.predict(x), lambda m, x: m.explain(x)])
def test_floats_up_to_255_are_refused_by_a_model_that_was_trained_on_uint8(call):
    x, y = torch.randint(0, 256, (6, 3, 4, 4), dtype=torch.uint8), torch.tensor([0, 1, 0, 1, 0, 1])
    model = Model(Sequential(Flatten(), Dense(2)))
    model.fit(x, y, epochs=1, verbose=False)
    call(model, x / 255)
    with pytest.raises(PellucidError, match=r"^x contains floats from .* to 2\d\d.* 0 to 1; give uint8 .* x / 255"):
        call(model, x.float())


def test_training_on_undivided_floats_is_noted(capsys):
    x, y = torch.randint(0, 256, (6, 1, 4, 4), dtype=torch.uint8), torch.tensor([0, 1, 0, 1, 0, 1])
    for images, is_noted in ((x.float(), True), (x, False), (x / 255, False), (x[:, 0].float(), False)):
        Model(Sequential(Flatten(), Dense(2))).fit(images, y, epochs=1, verbose=False)
        assert ("give x as uint8, or x / 255" in capsys.readouterr().err) == is_noted
