"""Detectors: objectives that find objects in images."""

from collections.abc import Callable

from pellucid.detectors.base import FATES, Anchors, Candidates, Decision, Detector, Fate, OneStage
from pellucid.detectors.single_stage import SingleStage, single_stage

DETECTORS: dict[str, Callable[..., Detector]] = {"single_stage": single_stage}
OWN: tuple[type[Detector], ...] = (SingleStage,)  # the classes that a weights file may name

__all__ = [
    "DETECTORS",
    "FATES",
    "OWN",
    "Anchors",
    "Candidates",
    "Decision",
    "Detector",
    "Fate",
    "OneStage",
    "SingleStage",
    "single_stage",
]
