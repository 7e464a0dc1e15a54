"""Short text attributes of an HDF5 file, read from its bytes.

The HDF5 library allocates the declared length of a text before it checks that the file contains it, so a few changed
bytes can cause an allocation of 4 GB. This module reads the required texts without the library, following the HDF5 File
Format Specification (version 3.0, sections III.E, IV.A.1.a, IV.A.2.d, IV.A.2.m and IV.A.2.q).
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from pellucid.base.limits import MAX_KERAS_HEADER_BLOCKS, MAX_KERAS_HEADER_BYTES, MAX_KERAS_TEXT_BYTES

_ATTRIBUTE, _CONTINUATION = 0x0C, 0x10  # types of messages in a header
# Classes of data types: string of fixed length; variable length, stored in a heap.
_FIXED_LENGTH, _VARIABLE_LENGTH = 3, 9


def text_attribute(file: BinaryIO, address: int, name: str) -> str | None:
    """Return the text attribute `name` of the object whose header is at `address`, or None if it has none.

    Only headers of version 1, which h5py writes by default, and single texts of at most MAX_KERAS_TEXT_BYTES bytes are
    supported; otherwise the result is None.
    """
    for kind, body in _header_messages(file, address):
        if kind == _ATTRIBUTE:
            text = _attribute_text(file, body, name.encode())
            if text is not None:
                return text
    return None


def _header_messages(file: BinaryIO, address: int) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the bytes of each message in an object's header."""
    header = _read_bytes(file, address, 16)
    if header[:1] != b"\x01" or len(header) < 16:
        return
    blocks = [(address + 16, struct.unpack_from("<I", header, 8)[0])]
    for _ in range(MAX_KERAS_HEADER_BLOCKS):
        if not blocks:
            return
        block = _read_bytes(file, *blocks.pop(0))
        position = 0
        while position + 8 <= len(block):
            kind, size = struct.unpack_from("<HH", block, position)
            body = block[position + 8 : position + 8 + size]
            position += 8 + size
            if kind == _CONTINUATION and len(body) >= 16:
                blocks.append(struct.unpack_from("<QQ", body))
            yield kind, body


def _attribute_text(file: BinaryIO, body: bytes, name: bytes) -> str | None:
    """Return the text in an attribute message, or None if it has another name or is not a single text."""
    if len(body) < 8:
        return None
    version, _, *sizes = struct.unpack_from("<BBHHH", body)
    position = 9 if version == 3 else 8
    fields = []
    for size in sizes:  # name, data type, shape; version 1 pads each to a multiple of eight bytes
        fields.append(body[position : position + size])
        position += -(-size // 8) * 8 if version == 1 else size
    found_name, datatype, shape = fields
    if found_name.rstrip(b"\0") != name or len(datatype) < 8 or len(shape) < 2 or shape[1] != 0:
        return None
    data = body[position:]
    if datatype[0] & 15 == _FIXED_LENGTH:
        text = data[: min(struct.unpack_from("<I", datatype, 4)[0], MAX_KERAS_TEXT_BYTES + 1)]
    elif datatype[0] & 15 == _VARIABLE_LENGTH and datatype[1] & 15 == 1 and len(data) >= 16:
        text = _heap_object(file, *struct.unpack_from("<IQI", data))
    else:
        return None
    text = text.rstrip(b"\0")
    return text.decode("utf-8", "replace") if len(text) <= MAX_KERAS_TEXT_BYTES else None


def _heap_object(file: BinaryIO, length: int, address: int, index: int) -> bytes:
    """Return object `index` of the heap at `address`, or b"" unless it exists with this length."""
    heap = _read_bytes(file, address, MAX_KERAS_HEADER_BYTES)
    position = 16
    while heap[:4] == b"GCOL" and position + 16 <= len(heap):
        found_index, size = struct.unpack_from("<H6xQ", heap, position)
        if found_index == index:
            return heap[position + 16 : position + 16 + length] if size == length <= MAX_KERAS_TEXT_BYTES else b""
        if found_index == 0:  # free space up to the end
            break
        position += 16 + -(-size // 8) * 8
    return b""


def _read_bytes(file: BinaryIO, address: int, size: int) -> bytes:
    if address >= 1 << 62:  # beyond the maximum size of a file
        return b""
    file.seek(address)
    return file.read(min(size, MAX_KERAS_HEADER_BYTES))
