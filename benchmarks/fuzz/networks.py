"""Networks of other people: changed ONNX files and exported programs, opened as models with all their operators."""

import copy
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from benchmarks.fuzz.mutations import damage

NETWORKS = ("net.pt2", "net.onnx")
MAX_TEXT = 1 << 20  # bytes of a description that is changed once more, since repetitions of repetitions are endless
_PROGRAM = "models/model.json"
_INTEGERS = (
    0, 1, -1, 2, 3, 5, 7, 16, 255, 1 << 10, 1 << 16, 1 << 24, 1 << 31, 1 << 33, 1 << 40, (1 << 63) - 1, 1 << 63,
    -(1 << 63), 10**30, 10**400,
)  # fmt: skip
_JSON_VALUES = (*_INTEGERS, 0.5, -1e308, True, None, "", "x", "weight", [], [1], {}, {"as_int": 3}, {"as_none": True})
_SYMBOLS = ("Symbol('s77', positive=True, integer=True)", "Symbol('s0')", "Symbol('u9', integer=True)", "Integer(3)")
_FUNCTIONS = (
    "Add",
    "Mul",
    "Pow",
    "FloorDiv",
    "CeilDiv",
    "Mod",
    "PythonMod",
    "Max",
    "Min",
    "Integer",
    "factorial",
    "exec",
)
_OPERATORS = (
    "_operator.pow", "_operator.mul", "_operator.floordiv", "torch.sym_max", "torch.ops.aten.repeat.default",
    "torch.ops.aten.expand.default", "torch.ops.aten.zeros.default", "torch.ops.aten.full.default",
    "torch.ops.aten.arange.start_step", "torch.ops.aten.cat.default", "torch.ops.aten.pad.default",
    "torch.ops.aten.upsample_nearest2d.vec", "torch.ops.aten.relu.default", "torch.ops.aten.as_strided.default",
    "torch.ops.aten.resize_.default", "torch.ops.aten.nonzero.default", "torch.ops.aten.matmul.default",
)  # fmt: skip


class _Network(nn.Module):
    """A network with free height and width, a constant, tied weights and sizes that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.dense = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.dense.weight
        self.register_buffer("offset", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv(x))
        batch, channels, height, width = y.shape
        rows = y.reshape(batch, channels, height * width).mean(2)
        return self.tied(self.dense(rows)) + (self.offset * 2).sum()


def write_network(kind: str, path: Path) -> None:
    """Write an exported program with free sizes, or an ONNX file of a small detector."""
    if kind == "net.pt2":
        free = torch.export.Dim.AUTO
        shapes = ({0: free, 2: free, 3: free},)
        program = torch.export.export(_Network().eval(), (torch.rand(3, 3, 16, 12),), dynamic_shapes=shapes)
        torch.export.save(program, path)
        return
    path.write_bytes(_detector().SerializeToString())


def write_network_case(original: Path, path: Path, rng: random.Random) -> None:
    """Write a copy with damaged bytes, or with some changed, repeated or added parts."""
    if rng.random() < 0.2:
        path.write_bytes(damage(original.read_bytes(), rng))
    elif original.suffix == ".pt2":
        _write_program_case(original, path, rng)
    else:
        model = onnx.load_model_from_string(original.read_bytes())
        for _ in range(rng.choice((1, 1, 2, 4))):
            rng.choice(_ONNX_CHANGES)(model, rng)
        path.write_bytes(model.SerializeToString())


def use_network(path: Path) -> None:
    """Open a file as a model and compute its outputs for a small input."""
    example = torch.linspace(0, 1, 2 * 3 * 16 * 12).view(2, 3, 16, 12) if path.suffix == ".pt2" else None
    model = pellucid.open(path, example)
    if example is not None:
        model(example)


def _write_program_case(original: Path, path: Path, rng: random.Random) -> None:
    buffer = io.BytesIO()
    changed_entry = rng.choice((_PROGRAM, _PROGRAM, _PROGRAM, "model_weights_config.json"))
    with zipfile.ZipFile(original) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.namelist():
            content = old.read(entry)
            if entry.endswith(changed_entry):
                for _ in range(rng.choice((1, 1, 2, 5))):
                    values = json.loads(content)
                    if len(content) < MAX_TEXT and isinstance(values, dict | list) and values:
                        _change_json(values, rng)
                        content = json.dumps(values).encode()
            new.writestr(entry, content)
    path.write_bytes(buffer.getvalue())


def _change_json(root: Any, rng: random.Random) -> None:
    """Change one value at a random depth: to another value, a formula, an operator, or many copies."""
    parents = [root]
    for parent in parents:
        values = parent.values() if isinstance(parent, dict) else parent
        parents.extend(value for value in values if isinstance(value, dict | list) and value)
    parent = rng.choice(parents)
    key = rng.choice(list(parent)) if isinstance(parent, dict) else rng.randrange(len(parent))
    value = parent[key]
    if key == "expr_str":
        parent[key] = _formula(rng, rng.choice((1, 3, 8, 30)))
    elif key == "target" and rng.random() < 0.8:
        parent[key] = rng.choice(_OPERATORS)
    elif type(value) is int and rng.random() < 0.8:
        parent[key] = rng.choice(_INTEGERS)
    elif isinstance(value, list) and rng.random() < 0.5:
        parent[key] = value * rng.choice((2, 10, 1_000, 30_000))
    elif isinstance(parent, dict) and rng.random() < 0.3:
        parent.update({f"{key}{number}": value for number in range(rng.choice((1, 50, 3_000)))})
    elif isinstance(parent, list) and rng.random() < 0.5:
        parent.insert(rng.randrange(len(parent) + 1), copy.deepcopy(rng.choice(parent)))
    else:
        parent[key] = rng.choice(_JSON_VALUES)


def _formula(rng: random.Random, depth: int) -> str:
    if depth < 1 or rng.random() < 0.1:
        symbol = f"Symbol('s{rng.randrange(12)}', positive=True, integer=True)"
        number = rng.choice(_INTEGERS)
        return rng.choice((symbol, *_SYMBOLS, str(number), f"Integer({number})", "9**9**9"))
    parts = [_formula(rng, depth - 1 if k == 0 else min(depth - 1, 3)) for k in range(rng.choice((1, 2, 2, 3)))]
    return f"{rng.choice(_FUNCTIONS)}({', '.join(parts)})"


def _detector() -> Any:
    """Return a model with convolution, folded sizes, a suppression, and nodes behind it."""
    rng = torch.Generator().manual_seed(0)
    constants: dict[str, Any] = {
        "w": torch.randn(4, 3, 3, 3, generator=rng).numpy(),
        "half": torch.tensor(0.5).numpy(),
        "shape": torch.tensor([0, 4, -1]).numpy(),
        "max": torch.tensor(5).numpy(),
        "column": torch.tensor(2).numpy(),
        "big": torch.tensor([60_000, 60_000]).numpy(),
        "many": torch.tensor(1 << 62).numpy(),
        "true": torch.tensor(True).numpy(),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Mul", ["half", "half"], ["quarter"], name="fold"),
        helper.make_node("Mul", ["c", "quarter"], ["s"], name="scale"),
        helper.make_node("Reshape", ["s", "shape"], ["r"], name="rows"),
        helper.make_node("Transpose", ["r"], ["boxes"], name="boxes", perm=[0, 2, 1]),
        helper.make_node("Sigmoid", ["r"], ["scores"], name="scores"),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "max"], ["picked"], name="suppression"),
        helper.make_node("Gather", ["picked", "column"], ["y"], name="gather", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, ["K"])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _values(model: Any) -> list[str]:
    return [name for node in model.graph.node for name in (*node.input, *node.output) if name]


def _insert(model: Any, node: Any, rng: random.Random) -> None:
    """Insert a node, and let one of the later nodes, the outputs, or nothing read its value."""
    nodes = list(model.graph.node)
    position = rng.randrange(len(nodes) + 1)
    readers = [one for one in nodes[position:] if one.input]
    if readers and rng.random() < 0.7:
        reader = rng.choice(readers)
        reader.input[rng.randrange(len(reader.input))] = node.output[0]
    elif rng.random() < 0.5:
        model.graph.output.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, ["A", "B"]))
    nodes.insert(position, node)
    kept = [copy.deepcopy(one) for one in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _add_costly(model: Any, rng: random.Random) -> None:
    x = rng.choice(_values(model))
    y = f"added{rng.randrange(1 << 30)}"
    sizes = rng.choice(("big", "shape", "max", "many", x))
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"]), helper.make_node("Add", [x, x], ["twice"])],
        "body",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("twice", TensorProto.FLOAT, None),
        ],
    )
    node = rng.choice((
        lambda: helper.make_node("Expand", [x, sizes], [y]),
        lambda: helper.make_node("Tile", [x, sizes], [y]),
        lambda: helper.make_node("ConstantOfShape", [sizes], [y]),
        lambda: helper.make_node("Reshape", [x, sizes], [y]),
        lambda: helper.make_node("Range", ["max", "many", "max"], [y]),
        lambda: helper.make_node("OneHot", [x, sizes, "big"], [y]),
        lambda: helper.make_node("Pad", [x, sizes], [y]),
        lambda: helper.make_node("Resize", [x, "", "", sizes], [y]),
        lambda: helper.make_node("Loop", ["many", "true"], [y], body=body),
        lambda: helper.make_node("If", ["true"], [y], then_branch=body, else_branch=body),
        lambda: helper.make_node("MatMul", [x, x], [y]),
        lambda: helper.make_node("Concat", [x] * rng.choice((1, 2, 1_000)), [y], axis=rng.choice((-1, 0, 1))),
        lambda: helper.make_node("Function", [x], [y], domain="own"),
    ))()  # fmt: skip
    _insert(model, node, rng)


def _repeat_nodes(model: Any, rng: random.Random) -> None:
    """Append a long chain of one node, each reading the value of the one before."""
    operator = rng.choice(("Relu", "Identity", "Neg", "Add", "Transpose", "Sigmoid"))
    last = rng.choice(_values(model))
    count = rng.choice((3, 100, 2_000, 12_000))
    for number in range(count):
        inputs = [last, last] if operator == "Add" else [last]
        last = f"chain{number}"
        model.graph.node.append(helper.make_node(operator, inputs, [last]))
    model.graph.output[0].name = last


def _change_sizes(model: Any, rng: random.Random) -> None:
    """Change the declared size of an axis of the input, or add another input."""
    shape = rng.choice(model.graph.input).type.tensor_type.shape
    if shape.dim and rng.random() < 0.7:
        rng.choice(shape.dim).dim_value = rng.choice([size for size in _INTEGERS if -(1 << 63) <= size < 1 << 63])
    else:
        sizes = ["N", *rng.choices((1, 3, 1 << 20, 1 << 40), k=rng.randrange(3))]
        name = f"other{rng.randrange(1 << 30)}"
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes))
        node = rng.choice(model.graph.node)
        node.input[rng.randrange(len(node.input))] = name


def _change_attribute(model: Any, rng: random.Random) -> None:
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    attribute = rng.choice(attributes)
    integers = [size for size in _INTEGERS if -(1 << 63) <= size < 1 << 63]
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(integers)
    else:
        attribute.i = rng.choice(integers)


def _rewire(model: Any, rng: random.Random) -> None:
    node = rng.choice([one for one in model.graph.node if one.input])
    node.input[rng.randrange(len(node.input))] = rng.choice((*_values(model), "", "nowhere"))


def _change_constant(model: Any, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    if rng.random() < 0.5 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice((0, 1, -1, 2, 1 << 20, 1 << 40))
    else:
        tensor.raw_data = damage(tensor.raw_data, rng)


def _add_functions(model: Any, rng: random.Random) -> None:
    """Add functions that call each other, of which the last may have the name of an operator."""
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    model.opset_import.append(opsets[1])
    count = rng.choice((1, 5, 41))
    for number in range(count):
        op, domain = ("Relu", "") if not number else (f"F{number - 1}", "own")
        nodes = [
            helper.make_node(op, ["a"], ["b"], domain=domain),
            helper.make_node(op, ["b"], ["c"], domain=domain),
        ]
        name = rng.choice(("Function", "Sigmoid", "Conv")) if number == count - 1 else f"F{number}"
        model.functions.append(helper.make_function("own", name, ["a"], ["c"], nodes, opsets))
    model.functions[-1].domain = rng.choice(("own", "own", ""))


_ONNX_CHANGES: tuple[Callable[[Any, random.Random], None], ...] = (
    _add_costly, _add_costly, _add_costly, _repeat_nodes, _change_sizes, _change_attribute, _rewire, _change_constant,
    _add_functions,
)  # fmt: skip
