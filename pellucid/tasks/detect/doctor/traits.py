"""For the doctor: traits of the boxes of images, which are compared between training and validation data."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pellucid.doctor.differences import class_text
from pellucid.ops.image_objects import Objects
from pellucid.task.values import OF_CLASS, DataTrait


def target_traits(targets: Sequence[Objects], class_names: Sequence[str]) -> Mapping[str, Tensor | DataTrait]:
    """Return the mean position and size of the boxes of each image, and their number by class, (n,) each.

    Positions and sizes are NaN for images without boxes. Crowds are left out, since training ignores them.
    """
    targets = [one if one.crowd is None else one.take(~one.crowd) for one in targets]
    centres = torch.stack([((one.boxes[:, :2] + one.boxes[:, 2:]) / 2).mean(0) for one in targets])
    sizes = torch.stack([(one.boxes[:, 2:] - one.boxes[:, :2]).mean(0) for one in targets])
    result: dict[str, Tensor | DataTrait] = {
        "x of the boxes' centres": centres[:, 0], "y of the boxes' centres": centres[:, 1],
        "width of the boxes": sizes[:, 0], "height of the boxes": sizes[:, 1],
        "boxes in an image": torch.tensor([float(len(one)) for one in targets]),
        "images without boxes": torch.tensor([not len(one) for one in targets]),
    }  # fmt: skip
    for label in torch.cat([one.labels for one in targets]).unique().tolist():
        counts = torch.tensor([float((one.labels == label).sum()) for one in targets])
        result[f"boxes of class {class_text(label, class_names)} in an image"] = DataTrait(counts, OF_CLASS)
    return result
