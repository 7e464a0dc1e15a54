"""Fixtures: small picture trees, real data sets, random images and a web server."""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pellucid.data import data_root
from tests.data.http_site import Site, serve_site


@pytest.fixture
def write_tree(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes {name: bytes} as a folder, or as a zip when its name ends in .zip."""

    def write(name: str, files: dict[str, bytes]) -> Path:
        path = tmp_path / name
        if path.suffix == ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                for file, data in files.items():
                    archive.writestr(file, data)
        else:
            for file, data in files.items():
                (path / file).parent.mkdir(parents=True, exist_ok=True)
                (path / file).write_bytes(data)
        return path

    return write


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Return a function that returns the path of a real data set, or skips the test if it does not exist."""

    def data_path(name: str) -> Path:
        path = data_root() / name
        if not path.exists():
            pytest.skip(f"the real data {name} is not at {path}")
        return path

    return data_path


@pytest.fixture
def noise_image() -> np.ndarray:
    """Return an image (7, 9, 3) of uint8 noise with a fixed seed."""
    return np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a local web server whose responses the test configures."""
    with serve_site() as site:
        yield site
