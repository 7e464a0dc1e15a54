"""For the doctor's experiments with key-points: scores by distance, and points in other units, axes and orders."""

from collections.abc import Callable, Sequence
from math import nan

import torch
from torch import Tensor

from pellucid.task import HeldOutScores, TargetChange

# Distance from the true point, divided by the diagonal of the box around all points, from which the score is 0.
MAX_DISTANCE = 0.25
MIN_FACTOR = 1.2  # ratio of predicted to true coordinates, or its inverse, from which another scale is suggested
MAX_SHARED = 0.05  # fraction of the labelled points at one position, above which they are treated as unseen
MAX_OUTSIDE = 0.02  # fraction of the labelled points outside their images, above which other scales are tried
DIVISORS = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0)


def scores(outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> HeldOutScores:
    """Return for each image 1 - distance / (MAX_DISTANCE * diagonal), at least 0, averaged over labelled points.

    NaN without labelled points. The diagonal is that of the box around them. outputs, targets: (K, 3) each.
    """
    values: list[float] = []
    for output, target in zip(outputs, targets, strict=True):
        points = target[target[:, 2] > 0, :2]
        if not len(points):
            values.append(nan)
            continue
        diagonal = (points.amax(0) - points.amin(0)).norm().clamp_min(1)
        distance = (output[target[:, 2] > 0, :2] - points).norm(dim=1) / (MAX_DISTANCE * diagonal)
        values.append(float(1 - distance.clamp_max(1).mean()))
    return HeldOutScores("closeness of key-points", torch.tensor(values))


def target_changes(
    images: Sequence[Tensor], targets: Sequence[Tensor], outputs: Sequence[Tensor] | None
) -> list[TargetChange]:
    """Return the changes of key-points to try for these outputs; without outputs, those that the targets suggest."""
    points, sizes = torch.stack([*targets]), torch.tensor([[image.shape[2], image.shape[1]] for image in images])
    is_labelled = points[..., 2] > 0
    if not bool(is_labelled.any()):
        return []
    if outputs is None:
        return _without_unseen_points(points, is_labelled) + _scales_inside_images(points[..., :2], sizes, is_labelled)
    predicted, true = torch.stack([*outputs])[..., :2], points[..., :2]
    factor = float((predicted * true)[is_labelled].sum() / true.square()[is_labelled].sum().clamp_min(1e-12))
    changes = [] if 1 / MIN_FACTOR < factor < MIN_FACTOR or factor <= 0 else [_scale_change(factor)]
    changes.append(_axes_change("exchanged", "x and y exchanged", lambda xy, size: xy.flip(1)))
    mirrored = _axes_change("mirrored", "mirrored", lambda xy, size: torch.stack([size[1] - xy[:, 0], xy[:, 1]], 1))
    changes.append(mirrored._replace(cause="are mirrored relative to their images, or have left and right exchanged"))
    distances = (predicted[:, None] - true[:, :, None]).norm(dim=3)  # (N, true, predicted point)
    order = (
        torch.where(is_labelled[:, :, None], distances, torch.nan).nanmedian(0).values.nan_to_num(torch.inf).argmin(1)
    )
    unchanged_order = torch.arange(len(order))
    if len(order.unique()) < len(order):  # other points are predicted too badly to tell
        # only those of which each is taken for the other
        order = torch.where(order[order] == unchanged_order, order, unchanged_order)
    if not torch.equal(order, unchanged_order):
        exchanged_text = ", ".join(f"{k} as {int(j)}" for k, j in enumerate(order) if k != int(j))
        changes.append(TargetChange(
            "key-point-order", f"key-points exchanged ({exchanged_text})",
            "have their points in another order, such as left and right exchanged",
            "write the points in the same order in all files; if images are mirrored, list the pairs in augment.swaps",
            lambda target, size: target[order.argsort()], key=",".join(map(str, order.tolist())),
        ))  # fmt: skip
    return changes


def _without_unseen_points(points: Tensor, is_labelled: Tensor) -> list[TargetChange]:
    """Return the change that leaves out key-points at one position, if many have it; they may be unseen points."""
    positions, counts = points[is_labelled][:, :2].unique(dim=0, return_counts=True)
    if int(counts.max()) <= MAX_SHARED * int(is_labelled.sum()):
        return []
    position = positions[counts.argmax()]

    def mark_unseen(target: Tensor, size: tuple[int, ...]) -> Tensor:
        return torch.where((target[:, :2] == position).all(1, keepdim=True), torch.zeros_like(target), target)

    return [TargetChange(
        "unseen-points", f"key-points at {position[0]:g}, {position[1]:g} left out",
        f"hold {counts.max() / is_labelled.sum():.0%} of the key-points at {position[0]:g}, {position[1]:g}, where "
        "they were written without having been seen", "mark key-points that nobody has seen by a visibility of 0",
        mark_unseen, key=f"{position[0]:g},{position[1]:g}",
    )]  # fmt: skip


def _scales_inside_images(points: Tensor, sizes: Tensor, is_labelled: Tensor) -> list[TargetChange]:
    """Return the changes of scale after which points that are outside their images are inside."""
    outside_fraction = ((points > sizes[:, None]).any(2) & is_labelled).sum() / is_labelled.sum()
    if float(points.amax()) <= 1 < int(sizes.min()):
        change = _axes_change(
            "image-size", "multiplied by the image's size", lambda xy, size: xy * torch.tensor([size[1], size[0]])
        )
        return [change._replace(name="key-point-scale")]
    if float(outside_fraction) <= MAX_OUTSIDE:
        return []
    fitting_factors = [
        factor for factor in DIVISORS
        if ((points / factor > sizes[:, None]).any(2) & is_labelled).sum() <= MAX_OUTSIDE * is_labelled.sum()
    ]  # fmt: skip
    return [_scale_change(1 / factor) for factor in fitting_factors[:2]]


def _axes_change(
    key: str, description: str, convert: Callable[[Tensor, tuple[int, ...]], Tensor]
) -> TargetChange:  # fmt: skip
    return TargetChange(
        "key-point-axes", f"key-points {description}", "have other axes than the pixels of their images",
        "write x, y in pixels from the upper left corner, and mirror images and points together",
        lambda target, size: torch.cat([convert(target[:, :2], size), target[:, 2:]], 1), key=key,
    )  # fmt: skip


def _scale_change(factor: float) -> TargetChange:
    change = _axes_change(f"times-{factor:.3g}", f"multiplied by {factor:.3g}", lambda xy, size: xy * factor)
    return change._replace(
        name="key-point-scale", cause="belong to images of another size",
        fix="scale key-points by the same factors as their images",
    )  # fmt: skip
