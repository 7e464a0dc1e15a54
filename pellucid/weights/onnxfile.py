"""Reader of ONNX models, which checks their size because the onnx package needs up to 100 times as much memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_ONNX_BYTES, MAX_ONNX_FIELDS, MAX_ONNX_STRUCTURE_BYTES
from pellucid.weights.fault import FileFault, file_errors, quoted

_INSIDE_ADVICE = "save the model with its weights inside, as one file"
_EXTERNAL = 1  # TensorProto.DataLocation

# Field numbers in onnx.proto: ModelProto.graph, GraphProto.node and initializer, NodeProto.attribute, AttributeProto.t,
# TensorProto.float_data, raw_data, double_data.
_GRAPH = 7
_NODE = 1
_INITIALIZER = 5
_ATTRIBUTE = 5
_TENSOR = 5
_VALUES = (4, 9, 10)
_FIXED_SIZES = {1: 8, 5: 4}  # bytes of a field, by its wire type
_VARINT, _BYTES = 0, 2  # wire types

# By TensorProto.DataType: the dtype, and the range of the integers that may represent its values in int32_data.
_DTYPES: dict[int, tuple[torch.dtype, int, int]] = {
    1: (torch.float32, 0, 0), 2: (torch.uint8, 0, 255), 3: (torch.int8, -128, 127), 5: (torch.int16, -(1 << 15), 32767),
    6: (torch.int32, -(1 << 31), (1 << 31) - 1), 7: (torch.int64, 0, 0), 9: (torch.bool, 0, 1),
    10: (torch.float16, 0, 0xFFFF), 11: (torch.float64, 0, 0), 16: (torch.bfloat16, 0, 0xFFFF),
}  # fmt: skip


def read(path: Path) -> dict[str, Tensor]:
    """Return the initializers of an ONNX model by name; raises PellucidError if their values are in other files."""
    try:
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise PellucidError(f"{path} needs the onnx library; pip install 'pellucid[export]'") from error
    with file_errors(
        path, "ONNX model", (DecodeError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError)
    ):
        tensors: dict[str, Tensor] = {}
        for initializer in load(path).graph.initializer:
            if initializer.name in tensors:
                raise FileFault(f"contains {quoted(initializer.name)} twice")
            tensors[initializer.name] = tensor_of(initializer)
        if not tensors:
            raise FileFault("contains no initializers", "give a model that has weights")
        return tensors


def load(path: Path) -> Any:
    """Return a file as onnx.ModelProto; raises FileFault for excessive sizes and for weights in other files."""
    try:
        import onnx
    except ImportError as error:
        raise PellucidError(f"{path} needs the onnx library; pip install 'pellucid[export]'") from error
    file_size = path.stat().st_size
    if file_size > MAX_ONNX_BYTES:
        raise FileFault(f"is larger than an ONNX model can be, {MAX_ONNX_BYTES} bytes", _INSIDE_ADVICE)
    data = path.read_bytes()
    n_structure_bytes = file_size - _count_value_bytes(memoryview(data))
    if n_structure_bytes > MAX_ONNX_STRUCTURE_BYTES:
        raise FileFault(
            f"contains {n_structure_bytes} bytes besides its weights, above the limit of {MAX_ONNX_STRUCTURE_BYTES}"
        )
    model = onnx.load_model_from_string(data)
    if model.graph.sparse_initializer:
        raise FileFault("contains sparse weights", "save the model with dense weights")
    for tensor in (
        *model.graph.initializer,
        *(attribute.t for node in model.graph.node for attribute in node.attribute),
    ):
        if tensor.data_location == _EXTERNAL:
            raise FileFault(f"stores the values of {quoted(tensor.name)} in another file", _INSIDE_ADVICE)
    return model


def tensor_of(proto: Any) -> Tensor:
    """Return a TensorProto as a tensor; raises FileFault unless its values have its type and shape."""
    import numpy as np
    from onnx import numpy_helper

    name = quoted(proto.name)
    if proto.data_type not in _DTYPES:
        raise FileFault(f"contains {name} of data type {proto.data_type}, which is not supported for weights")
    dtype, low, high = _DTYPES[proto.data_type]
    if any(not 0 <= size < 1 << 40 for size in proto.dims):
        raise FileFault(f"declares an invalid shape for {name}")
    fields = (proto.raw_data, proto.float_data, proto.double_data, proto.int32_data, proto.int64_data)
    if sum(len(values) > 0 for values in fields) > 1:
        raise FileFault(f"stores the values of {name} twice, in different fields")
    # the package accepts 300 as an 8-bit number, and 7 as a boolean
    integers = np.asarray(proto.int32_data, dtype=np.int64)
    if integers.size and not low <= integers.min() <= integers.max() <= high:
        raise FileFault(f"has values in {name} that are out of range for their type")
    array = np.ascontiguousarray(numpy_helper.to_array(proto))
    if dtype == torch.bool and bool((array.view(np.uint8) > 1).any()):
        raise FileFault(f"has booleans in {name} that are neither 0 nor 1")
    bits = array.view(np.int16) if dtype == torch.bfloat16 else array
    return torch.from_numpy(bits.copy()).view(dtype).reshape(tuple(proto.dims))


def _count_value_bytes(data: memoryview) -> int:
    """Return the number of bytes in a file that are values of initializers, or of the tensors in Constant nodes."""
    field_budget = iter(range(MAX_ONNX_FIELDS))
    graphs = list(_find_fields(data, 0, len(data), field_budget, (_GRAPH,)))
    if len(graphs) != 1:
        raise FileFault(f"contains {'several graphs' if graphs else 'no graph'}, where an ONNX model contains one")

    def count_bytes_at(*path: int) -> int:
        """Return the bytes of values in the tensors at a path of fields; span: start and end of a message."""
        messages = graphs
        for number in path:
            messages = [field for span in messages for field in _find_fields(data, *span, field_budget, (number,))]
        return sum(end - start for span in messages for start, end in _find_fields(data, *span, field_budget, _VALUES))

    n_bytes = count_bytes_at(_INITIALIZER)
    if len(data) - n_bytes > MAX_ONNX_STRUCTURE_BYTES:
        # most files are small enough without this search, which costs fields of the budget
        n_bytes += count_bytes_at(_NODE, _ATTRIBUTE, _TENSOR)
    return n_bytes


def _find_fields(
    data: memoryview, position: int, end: int, field_budget: Iterator[int], numbers: tuple[int, ...]
) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each length-delimited field with one of the field numbers `numbers`.

    position, end: the part of the data to search. field_budget: yields once for each field that may still be read.
    """
    while position < end:
        if next(field_budget, None) is None:
            raise FileFault(f"has more than {MAX_ONNX_FIELDS} fields", "save its weights as safetensors")
        key, position = _read_varint(data, position, end)  # the field number, and in the last three bits the wire type
        if key & 7 == _VARINT:
            _, stop = _read_varint(data, position, end)
        elif key & 7 == _BYTES:
            size, position = _read_varint(data, position, end)
            stop = position + size
        elif key & 7 in _FIXED_SIZES:
            stop = position + _FIXED_SIZES[key & 7]
        else:
            raise FileFault("is not an ONNX file, or is damaged")
        if stop > end:
            raise FileFault("has a truncated field")
        if key >> 3 in numbers and key & 7 == _BYTES:
            yield position, stop
        position = stop


def _read_varint(data: memoryview, position: int, end: int) -> tuple[int, int]:
    """Return the variable-length integer at a position (seven bits per byte), and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise FileFault("has an integer that is truncated or too long")
