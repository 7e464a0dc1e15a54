"""Losses: each computes its value and its gradient with respect to the outputs."""

from pellucid.losses.auxiliary import AuxiliaryCrossEntropy
from pellucid.losses.base import Loss
from pellucid.losses.binary_cross_entropy import BinaryCrossEntropy
from pellucid.losses.coordinates import Coordinates
from pellucid.losses.dice import Dice
from pellucid.losses.focal import Focal
from pellucid.losses.giou import GIoU
from pellucid.losses.heat_maps import HeatMaps
from pellucid.losses.hinge import Hinge
from pellucid.losses.nll import NegativeLogLikelihood
from pellucid.losses.probability_cross_entropy import ProbabilityCrossEntropy
from pellucid.losses.quality_focal import QualityFocal
from pellucid.losses.regression import L1, Huber, Quadratic
from pellucid.losses.softmax_cross_entropy import SoftmaxCrossEntropy

LOSSES: dict[str, type[Loss]] = {
    "quadratic": Quadratic,
    "l1": L1,
    "huber": Huber,
    "binary_cross_entropy": BinaryCrossEntropy,
    "probability_cross_entropy": ProbabilityCrossEntropy,
    "softmax_cross_entropy": SoftmaxCrossEntropy,
    "auxiliary_cross_entropy": AuxiliaryCrossEntropy,
    "nll": NegativeLogLikelihood,
    "hinge": Hinge,
    "focal": Focal,
    "dice": Dice,
    "quality_focal": QualityFocal,
    "giou": GIoU,
    "heat_maps": HeatMaps,
    "coordinates": Coordinates,
}

__all__ = [
    "L1",
    "LOSSES",
    "AuxiliaryCrossEntropy",
    "BinaryCrossEntropy",
    "Coordinates",
    "Dice",
    "Focal",
    "GIoU",
    "HeatMaps",
    "Hinge",
    "Huber",
    "Loss",
    "NegativeLogLikelihood",
    "ProbabilityCrossEntropy",
    "Quadratic",
    "QualityFocal",
    "SoftmaxCrossEntropy",
]
