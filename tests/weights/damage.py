"""Damaged copies of a file."""

import random
from collections.abc import Iterator


def damaged(whole: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield copies with bits flipped, bytes overwritten, parts cut out or doubled, or the end missing.

    The first and the last 600 bytes, where headers and directories stand, are hit as often as all the rest.
    """
    draw = random.Random(seed)
    while count:
        data = bytearray(whole)
        for _ in range(draw.choice([1, 1, 1, 3])):
            size = len(data)
            near = draw.choice([size, size, min(600, size), min(600, size)])
            at = draw.randrange(near) if draw.random() < 0.75 else size - 1 - draw.randrange(near)
            length = draw.choice([1, 2, 4, 8, 100])
            kind = draw.randrange(6)
            if kind == 0:
                data[at] ^= 1 << draw.randrange(8)
            elif kind == 1:
                data[at : at + length] = draw.randbytes(length)
            elif kind == 2:
                data[at : at + length] = b"\xff" * length
            elif kind == 3:
                del data[at : at + length]
            elif kind == 4:
                data[at:at] = data[at : at + length]
            else:
                del data[at + 1 :]
        if bytes(data) != whole:
            count -= 1
            yield bytes(data)
