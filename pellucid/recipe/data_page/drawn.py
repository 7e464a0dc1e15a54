"""Pictures of examples with their targets drawn on them."""

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.colors import to_hex
from torch import Tensor

from pellucid.base.text import plural, shown
from pellucid.data.source import Batch
from pellucid.ops.image_objects import Objects
from pellucid.predictor import Predicted
from pellucid.report.embedded import Embedded, embedded
from pellucid.report.figures.pictures import palette
from pellucid.report.figures.plane import class_colour
from pellucid.task.traits import is_image, is_keypoints

SIDE = 200  # pixels of the longer side of a picture on the page
MAX_NUMBERS = 4  # of a target in a caption
MAX_CAPTION = 60  # characters
MAX_LEGEND = 48  # classes in the legend
MAX_UNNAMED = 256  # classes without names


def pictures(
    batch: Batch, low: float, high: float, names: tuple[str, ...], ignored: int | None
) -> list[tuple[str, Embedded]]:
    """Return captions and pictures of a batch as the network receives it; [] if its inputs are no images.

    low, high: the values that are displayed as black and as white.
    """
    if not is_image(batch.images):
        return []
    unit_images = ((batch.images.float() - low) / max(high - low, 1e-12)).clamp(0, 1)
    images = (unit_images[:, :3] if unit_images.shape[1] >= 3 else unit_images[:, :1]).mul(255).round().to(torch.uint8)
    captioned_pictures: list[tuple[str, Embedded]] = []
    for image, x, target in zip(images, batch.images, batch.targets, strict=True):
        picture, text = with_target(image.expand(3, -1, -1), target, names, ignored)
        range_text = f"{float(x.min()):.3g} to {float(x.max()):.3g}"
        captioned_pictures.append(
            (f"{text}; values {range_text}" if text else f"values {range_text}", embedded(picture, SIDE))
        )
    return captioned_pictures


def with_target(image: Tensor, target: Any, names: tuple[str, ...], ignored: int | None) -> tuple[Tensor, str]:
    """Return an image (3, H, W) uint8 with its target drawn on it, and a caption.

    names: of the classes. ignored: the label that the loss ignores.
    """
    if isinstance(target, Objects):
        labels = tuple(names[k] for k in target.labels.tolist())
        prediction = Predicted({}, "", boxes=target.boxes, labels=labels, masks=target.masks, points=target.keypoints)
        return prediction.overlay(image, names), plural(len(target), "object")
    if not isinstance(target, Tensor):
        return image, shown(target)[:MAX_CAPTION]
    if not target.is_floating_point() and target.shape == image.shape[1:]:
        mask = (
            target if ignored is None else target.where(target != ignored, torch.tensor(len(names), dtype=target.dtype))
        )
        present_names = [names[k] for k in mask.unique().tolist() if 0 <= k < len(names)]
        prediction = Predicted({}, "", mask=mask.where(mask >= 0, len(names)), labels=names)
        return prediction.overlay(image, names), _joined_names(present_names) or "no class"
    if is_keypoints(target):
        labelled_points = target[target[:, 2] > 0]
        return Predicted({}, "", points=labelled_points).overlay(image), plural(len(labelled_points), "point")
    if target.is_floating_point() and target.dim() == 3 and target.shape[1:] == image.shape[1:]:
        return _with_target_image(image, target)
    return image, _caption(target, names, ignored)


def _with_target_image(image: Tensor, target: Tensor) -> tuple[Tensor, str]:
    """Return an image and its target image side by side; the caption states the values of the target."""
    low, high = float(target.min()), float(target.max())
    black, white = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    unit_target = ((target.float() - black) / max(white - black, 1e-12)).mul(255).round().to(torch.uint8)
    target_image = (unit_target[:3] if len(unit_target) >= 3 else unit_target[:1]).expand(3, -1, -1)
    return torch.cat([image, target_image], 2), f"input | target of {low:.3g} to {high:.3g}"


def _caption(target: Tensor, names: tuple[str, ...], ignored: int | None) -> str:
    """Return a class, several classes or numbers as text."""
    if not target.dim() and not target.is_floating_point():
        label = int(target)
        return "ignored" if label == ignored else names[label] if 0 <= label < len(names) else str(label)
    values = target.flatten()
    if len(values) == len(names) > 1 and bool(((values == 0) | (values == 1)).all()):
        return _joined_names([name for name, value in zip(names, values.tolist(), strict=True) if value]) or "no class"
    prefixes = [f"{name} " for name in names] if len(values) == len(names) else [""] * len(values)
    numbers = zip(prefixes, values[:MAX_NUMBERS].tolist(), strict=False)
    numbers_text = ", ".join(f"{prefix}{value:.4g}" for prefix, value in numbers)
    return f"{numbers_text}, ..." if len(values) > MAX_NUMBERS else numbers_text


def _joined_names(names: Sequence[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= MAX_CAPTION else f"{text[: MAX_CAPTION - 3]}..."


def class_names(targets: Sequence[Any], ignored: int | None) -> tuple[str, ...]:
    """Return names for the classes of targets without names: their indices, up to the largest that is not ignored."""
    labels = [target.labels if isinstance(target, Objects) else target for target in targets]
    indices = [
        tensor for tensor in labels if isinstance(tensor, Tensor) and not tensor.is_floating_point() and tensor.numel()
    ]
    if not indices:
        return ()
    max_label = max((label for tensor in indices for label in tensor.unique().tolist() if label != ignored), default=0)
    return tuple(map(str, range(min(max_label + 1, MAX_UNNAMED))))


def legend(targets: Sequence[Any], names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the classes of masks and boxes with their colours; [] for other targets."""
    if any(isinstance(target, Objects) and target.masks is None for target in targets):
        colours = [class_colour(k, len(names)) for k in range(len(names))]
    elif any(isinstance(target, Tensor) and target.dim() == 2 and not target.is_floating_point() for target in targets):
        colours = [tuple(colour) for colour in (palette(len(names)) / 255).tolist()]
    else:
        return []
    pairs = [(name, to_hex(colour)) for name, colour in zip(names[:MAX_LEGEND], colours, strict=False)]
    return [*pairs, (f"{len(names) - MAX_LEGEND} more", "none")] if len(names) > MAX_LEGEND else pairs
