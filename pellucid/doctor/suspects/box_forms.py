"""Boxes of which a part is written in another form or unit, such as x, y, width, height instead of corners."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import log
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.source import Arrays
from pellucid.doctor.inputs import select
from pellucid.doctor.suspects.targets import BOX_FORMS

CORNERS = "x0, y0, x1, y1"
MIN_VALID = 0.98  # fraction of the validation boxes that lie in the image if read in their form
MAX_SIDE = 1.2  # of an image in pixels, relative to the largest number of its boxes, such as a centre
TOLERANCE = 0.02  # by which they may lie outside, relative to its side
MIN_FACTOR = 1.5  # ratio of two units, or its inverse
# Of boxes in another form than the validation data's: their fraction, and the logarithm by which each of them, and the
# mean of these, must be likelier after a conversion. The limit of validation boxes is that of all but 1 %.
MIN_OTHER_FORM, MIN_LIKELIER, MIN_MEAN_LIKELIER, USUAL = 0.1, 1.0, 3.0, 0.99


class FormConversion(NamedTuple):
    """A conversion of boxes (N, 4), as rows, by multiplication with a matrix.

    form, usual_form: before and after it, as text. is_other: the boxes (N,) that have the first form.
    """

    matrix: Tensor
    form: str
    usual_form: str
    is_other: Tensor

    def convert(self, y: Tensor) -> Tensor:
        """Return boxes (N, 4), converted if they have the first form."""
        return torch.where(self.is_other[:, None], y @ self.matrix.to(y.dtype), y)


def find_other_forms(train: Arrays, validation: Arrays, predicted: Sequence[Tensor]) -> dict[str, FormConversion]:
    """Return the conversion of boxes in another form to that of the others: of "train", or also of "validation".

    predicted: outputs (N, 4) for both. Validation boxes have several forms if they are valid in none, but are if some
    of them are converted.
    """
    if (found := find_other_form(train, validation, predicted)) is not None:
        return {"train": found}
    other_y = validation.y.double()
    limit = _limit(other_y)
    shares = _valid_shares(other_y, limit)
    if max(shares.values()) > MIN_VALID:
        return {}
    for form, rows in _forms().items():
        if shares[form] < MIN_OTHER_FORM:
            continue
        is_valid = _are_valid(other_y @ rows, limit)
        usual, usual_outputs = select(validation, is_valid), predicted[1][is_valid]
        parts = {"train": (train, predicted[0]), "validation": (validation, predicted[1])}
        conversions = {
            name: found
            for name, (data, outputs) in parts.items()
            if (found := find_other_form(data, usual, (outputs, usual_outputs))) is not None
        }
        is_one_form = len(conversions) == 2 and len({found[1:3] for found in conversions.values()}) == 1
        if is_one_form and _valid_shares(conversions["validation"].convert(other_y), limit)[form] > MIN_VALID:
            return conversions
    return {}


def find_other_form(train: Arrays, validation: Arrays, predicted: Sequence[Tensor]) -> FormConversion | None:
    """Return the conversion after which many training boxes look like the validation boxes, and not before; or None.

    predicted: outputs (N, 4) for both. What is usual is a normal distribution of the validation boxes, or of what a
    linear function of the outputs leaves of them, which tells forms apart that differ little.
    """
    y, other_y = train.y.double(), validation.y.double()
    best, best_total = None, 0.0
    for outputs in ((y[:, :0], other_y[:, :0]), predicted):
        rows, other_rows = (F.pad(one.double(), (0, 1), value=1.0) for one in outputs)
        weights = torch.linalg.lstsq(other_rows, other_y, driver="gelsd").solution
        expected, errors = rows @ weights, other_y - other_rows @ weights
        covariance = errors.T.cov()
        floor = 1e-6 * float(covariance.diagonal().mean()) + 1e-12
        precision = torch.linalg.inv(covariance + floor * torch.eye(4))
        usual_distance = _distances(errors, precision).quantile(USUAL)
        distances = _distances(y - expected, precision)
        for one, volume in _conversions(train, validation, distances > usual_distance):
            new_distances = _distances(y @ one.matrix - expected, precision)
            likelier = (distances - new_distances) / 2 + volume
            is_other = one.is_other & (likelier > MIN_LIKELIER) & (new_distances <= usual_distance)
            total = float(likelier[is_other].sum())
            if total > max(best_total, MIN_MEAN_LIKELIER * int(is_other.sum())):
                best, best_total = one._replace(is_other=is_other), total
    return best if best is not None and float(best.is_other.double().mean()) >= MIN_OTHER_FORM else None


def _distances(errors: Tensor, precision: Tensor) -> Tensor:
    """Return the squared Mahalanobis distances (N,) of errors (N, 4)."""
    return ((errors @ precision) * errors).sum(1)


def _conversions(train: Arrays, validation: Arrays, is_unusual: Tensor) -> Iterator[tuple[FormConversion, float]]:
    """Yield conversions of those training boxes that are valid afterwards, and the logarithms of their determinants.

    None if all boxes are valid in one form. is_unusual: the boxes (N,) whose unit is compared with the validation data.
    """
    y, other_y, forms = train.y.double(), validation.y.double(), _forms()
    limit = _limit(other_y)
    usual_forms = [form for form, share in _valid_shares(other_y, limit).items() if share > MIN_VALID]
    if any(_valid_shares(y, limit)[form] > MIN_VALID for form in usual_forms):
        return
    units = {"": (1.0, 1.0)}
    if train.x.dim() == 4:
        height, width = train.x.shape[2:]
        units |= {" in pixels": (1 / width, 1 / height), " as parts of the image": (float(width), float(height))}
    for form, usual_form in product(forms, usual_forms):
        corners, other_corners = y @ forms[form], other_y @ forms[usual_form]
        possible_units = dict(units)
        if bool(is_unusual.any()):
            boxes, other_boxes = corners[is_unusual].median(0).values, other_corners.median(0).values
            across, down = (other_boxes.view(2, 2).sum(0) / boxes.view(2, 2).sum(0)).tolist()
            if min(across, down) > 0 and all(abs(log(across / known)) > log(MIN_FACTOR) for known, _ in units.values()):
                size = f"{1 / across:.2g} times as wide and {1 / down:.2g} times as high"
                possible_units[f" in another unit ({size}, such as those of images of another size)"] = (across, down)
        for unit, (across, down) in possible_units.items():
            if unit or form != usual_form:
                scale = torch.tensor([across, down, across, down], dtype=torch.float64)
                matrix = (forms[form] * scale) @ torch.linalg.inv(forms[usual_form])
                is_valid = _are_valid(corners * scale, limit)
                yield FormConversion(matrix, f"{form}{unit}", usual_form, is_valid), float(matrix.det().abs().log())


def _forms() -> dict[str, Tensor]:
    """Return the matrix by which boxes of each form, as rows, become corners."""
    forms = {CORNERS: torch.eye(4).tolist(), **BOX_FORMS}
    return {form: torch.tensor(rows, dtype=torch.float64) for form, rows in forms.items()}


def _limit(y: Tensor) -> float:
    """Return the largest coordinate of boxes (N, 4): of parts of an image, or else of pixels."""
    highest = float(y.max())
    return MAX_SIDE * highest if highest > 1 else 1.0


def _valid_shares(y: Tensor, limit: float) -> dict[str, float]:
    """Return the fraction of the boxes (N, 4) that are valid in each form."""
    return {form: float(_are_valid(y @ rows, limit).double().mean()) for form, rows in _forms().items()}


def _are_valid(corners: Tensor, limit: float) -> Tensor:
    """Return for which boxes the corners (N, 4) are in order, hardly outside of images, and not all near 0, (N,)."""
    are_inside = ((corners >= -TOLERANCE * limit) & (corners <= (1 + TOLERANCE) * limit)).all(1)
    return are_inside & (corners[:, 2:] > corners[:, :2]).all(1) & (corners.amax(1) > TOLERANCE * limit)
