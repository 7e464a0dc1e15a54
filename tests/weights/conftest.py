"""The fixture that opens invalid weights files and checks the error's message."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pellucid.base.errors import PellucidError
from pellucid.weights import open_weights

OpenRefused = Callable[[Path], str]


@pytest.fixture
def open_refused() -> OpenRefused:
    """Return a function that opens a file, expects a PellucidError, and returns its one-line message with the path."""

    def open_refused(path: Path) -> str:
        with pytest.raises(PellucidError) as info:
            open_weights(path)
        message = str(info.value)
        assert message.startswith(str(path))
        assert "\n" not in message
        assert "; " in message, "what to do"
        assert len(message) < 400 + len(str(path))
        return message

    return open_refused
