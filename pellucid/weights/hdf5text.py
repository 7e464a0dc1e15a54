"""Short text attributes of an HDF5 file, read from its bytes.

The HDF5 library allocates the length that the file declares for a text before it checks that the text is there: a few
changed bytes make it allocate 4 GB. The texts that are needed are therefore read here, by the format's specification
(HDF5 File Format Specification, version 3.0, sections III.E, IV.A.1.a, IV.A.2.d, IV.A.2.m and IV.A.2.q).
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

LONGEST = 255  # bytes of a text
_HEADER = 1 << 16  # bytes of an object's header in one place
_BLOCKS = 64  # places that it may be spread over
_ATTRIBUTE, _CONTINUATION = 0x0C, 0x10  # types of messages in a header
_FIXED, _VARIABLE = 3, 9  # classes of types: text of a given length, and one of its own in a heap


def text_attribute(file: BinaryIO, address: int, name: str) -> str | None:
    """Return the text that the object whose header stands at `address` has by this name, None where it has none.

    Only headers of version 1 are read, which h5py writes by default, and single texts of at most LONGEST
    bytes; for anything else the result is None.
    """
    for kind, body in _messages(file, address):
        if kind == _ATTRIBUTE:
            text = _text(file, body, name.encode())
            if text is not None:
                return text
    return None


def _messages(file: BinaryIO, address: int) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the bytes of each message in an object's header."""
    start = _bytes(file, address, 16)
    if start[:1] != b"\x01" or len(start) < 16:
        return
    blocks = [(address + 16, struct.unpack_from("<I", start, 8)[0])]
    for _ in range(_BLOCKS):
        if not blocks:
            return
        block = _bytes(file, *blocks.pop(0))
        at = 0
        while at + 8 <= len(block):
            kind, size = struct.unpack_from("<HH", block, at)
            body = block[at + 8 : at + 8 + size]
            at += 8 + size
            if kind == _CONTINUATION and len(body) >= 16:
                blocks.append(struct.unpack_from("<QQ", body))
            yield kind, body


def _text(file: BinaryIO, body: bytes, name: bytes) -> str | None:
    """Return the text in the message of an attribute, None where that has another name or is not a single text."""
    if len(body) < 8:
        return None
    version, _, *sizes = struct.unpack_from("<BBHHH", body)
    at, parts = 9 if version == 3 else 8, []
    for size in sizes:  # the name, the type, the shape; each fills up eight bytes in version 1
        parts.append(body[at : at + size])
        at += -(-size // 8) * 8 if version == 1 else size
    held, kind, shape = parts
    if held.rstrip(b"\0") != name or len(kind) < 8 or len(shape) < 2 or shape[1] != 0:
        return None
    data = body[at:]
    if kind[0] & 15 == _FIXED:
        text = data[: min(struct.unpack_from("<I", kind, 4)[0], LONGEST + 1)]
    elif kind[0] & 15 == _VARIABLE and kind[1] & 15 == 1 and len(data) >= 16:
        text = _from_heap(file, *struct.unpack_from("<IQI", data))
    else:
        return None
    text = text.rstrip(b"\0")
    return text.decode("utf-8", "replace") if len(text) <= LONGEST else None


def _from_heap(file: BinaryIO, length: int, address: int, number: int) -> bytes:
    """Return the object `number` of the heap at `address`, if it has the length, else nothing."""
    heap = _bytes(file, address, _HEADER)
    at = 16
    while heap[:4] == b"GCOL" and at + 16 <= len(heap):
        index, size = struct.unpack_from("<H6xQ", heap, at)
        if index == number:
            return heap[at + 16 : at + 16 + length] if size == length <= LONGEST else b""
        if index == 0:  # free space, to the end
            break
        at += 16 + -(-size // 8) * 8
    return b""


def _bytes(file: BinaryIO, address: int, size: int) -> bytes:
    if address >= 1 << 62:  # beyond the maximum size of a file
        return b""
    file.seek(address)
    return file.read(min(size, _HEADER))
