"""A thousand damaged files: every one is refused with one line that names it, and none is read as if undamaged."""

import gzip
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.data.idx import read_idx, write_idx
from tests.cli.conftest import Cli

N_WEIGHTS, N_PICTURES, N_IDX = 400, 300, 300


def damaged_copies(intact: bytes, count: int) -> Iterator[bytes]:
    """Yield `count` copies with a bit flipped, bytes overwritten, a part removed or duplicated, or the end missing."""
    rng = random.Random(count)
    while count:
        data = bytearray(intact)
        start = rng.randrange(len(data))
        # half of the copies are damaged in the header, which is short but determines how the file is read
        start = min(start, rng.randrange(1, 400)) if rng.random() < 0.5 else start
        length = rng.choice([1, 2, 8, 100])
        kind = rng.randrange(5)
        if kind == 0:
            data[start] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[start : start + length] = rng.randbytes(length)
        elif kind == 2:
            del data[start : start + length]
        elif kind == 3:
            data[start:start] = data[start : start + length]
        else:
            del data[start:]
        if bytes(data) != intact:
            count -= 1
            yield bytes(data)


def test_damaged_weights_are_refused(cli: Cli, run_folder: Path, tmp_path: Path):
    file = tmp_path / "damaged.safetensors"
    for data in damaged_copies((run_folder / "weights/best.safetensors").read_bytes(), N_WEIGHTS):
        file.write_bytes(data)
        assert file.name in cli("evaluate", str(file), "--json").error_line


@pytest.mark.slow
def test_damaged_pictures_are_refused(cli: Cli, run_folder: Path, seven: Path, tmp_path: Path):
    file = tmp_path / "damaged.png"
    intact, n_refused = seven.read_bytes(), 0
    for data in damaged_copies(intact, N_PICTURES):
        file.write_bytes(data)
        if data.startswith(intact):  # bytes after the end of a PNG are ignored
            assert cli("predict", str(run_folder), str(file), "--json").code == 0
            continue
        assert file.name in cli("predict", str(run_folder), str(file), "--json").error_line
        n_refused += 1
    assert n_refused > 0.9 * N_PICTURES


def test_damaged_idx_files_are_refused(tmp_path: Path):
    write_idx(tmp_path / "whole.gz", torch.randint(0, 256, (20, 28, 28), dtype=torch.uint8))
    intact = (tmp_path / "whole.gz").read_bytes()
    pixels = gzip.decompress(intact)
    file = tmp_path / "damaged.gz"
    for data in damaged_copies(intact, N_IDX):
        file.write_bytes(data)
        if decompressed(data) == pixels:  # damage in the name or the date of gzip's header
            assert read_idx(file).shape == (20, 28, 28)
            continue
        with pytest.raises(PellucidError, match=r"damaged\.gz") as refused:
            read_idx(file)
        assert "\n" not in str(refused.value)


def decompressed(data: bytes) -> bytes | None:
    """Return the bytes that gzip decompresses, checksum included; None if gzip raises an error."""
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, ValueError, zlib.error):
        return None
