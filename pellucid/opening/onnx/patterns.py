"""Groups of ONNX nodes that compute one layer: GELU with the error function, SiLU, and Dense with a bias."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

RELATIVE_TOLERANCE = 1e-4  # for numbers in a file, such as 1 / sqrt(2)


class Patterns:
    """The nodes of a graph, with the groups found so far.

    outputs: the names of the graph's outputs, which must remain outputs of nodes.
    """

    def __init__(
        self, onnx: Any, protos: Iterable[Any], constants: Mapping[str, Tensor], outputs: Iterable[str]
    ) -> None:
        self.onnx = onnx
        self.protos = list(protos)
        self.constants = constants
        self.outputs = set(outputs)
        self.producers = {name: proto for proto in self.protos for name in proto.output}
        self.readers: dict[str, list[Any]] = {}
        for proto in self.protos:
            for name in proto.input:
                self.readers.setdefault(name, []).append(proto)
        self.replacements: dict[int, Any] = {}  # the node for a group, by id of its last node
        self.dropped_ids: set[int] = set()

    def merged_nodes(self) -> list[Any]:
        """Return the nodes with one node for each group."""
        matchers = {"Erf": self._gelu, "Sigmoid": self._silu, "MatMul": self._dense}
        for proto in self.protos:
            if proto.op_type in matchers and not proto.domain and not proto.metadata_props:
                matchers[proto.op_type](proto)
        return [self.replacements.get(id(node), node) for node in self.protos if id(node) not in self.dropped_ids]

    def _gelu(self, erf: Any) -> None:
        """Find x / 2 (1 + erf(x / sqrt(2))), in any order of its factors."""
        scaled = self.producers.get(erf.input[0])
        x = None if scaled is None else self._input_times(scaled, 1 / math.sqrt(2))
        shifted = self._only_reader(erf)
        if x is None or shifted is None or shifted.op_type != "Add" or not self._has_constant(shifted, 1.0):
            return
        product = self._only_reader(shifted)
        if product is None or product.op_type != "Mul":
            return
        other = _other_input(product, shifted.output[0])
        last_node = self._only_reader(product)
        group = [scaled, erf, shifted]
        if other == x and last_node is not None and self._input_times(last_node, 0.5) == product.output[0]:
            self._replace([*group, product], last_node, "Gelu", [x])
        elif self._scalar(other) == 0.5 and last_node is not None and last_node.op_type == "Mul":
            if _other_input(last_node, product.output[0]) == x:
                self._replace([*group, product], last_node, "Gelu", [x])
        elif other in self.producers and self._input_times(self.producers[other], 0.5) == x:
            halved = self.producers[other]
            self._replace([*group, *([halved] if self._only_reader(halved) is product else [])], product, "Gelu", [x])

    def _silu(self, sigmoid: Any) -> None:
        """Find x sigmoid(x)."""
        product = self._only_reader(sigmoid)
        x = sigmoid.input[0]
        if product is not None and product.op_type == "Mul" and _other_input(product, sigmoid.output[0]) == x:
            self._replace([sigmoid], product, "Swish", [x])

    def _dense(self, product: Any) -> None:
        """Find the product x W + b with a constant matrix W and a constant vector b."""
        biased = self._only_reader(product)
        weight = self.constants.get(product.input[1])
        if biased is None or biased.op_type != "Add" or weight is None or weight.dim() != 2:
            return
        bias = _other_input(biased, product.output[0])
        if bias in self.constants and self.constants[bias].shape == weight.shape[1:]:
            self._replace([product], biased, "MatMul", [*product.input, bias], product.name)

    def _replace(self, group: list[Any], last: Any, op: str, inputs: list[str], name: str = "") -> None:
        node = self.onnx.helper.make_node(op, inputs, list(last.output), name=name or last.name)
        self.replacements[id(last)] = node
        self.dropped_ids.update(map(id, group))

    def _only_reader(self, proto: Any) -> Any:
        """Return the only node that reads a node's output; None if others read it, or it is an output of the graph."""
        name = proto.output[0]
        readers = self.readers.get(name, [])
        is_only = len(readers) == 1 and name not in self.outputs and list(readers[0].input).count(name) == 1
        return readers[0] if is_only and not readers[0].metadata_props else None

    def _input_times(self, proto: Any, factor: float) -> str | None:
        """Return the name of the input that a node multiplies by `factor`; None for any other node."""
        if proto.op_type not in ("Mul", "Div"):
            return None
        # a division by a number multiplies too; its number is the second input, that of a product either one
        for index in (1, 0) if proto.op_type == "Mul" else (1,):
            number = self._scalar(proto.input[index])
            if not number:
                continue
            value = number if proto.op_type == "Mul" else 1 / number
            if math.isclose(value, factor, rel_tol=RELATIVE_TOLERANCE):
                return proto.input[1 - index]
        return None

    def _has_constant(self, proto: Any, number: float) -> bool:
        return any(self._scalar(name) == number for name in proto.input)

    def _scalar(self, name: str) -> float | None:
        tensor = self.constants.get(name)
        return float(tensor) if tensor is not None and tensor.numel() == 1 and tensor.is_floating_point() else None


def _other_input(proto: Any, name: str) -> str:
    """Return the name of the other of a node's two inputs; "" unless it has two different inputs."""
    names = [input_name for input_name in proto.input if input_name != name]
    return names[0] if len(names) == 1 and len(proto.input) == 2 else ""
