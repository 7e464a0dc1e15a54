"""Fixtures: shipped models and images of digits."""

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from pellucid.model import Model
from pellucid.shipped_files import pretrained_file


@pytest.fixture(scope="session")
def lenet() -> Model:
    return Model.load(pretrained_file("mnist-lenet"))


@pytest.fixture(scope="session")
def mlp() -> Model:
    return Model.load(pretrained_file("mnist-mlp-100"))


@pytest.fixture(scope="session")
def digits() -> Tensor:
    """Return two of scikit-learn's digits, enlarged to (2, 1, 28, 28)."""
    images = [Image.fromarray((load_digits().images[k] * 15.9).astype("uint8")).resize((28, 28)) for k in (12, 7)]
    return torch.stack([torch.tensor(list(image.tobytes())).view(1, 28, 28) / 255 for image in images])
