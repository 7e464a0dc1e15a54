"""The threshold of scores, apart from modules that import PyTorch, since the help of commands names it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pellucid.model import Model

MIN_SCORE = 0.5  # minimum score of detections of a model whose training chose none


def score_of(model: "Model") -> float:
    """Return the score from which the detections of a model count as objects: the one that its training chose."""
    return float(model.preprocess.get("thresholds", [MIN_SCORE])[0])
