"""ONNX nodes that become layers of pellucid.operators, against onnxruntime and automatic differentiation."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import pellucid
from pellucid.export import from_onnx
from pellucid.layers import Upsample
from pellucid.nested import flatten
from pellucid.opening.onnx.file import read_onnx
from pellucid.opening.onnx.runtime import runtime_outputs
from pellucid.opening.onnx_nodes.operators import FUNCTION_OPS
from tests.opening.onnxfiles import f32, node, write
from tests.opening.test_onnx import assert_equal_outputs, i64, refusal_message

SCALARS = {"t": np.float32(2), "o": np.float32(1)}
MASK = np.array([[True, False, True], [True, True, False]])
MINUS_INF = np.float32(-np.inf)

CASES: dict[str, tuple[list[Any], list[Any], dict[str, Any], int]] = {
    "functions": (
        [node("Sin", "x", "a"), node("Cos", "a", "b"), node("Erf", "b", "c"), node("Softplus", "c", "d"),
         node("Log", "d", "e"), node("Abs", "e", "y")], ["N", 5], {}, 13),
    **{f"functions, {op}": ([node("Sigmoid", "x", "a"), node(op, "a", "y")], ["N", 5], {}, 13)
       for op in FUNCTION_OPS.values()},
    "shrinking": (
        [node("Shrink", "x", "a", lambd=0.2), node("Shrink", "a", "b", lambd=0.3, bias=0.3),
         node("ThresholdedRelu", "b", "c", alpha=0.1), node("Celu", "b", "d", alpha=1.5),
         node("Add", "cd", "e"), node("ReduceLogSumExp", "e", "y", axes=[1], keepdims=0)], ["N", 5, 3], {}, 13),
    "grid sampling": (
        [node("Transpose", "x", "p", perm=[0, 2, 3, 1]), node("Slice", "pzt", "g"),
         node("GridSample", "xg", "y", mode="bilinear", padding_mode="border")], ["N", 3, 5, 4],
        {"z": i64(0, 0, 0, 0), "t": i64(9, 9, 9, 2)}, 16),
    "erf that is no gelu": ([node("Erf", "x", "e"), node("Add", "eo", "y")], ["N", 5], SCALARS, 13),
    "einsum": ([node("Einsum", "xw", "y", equation="n c t, c d -> n t d")], ["N", 3, 4], {"w": f32(3, 2)}, 12),
    "einsum of computed inputs": (
        [node("Mul", "xt", "a"), node("Einsum", "xa", "y", equation="nij,njk->nik")], ["N", 3, 3], SCALARS, 12),
    "einsum without an arrow": ([node("Einsum", "xw", "y", equation="aij,jk")], ["N", 3, 4], {"w": f32(4, 2)}, 12),
    "where fills in the lowest number": (
        [node("Where", "mxl", "a"), node("Softmax", "a", "y", axis=-1)], ["N", 2, 3], {"m": MASK, "l": MINUS_INF}, 16),
    "where fills in a number of its own shape": (
        [node("Where", "mlx", "y")], ["N", 2, 3], {"m": MASK, "l": np.float32([[7]])}, 16),
    "where chooses among values": (
        [node("Mul", "xt", "a"), node("Where", "mxa", "y")], ["N", 2, 3], {"m": MASK, **SCALARS}, 16),
    "where repeats a value": ([node("Where", "mxw", "y")], ["N", 1, 3], {"m": MASK, "w": f32(3)}, 16),
    "where with a mask of each example": (
        [node("Shape", "x", "s", end=1), node("Concat", "sr", "u", axis=0), node("Expand", "mu", "e"),
         node("Where", "exl", "a"), node("Softmax", "a", "y")], ["N", 2, 3],
        {"m": MASK, "l": MINUS_INF, "r": i64(2, 3)}, 16),
    "mask of lowest numbers that is added": (
        [node("Add", "mx", "a"), node("Softmax", "a", "y")], ["N", 2, 3],
        {"m": np.where(MASK, f32(2, 3), MINUS_INF)}, 13),
    "causal mask of positions": (
        [node("Range", "zcs", "p"), node("Unsqueeze", "pu", "q"), node("LessOrEqual", "pq", "m"),
         node("MatMul", "xk", "a"), node("Where", "mal", "b"), node("Softmax", "b", "y")], ["N", 4, 3],
        {"z": np.int64(0), "c": np.int64(4), "s": np.int64(1), "u": i64(1), "k": f32(3, 4), "l": MINUS_INF}, 16),
    "convolution of sequences": (
        [node("Conv", "xwb", "y", pads=[1, 1], strides=[2])], ["N", 3, 8], {"w": f32(4, 3, 3), "b": f32(4)}, 13),
    "convolution of sequences, uneven": (
        [node("Conv", ["x", "w", ""], "y", pads=[0, 2], dilations=[2], group=4)], ["N", 4, 9],
        {"w": f32(4, 1, 3)}, 13),
    "convolution of sequences, SAME_LOWER": (
        [node("Conv", "xw", "y", auto_pad="SAME_LOWER", strides=[2])], ["N", 3, 9], {"w": f32(4, 3, 4)}, 13),
    "convolution of volumes": ([node("Conv", "xw", "y")], ["N", 2, 3, 4, 5], {"w": f32(3, 2, 2, 2, 2)}, 13),
    "transposed convolution of sequences": (
        [node("ConvTranspose", "xwb", "y", strides=[2], pads=[1, 0], output_padding=[1])], ["N", 3, 5],
        {"w": f32(3, 2, 3), "b": f32(2)}, 13),
    "convolution by computed kernels": (
        [node("MatMul", "vd", "w"), node("Reshape", "ws", "k"), node("Conv", "xk", "y")], ["N", 2, 5, 5],
        {"v": f32(12, 4), "d": f32(4, 3), "s": i64(2, 2, 3, 3)}, 13),
    "softmax of an axis before the examples": (
        [node("Transpose", "x", "a", perm=[1, 0, 2]), node("Softmax", "a", "b", axis=0),
         node("Transpose", "b", "y", perm=[1, 0, 2])], ["N", 3, 4], {}, 13),
    "softmax and norm of sequences first": (
        [node("Transpose", "x", "a", perm=[1, 0, 2]), node("LayerNormalization", "agb", "c"), node("Softmax", "c", "d"),
         node("Transpose", "d", "y", perm=[1, 0, 2])], ["N", 3, 4], {"g": f32(4), "b": f32(4)}, 17),
    "prelu of channels": ([node("PRelu", "xs", "y")], ["N", 3, 2, 2], {"s": f32(3, 1, 1)}, 9),
    "prelu of channels, with an axis of examples": ([node("PRelu", "xs", "y")], ["N", 3, 2], {"s": f32(1, 3, 1)}, 9),
    "prelu of each value": ([node("PRelu", "xs", "y")], ["N", 3, 2], {"s": f32(3, 2)}, 9),
    "norm with computed factors": (
        [node("MatMul", "mv", "g"), node("LayerNormalization", "xgv", "y")], ["N", 3], {"m": f32(3, 3), "v": f32(3)},
        17),
    "product with a vector": ([node("MatMul", "xv", "a"), node("MatMul", "aw", "y")], ["N", 2, 3, 4],
        {"v": f32(4), "w": f32(3, 2)}, 13),
    "slice backwards": (
        [node("Slice", "xseat", "y")], ["N", 4, 7], {"s": i64(-1, 5), "e": i64(-99, 0), "a": i64(1, 2),
         "t": i64(-1, -2)}, 13),
    "cumulative sums": (
        [node("CumSum", "xa", "b"), node("CumSum", "bc", "y", reverse=1)], ["N", 4, 3],
        {"a": np.int64(1), "c": np.int32(-1)}, 14),
    "columns to images": (
        [node("Col2Im", "xsk", "y", strides=[1, 2], pads=[1, 0, 1, 0])], ["N", 12, 12],
        {"s": i64(3, 7), "k": i64(2, 3)}, 18),
    "resize to nearest, rounded up": (
        [node("Resize", ["x", "", "s"], "y", mode="nearest", nearest_mode="round_prefer_ceil")], ["N", 2, 3, 6],
        {"s": np.float32([1, 1, 3, 0.5])}, 13),
    "resize to linear, pytorch half pixel": (
        [node("Resize", ["x", "", "s"], "y", mode="linear", coordinate_transformation_mode="pytorch_half_pixel")],
        ["N", 2, 3, 5], {"s": np.float32([1, 1, 2, 2])}, 13),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_onnxruntimes_and_gradients_are_exact(name: str, tmp_path: Path) -> None:
    assert_equal_outputs(tmp_path / "net.onnx", *CASES[name])


def test_resize_nodes_become_one_upsample_layer(tmp_path: Path) -> None:
    for name, (nodes, shape, constants, opset) in CASES.items():
        if name.startswith("resize"):
            net, _ = from_onnx(write(tmp_path / "net.onnx", nodes, shape, constants, opset=opset))
            assert [type(layer) for layer in net.layers.values()] == [Upsample]


def test_a_condition_that_depends_on_the_input_is_refused(tmp_path: Path) -> None:
    nodes = [node("Greater", "xt", "m"), node("Where", "mxt", "y")]
    assert "has no layer for 1 operator: Greater" in refusal_message(
        write(tmp_path / "net.onnx", nodes, ["N", 3], SCALARS)
    )


def halve_weights(path: Path, is_cast: bool) -> None:
    """Replace the weights of a file by float16; is_cast: Cast nodes convert them to float32, else all is float16."""
    model = onnx.load(path)
    for one in model.graph.initializer:
        array = numpy_helper.to_array(one)
        if array.dtype == np.float32:
            one.CopyFrom(numpy_helper.from_array(array.astype(np.float16), f"{one.name}.16" if is_cast else one.name))
            if is_cast:
                name = one.name.removesuffix(".16")
                model.graph.node.insert(0, helper.make_node("Cast", [one.name], [name], to=TensorProto.FLOAT))
    if not is_cast:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("is_cast", [False, True], ids=["everything", "weights"])
def test_weights_of_16_bits_are_computed_in_float32(is_cast: bool, tmp_path: Path) -> None:
    nodes = [node("Conv", "xw", "c"), node("Flatten", "c", "f"), node("Gemm", "fvb", "y")]
    path = write(tmp_path / "net.onnx", nodes, ["N", 2, 4, 4], {"w": f32(3, 2, 3, 3), "v": f32(12, 4), "b": f32(4)})
    halve_weights(path, is_cast)
    model = pellucid.open(path)
    assert {tensor.dtype for tensor in flatten(model.params).values()} == {torch.float32}
    assert len(model.weights) == 3
    x = torch.from_numpy(f32(3, 2, 4, 4))
    session = onnxruntime.InferenceSession(path)
    (y,) = session.run(None, {"x": x.numpy() if is_cast else x.half().numpy()})
    torch.testing.assert_close(model(x), torch.from_numpy(y).float(), rtol=1e-2, atol=2e-2)
    (output,) = runtime_outputs(path, read_onnx(path), [x])
    assert output.dtype is (torch.float32 if is_cast else torch.float16)  # the tolerance depends on the dtype
    if is_cast:
        torch.testing.assert_close(model(x), torch.from_numpy(y), rtol=1e-5, atol=1e-5)


def test_weights_of_16_bits_keep_their_names(tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx", [node("MatMul", ["x", "fc.weight"], "y")], ["N", 3], {"fc.weight": f32(3, 2)})
    halve_weights(path, False)
    _, params = from_onnx(path)
    assert list(flatten(params)) == ["fc.weight"]
