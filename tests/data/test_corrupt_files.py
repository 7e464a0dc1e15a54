"""Hundreds of damaged files of each format: reading raises an error that names the file, or returns valid contents.

Formats with checksums (gzip, zip, PNG) must not return damaged contents. Raw idx, JPEG, BMP and similar formats
have no checksums, so a changed pixel is read as another image; for known data sets, the checksums of the
catalogue detect it (see test_catalogue).
"""

import gzip
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data import load_folder, load_image, read_idx, write_idx

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
ARRAY = torch.arange(5 * 6 * 7, dtype=torch.int64).reshape(5, 6, 7).to(torch.uint8)


def damage_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Return data with a flipped bit, or with some bytes replaced, removed or repeated, or with the end cut off."""
    out = bytearray(data)
    kind = int(rng.integers(6))
    position = int(rng.integers(len(out)))
    # Half of the damage is in the header, where readers are most likely to fail.
    if rng.random() < 0.5:
        position = int(rng.integers(min(len(out), 64)))
    end = min(len(out), position + int(rng.integers(1, 9)))
    if kind == 0:
        out[position] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        out[position:end] = rng.bytes(end - position)
    elif kind == 2:
        out[position:end] = b"\xff" * (end - position)
    elif kind == 3:
        del out[position:end]
    elif kind == 4:
        out[position:position] = out[position:end]
    else:
        del out[position:]
    return bytes(out)


def read_or_error(read: Callable[[], torch.Tensor], path: Path) -> torch.Tensor | None:
    """Return the result of `read`, or None for a PellucidError, whose message must be one line that names the file."""
    try:
        return read()
    except PellucidError as error:
        message = str(error)
    assert path.name in message
    assert "\n" not in message
    return None


@pytest.mark.parametrize("name", ["damaged.idx", "damaged.idx.gz"])
def test_damaged_idx_files_are_refused_or_read_unchanged(tmp_path, name):
    path, rng = tmp_path / name, np.random.default_rng(1)
    write_idx(path, ARRAY)
    intact = path.read_bytes()
    n_refused = 0
    for _ in range(200):
        data = damage_bytes(intact, rng)
        path.write_bytes(data)
        loaded = read_or_error(lambda: read_idx(path), path)
        if loaded is None:
            n_refused += 1
        elif name.endswith(".gz"):
            assert torch.equal(loaded, ARRAY)  # only the time or name in the gzip header can differ
        else:
            # The length agrees with the header, so the file is a valid idx file of these values.
            assert data[4 + 4 * loaded.ndim :] == loaded.numpy().tobytes()
            assert loaded.numel() * loaded.element_size() == len(data) - 4 - 4 * loaded.ndim
    assert n_refused > 100


def encode_image(kind: str, picture: np.ndarray = PICTURE) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF"])
def test_damaged_images_are_refused_or_read_as_pictures(tmp_path, kind, capfd):
    path, rng = tmp_path / f"damaged.{kind.lower()}", np.random.default_rng(2)
    intact = encode_image(kind)
    n_refused = 0
    for _ in range(150):
        path.write_bytes(damage_bytes(intact, rng))
        loaded = read_or_error(lambda: load_image(path), path)
        if loaded is None:
            n_refused += 1
            continue
        assert loaded.dtype == torch.uint8
        assert loaded.ndim == 3
        assert loaded.shape[0] == 3
        assert loaded.numel() > 0
        if kind == "PNG":
            np.testing.assert_array_equal(loaded.permute(1, 2, 0).numpy(), PICTURE)
    assert n_refused > 20
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_zips_are_refused_or_read_unchanged(tmp_path, method):
    path, rng = tmp_path / "damaged.zip", np.random.default_rng(3)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in ("a/1.png", "a/2.png", "b/1.png"):
            archive.writestr(name, encode_image("PNG"))
    intact = path.read_bytes()
    expected = load_folder(path)
    directory_start = intact.index(b"PK\x01\x02")  # central directory with names and sizes
    n_refused = 0
    for k in range(200):
        data = (
            intact[:directory_start] + damage_bytes(intact[directory_start:], rng)
            if k % 2
            else damage_bytes(intact, rng)
        )
        path.write_bytes(data)
        loaded = read_or_error(lambda: load_folder(path).x, path)
        if loaded is None:
            n_refused += 1
        else:  # the images that are listed must have their contents; only names can differ
            stored = {picture.numpy().tobytes() for picture in expected.x}
            assert {picture.numpy().tobytes() for picture in loaded} <= stored
    assert n_refused > 80


def test_a_gzip_inside_a_gzip_is_refused(tmp_path):
    path = tmp_path / "twice.gz"
    write_idx(path, ARRAY)
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert read_or_error(lambda: read_idx(path), path) is None


READERS = """
from pellucid.data import ImageFolder, MaskFolder, load_folder, load_masks, load_splits
from pellucid.data.quality.survey import survey
from pellucid.data.tree import tree_at
from pellucid.base.errors import PellucidError
from pellucid.recipe.job import train
from pellucid.recipe.checked.reading import read_collection
tree, pipe = tree_at("set"), "a/pipe.png"
for read in (
    lambda: load_folder("set"), lambda: load_splits("set"), lambda: ImageFolder("set", size=8).checksum,
    lambda: load_masks("."), lambda: MaskFolder(".").checksum, lambda: load_folder("set/" + pipe),
    lambda: tree.read(pipe), lambda: tree.document(pipe), lambda: tree.fingerprint(pipe),
    lambda: train("digits", **{"data.name": "./set"}),
    lambda: survey(tree, tree.names, (8, 8), "RGB").corrupt,
    lambda: read_collection("set", size=8).corrupt,
    lambda: load_folder("set", on_error="skip").skipped,
):
    try:
        print(read())
    except PellucidError as error:
        print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_in_an_image_folder_is_reported(tmp_path):
    """Read in a subprocess, which a timeout ends if it waits for a process that writes to the pipe."""
    for name in ("set/a", "set/b", "train", "trainannot"):
        (tmp_path / name).mkdir(parents=True)
    rng = np.random.default_rng(4)
    for name in "ab":
        for k in range(12):
            picture = rng.integers(0, 256, PICTURE.shape, dtype=np.uint8)
            (tmp_path / "set" / name / f"{k}.png").write_bytes(encode_image("PNG", picture))
    (tmp_path / "train/pipe.png").write_bytes(encode_image("PNG"))
    for name in ("set/a", "trainannot"):
        os.mkfifo(tmp_path / name / "pipe.png")
    command = [sys.executable, "-c", READERS]
    done = subprocess.run(command, cwd=tmp_path, timeout=100, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 13
    assert all("pipe.png" in line for line in lines), lines
    assert sum("is not a f" in line for line in lines) == 12, "all but the names of what is skipped"
