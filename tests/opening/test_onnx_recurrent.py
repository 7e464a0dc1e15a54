"""LSTM, GRU and RNN of ONNX files that PyTorch writes, and of files written by hand, against onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.opening.onnxfiles import f32, node, write
from tests.opening.test_onnx import assert_equal_outputs, i64, refusal_message

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def weights(op: str, directions: int, units: int = 3, inputs: int = 5) -> dict[str, Any]:
    rows = GATES[op] * units
    return {"w": f32(directions, rows, inputs), "r": f32(directions, rows, units), "b": f32(directions, 2 * rows)}


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("outputs", [["s"], ["", "s"], ["s", "h"], ["h", "s"]], ids=str)
@pytest.mark.parametrize("biased", [True, False])
def test_outputs_are_onnxruntimes(tmp_path: Path, op: str, direction: str, outputs: list[str], biased: bool) -> None:
    directions = 1 if direction == "forward" else 2
    options = {"hidden_size": 3, "direction": direction} | ({"linear_before_reset": 1} if op == "GRU" else {})
    sources = ["t", "w", "r", "b"] if biased else ["t", "w", "r"]
    is_sequence = outputs[0] == "s"  # otherwise s is the state
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node(op, sources, outputs, name="read", **options),
        node("Transpose", "s", "u", perm=[2, 0, 1, 3] if is_sequence else [1, 0, 2]),
        node("Reshape", "uz", "y"),
    ]
    constants = weights(op, directions) | {"z": i64(0, -1)}
    if not biased:
        del constants["b"]
    assert_equal_outputs(tmp_path / "net.onnx", nodes, ["N", 6, 5], constants, 14)


def test_outputs_that_no_node_reads_may_have_names(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("LSTM", "twrb", ["s", "h", "c"], hidden_size=3),
        node("Transpose", "s", "u", perm=[2, 0, 1, 3]),
        node("Reshape", "uz", "y"),
    ]
    assert_equal_outputs(tmp_path / "net.onnx", nodes, ["N", 6, 5], weights("LSTM", 1) | {"z": i64(0, -1)}, 14)


def test_the_memory_as_an_output_is_refused(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("LSTM", "twrb", ["", "", "y"], name="read", hidden_size=3),
    ]
    path = write(tmp_path / "net.onnx", nodes, [2, 6, 5], weights("LSTM", 1), opset=14)
    assert "has the memory after the last step as an output" in refusal_message(path)


@pytest.mark.parametrize(("options", "more", "message"), [
    ({"direction": "reverse"}, {}, "direction='reverse'"),
    ({"activations": ["Relu", "Tanh", "Tanh"]}, {}, "activations"),
    ({}, {"l": np.int32([6, 6])}, "lengths of the sequences"),
    ({}, {"l": None, "h": f32(1, 2, 3) + 1}, "an initial state that is not 0"),
], ids=str)  # fmt: skip
def test_other_forms_are_refused(tmp_path: Path, options: dict[str, Any], more: dict[str, Any], message: str) -> None:
    sources = ["t", "w", "r", "b", *("" if value is None else name for name, value in more.items())]
    nodes = [node("Transpose", "x", "t", perm=[1, 0, 2]), node("LSTM", sources, ["y"], hidden_size=3, **options)]
    constants = weights("LSTM", 1) | {name: value for name, value in more.items() if value is not None}
    assert message in refusal_message(write(tmp_path / "net.onnx", nodes, [2, 6, 5], constants, opset=14))


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_a_plain_layer_with_relu_is_onnxruntimes(tmp_path: Path, direction: str) -> None:
    directions = 1 if direction == "forward" else 2
    options = {"hidden_size": 3, "direction": direction, "activations": ["Relu"] * directions}
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("RNN", "twrb", "s", name="read", **options),
        node("Transpose", "s", "u", perm=[2, 0, 1, 3]),
        node("Reshape", "uz", "y"),
    ]
    assert_equal_outputs(tmp_path / "net.onnx", nodes, ["N", 6, 5], weights("RNN", directions) | {"z": i64(0, -1)}, 14)
