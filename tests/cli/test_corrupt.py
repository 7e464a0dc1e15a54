"""A thousand damaged files: every one is refused with one line that names it, and none is taken for whole."""

import gzip
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pellucid.data.idx import read_idx, write_idx
from pellucid.errors import PellucidError
from tests.cli.conftest import Say

WEIGHTS, PICTURES, IDX = 400, 300, 300


def damaged(whole: bytes, count: int) -> Iterator[bytes]:
    """Yield copies with bits flipped, bytes overwritten, parts cut out or doubled, or the end missing."""
    draw = random.Random(count)
    while count:
        data = bytearray(whole)
        at = draw.randrange(len(data))
        # the header is a small part of a file, and the part that decides: every other time the damage is there
        at = min(at, draw.randrange(1, 400)) if draw.random() < 0.5 else at
        length = draw.choice([1, 2, 8, 100])
        kind = draw.randrange(5)
        if kind == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[at : at + length] = draw.randbytes(length)
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length]
        else:
            del data[at:]
        if bytes(data) != whole:
            count -= 1
            yield bytes(data)


def test_damaged_weights_are_refused(say: Say, run_folder: Path, tmp_path: Path):
    file = tmp_path / "damaged.safetensors"
    for data in damaged((run_folder / "weights/best.safetensors").read_bytes(), WEIGHTS):
        file.write_bytes(data)
        assert file.name in say("evaluate", str(file), "--json").complaint


@pytest.mark.slow
def test_damaged_pictures_are_refused(say: Say, run_folder: Path, seven: Path, tmp_path: Path):
    file = tmp_path / "damaged.png"
    whole, refused = seven.read_bytes(), 0
    for data in damaged(whole, PICTURES):
        file.write_bytes(data)
        if data.startswith(whole):  # what lies behind a PNG's end is no part of it
            assert say("predict", str(run_folder), str(file), "--json").code == 0
            continue
        assert file.name in say("predict", str(run_folder), str(file), "--json").complaint
        refused += 1
    assert refused > 0.9 * PICTURES


def test_damaged_idx_files_are_refused(tmp_path: Path):
    write_idx(tmp_path / "whole.gz", torch.randint(0, 256, (20, 28, 28), dtype=torch.uint8))
    whole = (tmp_path / "whole.gz").read_bytes()
    pixels = gzip.decompress(whole)
    file = tmp_path / "damaged.gz"
    for data in damaged(whole, IDX):
        file.write_bytes(data)
        if readable(data) == pixels:  # the name and the date in gzip's own header are nobody's pixels
            assert read_idx(file).shape == (20, 28, 28)
            continue
        with pytest.raises(PellucidError, match=r"damaged\.gz") as refused:
            read_idx(file)
        assert "\n" not in str(refused.value)


def readable(data: bytes) -> bytes | None:
    """Return what gzip, which checks a sum, makes of the bytes; None where it refuses them."""
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, ValueError, zlib.error):
        return None
