"""The classes that a model distinguishes, and the probability of each."""

from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.metrics import class_scores
from pellucid.model import Model


def class_names(model: Model) -> tuple[str, ...]:
    """Return the name of each class that a model distinguishes; PellucidError where it does not."""
    outputs = model.output_shape
    if outputs and isinstance(outputs[0], tuple):
        outputs = model.loss.judged(outputs)  # the others serve training only
    if len(outputs) != 1 or not isinstance(outputs[0], int):
        raise PellucidError(f"the model puts out {outputs} for an image, no classes; give a classifier")
    count = max(2, outputs[0])  # one output separates two classes
    classes = tuple(model.classes or map(str, range(count)))
    if len(classes) != count:
        raise PellucidError(
            f"the model puts out {outputs[0]} values, but names {len(classes)} classes ({', '.join(classes):.80}); "
            "train it again with one output for each class"
        )
    return classes


def believed(model: Model, scores: Tensor) -> Tensor:
    """Return what `model.predict` gave as one probability for each class (N, C), calibrated where that was fitted."""
    scores = class_scores(scores)
    return scores if model.confidence is None else model.confidence.calibrate(scores)
