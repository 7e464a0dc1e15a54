"""A restricted unpickler for PyTorch's files (pickle protocols 2 to 5), which imports nothing and runs no code in them.

A pickle is a program for a stack machine. This unpickler implements only the opcodes that files of tensors need. It
builds None, booleans, numbers, strings, lists, tuples, dicts, and descriptions of storages and tensors, nothing more.
Global names in a pickle are looked up only in the table `GLOBALS`, so it can call only functions of this module.
"""

# `torch.load` (2.13) with `weights_only=True` runs no code either, but 599 bytes of nested tuples as the key of a dict
# make it hang, and 260 KB of lists that become dicts take 7,543 MB. A check that finds both in advance has to simulate
# the stack, as this module does. It also accepts changed bytes and compressed archives, and refuses protocols 4 and 5.
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from pellucid.base.limits import MAX_PICKLE_INTEGER, MAX_PICKLE_INTEGER_BYTES, MAX_PICKLE_NAME_BYTES, MAX_PICKLE_STEPS
from pellucid.weights.fault import FileFault, quoted

_DANGER_ADVICE = "do not load it with other programs unless you trust its source; save only its tensors, as safetensors"


@dataclass(frozen=True)
class Storage:
    """A block of `numel` elements of one dtype, which the file stores separately, under `key`."""

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True)
class StorageView:
    """A tensor in a storage: the offset of its first element, its shape, and its strides; counted in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Return the number of elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Constructor:
    """A function that a pickle may call; `make` receives the tuple of arguments."""

    make: Callable[[tuple[Any, ...]], Any]


def _build_ordered_dict(args: tuple[Any, ...]) -> dict[Any, Any]:
    """Build an OrderedDict as a dict; the arguments are none (Python 3) or a list of pairs (Python 2)."""
    result: dict[Any, Any] = {}
    if len(args) > 1 or (args and type(args[0]) is not list):
        raise FileFault("builds an ordered dict from items that are not pairs")
    for pair in args[0] if args else []:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise FileFault("builds an ordered dict from items that are not pairs")
        set_item(result, pair[0], pair[1])
    return result


def _build_view(args: tuple[Any, ...]) -> StorageView:
    """Build a tensor from (storage, offset, shape, strides, ...); additional arguments matter only for training."""
    if not 4 <= len(args) <= 7 or type(args[0]) is not Storage or type(args[1]) is not int:
        raise FileFault("describes a tensor by other arguments than storage, offset, shape and strides")
    storage, offset, shape, strides = args[:4]
    if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides) or len(shape) > 32:
        raise FileFault("describes a tensor whose shape and strides do not agree")
    for number in (offset, *shape, *strides):
        if type(number) is not int or not 0 <= number < MAX_PICKLE_INTEGER:
            raise FileFault("describes a tensor with a negative or excessive offset, size or stride")
    view = StorageView(storage, offset, shape, strides)
    last_index = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if view.numel and last_index >= storage.numel:
        raise FileFault(
            f"describes a tensor that reaches element {last_index} of a storage of {storage.numel} elements"
        )
    return view


def _build_parameter(args: tuple[Any, ...]) -> StorageView:
    if not args or type(args[0]) is not StorageView:
        raise FileFault("describes a parameter that is not a tensor")
    return args[0]


def _build_size(args: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(args) != 1 or type(args[0]) is not tuple:
        raise FileFault("describes a shape that is not a tuple")
    return args[0]


_DTYPES = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool,
}  # fmt: skip
GLOBALS: dict[str, torch.dtype | Constructor] = {
    **{f"{module} {name}Storage": dtype for module in ("torch", "torch.cuda") for name, dtype in _DTYPES.items()},
    "collections OrderedDict": Constructor(_build_ordered_dict),
    "torch._utils _rebuild_tensor": Constructor(_build_view),
    "torch._utils _rebuild_tensor_v2": Constructor(_build_view),
    "torch._utils _rebuild_parameter": Constructor(_build_parameter),
    "torch Size": Constructor(_build_size),
}


def set_item(target: Any, key: Any, value: Any) -> None:
    """Set `target[key]`; raises FileFault unless `target` is a dict and `key` a string or a limited integer."""
    if type(target) is not dict:
        raise FileFault("sets an item of an object that is not a dict")
    # Hashing tuples inside tuples can take exponential time.
    if type(key) is not str and not (type(key) is int and abs(key) < MAX_PICKLE_INTEGER):
        raise FileFault("has a dict whose key is neither a string nor an integer")
    target[key] = value


@dataclass(frozen=True)
class PickleStream:
    """The result of a pickle: its value, the index in the data after its end, and the storages it refers to, by key."""

    value: Any
    end: int
    storages: dict[str, Storage]


def unpickle(data: bytes, start: int = 0) -> PickleStream:
    """Unpickle `data` from index `start`; raises FileFault unless it contains only plain values and tensors."""
    return _Unpickler(data, start).run()


class _Unpickler:
    """The state of the stack machine: its stack, marks (stack heights), memo, and storages found so far."""

    def __init__(self, data: bytes, start: int) -> None:
        self.data = data
        self.position = start
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.steps_left = MAX_PICKLE_STEPS

    def run(self) -> PickleStream:
        if self.read_bytes(1) != b"\x80" or self.read_unsigned(1) not in (2, 3, 4, 5):
            raise FileFault("has a pickle whose protocol is not 2 to 5")
        while True:
            self.count_steps(1)
            code = self.read_unsigned(1)
            if code == 0x2E:  # STOP
                value = self.pop()
                if self.stack or self.marks:
                    raise FileFault("has a pickle that ends with values left on its stack")
                return PickleStream(value, self.position, self.storages)
            handler = _HANDLERS.get(code)
            if handler is None:
                raise FileFault(_UNSAFE.get(code, f"has a pickle with the unknown opcode {code:#04x}"), _DANGER_ADVICE)
            handler(self)

    def count_steps(self, steps: int) -> None:
        """Count opcodes, or the list items passed to a call; raises FileFault above the limit."""
        self.steps_left -= steps
        if self.steps_left < 0:
            raise FileFault(f"has a pickle of more than {MAX_PICKLE_STEPS} opcodes")

    def read_bytes(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        chunk = self.data[self.position : self.position + count]
        if len(chunk) != count:
            raise FileFault("has a pickle that is truncated, or too large")
        self.position += count
        return chunk

    def read_unsigned(self, size: int) -> int:
        """Return the next `size` bytes as an unsigned integer."""
        return int.from_bytes(self.read_bytes(size), "little")

    def read_line(self) -> str:
        """Return the text up to the next line break."""
        end = self.data.find(b"\n", self.position, self.position + MAX_PICKLE_NAME_BYTES)
        if end < 0:
            raise FileFault("has a pickle with a name that is too long or not terminated")
        raw = self.read_bytes(end - self.position)
        self.position += 1
        return _decode(raw)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise FileFault("has a pickle that pops from an empty stack")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_to_mark(self) -> list[Any]:
        """Pop and return the values above the last mark, and remove the mark."""
        if not self.marks:
            raise FileFault("has a pickle that lacks a mark")
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def push_tuple(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            raise FileFault("appends to an object that is not a list")
        target.extend(values)

    def set_items(self, values: list[Any]) -> None:
        if len(values) % 2:
            raise FileFault("has a key without a value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            set_item(self.top(), key, value)

    def remember(self, index: int) -> None:
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise FileFault("has a pickle that reads an empty entry of its memo")
        self.push(self.memo[index])

    def push_global(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise FileFault("has a pickle with a name that is not a string")
        value = GLOBALS.get(f"{module} {name}")
        if value is None:
            raise FileFault(f"refers to {quoted(module)}.{quoted(name)}, which no tensor needs", _DANGER_ADVICE)
        self.push(value)

    def reduce(self) -> None:
        args, constructor = self.pop(), self.pop()
        if type(constructor) is not Constructor or type(args) is not tuple:
            raise FileFault("calls an object that does not build tensors", _DANGER_ADVICE)
        # A single opcode can recall a long list from the memo: its items count as steps, or repeated calls take hours.
        self.count_steps(sum(len(arg) for arg in args if type(arg) is list))
        self.push(constructor.make(args))

    def build(self) -> None:
        # The state of an ordered dict is `_metadata`, the versions of PyTorch's modules, which are not needed.
        if type(self.pop()) is not dict or type(self.top()) is not dict:
            raise FileFault("sets the state of an object that is not a dict", _DANGER_ADVICE)

    def skip_frame(self) -> None:
        self.read_bytes(8)  # length of the frame

    def push_storage(self) -> None:
        """Replace a persistent ID, ("storage", type, key, device, numel), by the storage it describes."""
        persistent_id = self.pop()
        if type(persistent_id) is not tuple or len(persistent_id) not in (5, 6) or persistent_id[0] != "storage":
            raise FileFault("has a persistent ID that is not a storage")
        _, dtype, key, _, numel = persistent_id[:5]
        if type(dtype) is not torch.dtype or type(key) is not str or type(numel) is not int:
            raise FileFault("describes a storage by other values than type, key and size")
        if persistent_id[5:] not in ((), (None,)):
            raise FileFault("has a view of a storage", "load it in PyTorch and save its tensors as safetensors")
        if not 0 <= numel < MAX_PICKLE_INTEGER:
            raise FileFault(f"describes a storage of {numel} elements")
        storage = Storage(key, dtype, numel)
        if self.storages.setdefault(key, storage) != storage:
            raise FileFault(f"describes storage {quoted(key)} in two ways")
        self.push(storage)


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileFault("has a string that is not UTF-8") from error


def _string_handler(size: int) -> Callable[[_Unpickler], None]:
    """Return a handler that pushes a string whose length is stored in `size` bytes."""
    return lambda u: u.push(_decode(u.read_bytes(u.read_unsigned(size))))


def _push_int(u: _Unpickler) -> None:
    size = u.read_unsigned(1)
    if size > MAX_PICKLE_INTEGER_BYTES:
        raise FileFault(f"has an integer of {size} bytes, above the limit of {MAX_PICKLE_INTEGER_BYTES}")
    u.push(int.from_bytes(u.read_bytes(size), "little", signed=True))


# The supported opcodes, with their names in the module pickletools.
_HANDLERS: dict[int, Callable[[_Unpickler], None]] = {
    ord("("): _Unpickler.mark,  # MARK
    ord("N"): lambda u: u.push(None),  # NONE
    0x88: lambda u: u.push(True),  # NEWTRUE
    0x89: lambda u: u.push(False),  # NEWFALSE
    ord("J"): lambda u: u.push(int.from_bytes(u.read_bytes(4), "little", signed=True)),  # BININT
    ord("K"): lambda u: u.push(u.read_unsigned(1)),  # BININT1
    ord("M"): lambda u: u.push(u.read_unsigned(2)),  # BININT2
    0x8A: _push_int,  # LONG1
    ord("G"): lambda u: u.push(struct.unpack(">d", u.read_bytes(8))[0]),  # BINFLOAT
    ord("X"): _string_handler(4),  # BINUNICODE
    0x8C: _string_handler(1),  # SHORT_BINUNICODE
    0x8D: _string_handler(8),  # BINUNICODE8
    ord("T"): _string_handler(4),  # BINSTRING, of Python 2
    ord("U"): _string_handler(1),  # SHORT_BINSTRING, of Python 2
    ord("}"): lambda u: u.push({}),  # EMPTY_DICT
    ord("]"): lambda u: u.push([]),  # EMPTY_LIST
    ord(")"): lambda u: u.push(()),  # EMPTY_TUPLE
    ord("t"): lambda u: u.push(tuple(u.pop_to_mark())),  # TUPLE
    0x85: lambda u: u.push_tuple(1),  # TUPLE1
    0x86: lambda u: u.push_tuple(2),  # TUPLE2
    0x87: lambda u: u.push_tuple(3),  # TUPLE3
    ord("a"): lambda u: u.append([u.pop()]),  # APPEND
    ord("e"): lambda u: u.append(u.pop_to_mark()),  # APPENDS
    ord("s"): lambda u: u.set_items([u.pop(), u.pop()][::-1]),  # SETITEM
    ord("u"): lambda u: u.set_items(u.pop_to_mark()),  # SETITEMS
    ord("q"): lambda u: u.remember(u.read_unsigned(1)),  # BINPUT
    ord("r"): lambda u: u.remember(u.read_unsigned(4)),  # LONG_BINPUT
    0x94: lambda u: u.remember(len(u.memo)),  # MEMOIZE
    ord("h"): lambda u: u.recall(u.read_unsigned(1)),  # BINGET
    ord("j"): lambda u: u.recall(u.read_unsigned(4)),  # LONG_BINGET
    ord("c"): lambda u: u.push_global(u.read_line(), u.read_line()),  # GLOBAL
    0x93: lambda u: u.push_global(*[u.pop(), u.pop()][::-1]),  # STACK_GLOBAL
    ord("R"): _Unpickler.reduce,  # REDUCE
    ord("b"): _Unpickler.build,  # BUILD
    ord("Q"): _Unpickler.push_storage,  # BINPERSID
    0x95: _Unpickler.skip_frame,  # FRAME
}
_UNSAFE = {
    ord("i"): "creates an object of an arbitrary class",  # INST
    ord("o"): "creates an object of an arbitrary class",  # OBJ
    0x81: "creates an object of an arbitrary class",  # NEWOBJ
    0x92: "creates an object of an arbitrary class",  # NEWOBJ_EX
    0x82: "refers to an object by its code in the extension registry",  # EXT1
    0x83: "refers to an object by its code in the extension registry",  # EXT2
    0x84: "refers to an object by its code in the extension registry",  # EXT4
}
