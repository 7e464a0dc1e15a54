"""Labels that can be predicted from the brightness, contrast or colour of whole images."""

from dataclasses import replace

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.inputs import traits
from pellucid.doctor.simple_classifier import fit_simple_classifier

MIN_EXAMPLES = 200
MIN_EXPLAINED = 0.65  # (accuracy - chance) / (1 - chance) of a classifier that receives only mean and deviation
MIN_FOLLOWING = 0.5  # fraction of predictions that become the class of the image whose exposure replaces an image's own
MIN_SIDE = 8  # pixels


def find(case: Case) -> list[Finding]:
    """Predict labels from the exposure, each channel's mean and standard deviation; then exchange exposures.

    There is a finding if the model then predicts the class of the image from which an image received its exposure.
    """
    part, y = case.sample, case.sample.y
    if not case.classifies or part.x.dim() != 4 or min(part.x.shape[2:]) < MIN_SIDE or int(y.min()) < 0:
        return []
    classifier = fit_simple_classifier(replace(part, x=traits(part.x)), case.model.seed)
    predictions = case.class_predictions
    count = None if classifier is None else classifier.leave_one_out
    if count is None or predictions is None or count.accuracy < count.chance + MIN_EXPLAINED * (1 - count.chance):
        return []
    donors = torch.randperm(len(y), generator=torch.Generator().manual_seed(case.model.seed))
    is_compared = (y != y[donors]) & (predictions[0].classes == y)
    if not bool(is_compared.any()):
        return []
    x = float_images(part.x)
    predicted = case.classes_for(_with_exposure_of(x, x[donors]))
    following_fraction = float((predicted == y[donors])[is_compared].float().mean())
    if following_fraction < MIN_FOLLOWING:
        return []
    evidence: Evidence = {
        "labels_told_by_mean_and_deviation_alone": count.accuracy,
        "right_by_chance": count.chance,
        "examples": count.n,
        "answers_that_follow_another_picture's_exposure": following_fraction,
    }
    cause = "brightness, contrast or colour of whole images determine the label, because the classes were recorded or "
    cause += "stored differently, and the model uses that"
    fix = "standardise each image, vary brightness and contrast by augmentation, or record all classes in the same way"
    return [Finding(NAME, "train", evidence, cause, fix)]


def _with_exposure_of(x: Tensor, reference: Tensor) -> Tensor:
    """Return images x with the channels' means and standard deviations of `reference`, both (N, C, H, W)."""
    (mean, std), (reference_mean, reference_std) = (
        (part.mean((2, 3), keepdim=True), part.std((2, 3), keepdim=True)) for part in (x, reference)
    )
    return (x - mean) / std.clamp_min(1e-6) * reference_std + reference_mean


NAME = "shortcut-exposure"
CHECK = Check(
    NAME, find, examples=MIN_EXAMPLES, trained=True, finds_faults=True,
    explains=("overfitting", "miscalibration", "preprocessing-mismatch"),
)  # fmt: skip
