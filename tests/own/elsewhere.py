"""Functions for another process, in which the user-defined parts are not registered."""

from pathlib import Path
from typing import Any


def load_and_save(path: Path, copy: Path) -> tuple[str, dict[str, Any]]:
    """Load a model of tests.own.parts, save it, and return its hash and its metrics."""
    from pellucid import Model
    from tests.own import parts
    from tests.training.small import digits

    model = Model.load(path, custom=parts.PARTS)
    model.save(copy)
    return model.sha256(), model.evaluate(digits(300, 350))


def load_without_and_with_parts(path: Path) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """Return the error for a model of tests.own.counting, and its hash and metrics after its parts are given."""
    from pellucid import Model, PellucidError

    refusal = ""
    try:
        Model.load(path)
    except PellucidError as error:
        refusal = str(error)
    from tests.own import counting

    result = []
    for custom in ([], [counting.DensityLoss, counting.CountError]):
        model = Model.load(path, custom=custom)
        result.append((model.sha256(), model.evaluate(counting.Blobs(8))))
    return refusal, result
