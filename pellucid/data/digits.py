"""The 8 x 8 handwritten digits that are part of scikit-learn."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DIGITS_FILE = "datasets/data/digits.csv.gz"  # 64 pixels and the class in each line


def bundled_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the images (N, 8, 8), 0 to 16, and their classes (N,), in the order of `sklearn.datasets.load_digits`.

    The file is read without importing scikit-learn, which takes over a second; `load_digits` is called only if the
    installed version does not have the file at this path.
    """
    spec = find_spec("sklearn")
    file = Path(((spec and spec.submodule_search_locations) or ["."])[0]) / DIGITS_FILE
    if file.is_file():
        rows = np.loadtxt(file, delimiter=",")
        return rows[:, :64].reshape(-1, 8, 8), rows[:, 64].astype(np.int64)
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    return np.asarray(pixels).reshape(-1, 8, 8), np.asarray(classes)
