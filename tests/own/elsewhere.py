"""Functions that tests run in another process, in which user-defined classes are not registered."""

from pathlib import Path
from typing import Any


def load_and_save(path: Path, copy: Path) -> tuple[str, dict[str, Any]]:
    """Load a model of the classes of tests.own.parts, save it to `copy`, and return its hash and its metrics."""
    from pellucid import Model
    from tests.own import parts
    from tests.training.small import digits

    model = Model.load(path, custom=parts.PARTS)
    model.save(copy)
    return model.sha256(), model.evaluate(digits(300, 350))


def load_without_and_with_parts(path: Path) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """Return the error of loading a model of tests.own.counting before the module is imported.

    Also return the model's (hash, metrics) when it is loaded after the import, without and with `custom`.
    """
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
