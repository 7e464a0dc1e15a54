"""Load the model that a command is given: a run folder, a weights file, or the name of a pretrained model."""

from typing import TYPE_CHECKING

from pellucid.base.errors import PellucidError

if TYPE_CHECKING:
    from pellucid.model import Model


FOREIGN_SUFFIXES = (".onnx", ".pt2")  # suffixes of files that pellucid.open reads


def open_model(model: str, device: str | None = None, score: float | None = None) -> "Model":
    """Load a run folder, a weights file or a pretrained model onto a device.

    score: the value of --score, which replaces the thresholds that training chose; None to keep them. Raises
    PellucidError for a score outside 0 to 1, and for a model that no score applies to.
    """
    from pellucid.model import Model
    from pellucid.task import task_of

    loaded = Model.load(model, device=device or "cpu")
    if score is not None:
        if not task_of(loaded).counts_from_score:
            raise PellucidError(f"--score: {model} is a {task_of(loaded).model}, which has no such score; leave it out")
        if not 0 <= score <= 1:
            raise PellucidError(f"--score must be from 0 to 1, not {score:g}")
        loaded.preprocess["thresholds"] = [score]
    return loaded


def open_network(model: str, device: str | None = None) -> "Model":
    """Load what `open_model` loads, an ONNX file, or an exported program of PyTorch."""
    if not model.endswith(FOREIGN_SUFFIXES):
        return open_model(model, device)
    import pellucid

    return pellucid.open(model, device=device or "cpu")
