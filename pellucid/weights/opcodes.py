"""The object streams inside PyTorch's files (protocols 2 to 5), read by an interpreter that runs no code.

A stream is a program for a stack machine. This machine knows only the instructions that files of tensors need, and
can build nothing but None, numbers, texts, lists, tuples, dicts and descriptions of storages and of tensors in them. A
name of Python is looked up in the table `NAMES` and nowhere else, and what a stream "calls" is a function of this file.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from pellucid.weights.fault import Fault, quoted

_STEPS = 500_000  # instructions and items of dicts: some 10,000 tensors; each takes some 100 bytes of memory at most
_NAME = 256  # characters of a name of Python
_DIGITS = 16  # bytes of a whole number
_DANGER = "do not open it elsewhere unless you trust where it comes from; save its tensors alone, as safetensors"


@dataclass(frozen=True)
class Storage:
    """A block of `numel` numbers, stored elsewhere in the file under `key`."""

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True)
class View:
    """A tensor: where its first number stands in the storage, its shape, and the strides in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Return how many numbers the tensor has."""
        return prod(self.shape)


@dataclass(frozen=True)
class Constructor:
    """A known function that a stream may call."""

    make: Callable[[tuple[Any, ...]], Any]


def _ordered(args: tuple[Any, ...]) -> dict[Any, Any]:
    """Build what Python 2 and 3 write for an ordered dict: no arguments, or a list of pairs."""
    result: dict[Any, Any] = {}
    if len(args) > 1 or (args and type(args[0]) is not list):
        raise Fault("builds an ordered dict of something else than pairs")
    for pair in args[0] if args else []:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise Fault("builds an ordered dict of something else than pairs")
        set_item(result, pair[0], pair[1])
    return result


def _view(args: tuple[Any, ...]) -> View:
    """Build a tensor of (storage, offset, shape, strides, and what matters to training only)."""
    if not 4 <= len(args) <= 7 or type(args[0]) is not Storage or type(args[1]) is not int:
        raise Fault("describes a tensor by something else than storage, offset, shape and strides")
    storage, offset, shape, strides = args[:4]
    if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides) or len(shape) > 32:
        raise Fault("describes a tensor whose shape and strides do not agree")
    for number in (offset, *shape, *strides):
        if type(number) is not int or not 0 <= number < 1 << 40:
            raise Fault("describes a tensor by a negative or absurd offset, size or stride")
    view = View(storage, offset, shape, strides)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if view.numel and last >= storage.numel:
        raise Fault(f"describes a tensor that reaches number {last} of a storage of {storage.numel}")
    return view


def _parameter(args: tuple[Any, ...]) -> View:
    if not args or type(args[0]) is not View:
        raise Fault("describes a parameter that is not a tensor")
    return args[0]


def _size(args: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(args) != 1 or type(args[0]) is not tuple:
        raise Fault("describes a shape by something else than a tuple")
    return args[0]


_DTYPES = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool,
}  # fmt: skip
NAMES: dict[str, torch.dtype | Constructor] = {
    **{f"{module} {name}Storage": dtype for module in ("torch", "torch.cuda") for name, dtype in _DTYPES.items()},
    "collections OrderedDict": Constructor(_ordered),
    "torch._utils _rebuild_tensor": Constructor(_view),
    "torch._utils _rebuild_tensor_v2": Constructor(_view),
    "torch._utils _rebuild_parameter": Constructor(_parameter),
    "torch Size": Constructor(_size),
}


def set_item(target: Any, key: Any, value: Any) -> None:
    """Store an item in a dict of the stream; raises Fault unless it is a dict and the key a string or number."""
    if type(target) is not dict:
        raise Fault("stores an item in something else than a dict")
    # Hashing tuples inside tuples can take exponential time.
    if type(key) is not str and not (type(key) is int and abs(key) < 1 << 40):
        raise Fault("has a dict whose key is neither a text nor a number")
    target[key] = value


@dataclass(frozen=True)
class Stream:
    """The value built by a stream, the index after its end, and the storages that it refers to, by key."""

    value: Any
    end: int
    storages: dict[str, Storage]


def interpret(data: bytes, start: int = 0) -> Stream:
    """Run the stream in `data` from `start`; raises Fault unless it describes only plain values and tensors."""
    return _Machine(data, start).run()


class _Machine:
    """The stack, its marks and the memory of one stream."""

    def __init__(self, data: bytes, start: int) -> None:
        self.data, self.at = data, start
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.left = _STEPS

    def run(self) -> Stream:
        if self.take(1) != b"\x80" or self.number(1) not in (2, 3, 4, 5):
            raise Fault("has an object stream of another protocol than 2 to 5")
        while True:
            self.spend(1)
            code = self.number(1)
            if code == 0x2E:  # the end
                value = self.pop()
                if self.stack or self.marks:
                    raise Fault("has an object stream that ends before it is done")
                return Stream(value, self.at, self.storages)
            step = _STEP.get(code)
            if step is None:
                raise Fault(
                    _UNSAFE.get(code, f"has an object stream with the unknown instruction {code:#04x}"), _DANGER
                )
            step(self)

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise Fault(f"has an object stream of more than {_STEPS} instructions")

    def take(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) != count:
            raise Fault("has an object stream that is cut off or too long")
        self.at += count
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def line(self) -> str:
        end = self.data.find(b"\n", self.at, self.at + _NAME)
        if end < 0:
            raise Fault("has an object stream with a name that does not end")
        text = self.take(end - self.at)
        self.at += 1
        return _decode(text)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Fault("has an object stream that takes more from its stack than it put there")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def since_mark(self) -> list[Any]:
        if not self.marks:
            raise Fault("has an object stream that lacks a mark")
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            raise Fault("appends to something else than a list")
        target.extend(values)

    def set_items(self, values: list[Any]) -> None:
        if len(values) % 2:
            raise Fault("has a key without a value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            set_item(self.top(), key, value)

    def remember(self, place: int) -> None:
        self.memo[place] = self.top()

    def recall(self, place: int) -> None:
        if place not in self.memo:
            raise Fault("has an object stream that recalls what it never stored")
        self.push(self.memo[place])

    def named(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise Fault("has an object stream with a name that is not text")
        known = NAMES.get(f"{module} {name}")
        if known is None:
            raise Fault(f"names {quoted(module)}.{quoted(name)}, which is not a tensor", _DANGER)
        self.push(known)

    def reduce(self) -> None:
        args, maker = self.pop(), self.pop()
        if type(maker) is not Constructor or type(args) is not tuple:
            raise Fault("applies something that is not a function of tensors", _DANGER)
        self.spend(sum(len(arg) for arg in args if type(arg) is list))  # which one instruction may recall again
        self.push(maker.make(args))

    def build(self) -> None:
        # State of an ordered dict: the versions of PyTorch's modules, which are not needed.
        if type(self.pop()) is not dict or type(self.top()) is not dict:
            raise Fault("sets the state of something else than a dict", _DANGER)

    def skip_frame(self) -> None:
        self.take(8)  # length of the frame

    def persistent(self) -> None:
        given = self.pop()
        if type(given) is not tuple or len(given) not in (5, 6) or given[0] != "storage":
            raise Fault("refers to something else than a storage")
        _, dtype, key, _, numel = given[:5]
        if type(dtype) is not torch.dtype or type(key) is not str or type(numel) is not int:
            raise Fault("refers to a storage by something else than type, key and size")
        if given[5:] not in ((), (None,)):
            raise Fault("has storages inside storages", "load it in PyTorch and save its tensors as safetensors")
        if not 0 <= numel < 1 << 40:
            raise Fault(f"refers to a storage of {numel} numbers")
        storage = Storage(key, dtype, numel)
        if self.storages.setdefault(key, storage) != storage:
            raise Fault(f"describes storage {quoted(key)} in two ways")
        self.push(storage)


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Fault("has a text that is not UTF-8") from error


def _text(size: int) -> Callable[[_Machine], None]:
    return lambda m: m.push(_decode(m.take(m.number(size))))


def _whole(m: _Machine) -> None:
    size = m.number(1)
    if size > _DIGITS:
        raise Fault(f"has a whole number of {size} bytes")
    m.push(int.from_bytes(m.take(size), "little", signed=True))


_STEP: dict[int, Callable[[_Machine], None]] = {
    ord("("): _Machine.mark,
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("J"): lambda m: m.push(int.from_bytes(m.take(4), "little", signed=True)),
    ord("K"): lambda m: m.push(m.number(1)),
    ord("M"): lambda m: m.push(m.number(2)),
    0x8A: _whole,
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    ord("X"): _text(4),
    0x8C: _text(1),
    0x8D: _text(8),
    ord("T"): _text(4),  # texts of Python 2
    ord("U"): _text(1),
    ord("}"): lambda m: m.push({}),
    ord("]"): lambda m: m.push([]),
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.since_mark())),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("a"): lambda m: m.append([m.pop()]),
    ord("e"): lambda m: m.append(m.since_mark()),
    ord("s"): lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    ord("u"): lambda m: m.set_items(m.since_mark()),
    ord("q"): lambda m: m.remember(m.number(1)),
    ord("r"): lambda m: m.remember(m.number(4)),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("h"): lambda m: m.recall(m.number(1)),
    ord("j"): lambda m: m.recall(m.number(4)),
    ord("c"): lambda m: m.named(m.line(), m.line()),
    0x93: lambda m: m.named(*[m.pop(), m.pop()][::-1]),
    ord("R"): _Machine.reduce,
    ord("b"): _Machine.build,
    ord("Q"): _Machine.persistent,
    0x95: _Machine.skip_frame,
}
_UNSAFE = {
    ord("i"): "makes an object of a class that it names",
    ord("o"): "makes an object of a class that it names",
    0x81: "makes an object of a class that it names",
    0x92: "makes an object of a class that it names",
    0x82: "names an object by a registered number",
    0x83: "names an object by a registered number",
    0x84: "names an object by a registered number",
}
