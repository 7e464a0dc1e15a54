"""ONNX models, read by the onnx package after a check of their size: it needs up to 100 times that in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.weights.fault import Fault, quoted, refusing

_LIMIT = (2 << 30) - 1  # bytes: of a Protocol Buffers file
_STRUCTURE = 8 << 20  # bytes of a file other than its values
_FIELDS = 200_000  # that are looked at: some 40,000 tensors
_INSIDE = "save the model with its weights inside, as one file"
_EXTERNAL = 1  # of a tensor's data_location

# Fields by number, of onnx.proto: the model's graph, its initializers, and their values where they are raw or floats.
_GRAPH, _INITIALIZER, _VALUES = 7, 5, (4, 9, 10)
_SIZES = {1: 8, 5: 4}  # bytes, by the kind of a field
_VARINT, _BYTES = 0, 2

# By a type's number: the dtype, and the range of the whole numbers that may represent values.
_TYPES: dict[int, tuple[torch.dtype, int, int]] = {
    1: (torch.float32, 0, 0), 2: (torch.uint8, 0, 255), 3: (torch.int8, -128, 127), 5: (torch.int16, -(1 << 15), 32767),
    6: (torch.int32, -(1 << 31), (1 << 31) - 1), 7: (torch.int64, 0, 0), 9: (torch.bool, 0, 1),
    10: (torch.float16, 0, 0xFFFF), 11: (torch.float64, 0, 0), 16: (torch.bfloat16, 0, 0xFFFF),
}  # fmt: skip


def read(path: Path) -> dict[str, Tensor]:
    """Return the initialisers of an ONNX model's main graph; PellucidError for those that stand in other files."""
    try:
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise PellucidError(f"{path} needs the onnx library; pip install 'pellucid[export]'") from error
    with refusing(path, "ONNX model", (DecodeError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError)):
        found: dict[str, Tensor] = {}
        for each in load(path).graph.initializer:
            if each.name in found:
                raise Fault(f"holds {quoted(each.name)} twice")
            found[each.name] = tensor_of(each)
        if not found:
            raise Fault("holds no initialisers", "give a model that has weights")
        return found


def load(path: Path) -> Any:
    """Return the onnx package's model of a file; Fault for excessive sizes and for weights in other files."""
    try:
        import onnx
    except ImportError as error:
        raise PellucidError(f"{path} needs the onnx library; pip install 'pellucid[export]'") from error
    size = path.stat().st_size
    if size > _LIMIT:
        raise Fault(f"is larger than an ONNX model can be, {_LIMIT} bytes", _INSIDE)
    data = path.read_bytes()
    structure = size - _values(memoryview(data))
    if structure > _STRUCTURE:
        raise Fault(f"holds {structure} bytes beside its weights, above the limit of {_STRUCTURE}")
    model = onnx.load_model_from_string(data)
    if model.graph.sparse_initializer:
        raise Fault("holds sparse weights", "save the model with dense ones")
    for tensor in (*model.graph.initializer, *(each.t for node in model.graph.node for each in node.attribute)):
        if tensor.data_location == _EXTERNAL:
            raise Fault(f"keeps the values of {quoted(tensor.name)} elsewhere", _INSIDE)
    return model


def tensor_of(proto: Any) -> Tensor:
    """Return the values of a TensorProto; raises Fault unless they are numbers of its type and shape."""
    import numpy as np
    from onnx import numpy_helper

    name = quoted(proto.name)
    if proto.data_type not in _TYPES:
        raise Fault(f"holds {name} of type number {proto.data_type}, which is not a number type of weights")
    dtype, low, high = _TYPES[proto.data_type]
    if any(not 0 <= size < 1 << 40 for size in proto.dims):
        raise Fault(f"gives {name} an absurd shape")
    held = (proto.raw_data, proto.float_data, proto.double_data, proto.int32_data, proto.int64_data)
    if sum(len(values) > 0 for values in held) > 1:
        raise Fault(f"gives the values of {name} in two ways")
    whole = np.asarray(proto.int32_data, dtype=np.int64)
    if whole.size and not low <= whole.min() <= whole.max() <= high:
        raise Fault(f"has values in {name} that do not fit their type")
    array = np.ascontiguousarray(numpy_helper.to_array(proto))
    if dtype == torch.bool and bool((array.view(np.uint8) > 1).any()):
        raise Fault(f"has truth values in {name} that are neither 0 nor 1")
    bits = array.view(np.int16) if dtype == torch.bfloat16 else array
    return torch.from_numpy(bits.copy()).view(dtype).reshape(tuple(proto.dims))


def _values(data: memoryview) -> int:
    """Return the number of bytes of a file that are raw values of initializers."""
    left = iter(range(_FIELDS))
    graphs = list(_fields(data, 0, len(data), left, (_GRAPH,)))
    if len(graphs) != 1:
        raise Fault(f"holds {'several graphs' if graphs else 'no graph'} where an ONNX model holds one")
    return sum(
        end - start
        for tensor in _fields(data, *graphs[0], left, (_INITIALIZER,))
        for start, end in _fields(data, *tensor, left, _VALUES)
    )


def _fields(
    data: memoryview, at: int, end: int, left: Iterator[int], wanted: tuple[int, ...]
) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each wanted field between two positions."""
    while at < end:
        if next(left, None) is None:
            raise Fault(f"has more than {_FIELDS} fields", "save its weights as safetensors")
        key, at = _varint(data, at, end)
        if key & 7 == _VARINT:
            _, stop = _varint(data, at, end)
        elif key & 7 == _BYTES:
            size, at = _varint(data, at, end)
            stop = at + size
        elif key & 7 in _SIZES:
            stop = at + _SIZES[key & 7]
        else:
            raise Fault("has a field of an unknown kind")
        if stop > end:
            raise Fault("has a field that is cut off")
        if key >> 3 in wanted and key & 7 == _BYTES:
            yield at, stop
        at = stop


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """Return the integer at a position, seven bits per byte, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise Fault("has a number that is cut off or too long")
