"""A fixture that runs complete lessons on MNIST."""

from collections.abc import Callable

import pytest

from pellucid.data.catalogue import data_root
from pellucid.data.entries import CATALOGUE
from pellucid.lessons import Lesson, lesson


@pytest.fixture
def on_mnist() -> Callable[[str], Lesson]:
    """Return a function that runs a complete lesson; the test is skipped if MNIST is absent."""
    mnist_folder = data_root() / CATALOGUE["mnist"].path
    if not mnist_folder.exists():
        pytest.skip(f"{mnist_folder} is absent; `pellucid data get mnist` fetches it")
    return lesson
