"""Forms of ONNX files that other tools write: weights as constants, uint8 inputs, outputs without shapes, QDQ."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import pellucid
from pellucid import PellucidError
from pellucid.export import to_onnx
from tests.opening.onnxfiles import f32, node, write

SHAPE = ("N", 3, 8, 8)


def constant(name: str, values: Any) -> Any:
    return helper.make_node("Constant", [], [name], name=f"{name}_node", value=numpy_helper.from_array(values, name))


def runtime(path: Path, x: Any) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def save(
    path: Path, nodes: list[Any], constants: dict[str, Any], kind: int = TensorProto.FLOAT, shape: Any = SHAPE,
    outputs: Any = None,
) -> Path:  # fmt: skip
    """Write a file whose outputs are declared exactly as given."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        outputs or [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *[None] * 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


CONV = node("Conv", ["x", "w"], "y", pads=[1] * 4)


def test_weights_in_constant_nodes_are_weights(tmp_path: Path) -> None:
    """12 MiB in Constant nodes, above the limit of a file without its weights."""
    nodes = [
        constant("w", f32(3, 4, 1024)),
        node("MatMul", ["x", "w"], "h"),
        constant("v", f32(1024, 3072)),
        node("MatMul", ["h", "v"], "y"),
    ]
    path = write(tmp_path / "constants.onnx", nodes, ["N", 3, 2, 4])
    model = pellucid.open(path)
    assert {tuple(weight.shape) for weight in model.weights.values()} == {(3, 4, 1024), (3072, 1024)}
    x = f32(2, 3, 2, 4)
    np.testing.assert_allclose(model(x), runtime(path, x), rtol=1e-4, atol=1e-3)


def test_constants_beside_initializers_are_no_weights(tmp_path: Path) -> None:
    nodes = [constant("c", f32(3, 1, 1)), node("Sub", ["x", "c"], "h"), node("Conv", ["h", "w"], "y", pads=[1] * 4)]
    model = pellucid.open(write(tmp_path / "both.onnx", nodes, SHAPE, {"w": f32(4, 3, 3, 3)}))
    kinds = {type(layer).__name__ for layer in model.net.layers.values()}
    assert "Fixed" in kinds
    assert "Learned" not in kinds


@pytest.mark.parametrize("declared", ["no shape", "no type"])
def test_outputs_without_a_shape_are_read(declared: str, tmp_path: Path) -> None:
    output = helper.make_value_info("y", helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    if declared == "no type":
        output = helper.make_empty_tensor_value_info("y")
    model = pellucid.open(save(tmp_path / "open.onnx", [CONV], {"w": f32(4, 3, 3, 3)}, outputs=[output]))
    assert tuple(model(f32(2, 3, 8, 8)).shape) == (2, 4, 8, 8)


@pytest.mark.parametrize("last", [False, True])
def test_a_file_for_uint8_takes_pictures_and_fractions(last: bool, tmp_path: Path) -> None:
    moves = [node("Transpose", ["x"], "t", perm=[0, 3, 1, 2])] if last else [node("Identity", ["x"], "t")]
    nodes = [*moves, node("Cast", ["t"], "f", to=TensorProto.FLOAT), node("Conv", ["f", "w"], "y", pads=[1] * 4)]
    shape = ("N", 8, 8, 3) if last else SHAPE
    path = save(tmp_path / "bytes.onnx", nodes, {"w": f32(4, 3, 3, 3)}, TensorProto.UINT8, shape)
    model = pellucid.open(path)
    x = np.random.default_rng(0).integers(0, 256, (2, *shape[1:]), dtype=np.uint8)
    expected = runtime(path, x)
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(model(x.astype(np.float32) / 255), expected, rtol=1e-5, atol=1e-3)
    assert model.explain(x, "gradcam", (0,)).shape == ((2, 8, 8, 1) if last else (2, 1, 8, 8))
    assert pellucid.open(path, x)(x).shape == expected.shape


def test_arithmetic_of_uint8_is_refused(tmp_path: Path) -> None:
    nodes = [node("Add", ["x", "x"], "s"), node("Cast", ["s"], "f", to=1), node("Conv", ["f", "w"], "y", pads=[1] * 4)]
    path = save(tmp_path / "wraps.onnx", nodes, {"w": f32(4, 3, 3, 3)}, TensorProto.UINT8)
    with pytest.raises(PellucidError, match="computes with uint8 in s; export it for float32 inputs"):
        pellucid.open(path)


def test_probabilities_near_zero_are_compared_with_an_absolute_floor(tmp_path: Path) -> None:
    """Sigmoids of about -16, 1e-7: onnxruntime's are off by as much."""
    weight = f32(4, 96, 3, 3) * 4
    bias = np.full(4, -17, np.float32)
    nodes = [
        node("Conv", ["x", "v"], "h", pads=[1] * 4),
        node("Conv", ["h", "w", "b"], "c", pads=[1] * 4),
        node("Clip", ["c", "low", "high"], "k"),
        node("Sigmoid", ["k"], "y"),
    ]
    constants = {
        "v": f32(96, 3, 3, 3), "w": weight * 0.01, "b": bias, "low": np.float32(-18), "high": np.float32(-16),
    }  # fmt: skip
    model = pellucid.open(write(tmp_path / "rare.onnx", nodes, ["N", 3, 16, 16], constants))
    assert float(model(f32(1, 3, 16, 16)).max()) < 1e-6


def quantized(name: str) -> list[Any]:
    """Return the two nodes that quantize a value, as `NAME.q`."""
    return [
        node("QuantizeLinear", [name, f"{name}.s", f"{name}.z"], f"{name}.i"),
        node("DequantizeLinear", [f"{name}.i", f"{name}.s", f"{name}.z"], f"{name}.q"),
    ]


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_quantized_file_is_opened_as_floats_within_the_range_of_its_integers(
    per_channel: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The range of the hidden values replaces a ReLU, as onnxruntime's quantization writes it."""
    rng = np.random.default_rng(0)
    scale = np.float32([0.01, 0.02, 0.005, 0.015]) if per_channel else np.float32(0.01)
    integers = rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    constants = {
        "x.s": np.float32(1 / 255), "x.z": np.uint8(0), "w.s": scale, "w.z": np.zeros_like(scale, np.int8),
        "w.i": integers, "h.s": np.float32(0.02), "h.z": np.uint8(0), "v": f32(5, 4, 3, 3),
    }  # fmt: skip
    nodes = [
        *quantized("x"),
        node("DequantizeLinear", ["w.i", "w.s", "w.z"], "w.q", axis=0),
        node("Conv", ["x.q", "w.q"], "h", pads=[1] * 4),
        *quantized("h"),
        node("Conv", ["h.q", "v"], "y", pads=[1] * 4),
    ]
    path = save(tmp_path / "quantized.onnx", nodes, constants)
    model = pellucid.open(path)
    assert "is quantized; 3 quantized tensors are opened as floats" in capsys.readouterr().err
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    weight = torch.from_numpy(integers) * torch.from_numpy(np.broadcast_to(scale, 4).copy()).view(-1, 1, 1, 1)
    hidden = torch.conv2d(x, weight, padding=1).clamp(0, 255 * 0.02)
    expected = torch.conv2d(hidden, torch.from_numpy(constants["v"]), padding=1)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)
    unrounded = np.abs(model(x).numpy() - runtime(path, x.numpy())).max()
    assert 0 < unrounded < 0.05 * float(expected.abs().max())


@pytest.mark.parametrize("stats", [{}, {"mean": [0.2, 0.5, 0.4], "std": [0.3, 0.2, 0.5]}])
def test_an_exported_file_carries_its_preprocessing(stats: dict[str, Any], tmp_path: Path) -> None:
    """The picture is resized to the size in the metadata; the mean and std are part of the file's network."""
    from pellucid.layers import AdaptiveAvgPool2d, Conv2d, Dense, Flatten

    net = pellucid.Sequential(conv=Conv2d(4, 3), mean=AdaptiveAvgPool2d(1), flat=Flatten(), scores=Dense(3))
    preprocess = {"size": [20, 24], "data": "pets", **stats}
    model = pellucid.Model(net, input_shape=(3, 20, 24), classes=["ant", "bee", "cow"], preprocess=preprocess)
    picture = np.random.default_rng(0).integers(0, 256, (50, 31, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    to_onnx(model, tmp_path / "model.onnx")
    opened = pellucid.open(tmp_path / "model.onnx")
    assert opened.classes == model.classes
    assert opened.preprocess == {"size": [20, 24], "data": "pets"}
    expected = model.predict(tmp_path / "picture.png")[0].scores
    ours = opened.predict(tmp_path / "picture.png")[0].scores
    assert ours == pytest.approx(expected, abs=1e-6)
    assert pellucid.open(tmp_path / "model.onnx", preprocess={}, classes=3).preprocess == {}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"preprocess": '{"fold": 1}'}, "preprocess: 'fold' is unknown"),
        ({"preprocess": "[1]"}, "preprocess must be an object"),
        ({"preprocess": '{"size": 100000}'}, "preprocess: size 100000 is 10,000,000,000 pixels"),
        ({"preprocess": "{"}, "is a damaged ONNX model"),
        ({"classes": "[1, 2, 3, 4]"}, "classes must be"),
    ],
)
def test_damaged_metadata_are_refused(entries: dict[str, str], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", [CONV], ["N", 3, "h", "w"], {"w": f32(4, 3, 3, 3)})
    model = onnx.load(path)
    model.producer_name = "pellucid"
    helper.set_model_props(model, entries)
    onnx.save(model, path)
    with pytest.raises(PellucidError, match=message):
        pellucid.open(path)
