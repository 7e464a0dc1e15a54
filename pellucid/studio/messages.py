"""Messages between the page and the server: a JSON header, and tensors as raw bytes.

A message is the length of the header (4 bytes, little-endian), the header as JSON in UTF-8, and the bytes of the
tensors in the order of the header's "tensors", {name: {"dtype", "shape"}}, little-endian and C-contiguous. The header
contains "v" (the version of the protocol), "kind", "id" (which the answer repeats), and the fields of its kind.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.limits import MAX_MESSAGE_BYTES, MAX_MESSAGE_TENSORS
from pellucid.base.settings.annotations import ValueFormat, arguments_of, convert, name_of
from pellucid.command.out import to_json_types

VERSION = 1
MAX_ID = 2**31
DTYPES = {"float32": np.dtype("<f4"), "uint8": np.dtype("u1")}
FORM = ValueFormat(
    lists=(list, tuple),
    none=None,
    checks={int: lambda value: type(value) is int and abs(value) < MAX_ID, str: lambda value: type(value) is str},
)


@dataclass(frozen=True)
class Reply:
    """The fields and the tensors of an answer."""

    fields: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


class MessageError(PellucidError):
    """A request that is malformed, with its id if that could be read."""

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.number = number


def pack(kind: str, number: int | None, fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """Return a message; tensors are sent as uint8 or as float32, other numbers that are not finite as null."""
    arrays = {
        name: value.contiguous().numpy() if value.dtype == torch.uint8 else value.to(torch.float32).contiguous().numpy()
        for name, value in tensors.items()
    }
    table = {name: {"dtype": str(value.dtype), "shape": list(value.shape)} for name, value in arrays.items()}
    header = {"v": VERSION, "kind": kind, "id": number, **to_json_types(fields), "tensors": table}
    text = json.dumps(header, allow_nan=False).encode()
    return b"".join([len(text).to_bytes(4, "little"), text, *(array.tobytes() for array in arrays.values())])


def read(message: bytes, kinds: Mapping[str, Callable[..., Any]]) -> tuple[str, int, Any]:
    """Return the kind, the id and the request of a message.

    kinds: the class of the requests of each kind, whose fields are the fields of the message. Raises MessageError,
    which names the fault, for an invalid message.
    """
    header, body = _header(message)
    number = header.pop("id", None)
    if type(number) is not int or not 0 <= number < MAX_ID:
        raise MessageError("id must be a whole number of at least 0")
    try:
        version, kind = header.pop("v", None), header.pop("kind", None)
        if version != VERSION or type(version) is not int:
            raise MessageError(f"v must be {VERSION}, the version of the protocol; reload the page")
        if not isinstance(kind, str) or kind not in kinds:
            raise MessageError(f"no kind of message {str(kind)[:40]!r}{nearest(str(kind)[:40], [*kinds])}")
        values = {**header, **_tensors(header.pop("tensors", {}), body)}
        return kind, number, _request(kind, kinds[kind], {name: values[name] for name in values if name != "tensors"})
    except MessageError as error:
        error.number = number
        raise


def _header(message: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header of a message and the bytes after it."""
    if len(message) > MAX_MESSAGE_BYTES:
        raise MessageError(f"the message has more than {MAX_MESSAGE_BYTES:,} bytes")
    length = int.from_bytes(message[:4], "little")
    if len(message) < 4 or 4 + length > len(message):
        raise MessageError("the message is shorter than its first 4 bytes, the length of the header, say")
    try:
        header = json.loads(message[4 : 4 + length], parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # ValueError: also invalid UTF-8 and integers with too many digits
        raise MessageError(f"the header is not JSON ({error!s:.80})") from error
    if not isinstance(header, dict):
        raise MessageError("the header must be a JSON object")
    return header, message[4 + length :]


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _tensors(table: Any, body: bytes) -> dict[str, Tensor]:
    """Return the tensors of a message; their sizes must add up to its bytes."""
    if not isinstance(table, dict) or len(table) > MAX_MESSAGE_TENSORS:
        raise MessageError(f"tensors must be an object with at most {MAX_MESSAGE_TENSORS} entries")
    tensors, start = dict[str, Tensor](), 0
    for name, entry in table.items():
        dtype, shape = (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else (None, None)
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise MessageError(f"the dtype of the tensor {name[:40]!r} must be one of {', '.join(DTYPES)}")
        lengths: list[Any] = shape if isinstance(shape, list) and len(shape) <= 4 else [None]
        if not all(type(length) is int and 0 < length <= MAX_MESSAGE_BYTES for length in lengths):
            raise MessageError(f"the shape of the tensor {name[:40]!r} must be at most 4 whole numbers above 0")
        end = start + math.prod(lengths) * DTYPES[dtype].itemsize
        if end > len(body):
            raise MessageError(f"the tensor {name[:40]!r} has more bytes than the message")
        array = np.frombuffer(body[start:end], DTYPES[dtype]).reshape(lengths)
        if dtype != "uint8" and not np.isfinite(array).all():
            raise MessageError(f"the tensor {name[:40]!r} contains NaN or infinity")
        tensors[name], start = torch.from_numpy(array.copy()), end
    if start != len(body):
        raise MessageError(f"the message has {len(body) - start} bytes after its tensors")
    return tensors


def _request(kind: str, target: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """Return the request of a kind with these values."""
    known = arguments_of(target)
    if unknown := [name for name in values if name not in known]:
        raise MessageError(f"{kind} has no field {unknown[0][:40]!r}{nearest(unknown[0][:40], [*known])}")
    arguments = dict[str, Any]()
    for name, slot in known.items():
        if name not in values:
            if slot.default is MISSING:
                raise MessageError(f"{kind} lacks the field {name!r}")
            continue
        fits, arguments[name] = convert(values[name], slot.annotation, FORM)
        if not fits:
            raise MessageError(
                f"{kind}: {name} must be {name_of(slot.annotation, 'null')}, not {str(values[name])[:40]!r}"
            )
    return target(**arguments)
