"""Damaged copies of a file."""

import random
from collections.abc import Iterator


def damaged_copies(intact: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield copies with bits flipped, bytes overwritten, parts removed or repeated, or the end cut off.

    Half of the damage is in the first or last 600 bytes, which contain headers and directories.
    """
    rng = random.Random(seed)
    while count:
        data = bytearray(intact)
        for _ in range(rng.choice([1, 1, 1, 3])):
            size = len(data)
            max_distance = rng.choice([size, size, min(600, size), min(600, size)])
            start = rng.randrange(max_distance) if rng.random() < 0.75 else size - 1 - rng.randrange(max_distance)
            length = rng.choice([1, 2, 4, 8, 100])
            kind = rng.randrange(6)
            if kind == 0:
                data[start] ^= 1 << rng.randrange(8)
            elif kind == 1:
                data[start : start + length] = rng.randbytes(length)
            elif kind == 2:
                data[start : start + length] = b"\xff" * length
            elif kind == 3:
                del data[start : start + length]
            elif kind == 4:
                data[start:start] = data[start : start + length]
            else:
                del data[start + 1 :]
        if bytes(data) != intact:
            count -= 1
            yield bytes(data)
