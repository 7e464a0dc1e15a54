"""Metrics of predictions, computed batch by batch or from tensors."""

from pellucid.metrics.base import Metric, MetricLike, fresh, function_name, improves_downward
from pellucid.metrics.classes import (
    ECE,
    Accuracy,
    Confusion,
    MacroF1,
    Precision,
    Recall,
    TopK,
    class_scores,
    classes_of,
    target_classes,
)
from pellucid.metrics.functions import (
    Reliability,
    accuracy,
    calibration_error,
    confusion_matrix,
    f1,
    macro,
    macro_f1,
    precision,
    recall,
    reliability,
    top_k,
)
from pellucid.metrics.regression import MAE, R2, RMSE
from pellucid.metrics.segmentation import BoundaryF1, MeanIoU, iou

METRICS: dict[str, type[Metric]] = {
    "accuracy": Accuracy,
    "top5": TopK,
    "precision": Precision,
    "recall": Recall,
    "macro_f1": MacroF1,
    "confusion": Confusion,
    "ece": ECE,
    "mae": MAE,
    "rmse": RMSE,
    "r2": R2,
    "miou": MeanIoU,
    "boundary_f1": BoundaryF1,
}
OF_MASKS = {"miou": MeanIoU, "boundary_f1": BoundaryF1}  # which take the class to ignore

__all__ = [
    "ECE",
    "MAE",
    "METRICS",
    "OF_MASKS",
    "R2",
    "RMSE",
    "Accuracy",
    "BoundaryF1",
    "Confusion",
    "MacroF1",
    "MeanIoU",
    "Metric",
    "MetricLike",
    "Precision",
    "Recall",
    "Reliability",
    "TopK",
    "accuracy",
    "calibration_error",
    "class_scores",
    "classes_of",
    "confusion_matrix",
    "f1",
    "fresh",
    "function_name",
    "improves_downward",
    "iou",
    "macro",
    "macro_f1",
    "precision",
    "recall",
    "reliability",
    "target_classes",
    "top_k",
]
