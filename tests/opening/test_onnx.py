"""ONNX files: outputs against onnxruntime, gradients against automatic differentiation, and refused files."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.export import from_onnx
from pellucid.layers.base import Mode
from pellucid.nested import flatten, map_tree, nest
from pellucid.opening.onnx import folding
from pellucid.sweep import backward, forward
from tests.opening.onnxfiles import f32, i64, node, write

INT = np.int64


CASES: dict[str, tuple[list[Any], list[Any], dict[str, Any], int]] = {
    "conv, SAME_UPPER with stride": (
        [node("Conv", "xw", "y", auto_pad="SAME_UPPER", strides=[2, 2])], ["N", 2, 7, 6], {"w": f32(3, 2, 3, 4)}, 13),
    "conv, SAME_LOWER": (
        [node("Conv", "xwb", "y", auto_pad="SAME_LOWER")], ["N", 2, 7, 6], {"w": f32(3, 2, 2, 4), "b": f32(3)}, 7),
    "conv_transpose, SAME_UPPER": (
        [node("ConvTranspose", "xw", "y", auto_pad="SAME_UPPER", strides=[2, 2])], ["N", 2, 4, 5],
        {"w": f32(2, 3, 3, 3)}, 11),
    "conv_transpose, uneven pads": (
        [node("ConvTranspose", "xw", "y", pads=[0, 1, 2, 0], strides=[2, 1])], ["N", 2, 4, 5], {"w": f32(2, 3, 3, 3)},
        11),
    "max_pool, SAME_UPPER": (
        [node("MaxPool", "x", "y", kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER")], ["N", 2, 7, 6], {}, 9),
    "max_pool, rounded up": (
        [node("MaxPool", "x", "y", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)], ["N", 2, 7, 5], {}, 10),
    "average_pool, uneven pads that do not count": (
        [node("AveragePool", "x", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])], ["N", 2, 6, 6], {}, 7),
    "average_pool, uneven pads that count": (
        [node("AveragePool", "x", "y", kernel_shape=[3, 3], pads=[0, 1, 1, 0], count_include_pad=1)], ["N", 2, 6, 6],
        {}, 11),
    "global pools": (
        [node("GlobalMaxPool", "x", "a"), node("GlobalAveragePool", "x", "b"), node("Sub", "ab", "y")], ["N", 2, 3, 4],
        {}, 7),
    "batch norm": (
        [node("BatchNormalization", ["x", "g", "b", "m", "v"], "y", epsilon=1e-3)], ["N", 3, 4, 4],
        {"g": f32(3), "b": f32(3), "m": f32(3), "v": f32(3) ** 2 + 1}, 9),
    "gemm with factors": (
        [node("Gemm", "xwb", "y", alpha=0.5, beta=2.0)], ["N", 4], {"w": f32(4, 3), "b": f32(3)}, 9),
    "gemm of a computed matrix": (
        [node("Transpose", "w", "t", perm=[1, 0]), node("Gemm", "xtb", "y")], ["N", 4],
        {"w": f32(3, 4), "b": f32(1, 3)}, 13),
    "attention": (
        [node("MatMul", "xw", "q"), node("Add", "qb", "p"), node("Transpose", "x", "k", perm=[0, 2, 1]),
         node("MatMul", "pk", "s"), node("Div", "sd", "t"), node("Softmax", "t", "a", axis=-1),
         node("MatMul", "ax", "y")], ["N", 5, 4], {"w": f32(4, 4), "b": f32(4), "d": np.float32(2)}, 17),
    "softmax of many axes, before opset 13": (
        [node("Softmax", "x", "y", axis=2)], ["N", 2, 3, 4], {}, 11),
    "log_softmax of the last axis": ([node("LogSoftmax", "x", "y")], ["N", 2, 3], {}, 13),
    "gelu, the half last": (
        [node("Div", "xr", "u"), node("Erf", "u", "e"), node("Add", "eo", "p"), node("Mul", "xp", "q"),
         node("Mul", "qh", "y")], ["N", 9], {"r": np.float32(2**0.5), "o": np.float32(1), "h": np.float32(0.5)}, 17),
    "gelu, the half before": (
        [node("Mul", "xr", "u"), node("Erf", "u", "e"), node("Add", "oe", "p"), node("Mul", "hx", "q"),
         node("Mul", "qp", "y")], ["N", 9], {"r": np.float32(0.5**0.5), "o": np.float32(1), "h": np.float32(0.5)}, 13),
    "gelu, the half inside": (
        [node("Div", "xr", "u"), node("Erf", "u", "e"), node("Add", "eo", "p"), node("Mul", "ph", "q"),
         node("Mul", "xq", "y")], ["N", 9], {"r": np.float32(2**0.5), "o": np.float32(1), "h": np.float32(0.5)}, 17),
    "silu": ([node("Sigmoid", "x", "s"), node("Mul", "sx", "y")], ["N", 9], {}, 17),
    "layer norm in parts": (
        [node("ReduceMean", "x", "m", axes=[-1]), node("Sub", "xm", "c"), node("Pow", "ct", "s"),
         node("ReduceMean", "s", "v", axes=[-1]), node("Add", "ve", "w"), node("Sqrt", "w", "r"),
         node("Div", "cr", "n"), node("Mul", "ng", "h"), node("Add", "hb", "y")], ["N", 3, 6],
        {"t": np.float32(2), "e": np.float32(1e-5), "g": f32(6), "b": f32(6)}, 13),
    "layer norm without bias": ([node("LayerNormalization", "xg", "y")], ["N", 3, 6], {"g": f32(6)}, 17),
    "hard activations": (
        [node("HardSwish", "x", "a"), node("HardSigmoid", "x", "b"), node("HardSigmoid", "x", "c", alpha=1 / 6),
         node("Sum", "abc", "y")], ["N", 7], {}, 14),
    "clips": (
        [node("Clip", ["x", "", "h"], "a"), node("Clip", ["a", "l"], "b"), node("Max", "bl", "c"),
         node("Min", "ch", "y")], ["N", 9], {"l": np.float32(-0.5), "h": np.float32(0.7)}, 13),
    "clip by attributes": ([node("Clip", "x", "y", min=0.0, max=6.0)], ["N", 9], {}, 7),
    "prelu": ([node("PRelu", "xs", "y")], ["N", 3, 2, 2], {"s": f32(3, 1, 1)}, 9),
    "numbers": (
        [node("Abs", "x", "a"), node("Add", "ao", "b"), node("Reciprocal", "b", "c"), node("Exp", "c", "d"),
         node("Neg", "d", "e"), node("Sub", "oe", "y")], ["N", 5], {"o": np.float32(1)}, 13),
    "where with a mask": (
        [node("Where", "mxf", "a"), node("Softmax", "a", "b", axis=-1), node("Where", "mbx", "y")], ["N", 3],
        {"m": np.array([True, False, True]), "f": np.float32(-np.inf)}, 16),
    "shapes alone are folded": (
        [node("Shape", "x", "s"), node("Gather", ["s", "i"], "n", axis=0), node("Unsqueeze", "n", "u", axes=[0]),
         node("Constant", [], "r", value=numpy_helper.from_array(i64(-1, 2))), node("Concat", "ur", "t", axis=0),
         node("Reshape", "xt", "y")], ["N", 3, 4], {"i": np.array(0, INT)}, 9),
    "moves": (
        [node("Squeeze", "x", "a", axes=[2]), node("Unsqueeze", "a", "b", axes=[1]), node("Expand", "bs", "c"),
         node("Flatten", "c", "y")], ["N", 3, 1, 4], {"s": i64(1, 2, 1, 1)}, 11),
    "slices and splits": (
        [node("Slice", "x", "a", starts=[1], ends=[9], axes=[1]), node("Split", "a", ["b", "c"], axis=1, split=[1, 2]),
         node("Concat", "cbc", "y", axis=-2)], ["N", 4, 3], {}, 9),
    "slice with steps": (
        [node("Slice", "xseat", "y")], ["N", 4, 7], {"s": i64(0, -6), "e": i64(9, -1), "a": i64(1, 2), "t": i64(1, 2)},
        13),
    "gather of positions": (
        [node("Gather", "xi", "a", axis=1), node("Gather", "aj", "y", axis=2)], ["N", 4, 3],
        {"i": i64(3, -4, 3), "j": np.array(-1, INT)}, 13),
    "pads": ([node("Pad", "x", "y", pads=[0, 0, 0, 0, 2, 1], mode="constant", value=1.5)], ["N", 5, 2], {}, 7),
    "pad of images by the edge": ([node("Pad", "xp", "y", mode="edge")], ["N", 2, 3, 4],
        {"p": i64(0, 0, 1, 0, 0, 0, 2, 1)}, 13),
    "reductions": (
        [node("ReduceMax", "x", "a", axes=[1]), node("ReduceMin", "x", "b", axes=[1]), node("ReduceL2", "x", "c",
         axes=[1]), node("ReduceSum", "xi", "d"), node("Concat", "abcd", "y", axis=1)], ["N", 4, 3], {"i": i64(1)}, 13),
    "depth and space": (
        [node("SpaceToDepth", "x", "a", blocksize=2), node("DepthToSpace", "a", "b", blocksize=2, mode="CRD"),
         node("Add", "bx", "y")], ["N", 2, 4, 6], {}, 13),
    "tile": ([node("Tile", "xr", "y")], ["N", 2, 3], {"r": i64(1, 2, 3)}, 13),
    "upsample by scales": ([node("Upsample", "xs", "y", mode="nearest")], ["N", 2, 3, 4],
        {"s": np.float32([1, 1, 2, 3])}, 9),
    "resize, opset 10": ([node("Resize", "xs", "y", mode="linear")], ["N", 2, 3, 4],
        {"s": np.float32([1, 1, 2, 2])}, 10),
    "resize to nearest, half pixel": ([node("Resize", ["x", "", "s"], "y", mode="nearest")], ["N", 2, 3, 5],
        {"s": np.float32([1, 1, 1.5, 0.6])}, 13),
    "resize to linear, pytorch half pixel": (
        [node("Resize", ["x", "", "", "s"], "y", mode="linear", coordinate_transformation_mode="pytorch_half_pixel",
              axes=[2, 3])],
        ["N", 2, 3, 5], {"s": i64(5, 1)}, 18),
    "resize to cubic, as Upsample": (
        [node("Resize", ["x", "", "s"], "y", mode="cubic")], ["N", 2, 4, 5], {"s": np.float32([1, 1, 2, 2])}, 13),
    "lp_normalization": ([node("LpNormalization", "x", "y", axis=1)], ["N", 5], {}, 13),
    "group norm": ([node("GroupNormalization", "xgb", "y", num_groups=2)], ["N", 4, 3, 3], {"g": f32(4), "b": f32(4)},
        21),
}  # fmt: skip


def onnxruntime_outputs(path: Path, x: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options).run(None, {"x": x})[0]


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_onnxruntimes_and_gradients_are_exact(name: str, tmp_path: Path) -> None:
    assert_equal_outputs(tmp_path / "net.onnx", *CASES[name])


def assert_equal_outputs(path: Path, nodes: list[Any], shape: list[Any], constants: dict[str, Any], opset: int) -> None:
    """Compare the outputs with onnxruntime's, and the gradients with automatic differentiation."""
    write(path, nodes, shape, constants, opset=opset)
    net, params = from_onnx(path)
    x = f32(3, *shape[1:], seed=5)
    y, _ = net.forward(params, torch.from_numpy(x), Mode())
    torch.testing.assert_close(y, torch.from_numpy(onnxruntime_outputs(path, x)), rtol=1e-5, atol=1e-5)
    assert_exact_gradients(net, params, torch.from_numpy(x).double())


def assert_exact_gradients(net: Any, params: Any, x: Any) -> None:
    """Compare the backward pass with automatic differentiation of the forward pass, in float64."""
    params = map_tree(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, params)
    y, cache = forward(net, params, x, Mode())
    rng = torch.Generator().manual_seed(1)
    dys = [torch.randn(part.shape, dtype=torch.float64, generator=rng) for part in _as_tuple(y)]
    dx, dparams = backward(net, params, cache, tuple(dys) if isinstance(y, tuple) else dys[0])
    leaves = {
        name: leaf.clone().requires_grad_()
        for name, leaf in flatten(params).items()
        if leaf.is_floating_point() and "running_" not in name
    }
    x_leaf = x.clone().requires_grad_()
    with torch.enable_grad():
        y, _ = net.forward(nest(params, {**flatten(params), **leaves}), x_leaf, Mode())
        expected_gradients = torch.autograd.grad(_as_tuple(y), [x_leaf, *leaves.values()], dys, allow_unused=True)
    gradients = {"": dx, **flatten(dparams)}
    for name, gradient in zip(["", *leaves], expected_gradients, strict=True):
        if name in gradients:
            gap = (gradients[name] - gradient).abs().max() / (gradient.abs().max() + 1)
            assert gap <= 1e-10, f"{name}: {gap:.1e}"
        else:
            assert name in flatten(params)  # a buffer or a constant
    assert gradients.keys() >= {"", *(name for name in leaves if name.rpartition(".")[2] in ("weight", "bias"))}


def _as_tuple(y: Any) -> tuple[Any, ...]:
    return y if isinstance(y, tuple) else (y,)


def layers_of(name: str, tmp_path: Path) -> list[str]:
    nodes, shape, constants, opset = CASES[name]
    net, _ = from_onnx(write(tmp_path / "net.onnx", nodes, shape, constants, opset=opset))
    return [type(node[0]).__name__ for node in net.nodes.values()]


def test_nodes_that_compute_one_layer_are_merged(tmp_path: Path) -> None:
    assert [layers_of(name, tmp_path) for name in CASES if name.startswith("gelu")] == [["GELU"]] * 3
    assert layers_of("silu", tmp_path) == ["SiLU"]
    assert layers_of("attention", tmp_path) == ["Dense", "Permute", "MatMul", "AffineMap", "Softmax", "MatMul"]


def test_nodes_whose_values_are_read_elsewhere_are_not_merged(tmp_path: Path) -> None:
    nodes = [node("Sigmoid", "x", "s"), node("Mul", "sx", "m"), node("Add", "sm", "y")]
    net, _ = from_onnx(write(tmp_path / "net.onnx", nodes, ["N", 3]))
    assert [type(node[0]).__name__ for node in net.nodes.values()] == ["Sigmoid", "Multiply", "Add"]
    net, _ = from_onnx(write(tmp_path / "net.onnx", nodes[:2], ["N", 3], outputs=("s", "m")))
    assert [type(node[0]).__name__ for node in net.nodes.values()] == ["Sigmoid", "Multiply"]


def test_a_file_for_one_example_opens_for_any_number(tmp_path: Path) -> None:
    shuffle = [
        node("Reshape", "xa", "r"), node("Transpose", "r", "t", perm=[1, 0, 2]), node("Reshape", "tb", "s"),
        node("Gather", "si", "g", axis=0), node("Conv", "gw", "o"), node("Resize", ["o", "", "", "h"], "c"),
        node("Reshape", "cf", "p"),
        node("Concat", "kp", "j", axis=1), node("Reshape", "jz", "y"),
    ]  # fmt: skip
    constants = {
        "a": i64(2, 2, 12), "b": i64(2, -1, 2, 3, 4), "i": np.array(1, INT), "w": f32(5, 2, 1, 1), "f": i64(1, 5, 48),
        "h": i64(1, 5, 6, 8), "k": f32(1, 1, 48), "z": i64(1, -1),
    }  # fmt: skip
    path = write(tmp_path / "net.onnx", shuffle, [1, 4, 3, 4], constants)
    model = pellucid.open(path)
    x = f32(3, 4, 3, 4)
    session = onnxruntime.InferenceSession(path)
    expected = np.concatenate([session.run(None, {"x": x[n : n + 1]})[0] for n in range(3)])
    torch.testing.assert_close(model(torch.from_numpy(x)), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)


def test_shapes_that_cannot_be_folded_for_any_number_of_examples_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx", [node("Reshape", "xa", "y")], ["N", 4], {"a": i64(1, -1)})
    with pytest.raises(PellucidError, match="an output y whose first axis is not the axis of examples"):
        pellucid.open(path)


def test_a_free_height_and_width_stay_free(tmp_path: Path) -> None:
    nodes = [node("Conv", "xw", "c"), node("GlobalAveragePool", "c", "p"), node("Flatten", "p", "y")]
    model = pellucid.open(write(tmp_path / "net.onnx", nodes, ["N", 3, "H", "W"], {"w": f32(4, 3, 3, 3)}))
    assert (model.input_shape, model.output_shape) == ((3, None, None), (4,))
    for size in ((8, 9), (20, 5)):
        x = f32(2, 3, *size)
        expected_outputs = onnxruntime_outputs(tmp_path / "net.onnx", x)
        torch.testing.assert_close(model(torch.from_numpy(x)), torch.from_numpy(expected_outputs), rtol=1e-5, atol=1e-5)


def test_a_network_that_depends_on_free_sizes_needs_an_example(tmp_path: Path) -> None:
    nodes = [node("Flatten", "x", "f"), node("Gemm", "fw", "y", transB=1)]
    path = write(tmp_path / "net.onnx", nodes, ["N", 3, "H", "W"], {"w": f32(4, 3 * 5 * 6)})
    with pytest.raises(PellucidError, match="has no layer for 1 operator: Gemm"):
        pellucid.open(path)
    model = pellucid.open(path, torch.zeros(1, 3, 5, 6))
    assert model.input_shape == (3, 5, 6)
    with pytest.raises(PellucidError, match=r"takes inputs x of shape \(None, 3, None, None\), .*, not \(1, 2, 5, 6\)"):
        pellucid.open(path, torch.zeros(1, 2, 5, 6))


def test_detectors_are_opened_up_to_non_maximum_suppression(tmp_path: Path, capsys: Any) -> None:
    nodes = [
        node("Conv", "xw", "c"), node("Reshape", "ca", "r"), node("Transpose", "r", "boxes", perm=[0, 2, 1]),
        node("Sigmoid", "r", "scores"), node("NonMaxSuppression", ["boxes", "scores", "n"], "picked"),
        node("Gather", ["picked", "i"], "y", axis=1),
    ]  # fmt: skip
    constants = {"w": f32(4, 3, 1, 1), "a": i64(0, 4, -1), "n": i64(5), "i": i64(2)}
    path = write(tmp_path / "net.onnx", nodes, ["N", 3, 2, 5], constants)
    model = pellucid.open(path)
    assert model.cut == ("NonMaxSuppression", "Gather")
    assert "opened up to NonMaxSuppression; it and 1 node after it are left out" in capsys.readouterr().err
    boxes, scores = model(torch.from_numpy(f32(2, 3, 2, 5)))
    assert (tuple(boxes.shape), tuple(scores.shape)) == ((2, 10, 4), (2, 4, 10))


def test_nodes_are_named_after_their_weights_and_shared_weights_are_shared(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", ["x", "head.fc.weight", "head.fc.bias"], "a", transB=1, name="/head/fc/Gemm"),
        node("Relu", "a", "b", name="/act/Relu"),
        node("Gemm", ["b", "head.fc.weight", "head.fc.bias"], "c", transB=1, name="/head/fc_1/Gemm"),
        node("Add", ["c", "pos"], "y", name="/Add"),
    ]
    constants = {"head.fc.weight": f32(4, 4), "head.fc.bias": f32(4), "pos": f32(4, seed=3)}
    model = pellucid.open(write(tmp_path / "net.onnx", nodes, ["N", 4], constants))
    assert list(model.net.nodes) == ["head.fc", "act.Relu", "head.fc~2", "pos", "Add"]
    assert model.weights.keys() == constants.keys()
    y = torch.ones(2, 4)
    assert model.gradients(torch.ones(2, 4), y).keys() == {"input", *constants}


def test_saved_models_load_with_equal_outputs(tmp_path: Path) -> None:
    nodes, shape, constants, opset = CASES["attention"]
    model = pellucid.open(write(tmp_path / "net.onnx", nodes, shape, constants, opset=opset))
    model.save(tmp_path / "net.safetensors")
    x = torch.from_numpy(f32(3, *shape[1:]))
    assert torch.equal(pellucid.Model.load(tmp_path / "net.safetensors")(x), model(x))


def refusal_message(path: Path) -> str:
    with pytest.raises(PellucidError) as caught:
        pellucid.open(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def test_the_error_for_a_refused_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, relu = tmp_path / "net.onnx", node("Relu", "x", "y")
    assert "is missing" in refusal_message(path)
    path.write_bytes(write(path, [relu], ["N", 3]).read_bytes()[:-9])
    assert "damaged" in refusal_message(path) or "truncated" in refusal_message(path)
    assert "uses operator set 99; export it with opset 7 to" in refusal_message(write(path, [relu], ["N", 3], opset=99))
    strange = helper.make_node("Mine", ["x"], ["y"], domain="my.own", name="n")
    model = onnx.load(write(path, [relu], ["N", 3]))
    del model.graph.node[:]
    model.graph.node.append(strange)
    model.opset_import.append(helper.make_opsetid("my.own", 1))
    path.write_bytes(model.SerializeToString())
    assert "has no layer for 1 operator: my.own.Mine, 1 node, first n" in refusal_message(path)
    whole = write(path, [relu], ["N", 3], kind=TensorProto.INT8)
    assert "has an input x that is not float32" in refusal_message(whole)
    assert "has no output" in refusal_message(write(path, [relu], ["N", 3], outputs=()))
    big = [node("Conv", "xw", "c", pads=[560] * 4), node("Relu", "c", "y")]
    text = refusal_message(write(path, big, ["N", 3, 9, 9], {"w": f32(64, 3, 1, 1)}))
    assert "net.onnx: y: " in text
    assert "above 536,870,912" in text
    gemm = node("MatMul", "xw", "y")
    assert "5" in refusal_message(write(path, [gemm], ["N", 3], {"w": f32(5, 2)}))
    huge = [node("ConstantOfShape", "s", "h"), node("Add", "xh", "y")]
    assert "computes more than" in refusal_message(write(path, huge, ["N", 3], {"s": i64(1 << 30, 3)}))
    wide = [node("Add", "wv", "h"), node("Add", "xh", "y")]
    monkeypatch.setattr(folding, "MAX_ONNX_CONSTANTS", 100)
    assert "computes more than" in refusal_message(write(path, wide, ["N", 40], {"w": f32(40, 1), "v": f32(1, 40)}))


def test_all_operators_without_a_layer_are_named_in_one_error(tmp_path: Path) -> None:
    nodes = [
        node("Sinh", "x", "a"), node("Conv", "xx", "b"), node("Sinh", "x", "c"), node("Relu", "a", "d"),
        node("Hardmax", "d", "y"),
    ]  # fmt: skip
    text = refusal_message(write(tmp_path / "net.onnx", nodes, ["N", 3, 4, 4], outputs=("b", "c", "y")))
    assert "has no layer for 3 operators: Sinh, 2 nodes, first a; " in text
    assert "Conv (has a kernel of 4 axes, or one for each example), 1 node, first b" in text
    assert "Hardmax, 1 node, first y" in text
