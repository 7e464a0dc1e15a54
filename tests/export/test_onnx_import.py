"""Exported ONNX files are imported as the same network; damaged or unsupported files are refused in one line."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pellucid.base.errors import PellucidError
from pellucid.combine import Graph, Sequential, Shared
from pellucid.export import from_onnx, onnx_bytes
from pellucid.export.parity import outputs
from pellucid.layers import (
    AdaptiveAvgPool2d,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Dropout,
    GroupNorm,
    LayerNorm,
    LocalContrastNorm,
    LocalResponseNorm,
    MaxPool2d,
    Pad2d,
    PadChannels,
    ReLU,
    Upsample,
)
from pellucid.nested import flatten
from pellucid.opening.onnx_nodes import proto as onnx_proto
from pellucid.weights import onnxfile
from tests.export.samples import ALL_SAMPLES, draw_sample
from tests.oracle import difference

RNG = np.random.default_rng(0)


def write(path, nodes, shape, constants=None, outputs=("y",), opset=21, axes=None):
    """Write a float32 model of the nodes and return its path; outputs have `axes` axes, or as many as the input."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * (axes or len(shape))) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def rand(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", ALL_SAMPLES)
def test_exported_layers_and_combinators_are_imported_with_equal_outputs(name: str, tmp_path) -> None:
    sample = ALL_SAMPLES[name]
    params, xs, expected_outputs = draw_sample(sample)
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_bytes(sample.layer, params, sample.shape)[0])
    net, imported_params = from_onnx(path)
    assert max(map(difference, outputs(net, imported_params, xs, None), expected_outputs)) <= 2e-6


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Dense(4, bias=False), (5,)),
        (Dense(3), (4, 5)),
        (Conv2d(4, (3, 2), stride=(2, 1), padding=(1, 0)), (3, 7, 6)),
        (Conv2d(3, (2, 4), padding="same"), (2, 5, 6)),
        (ConvTranspose2d(4, 3, stride=2, output_padding=1, groups=2), (2, 3, 4)),
        (ConvTranspose2d(2, 3, dilation=2, output_padding=1), (2, 3, 4)),
        (MaxPool2d(3, 2, 1, ceil_mode=True), (2, 8, 6)),
        (AdaptiveAvgPool2d((2, 3)), (2, 5, 7)),
        (Pad2d((-1, 2, 1, -2), kind="circular"), (2, 3, 4)),
        (Pad2d((1, 0, 2, 3), kind="constant", value=-1.5), (2, 3, 4)),
        (PadChannels(1, 2), (2, 3, 4)),
        (Upsample((0.3, 0.7), kind="bicubic", antialias=True), (2, 9, 8)),
        (BatchNorm(momentum=0.3, epsilon=1e-3), (3, 4, 5)),
        (GroupNorm(2, epsilon=1.001e-5), (4, 3, 5)),
        (LayerNorm((4, 5)), (3, 4, 5)),
        (LocalResponseNorm(4, 0.5, 0.6, 2.0), (6, 3, 4)),
        (LocalContrastNorm(5, 0.9), (2, 7, 6)),
        (Dropout(0.3), (7,)),
    ],
)
def test_imported_layers_have_their_settings(layer, shape, tmp_path) -> None:
    params, _ = layer.init(shape, torch.Generator().manual_seed(0))
    (tmp_path / "net.onnx").write_bytes(onnx_bytes(layer, params, shape)[0])
    net, _ = from_onnx(tmp_path / "net.onnx")
    ((imported_layer, source),) = net.nodes.values()
    assert (imported_layer, source) == (layer, "input")


def test_shared_weights_stay_shared(tmp_path) -> None:
    net = Graph({"a": (Shared(Sequential(dense=Dense(3), relu=ReLU())), "x", "z")}, ("a",), ("x", "z"))
    shape = ((4,), (4,))
    params, _ = net.init(shape, torch.Generator().manual_seed(0))
    (tmp_path / "net.onnx").write_bytes(onnx_bytes(net, params, shape)[0])
    imported, imported_params = from_onnx(tmp_path / "net.onnx")
    assert set(flatten(imported_params)) == {"a.layer.dense.weight", "a.layer.dense.bias"}
    assert [node[0] for node in imported.nodes.values()] == [Dense(3), ReLU(), "a.layer.dense", ReLU()]


FOREIGN_FILES = {
    "a matrix that is not turned": (
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])], [2, 5], {"w": rand(5, 3), "b": rand(3)}
    ),
    "uneven padding": (
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[0, 1, 2, 0], strides=[2, 1])],
        [1, 2, 6, 5],
        {"w": rand(4, 2, 3, 2)},
    ),
    "constants for each channel": (
        [
            helper.make_node("Mul", ["x", "a"], ["1"]),
            helper.make_node("Add", ["1", "b"], ["2"]),
            helper.make_node("Sub", ["2", "c"], ["3"]),
            helper.make_node("Div", ["3", "d"], ["y"]),
        ],
        ["N", 2, 3, 4],
        {"a": rand(2, 1, 1), "b": rand(1, 2, 1, 1), "c": rand(1), "d": rand(2, 1, 1)},
    ),
    "a batch that is told by -1, and a constant node": (
        [
            helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(np.array([-1, 12]))),
            helper.make_node("Reshape", ["x", "s"], ["1"]),
            helper.make_node("Softmax", ["1"], ["y"]),
        ],
        [3, 2, 6],
        {},
    ),
    "an even slice, counted from behind": (
        [helper.make_node("Slice", ["x", "from", "to", "axes"], ["y"])],
        [2, 3, 6, 5],
        {"from": np.array([1, 0]), "to": np.array([-1, 99]), "axes": np.array([2, 3])},
    ),
    "older operators": (
        [helper.make_node("Relu", ["x"], ["1"]), helper.make_node("Sum", ["x", "1", "x"], ["y"])], [2, 4], {}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN_FILES)
def test_imported_files_agree_with_onnxruntime(name: str, tmp_path) -> None:
    nodes, shape, constants = FOREIGN_FILES[name]
    path = write(
        tmp_path / "net.onnx",
        nodes,
        shape,
        constants,
        opset=13 if name == "older operators" else 21,
        axes=2 if "-1" in name else None,
    )
    net, params = from_onnx(path)
    x = rand(*(2 if size == "N" else size for size in shape))
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    (output,) = outputs(net, params, [torch.from_numpy(x)], None)
    assert difference(output, torch.from_numpy(expected)) <= 1e-6


def test_all_unknown_operators_are_listed_in_one_error(tmp_path) -> None:
    nodes = [
        helper.make_node("Sinh", ["x"], ["1"]),
        helper.make_node("Relu", ["1"], ["2"]),
        helper.make_node("Hardmax", ["2"], ["3"]),
        helper.make_node("Sinh", ["3"], ["y"]),
    ]
    path = write(tmp_path / "net.onnx", nodes, [2, 3])
    missing = r"net.onnx has no layer for 2 operators: Sinh, 2 nodes, first 1; Hardmax, 1 node, first 3; pellucid"
    with pytest.raises(PellucidError, match=missing) as caught:
        from_onnx(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        ([("Conv", ["x", "w"], {"auto_pad": "SAME"})], {"w": rand(2, 3, 3, 3)}, "auto_pad='SAME'"),
        ([("Conv", ["x", "w"], {})], {"w": rand(2, 5, 3, 3)}, r"w?eight is float32 2x5x3x3, not float32 2x3x3x3"),
        ([("MaxPool", ["x"], {"kernel_shape": [9, 9]})], {}, "smaller than the window"),
        ([("Softmax", ["x"], {"axis": 0})], {}, "along the batch"),
        ([("Mul", ["x", "w"], {})], {"w": rand(4, 4)}, "Mul"),
        ([("Relu", ["w"], {})], {"w": rand(4, 5)}, "an output y whose first axis is not the axis of examples"),
        ([("Conv", ["x", "x"], {})], {}, "has a kernel of 4 axes, or one for each example"),
        ([("LRN", ["x"], {"size": 4})], {}, "size=4, which is even"),
        ([("Dropout", ["x", "", "w"], {})], {"w": np.bool_(True)}, "in training mode"),
        ([("Pad", ["x", "w"], {})], {"w": [1, 0, 0, 0, 0, 0, 0, 0]}, "pads the axis of examples"),
        ([("Pad", ["x", "w"], {"mode": "edge"})], {"w": [0, 0, 0, 0, 0, 1, 0, 0]}, "with mode='edge'"),
        ([("Gather", ["x", "w"], {"axis": 1})], {"w": np.array([7])}, "positions outside of 3"),
        ([("Reshape", ["x", "w"], {})], {"w": np.array([-1, 7])}, "Reshape"),
        ([("Slice", ["x", "s", "e"], {})], {"s": np.array([0]), "e": np.array([1])}, "takes some of the examples"),
        ([("Einsum", ["x"], {"equation": "aacd->cda"})], {}, "must be letters, each once in an input"),
        ([("Resize", ["x", "", "w"], {})], {"w": np.float32([1, 2, 1, 1])}, "other axes than height and width"),
        ([("Expand", ["x", "w"], {})], {"w": np.array([1 << 20, 3, 1 << 20, 5])}, "Expand"),
    ],
)  # fmt: skip
def test_a_node_that_no_layer_implements_is_reported(nodes, constants, message, tmp_path) -> None:
    protos = [helper.make_node(op, inputs, ["y"], name="it", **options) for op, inputs, options in nodes]
    path = write(tmp_path / "net.onnx", protos, ["N", 3, 4, 5], {name: np.asarray(v) for name, v in constants.items()})
    with pytest.raises(PellucidError, match=message) as caught:
        from_onnx(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def file_bytes() -> bytes:
    net = Sequential(pool=AdaptiveAvgPool2d((2, 3)), norm=LocalContrastNorm(3), conv=Conv2d(3, 2))
    params, _ = net.init((2, 5, 7), torch.Generator().manual_seed(0))
    return onnx_bytes(net, params, (2, 5, 7))[0]


def test_metadata_that_does_not_match_its_nodes_is_refused(file_bytes: bytes, tmp_path) -> None:
    model = onnx.load_from_string(file_bytes)
    next(node for node in model.graph.node if node.op_type == "Sqrt").op_type = "Abs"
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(PellucidError, match="has pellucid metadata of a layer that is exported as different nodes"):
        from_onnx(tmp_path / "net.onnx")
    model = onnx.load_from_string(file_bytes)
    rows = next(each for each in model.graph.initializer if each.name == "pool/rows")
    rows.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(rows) * 1.01, "pool/rows"))
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(PellucidError, match="has pellucid metadata of a layer that is exported as different nodes"):
        from_onnx(tmp_path / "net.onnx")


def test_external_weight_files_are_refused(file_bytes: bytes, tmp_path) -> None:
    model = onnx.load_from_string(file_bytes)
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(PellucidError, match="stores the values of pool/rows in another file"):
        from_onnx(tmp_path / "net.onnx")


def error_message(path) -> str:
    try:
        from_onnx(path)
    except PellucidError as error:
        return str(error)
    return ""


def test_damaged_files_are_refused_in_one_line(file_bytes: bytes, tmp_path) -> None:
    rng, path = np.random.default_rng(1), tmp_path / "net.onnx"
    refused = 0
    for _ in range(300):
        data = bytearray(file_bytes[: rng.integers(1, len(file_bytes))] if rng.random() < 0.3 else file_bytes)
        for index in rng.integers(0, len(data), rng.integers(1, 6)):
            data[index] = rng.integers(0, 256)
        path.write_bytes(data)
        message_text = error_message(path)
        refused += bool(message_text)  # a file with only a changed weight is still valid
        assert not message_text or message_text.startswith(str(path))
        assert "\n" not in message_text
        assert len(message_text) < 2000  # also if all missing layers are listed
    assert refused > 150


def test_other_files_and_impossible_sizes_are_refused(tmp_path, monkeypatch) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(PellucidError, match="is missing; give an ONNX file"):
        from_onnx(path)
    path.write_bytes(b"")
    with pytest.raises(PellucidError, match="contains no graph"):
        from_onnx(path)
    relu = helper.make_node("Relu", ["x"], ["y"])
    with pytest.raises(PellucidError, match="uses operator set 6; export it with opset 7 to "):
        from_onnx(write(path, [relu], [2, 3], opset=6))
    with pytest.raises(PellucidError, match="has no fixed sizes for its input x; give an example"):
        from_onnx(write(path, [relu], ["N", "C", 3]))
    with pytest.raises(PellucidError, match="an output w that is not computed by a node"):
        from_onnx(write(path, [relu], [2, 3], {"w": rand(3)}, outputs=("w",)))
    monkeypatch.setattr(onnx_proto, "MAX_ONNX_NODES", 0)
    with pytest.raises(PellucidError, match="has 1 nodes, above the limit of 0"):
        from_onnx(write(path, [relu], [2, 3]))
    monkeypatch.setattr(onnxfile, "MAX_ONNX_STRUCTURE_BYTES", 10)
    with pytest.raises(PellucidError, match="bytes besides its weights, above the limit of 10"):
        from_onnx(write(path, [relu], [2, 3], {"w": rand(3)}))


def test_weights_with_nan_or_of_another_dtype_are_refused(tmp_path) -> None:
    gemm = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    bad = rand(4, 3)
    bad[1, 1] = np.nan
    with pytest.raises(PellucidError, match=r"gemm\.weight contains NaN or infinity"):
        from_onnx(write(tmp_path / "net.onnx", [gemm], [2, 3], {"w": bad}))
    doubles = rand(4, 3).astype(np.float64)
    with pytest.raises(PellucidError, match="a constant of dtype float64 as its input 2"):
        from_onnx(write(tmp_path / "net.onnx", [gemm], [2, 3], {"w": doubles}))
