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
from pellucid.metrics.coco import Coco
from pellucid.metrics.detection import Box, BoxScores, ClassScores, average_precision, mean_average_precision
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
from pellucid.metrics.objects import NME, AveragePrecision, MaskAveragePrecision
from pellucid.metrics.regression import MAE, R2, RMSE
from pellucid.metrics.segmentation import BoundaryF1, MeanIoU, iou, iou_of_areas

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
    "ap": AveragePrecision,
    "mask_ap": MaskAveragePrecision,
    "nme": NME,
}
OF_MASKS = {"miou": MeanIoU, "boundary_f1": BoundaryF1}  # which take the class to ignore

__all__ = [
    "ECE",
    "MAE",
    "METRICS",
    "NME",
    "OF_MASKS",
    "R2",
    "RMSE",
    "Accuracy",
    "AveragePrecision",
    "BoundaryF1",
    "Box",
    "BoxScores",
    "ClassScores",
    "Coco",
    "Confusion",
    "MacroF1",
    "MaskAveragePrecision",
    "MeanIoU",
    "Metric",
    "MetricLike",
    "Precision",
    "Recall",
    "Reliability",
    "TopK",
    "accuracy",
    "average_precision",
    "calibration_error",
    "class_scores",
    "classes_of",
    "confusion_matrix",
    "f1",
    "fresh",
    "function_name",
    "improves_downward",
    "iou",
    "iou_of_areas",
    "macro",
    "macro_f1",
    "mean_average_precision",
    "precision",
    "recall",
    "reliability",
    "target_classes",
    "top_k",
]
