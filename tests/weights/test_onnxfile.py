"""ONNX models written by the onnx package, and models with invalid fields."""

import time

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pellucid.weights import open_weights
from tests.pace import in_loop_durations
from tests.weights.conftest import OpenRefused


def make_model(initializers: list[TensorProto], nodes: tuple = ()) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph(list(nodes), "g", [], [], initializers))


DTYPES = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.INT16: torch.int16,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT8: torch.uint8,
    TensorProto.BOOL: torch.bool,
}


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", DTYPES)
def test_every_dtype_is_read_raw_and_from_fields(kind, raw, tmp_path):
    values = [1, 0, 1, 0, 1, 1] if kind == TensorProto.BOOL else [1, 0, 3, 100, 7, 20]
    if kind not in (TensorProto.BOOL, TensorProto.UINT8):
        values[1] = -5
    expected = torch.tensor(values).to(DTYPES[kind]).reshape(2, 3)
    stored_values = expected.flatten().tolist()
    if raw:
        stored_values = expected.flatten().view(torch.uint8).numpy().tobytes()
    onnx.save(make_model([helper.make_tensor("w", kind, [2, 3], stored_values, raw=raw)]), tmp_path / "a.onnx")
    tensors = open_weights(tmp_path / "a.onnx")["w"]
    assert tensors.dtype == expected.dtype
    assert torch.equal(tensors, expected)


def test_initializers_of_a_model_with_nodes_and_inputs_are_read(tmp_path):
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    initializers = [
        numpy_helper.from_array(weight, "w"),
        numpy_helper.from_array(np.array(2.5), "scale"),
        numpy_helper.from_array(np.zeros((0, 2), np.float32), "empty"),
    ]
    onnx.save(make_model(initializers, (node,)), tmp_path / "a.onnx")
    tensors = open_weights(tmp_path / "a.onnx")
    assert list(tensors) == ["w", "scale", "empty"]
    assert torch.equal(tensors["w"], torch.tensor(weight))
    assert tensors["scale"].item() == 2.5
    assert tensors["empty"].shape == (0, 2)


def _external_tensor() -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def _changed_tensor(**fields: object) -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "w")
    for name, value in fields.items():
        if isinstance(value, list):
            tensor.ClearField(name)
            getattr(tensor, name).extend(value)
        else:
            setattr(tensor, name, value)
    return tensor


INVALID_INITIALIZERS = [
    ([_external_tensor()], "stores the values of w in another file; save the model with its weights inside"),
    ([_changed_tensor(dims=[1 << 39, 1 << 39])], "is a damaged ONNX model"),
    ([_changed_tensor(dims=[-3])], "an invalid shape"),
    ([_changed_tensor(dims=[1 << 62, 4, 3])], "an invalid shape"),
    ([_changed_tensor(dims=[1] * 80)], "is a damaged ONNX model"),
    ([_changed_tensor(dims=[4])], "cannot reshape array of size 3"),
    ([_changed_tensor(float_data=[1.0, 2.0, 3.0])], "twice, in different fields"),
    ([_changed_tensor(data_type=TensorProto.STRING)], "is not supported for weights"),
    ([_changed_tensor(data_type=99)], "is not supported for weights"),
    ([_changed_tensor(data_type=TensorProto.BOOL, raw_data=b"\x02\x01\x00")], "neither 0 nor 1"),
    ([_changed_tensor(), _changed_tensor()], "contains w twice"),
    ([helper.make_tensor("w", TensorProto.INT32, [1], [1])] * 2, "contains w twice"),
    ([], "contains no initializers"),
]


@pytest.mark.parametrize(("initializers", "message"), INVALID_INITIALIZERS)
def test_invalid_initializers_are_refused(initializers, message, tmp_path, open_refused: OpenRefused):
    onnx.save(make_model(initializers), tmp_path / "a.onnx")
    assert message in open_refused(tmp_path / "a.onnx")


def test_values_outside_the_range_of_their_dtype_are_refused(tmp_path, open_refused: OpenRefused):
    tensor = TensorProto(name="w", data_type=TensorProto.INT8, dims=[1], int32_data=[300])
    onnx.save(make_model([tensor]), tmp_path / "a.onnx")
    assert "out of range for their type" in open_refused(tmp_path / "a.onnx")


def test_sparse_weights_are_refused(tmp_path, open_refused: OpenRefused):
    onnx_model = make_model([])
    onnx_model.graph.sparse_initializer.add()
    onnx.save(onnx_model, tmp_path / "a.onnx")
    assert "sparse" in open_refused(tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\x3a\x7f", "truncated"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "truncated"),
        (b"\xff" * 11, "too long"),
        (b"\x3b", "is not an ONNX file, or is damaged"),
        (b"\x00\x00", "contains no graph"),
        (b"\x38\x01", "contains no graph"),
        (b"\x3a\x00\x3a\x00", "contains several graphs"),
        (b"\x3a\x00" * 1_000_000, "has more than 200000 fields"),
        (b"\x40\x01", "contains no graph"),
        (b"\x3a\x2a\x2a\x28" + b"\x0a\x26" + b"\x01" * 38, "data type 0"),
        (b"\x3a\x04\x2a\x02\x08", "truncated"),
    ],
)
def test_invalid_fields_are_refused(body, message, tmp_path, open_refused: OpenRefused):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x08\x08" + body)
    assert message in open_refused(path)


def field(number: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while size > 127:
        size, length = size >> 7, length + bytes([size & 127 | 128])
    return bytes([number << 3 | 2]) + length + bytes([size]) + body


N_BYTES = 30 << 20
LARGE_STRUCTURES = {
    "varints": (field(5, b"\x10\x07" + field(7, b"\1" * N_BYTES)), "bytes besides its weights"),
    "varints one by one": (field(5, b"\x10\x07" + b"\x38\1" * (N_BYTES // 2)), "more than 200000 fields"),
    "sizes": (field(5, b"\x10\x01" + field(1, b"\1" * N_BYTES)), "bytes besides its weights"),
    "nodes": (b"\x0a\0" * (N_BYTES // 2), "more than 200000 fields"),
    "attributes": (field(1, b"\x2a\0" * (N_BYTES // 2)), "more than 200000 fields"),
    "initialisers": (b"\x2a\0" * (N_BYTES // 2), "more than 200000 fields"),
    "places in other files": (field(5, b"\x6a\0" * (N_BYTES // 2)), "more than 200000 fields"),
    "texts": (field(5, b"\x10\x08" + b"\x32\0" * (N_BYTES // 2)), "more than 200000 fields"),
}


@pytest.mark.parametrize("name", LARGE_STRUCTURES)
def test_thirty_megabytes_without_weights_are_refused_quickly(name, tmp_path, open_refused: OpenRefused):
    """The onnx package takes 1 to 3 GB for each of these; reading them in Python took up to half a minute."""
    graph, message = LARGE_STRUCTURES[name]
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x08\x08" + field(7, graph))
    start = time.process_time()
    assert message in open_refused(path)
    assert in_loop_durations(time.process_time() - start) < 150
