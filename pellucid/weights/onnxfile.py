"""ONNX models: the initialisers of the main graph, found by walking over the file's fields.

The file is nested fields of Protocol Buffers, each a number, a kind and a value, so that the others are skipped
unread. (The general library builds every object of a model first: up to 77 times the file's size in memory.)
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from pellucid.weights.fault import Fault, quoted, refusing

_LIMIT = 2 << 30  # bytes: of a Protocol Buffers file
_TENSORS = 100_000
_RANK = 32  # axes
_STEPS = 20_000_000  # numbers and fields read one by one: values are raw in all files that matter
_OTHER_FILE = "save the model with its weights inside, as one file"

# Fields by number, of onnx.proto: the model's, the graph's, the tensor's.
_GRAPH, _INITIALIZER, _SPARSE = 7, 5, 15
_DIMS, _TYPE, _SEGMENT, _FLOATS, _INT32S, _INT64S, _NAME, _RAW, _DOUBLES, _PLACE = 1, 2, 3, 4, 5, 7, 8, 9, 10, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# By a type's number: the dtype, the field that holds its values unless they are raw, and the dtype of their bits.
_TYPES: dict[int, tuple[torch.dtype, int, torch.dtype]] = {
    1: (torch.float32, _FLOATS, torch.float32), 2: (torch.uint8, _INT32S, torch.uint8),
    3: (torch.int8, _INT32S, torch.int8), 5: (torch.int16, _INT32S, torch.int16),
    6: (torch.int32, _INT32S, torch.int32), 7: (torch.int64, _INT64S, torch.int64),
    9: (torch.bool, _INT32S, torch.uint8), 10: (torch.float16, _INT32S, torch.int16),
    11: (torch.float64, _DOUBLES, torch.float64), 16: (torch.bfloat16, _INT32S, torch.int16),
}  # fmt: skip


@dataclass(frozen=True)
class _Field:
    """One field: its number, its kind, and its value, or the place of its bytes in the file."""

    number: int
    kind: int
    value: int
    start: int
    end: int


class _Walk:
    """The bytes of a file, and how many steps may still be taken over them."""

    def __init__(self, data: bytes) -> None:
        self.data, self.left = memoryview(data), _STEPS

    def fields(self, start: int, end: int) -> Iterator[_Field]:
        """Yield the fields that stand between two places; Fault when they do not fill them."""
        at = start
        while at < end:
            key, at = self.varint(at, end)
            number, kind, value = key >> 3, key & 7, 0
            begin = at
            if kind == _VARINT:
                value, at = self.varint(at, end)
            elif kind == _BYTES:
                size, begin = self.varint(at, end)
                at = begin + size
            elif kind in (_FIXED64, _FIXED32):
                at += 8 if kind == _FIXED64 else 4
            else:
                raise Fault("has a field of an unknown kind")
            if at > end or not number:
                raise Fault("has a field that is cut off or has no number")
            yield _Field(number, kind, value, begin, at)

    def inside(self, outer: _Field) -> Iterator[_Field]:
        """Yield the fields of which a field consists."""
        if outer.kind != _BYTES:
            raise Fault("has a number where a group of fields should be")
        return self.fields(outer.start, outer.end)

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """Return the whole number at a place, seven bits a byte, and the place behind it."""
        self.left -= 1
        if self.left < 0:
            raise Fault(f"takes more than {_STEPS} steps to read", "save its weights as safetensors")
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                break
            byte = self.data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (1 << 64) - 1, at
        raise Fault("has a number that is cut off or too long")

    def integers(self, packed: _Field) -> Iterator[int]:
        """Yield the signed numbers of a field that holds one, or many in a row."""
        if packed.kind == _VARINT:
            yield _signed(packed.value)
            return
        if packed.kind != _BYTES:
            raise Fault("has a list of numbers of an unknown kind")
        at = packed.start
        while at < packed.end:
            value, at = self.varint(at, packed.end)
            yield _signed(value)


@dataclass
class _Initializer:
    """The fields of one tensor as they stand in the file."""

    name: str = ""
    kind: int = 0
    dims: list[int] = field(default_factory=list)
    raw: memoryview | None = None
    floats: bytearray = field(default_factory=bytearray)  # float32s or float64s, little-endian
    integers: "array[int]" = field(default_factory=lambda: array("q"))
    filled: set[int] = field(default_factory=set)  # the numbers of the fields that held values


def read(path: Path) -> dict[str, Tensor]:
    """Return the initialisers of an ONNX model's main graph; PellucidError for those that stand in other files."""
    with refusing(path, "ONNX model", (RuntimeError, ValueError, OverflowError)):
        if path.stat().st_size > _LIMIT:
            raise Fault(f"is larger than an ONNX model can be, {_LIMIT} bytes")
        walk = _Walk(path.read_bytes())
        graph = None
        for each in walk.fields(0, len(walk.data)):
            if each.number == _GRAPH and graph is not None:
                raise Fault("holds several graphs where an ONNX model holds one")
            graph = each if each.number == _GRAPH else graph
        if graph is None:
            raise Fault("holds no graph where an ONNX model holds one")
        found: dict[str, Tensor] = {}
        for each in walk.inside(graph):
            if each.number == _SPARSE:
                raise Fault("holds sparse weights", "save the model with dense ones")
            if each.number == _INITIALIZER:
                initializer = _parse(walk, each)
                if initializer.name in found or len(found) == _TENSORS:
                    raise Fault(f"holds {quoted(initializer.name)} twice, or too many tensors")
                found[initializer.name] = _tensor(initializer)
        if not found:
            raise Fault("holds no initialisers", "give a model that has weights")
        return found


def _parse(walk: _Walk, place: _Field) -> _Initializer:
    it = _Initializer()
    for each in walk.inside(place):
        if each.number == _DIMS:
            it.dims += islice(walk.integers(each), _RANK + 1)
            if len(it.dims) > _RANK:
                raise Fault(f"gives a tensor an absurd shape of more than {_RANK} axes")
        elif each.number == _TYPE:
            it.kind = each.value
        elif each.number == _NAME:
            it.name = bytes(walk.data[each.start : each.end]).decode("utf-8")
        elif each.number == _RAW:
            it.raw = walk.data[each.start : each.end]
        elif each.number in (_FLOATS, _DOUBLES):
            it.floats += walk.data[each.start : each.end]
            it.filled.add(each.number)
        elif each.number in (_INT32S, _INT64S):
            it.integers.extend(walk.integers(each))
            it.filled.add(each.number)
        elif each.number == _SEGMENT or (each.number == _PLACE and each.value):
            raise Fault(f"keeps the values of {quoted(it.name)} elsewhere", _OTHER_FILE)
    return it


def _tensor(it: _Initializer) -> Tensor:
    """Build the tensor that the fields describe; Fault unless they agree."""
    name = quoted(it.name)
    if it.kind not in _TYPES:
        raise Fault(f"holds {name} of type number {it.kind}, which is no number type of weights", "leave it out")
    dtype, values, bits = _TYPES[it.kind]
    if any(not 0 <= size < 1 << 40 for size in it.dims):
        raise Fault(f"gives {name} an absurd shape")
    if (it.raw is not None and it.filled) or it.filled - {values}:
        raise Fault(f"gives the values of {name} in two ways, or in that of another type")
    count = prod(it.dims)
    if it.raw is None and values in (_INT32S, _INT64S):
        flat = _narrow(name, torch.tensor(it.integers, dtype=torch.int64), bits)
    else:
        raw = bytearray(it.floats if it.raw is None else it.raw)
        if len(raw) != count * dtype.itemsize:
            raise Fault(f"holds {len(raw)} bytes for {name} of {count} numbers")
        flat = torch.frombuffer(raw, dtype=bits) if raw else torch.empty(0, dtype=bits)
    if flat.numel() != count:
        raise Fault(f"holds {flat.numel()} values for {name} of {count} numbers")
    if dtype == torch.bool and bool((flat > 1).any()):
        raise Fault(f"has truth values in {name} that are neither 0 nor 1")
    return flat.view(dtype).reshape(it.dims)


def _narrow(name: str, values: Tensor, bits: torch.dtype) -> Tensor:
    """Return int64 values as the narrower type that the file says they are of."""
    if bits == torch.int16:  # the 16 bits of a float stand there as a number without sign
        values = torch.where((values >= 1 << 15) & (values < 1 << 16), values - (1 << 16), values)
    narrow = values.to(bits)
    if not torch.equal(narrow.to(torch.int64), values):
        raise Fault(f"has values in {name} that do not fit their type")
    return narrow


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
