"""ONNX models against the onnx package, and fields that lie."""

import time

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pellucid.weights import open_weights
from tests.pace import paces
from tests.weights.conftest import Refused


def model(initializers: list[TensorProto], nodes: tuple = ()) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph(list(nodes), "g", [], [], initializers))


TYPES = {
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
@pytest.mark.parametrize("kind", TYPES)
def test_every_number_type_raw_and_in_fields(kind, raw, tmp_path):
    values = [1, 0, 1, 0, 1, 1] if kind == TensorProto.BOOL else [1, 0, 3, 100, 7, 20]
    if kind not in (TensorProto.BOOL, TensorProto.UINT8):
        values[1] = -5
    expected = torch.tensor(values).to(TYPES[kind]).reshape(2, 3)
    given = expected.flatten().tolist()
    if raw:
        given = expected.flatten().view(torch.uint8).numpy().tobytes()
    onnx.save(model([helper.make_tensor("w", kind, [2, 3], given, raw=raw)]), tmp_path / "a.onnx")
    tensors = open_weights(tmp_path / "a.onnx")["w"]
    assert tensors.dtype == expected.dtype
    assert torch.equal(tensors, expected)


def test_nodes_inputs_and_numbers_without_shape_are_passed_over(tmp_path):
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    initializers = [
        numpy_helper.from_array(weight, "w"),
        numpy_helper.from_array(np.array(2.5), "scale"),
        numpy_helper.from_array(np.zeros((0, 2), np.float32), "empty"),
    ]
    onnx.save(model(initializers, (node,)), tmp_path / "a.onnx")
    tensors = open_weights(tmp_path / "a.onnx")
    assert list(tensors) == ["w", "scale", "empty"]
    assert torch.equal(tensors["w"], torch.tensor(weight))
    assert tensors["scale"].item() == 2.5
    assert tensors["empty"].shape == (0, 2)


def _external() -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def _changed(**fields: object) -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "w")
    for name, value in fields.items():
        if isinstance(value, list):
            tensor.ClearField(name)
            getattr(tensor, name).extend(value)
        else:
            setattr(tensor, name, value)
    return tensor


LIES = [
    ([_external()], "stores the values of w in another file; save the model with its weights inside"),
    ([_changed(dims=[1 << 39, 1 << 39])], "is a damaged ONNX model"),
    ([_changed(dims=[-3])], "an invalid shape"),
    ([_changed(dims=[1 << 62, 4, 3])], "an invalid shape"),
    ([_changed(dims=[1] * 80)], "is a damaged ONNX model"),
    ([_changed(dims=[4])], "cannot reshape array of size 3"),
    ([_changed(float_data=[1.0, 2.0, 3.0])], "twice, in different fields"),
    ([_changed(data_type=TensorProto.STRING)], "is not supported for weights"),
    ([_changed(data_type=99)], "is not supported for weights"),
    ([_changed(data_type=TensorProto.BOOL, raw_data=b"\x02\x01\x00")], "neither 0 nor 1"),
    ([_changed(), _changed()], "contains w twice"),
    ([helper.make_tensor("w", TensorProto.INT32, [1], [1])] * 2, "contains w twice"),
    ([], "contains no initializers"),
]


@pytest.mark.parametrize(("initializers", "why"), LIES)
def test_initialisers_that_lie_are_refused(initializers, why, tmp_path, refused: Refused):
    onnx.save(model(initializers), tmp_path / "a.onnx")
    assert why in refused(tmp_path / "a.onnx")


def test_values_that_do_not_fit_their_type(tmp_path, refused: Refused):
    tensor = TensorProto(name="w", data_type=TensorProto.INT8, dims=[1], int32_data=[300])
    onnx.save(model([tensor]), tmp_path / "a.onnx")
    assert "out of range for their type" in refused(tmp_path / "a.onnx")


def test_sparse_weights(tmp_path, refused: Refused):
    onnx_model = model([])
    onnx_model.graph.sparse_initializer.add()
    onnx.save(onnx_model, tmp_path / "a.onnx")
    assert "sparse" in refused(tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\x3a\x7f", "truncated"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "truncated"),
        (b"\xff" * 11, "too long"),
        (b"\x3b", "unknown wire type"),
        (b"\x00\x00", "contains no graph"),
        (b"\x38\x01", "contains no graph"),
        (b"\x3a\x00\x3a\x00", "contains several graphs"),
        (b"\x3a\x00" * 1_000_000, "has more than 200000 fields"),
        (b"\x40\x01", "contains no graph"),
        (b"\x3a\x2a\x2a\x28" + b"\x0a\x26" + b"\x01" * 38, "data type 0"),
        (b"\x3a\x04\x2a\x02\x08", "truncated"),
    ],
)
def test_fields_that_lie_are_refused(body, why, tmp_path, refused: Refused):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x08\x08" + body)
    assert why in refused(path)


def field(number: int, body: bytes) -> bytes:
    size, length = len(body), b""
    while size > 127:
        size, length = size >> 7, length + bytes([size & 127 | 128])
    return bytes([number << 3 | 2]) + length + bytes([size]) + body


MANY = 30 << 20  # bytes
NOTHINGS = {
    "varints": (field(5, b"\x10\x07" + field(7, b"\1" * MANY)), "bytes besides its weights"),
    "varints one by one": (field(5, b"\x10\x07" + b"\x38\1" * (MANY // 2)), "more than 200000 fields"),
    "sizes": (field(5, b"\x10\x01" + field(1, b"\1" * MANY)), "bytes besides its weights"),
    "nodes": (b"\x0a\0" * (MANY // 2), "more than 200000 fields"),
    "attributes": (field(1, b"\x2a\0" * (MANY // 2)), "bytes besides its weights"),
    "initialisers": (b"\x2a\0" * (MANY // 2), "more than 200000 fields"),
    "places in other files": (field(5, b"\x6a\0" * (MANY // 2)), "more than 200000 fields"),
    "texts": (field(5, b"\x10\x08" + b"\x32\0" * (MANY // 2)), "more than 200000 fields"),
}


@pytest.mark.parametrize("name", NOTHINGS)
def test_thirty_megabytes_of_nothing_are_refused_at_once(name, tmp_path, refused: Refused):
    """The onnx package takes 1 to 3 GB for each of these; reading them in Python took up to half a minute."""
    graph, why = NOTHINGS[name]
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x08\x08" + field(7, graph))
    start = time.process_time()
    assert why in refused(path)
    assert paces(time.process_time() - start) < 150
