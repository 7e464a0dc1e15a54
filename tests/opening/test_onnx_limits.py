"""Limits on what an ONNX file may cost, and what is left out of it because no output needs it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.opening.onnx import runtime
from tests.cases import mostly_heavy
from tests.opening.onnxfiles import f32, i64, node, write
from tests.opening.test_program_limits import refusal

MANY = np.int64(1 << 62)


def scalar(name: str, value: Any) -> Any:
    return numpy_helper.from_array(np.asarray(value), name)


def endless_loop(read: str, output: str = "looped") -> Any:
    """Return a Loop of 2^62 trips whose body doubles a value that it reads from outside."""
    body = helper.make_graph(
        [node("Identity", ["go"], ["again"]), node("Add", [read, read], ["double"])],
        "body",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_value_info("double", helper.make_tensor_type_proto(TensorProto.FLOAT, None)),
        ],
    )
    return node("Loop", ["many", "true"], [output], body=body)


def giant_branch(read: str) -> Any:
    """Return an If whose branch expands a value to 60000 x 60000."""
    info = helper.make_value_info("big", helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    branch = helper.make_graph([node("Expand", [read, "giant"], ["big"])], "branch", [], [info])
    other = helper.make_graph([node("Identity", [read], ["big"])], "other", [], [info])
    return node("If", ["true"], ["chosen"], then_branch=branch, else_branch=other)


CONSTANTS = {"many": MANY, "true": np.bool_(True), "giant": i64(60_000, 60_000), "n": i64(5), "i": i64(2)}
COSTLY: dict[str, Callable[[str], Any]] = {
    "a loop": endless_loop,
    "a branch": giant_branch,
    "an expansion": lambda read: node("Expand", [read, "giant"], "wide"),
    "a function of the file": lambda read: node("Nested40", [read], "nested", domain="own"),
    "an unknown operator": lambda read: node("Strange", [read], "strange", domain="own"),
}


def with_nested_functions(path: Path, depth: int = 41) -> Path:
    """Add functions of which each calls the one before twice, so the last one runs 2^depth nodes."""
    model = onnx.load(path)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    model.opset_import.append(opsets[1])
    for k in range(depth):
        inner = {"op": "Relu"} if not k else {"op": f"Nested{k - 1}", "domain": "own"}
        nodes = [node(inputs=["a"], outputs=["b"], **inner), node(inputs=["b"], outputs=["c"], **inner)]
        model.functions.append(helper.make_function("own", f"Nested{k}", ["a"], ["c"], nodes, opsets))
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("name", COSTLY)
def test_what_no_output_needs_is_neither_read_nor_run(name: str, tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "y"), COSTLY[name]("y")]
    path = with_nested_functions(write(tmp_path / "net.onnx", nodes, ["N", 3], CONSTANTS))
    x = torch.randn(2, 3)
    assert torch.equal(pellucid.open(path)(x), x.relu())


@pytest.mark.parametrize("unused", [np.int64(3), np.float32(3), f32(5), np.zeros(2, np.int32), np.zeros(2, bool)])
def test_initializers_among_the_inputs_are_no_inputs(unused: Any, tmp_path: Path) -> None:
    """Files before IR version 4 list all initializers among the inputs, also those that no node reads."""
    constants = {"w": f32(3), "unused": unused}
    path = write(tmp_path / "net.onnx", [node("Add", ["x", "w"], "y")], ["N", 3], constants, opset=8)
    model = onnx.load(path)
    for each in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(each.name, each.data_type, list(each.dims)))
    model.ir_version = 3
    path.write_bytes(model.SerializeToString())
    x = torch.randn(2, 3)
    assert torch.equal(pellucid.open(path)(x), x + torch.from_numpy(constants["w"]))


@pytest.mark.parametrize("name", COSTLY)
@pytest.mark.parametrize("read", ["boxes", "picked"])
def test_what_is_behind_the_suppression_of_a_detector_is_not_run(name: str, read: str, tmp_path: Path) -> None:
    """The costly node reads the boxes or the result of the suppression; its value is an output of the file."""
    costly = COSTLY[name](read)
    nodes = [
        node("Relu", "x", "boxes"), node("Sigmoid", "x", "scores"),
        node("NonMaxSuppression", ["boxes", "scores", "n"], "picked"), node("Gather", ["picked", "i"], "y", axis=1),
        costly,
    ]  # fmt: skip
    outputs = ("y", *costly.output) if read == "picked" else ("y",)
    path = with_nested_functions(write(tmp_path / "net.onnx", nodes, ["N", 4, 4], CONSTANTS, outputs))
    model = pellucid.open(path)
    x = torch.randn(2, 4, 4)
    boxes, scores = model(x)
    assert torch.equal(boxes, x.relu())
    torch.testing.assert_close(scores, x.sigmoid())
    assert "NonMaxSuppression" in model.cut


@pytest.mark.parametrize("name", COSTLY)
def test_what_an_output_needs_is_refused_without_running_it(name: str, tmp_path: Path) -> None:
    costly = COSTLY[name]("r")
    nodes = [node("Relu", "x", "r"), costly, node("Neg", costly.output[0], "y")]
    refusal(with_nested_functions(write(tmp_path / "net.onnx", nodes, ["N", 3], CONSTANTS)))


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_a_file_may_not_define_an_operator_of_onnx_otherwise(domain: str, tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx", [node("Relu", "x", "y")], ["N", 3])
    model = onnx.load(path)
    body = [node("Neg", ["a"], ["b"])]
    model.functions.append(helper.make_function(domain, "Relu", ["a"], ["b"], body, [helper.make_opsetid("", 21)]))
    path.write_bytes(model.SerializeToString())
    assert "defines the operator Relu of ONNX by a function of its own" in refusal(path)


@pytest.mark.parametrize("batch", [1 << 27, 1 << 30, 1 << 40, (1 << 63) - 1])
def test_the_declared_number_of_examples_is_limited(batch: int, tmp_path: Path) -> None:
    x = torch.randn(3, 5)
    model = pellucid.open(write(tmp_path / "net.onnx", [node("Relu", "x", "y")], [8, 5]))
    assert torch.equal(model(x), x.relu())
    refusal(write(tmp_path / "net.onnx", [node("Relu", "x", "y")], [batch, 5]))


@pytest.mark.parametrize("size", [1 << 28, 1 << 40, (1 << 63) - 1])
@pytest.mark.parametrize("name", ["x", "z"])
def test_each_of_several_inputs_is_limited(name: str, size: int, tmp_path: Path) -> None:
    sizes = {"x": ["N", 6], "z": ["N", 6]}
    nodes = [
        node("ReduceSum", ["x", "one"], "a", keepdims=1), node("ReduceSum", ["z", "one"], "b", keepdims=1),
        node("Add", "ab", "y"),
    ]  # fmt: skip
    path = write(tmp_path / "net.onnx", nodes, sizes, {"one": i64(1)})
    assert pellucid.open(path)((torch.ones(2, 6), torch.ones(2, 6))).flatten().tolist() == [12.0, 12.0]
    refusal(write(path, nodes, {**sizes, name: ["N", size]}, {"one": i64(1)}))


def test_an_input_that_no_output_needs_is_limited_too(tmp_path: Path) -> None:
    refusal(write(tmp_path / "net.onnx", [node("Relu", "x", "y")], {"x": ["N", 3], "z": ["N", 1 << 40]}))


@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_the_number_of_inputs_and_outputs_is_limited(kind: str, tmp_path: Path) -> None:
    count = 1001
    if kind == "outputs":
        nodes = [node("Relu", ["x"], f"y{k}") for k in range(count)]
        path = write(tmp_path / "net.onnx", nodes, ["N", 3], outputs=[f"y{k}" for k in range(count)])
    else:
        nodes = [node("Sum", [f"x{k}" for k in range(count)], "y")]
        path = write(tmp_path / "net.onnx", nodes, {f"x{k}": ["N", 3] for k in range(count)})
    assert f"has 1,001 {kind}, above the limit of 1,000;" in refusal(path)


@pytest.mark.parametrize("width", [101, 400, 900])
def test_the_number_of_inputs_of_all_nodes_is_limited(width: int, tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], f"v{k}") for k in range(width)]
    count = 20_000 // width + 1
    nodes += [node("Sum", [f"v{k}" for k in range(width)], f"y{k}") for k in range(count)]
    path = write(tmp_path / "net.onnx", nodes, ["N", 3], outputs=[f"y{k}" for k in range(count)])
    assert "inputs of nodes, above the limit of 20,000;" in refusal(path)


def chain(op: str, count: int) -> tuple[list[Any], dict[str, Any], str]:
    """Return nodes of one operator in a chain, their constants and the last value."""
    constants = {"b": f32(4) / 100, "w": np.eye(4, dtype=np.float32), "s0": i64(-1, 2, 2), "s1": i64(-1, 4)}
    second_input = {"Add": "b", "MatMul": "w", "Reshape": ""}
    nodes: list[Any] = []
    for k in range(count):
        inputs = [f"v{k}" if k else "x"]
        if op in second_input:
            inputs.append(second_input[op] or f"s{k % 2}")
        nodes.append(helper.make_node(op, inputs, [f"v{k + 1}"]))  # without names, which are made unique
    used = {name for each in nodes for name in each.input}
    return nodes, {name: value for name, value in constants.items() if name in used}, f"v{count}"


@pytest.mark.slow
@pytest.mark.parametrize("op", mostly_heavy(["Relu", "Identity", "Add", "MatMul", "Reshape", "Sigmoid"], 3))
def test_the_time_of_opening_grows_with_the_number_of_nodes(op: str, tmp_path: Path) -> None:
    seconds: list[float] = []
    for count in (200, 800, 3200):  # the first also imports what is needed
        nodes, constants, last = chain(op, count)
        path = write(tmp_path / "net.onnx", nodes, ["N", 4], constants, (last,))
        start = time.process_time()
        pellucid.open(path)
        seconds.append(time.process_time() - start)
    assert seconds[2] < 7 * seconds[1]  # of four times as many nodes; quadratic time would be 16 times


@pytest.mark.parametrize(("name", "value"), [("MAX_ONNX_SECONDS", 1), ("MAX_ONNX_MEMORY", 1 << 30)])
def test_the_comparison_ends_at_its_limits(
    name: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "script.py"
    source = runtime.SCRIPT.read_text().replace("outputs: list[Any] = []", "outputs: list[Any] = []\n    endless()")
    waste = {"MAX_ONNX_SECONDS": "while True: pass", "MAX_ONNX_MEMORY": "return np.ones(1 << 28)"}[name]
    script.write_text(f"def endless():\n    {waste}\n\n\n{source}")
    monkeypatch.setattr(runtime, "SCRIPT", script)
    monkeypatch.setattr(runtime, name, value)
    path = write(tmp_path / "net.onnx", [node("Relu", "x", "y")], ["N", 3])
    with pytest.raises(PellucidError, match=r"net\.onnx: onnxruntime, with whose outputs .* needs more than"):
        pellucid.open(path)


def test_names_of_inputs_are_only_names(tmp_path: Path) -> None:
    """The names go to another process, and are those of arguments and files there."""
    for name in ("file", "allow_pickle", "../x", "a:b", "é\n"):
        path = write(tmp_path / "net.onnx", [node("Relu", [name], "y")], {name: ["N", 3]})
        x = torch.randn(2, 3)
        assert torch.equal(pellucid.open(path)(x), x.relu())
