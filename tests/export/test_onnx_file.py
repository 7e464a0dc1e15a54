"""Exported ONNX files run by onnxruntime, against PyTorch's own functions."""

import json
import os
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Sequential
from pellucid.data import FeatureStats
from pellucid.export import ParityError, from_onnx, onnx_bytes, onnx_file, to_onnx
from pellucid.export.parity import outputs
from pellucid.layers import (
    LAYERS,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Flatten,
    Identity,
    Layer,
    LogSoftmax,
    LpPool2d,
    MaxPool2d,
    ReLU,
)
from pellucid.losses import HeatMaps
from pellucid.model import Model
from pellucid.opening.onnx_nodes import WRITERS, is_writable
from pellucid.operators import OPERATORS, Times, Variance
from tests.export.samples import ALL_SAMPLES, ROI_LAYERS, draw_sample
from tests.oracle import Sample, difference


def run(data: bytes, *xs: torch.Tensor) -> list[torch.Tensor]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    inputs_by_name = {value.name: x.numpy() for value, x in zip(session.get_inputs(), xs, strict=True)}
    return [torch.from_numpy(y) for y in session.run(None, inputs_by_name)]


def small_model(**options) -> Model:
    net = Sequential(
        conv=Conv2d(4, 3, bias=False), norm=BatchNorm(), relu=ReLU(), pool=MaxPool2d(2), flat=Flatten(), scores=Dense(3)
    )
    return Model(net, input_shape=(2, 8, 8), **options)


@pytest.mark.parametrize("name", ALL_SAMPLES)
def test_every_layer_and_combinator_agrees_with_the_reference(name: str) -> None:
    sample = ALL_SAMPLES[name]
    params, xs, expected_outputs = draw_sample(sample)
    data, parity = onnx_bytes(sample.layer, params, sample.shape)
    assert parity.difference <= 1e-5
    assert max(map(difference, run(data, *xs), expected_outputs)) <= 2e-6
    first = run(data, *(x[:1] for x in xs))  # the batch size is free
    assert max(map(difference, first, (y[:1] for y in expected_outputs))) <= 2e-6


def test_every_layer_can_be_written() -> None:
    unwritable = {kind for kind in (*LAYERS, *OPERATORS) if not is_writable(kind)}
    assert unwritable == set(ROI_LAYERS), (
        "give the others a method `onnx`; if ONNX has no form, `no_operator` in WRITERS, and name a layer in ROI_LAYERS"
    )
    assert not [kind for kind in WRITERS if kind.onnx is not Layer.onnx], "written in two places"


@pytest.mark.parametrize(
    "layer",
    [
        MaxPool2d(2, 3, 1, ceil_mode=True),
        MaxPool2d(3, 4, 1, ceil_mode=True),
        AvgPool2d(2, 3, 1, ceil_mode=True),
        AvgPool2d(3, 4, 1, ceil_mode=True),
        AvgPool2d(3, 4, 1, ceil_mode=True, count_include_pad=False),
        LpPool2d(2, 2.0, 3, ceil_mode=True),
        LpPool2d(3, 1.5, 4, ceil_mode=True),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(5, 8), (8, 6), (7, 9), (6, 5)])
def test_ceil_mode_leaves_out_windows_beyond_the_image(layer, size, tmp_path) -> None:
    # ONNX's formula counts an extra window if the stride skips the end: for (5, 8) 3 rows, not 2.
    sample = Sample(layer, (2, *size))
    _, xs, (expected,) = draw_sample(sample)
    (tmp_path / "net.onnx").write_bytes(onnx_bytes(layer, {}, sample.shape)[0])
    (output,) = run((tmp_path / "net.onnx").read_bytes(), *xs)
    assert difference(output, expected) <= 2e-6
    net, params = from_onnx(tmp_path / "net.onnx")
    assert difference(outputs(net, params, xs, None)[0], expected) <= 2e-6


def test_padding_that_onnxruntime_does_not_support_is_refused() -> None:
    with pytest.raises(PellucidError, match="needs a padding as large as the kernel, which onnxruntime does not"):
        onnx_bytes(MaxPool2d(2, 4, 0, 2, ceil_mode=True), {}, (2, 5, 4))


def test_tensors_have_the_paths_of_parameters_and_metadata_describe_the_inputs(tmp_path) -> None:
    model = small_model(classes=["a", "b", "ü"], preprocess={"data": "x", "mean": [0.5, 0.1], "std": [0.2, 4.0]})
    to_onnx(model, tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    held = {each.name: torch.from_numpy(onnx.numpy_helper.to_array(each).copy()) for each in proto.graph.initializer}
    assert set(held) - set(model.weights) == {"preprocess/mean", "preprocess/std"}
    assert all(torch.equal(held[path], leaf) for path, leaf in model.weights.items())
    assert [node.name for node in proto.graph.node][:3] == ["preprocess/centred", "preprocess", "conv"]
    assert [node.name for node in proto.graph.node][-1] == "scores"
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", 21)]
    told = {each.key: json.loads(each.value) for each in proto.metadata_props}
    logits = "logits; softmax over axis 1 gives the probabilities of predict"
    assert told == {"classes": ["a", "b", "ü"], "preprocess": model.preprocess, "outputs": logits}
    (graph_input,), (graph_output,) = proto.graph.input, proto.graph.output
    assert (graph_input.name, graph_output.name) == ("input", "output")
    assert [each.dim_param or each.dim_value for each in graph_input.type.tensor_type.shape.dim] == ["N", 2, 8, 8]
    assert [each.dim_param or each.dim_value for each in graph_output.type.tensor_type.shape.dim] == ["N", 3]


def test_a_file_standardises_images_and_returns_logits(tmp_path) -> None:
    model = small_model(preprocess={"mean": [0.5, 0.1], "std": [0.2, 4.0]})
    to_onnx(model, tmp_path / "model.onnx")
    x = torch.rand(5, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    (logits,) = run((tmp_path / "model.onnx").read_bytes(), x)
    assert torch.allclose(logits.softmax(1), model.predict(x), atol=1e-6)


OUTPUT_MEANINGS = [
    ("softmax_cross_entropy", "logits; softmax over axis 1 gives", lambda y: y.softmax(1)),
    ("focal", "logits; softmax over axis 1 gives", lambda y: y.softmax(1)),
    ("binary_cross_entropy", "logits; sigmoid gives", lambda y: y.sigmoid()),
    ("nll", "log-probabilities; exp gives", lambda y: y.exp()),
    ("quadratic", "the values of predict", lambda y: y),
    ("hinge", "the values of predict", lambda y: y),
]


@pytest.mark.parametrize(("loss", "text", "convert"), OUTPUT_MEANINGS, ids=[loss for loss, _, _ in OUTPUT_MEANINGS])
def test_the_metadata_describes_how_outputs_become_predictions(loss: str, text: str, convert, tmp_path) -> None:
    """Converting onnxruntime's outputs as the metadata describes gives the values of `predict`."""
    path = tmp_path / "model.onnx"
    end = Sequential(flat=Flatten(), scores=Dense(3), **({"log": LogSoftmax()} if loss == "nll" else {}))
    model = Model(end, loss, input_shape=(2, 4, 4))
    to_onnx(model, path)
    assert outputs_metadata(path).startswith(text)
    x = torch.rand(5, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    (y,) = run(path.read_bytes(), x)
    torch.testing.assert_close(convert(y), model.predict(x), rtol=1e-5, atol=1e-6)


def outputs_metadata(path) -> str:
    return {each.key: json.loads(each.value) for each in onnx.load(path).metadata_props}["outputs"]


def test_the_metadata_describes_masks_heat_maps_and_auxiliary_outputs(tmp_path) -> None:
    path = tmp_path / "model.onnx"
    to_onnx(Model(Sequential(c=Conv2d(3, 1)), input_shape=(1, 6, 6)), path)
    assert outputs_metadata(path) == "logits; softmax over axis 1 gives the probabilities of predict"
    to_onnx(Model(Sequential(c=Conv2d(2, 1)), HeatMaps(), input_shape=(1, 6, 6)), path)
    assert outputs_metadata(path) == "the network's values; HeatMaps.predict converts them to the values of predict"
    heads = Fork(main=Dense(3), other=Dense(3))
    to_onnx(Model(Sequential(f=Flatten(), heads=heads), "auxiliary_cross_entropy", input_shape=(1, 4, 4)), path)
    text = "output1: logits; softmax over axis 1 gives the probabilities of predict, which uses no other output"
    assert outputs_metadata(path) == text


def test_channels_last_weights_are_written_in_order() -> None:
    conv = Conv2d(5, 3)
    params, _ = conv.init((4, 6, 6), torch.Generator().manual_seed(0))
    params["weight"] = params["weight"].to(memory_format=torch.channels_last)
    data, _ = onnx_bytes(conv, params, (4, 6, 6))
    (weight, _) = onnx.load_from_string(data).graph.initializer
    assert torch.equal(torch.from_numpy(onnx.numpy_helper.to_array(weight).copy()), params["weight"])


PATHS = {
    "/home/someone/My Pictures/cats": "cats",
    "/home/someone/pictures.zip": "pictures.zip",
    "pictures/of cats": "of cats",
    "../cats/": "cats",
    "~/cats": "cats",
    r"C:\Users\Someone\cats": "cats",
    "C:/Users/Someone/cats": "cats",
    r"\\server\share\cats": "cats",
    "cifar10": "cifar10",
}


@pytest.mark.parametrize("path", PATHS)
def test_the_data_are_named_without_the_path_of_their_folder(path: str, tmp_path: Path) -> None:
    entries = {"data": path, "size": [8, 8]}
    model = small_model(preprocess=entries)
    to_onnx(model, tmp_path / "net.onnx")
    data = (tmp_path / "net.onnx").read_bytes()
    metadata = {one.key: json.loads(one.value) for one in onnx.load_from_string(data).metadata_props}
    assert metadata["preprocess"] == {"data": PATHS[path], "size": [8, 8]}
    assert model.preprocess == entries
    for part in (b"someone", b"Someone", b"server", b"My Pictures", str(tmp_path).encode()):
        assert part not in data


def file_of(kind: str, folder: Path) -> None:
    """Write the files of an export into the current folder."""
    preprocess = {"data": str(folder / "pictures"), "mean": [0.5] * 3, "std": [0.5] * 3}
    model = Model(
        Sequential(conv=Conv2d(4, 3), relu=ReLU(), flat=Flatten(), scores=Dense(3)),
        input_shape=(3, 8, 8), preprocess=preprocess, classes=["a", "b", "c"],
    )  # fmt: skip
    if kind == "detector":
        model = Model.load("bccd")
        model.preprocess["data"] = str(folder / "pictures")
    if kind == "opened":
        network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.SiLU(), torch.nn.Flatten())
        model = pellucid.open(network, torch.zeros(2, 3, 8, 8), preprocess=preprocess)
    if kind == "saved":
        model.save(folder / "saved.safetensors")
        model = Model.load(folder / "saved.safetensors")
    to_onnx(model, "net.onnx", whole=kind in ("pictures", "detector"))


@pytest.mark.parametrize("kind", ["network", "pictures", "detector", "opened", "saved"])
def test_no_byte_of_a_file_names_a_folder_of_this_machine(kind: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file_of(kind, tmp_path)
    library = Path(onnx_file.__file__).parents[1]
    folders = [tmp_path, Path.home(), Path(os.getcwd()), library, Path(torch.__file__).parent, Path(sys.prefix)]
    files = [*tmp_path.glob("net.*")]
    assert [file.suffix for file in files if file.suffix == ".onnx"]
    for file in files:
        data = file.read_bytes()
        for folder in folders:
            assert os.fsencode(folder) not in data, f"{file.name} names {folder}"
        assert b".py\0" not in data
        assert __file__.encode() not in data


@pytest.mark.parametrize("name", ["input", "output", "preprocess"])
def test_layers_may_have_names_that_the_file_uses(name: str) -> None:
    net = Sequential(**{name: Dense(3), "then": Identity()})
    params, _ = net.init((2,), torch.Generator().manual_seed(0))
    data, _ = onnx_bytes(net, params, (2,))
    assert f"{name}.weight" in {each.name for each in onnx.load_from_string(data).graph.initializer}


def test_a_file_that_would_differ_is_not_written(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ReLU, "onnx", lambda layer, n: n.last("Identity", n.x))
    with pytest.raises(ParityError, match=r"the ONNX file would differ from the network by \d\.\de[-+]\d+ of its"):
        to_onnx(small_model(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_all_layers_without_onnx_nodes_are_listed() -> None:
    class Mine(Flatten):
        pass

    class Yours(Flatten):
        pass

    with pytest.raises(PellucidError, match="no ONNX operators for the layers Mine, Yours; use pellucid's own"):
        onnx_bytes(Sequential(a=Mine(), b=Yours(), c=Mine()), {"a": {}, "b": {}, "c": {}}, (3,))


def test_a_variance_over_the_examples_is_refused() -> None:
    net = Graph({"v": (Variance((0,), keep=True), "x"), "y": (Times(), "x", "v")}, ("y",), ("x",))
    with pytest.raises(PellucidError, match="v: Variance along the axis of examples has no form in ONNX"):
        onnx_bytes(net, {"v": {}, "y": {}}, (3,))


def test_a_model_without_weights_is_reported(tmp_path) -> None:
    with pytest.raises(PellucidError, match="the model has no weights yet"):
        to_onnx(Model(Sequential(Dense(2))), tmp_path / "model.onnx")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_reported_in_one_line(package: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PellucidError, match=rf"needs the package {package}, which is missing; pip install pellucid\["):
        to_onnx(small_model(), tmp_path / "model.onnx")


def test_weights_above_the_size_limit_of_a_file_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(onnx_file, "MAX_ONNX_BYTES", (64 << 20) + 10)
    with pytest.raises(PellucidError, match="the weights take 36 bytes, more than the 2 GB"):
        onnx_bytes(Dense(3), Dense(3).init((2,), torch.Generator().manual_seed(0))[0], (2,))


def test_statistics_are_subtracted_and_divided_as_the_model_does() -> None:
    stats = FeatureStats(torch.tensor([[[0.3]], [[0.6]]]), torch.tensor([[[0.5]], [[2.0]]]))
    data, _ = onnx_bytes(Identity(), {}, (2, 1, 1), stats)
    (y,) = run(data, torch.tensor([[[[0.8]], [[0.2]]]]))
    assert torch.allclose(y.flatten(), torch.tensor([1.0, -0.2]))
