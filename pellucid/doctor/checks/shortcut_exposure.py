"""Labels that the brightness, contrast or colour of whole pictures gives away."""

from dataclasses import replace

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Number
from pellucid.doctor.measure.answered import answered
from pellucid.doctor.measure.changes import traits
from pellucid.doctor.measure.simple import simple
from pellucid.errors import PellucidError
from pellucid.metrics import classes_of

ENOUGH = 200  # examples
TOLD = 0.65  # of what lies between chance and every label, told by mean and deviation of the channels alone
FOLLOWS = 0.5  # of the answers, that become the class whose brightness a picture gets
SIDE = 8  # pixels


def look(case: Case) -> list[Finding]:
    """Guess labels from mean and deviation of the channels; then give pictures those of another class."""
    part = case.sample
    if not case.classifies or part.x.dim() != 4 or min(part.x.shape[2:]) < SIDE or int(part.y.min()) < 0:
        return []
    guess = simple(replace(part, x=traits(part.x)), case.model.seed)
    both = answered(case)
    if guess is None or both is None or guess.own.share < guess.own.chance + TOLD * (1 - guess.own.chance):
        return []
    y = part.y
    donors = torch.randperm(len(y), generator=torch.Generator().manual_seed(case.model.seed))
    pairs = (y != y[donors]) & (both[0].classes == y)
    if not bool(pairs.any()):
        return []
    try:
        said = classes_of(case.model.predict(_exposed(float_images(part.x), float_images(part.x)[donors])))
    except PellucidError:
        return []
    follows = float((said == y[donors])[pairs].float().mean())
    if follows < FOLLOWS:
        return []
    evidence: dict[str, Number] = {
        "labels_told_by_mean_and_deviation_alone": guess.own.share,
        "right_by_chance": guess.own.chance,
        "examples": guess.own.n,
        "answers_that_follow_another_picture's_exposure": follows,
    }
    cause = "brightness, contrast or colour of the whole pictures tell the label: the classes were taken or stored "
    cause += "differently, and the model answers by that"
    fix = "bring all pictures to the same mean and deviation, vary both by augmentation, or collect the classes alike"
    return [Finding(NAME, "train", evidence, cause, fix)]


def _exposed(x: Tensor, like: Tensor) -> Tensor:
    """Return the pictures with mean and deviation of the channels as others have them."""
    mean, std = (getattr(x, name)((2, 3), keepdim=True) for name in ("mean", "std"))
    wanted, spread = (getattr(like, name)((2, 3), keepdim=True) for name in ("mean", "std"))
    return (x - mean) / std.clamp_min(1e-6) * spread + wanted


NAME = "shortcut-exposure"
CHECK = Check(
    NAME,
    "Brightness, contrast or colour of the whole pictures give the labels away.",
    look,
    explains=("overfitting", "miscalibration", "preprocessing-mismatch"),
    examples=ENOUGH,
    trained=True,
    proven=True,
)
