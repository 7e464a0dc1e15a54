"""Target images that are shifted from the inputs of a translator."""

import numpy as np
import torch

from pellucid.tasks.outlines import shift_by
from pellucid.tasks.translate.doctor import target_changes


def pictures(count: int) -> list[torch.Tensor]:
    """Return grey pictures (1, 32, 40) with a bright rectangle at a random place."""
    rng, result = np.random.default_rng(0), []
    for _ in range(count):
        image = np.full((1, 32, 40), 0.2, np.float32)
        top, left = rng.integers(8, 14), rng.integers(8, 20)
        image[:, top : top + 9, left : left + 11] = 0.9
        result.append(torch.from_numpy(image))
    return result


def test_a_shift_of_the_targets_is_undone() -> None:
    targets = pictures(6)
    outputs = [torch.from_numpy(np.roll(image.numpy(), (3, -5), (1, 2))) for image in targets]
    *_, change = target_changes(targets, outputs)
    assert (change.name, change.description) == (
        "shifted-targets", "target images shifted by 5 pixels to the left and 3 down",
    )  # fmt: skip
    assert change.apply is not None
    np.testing.assert_array_equal(change.apply(targets[0], (32, 40)), outputs[0])


def test_mirrored_targets_are_mirrored_back() -> None:
    targets = pictures(6)
    changes = {one.description: one for one in target_changes(targets, [image.flip(2) for image in targets])}
    change = changes["target images mirrored"]
    assert change.apply is not None
    np.testing.assert_array_equal(change.apply(targets[0], (32, 40)), targets[0].numpy()[:, :, ::-1])


def test_targets_at_the_right_place_need_no_change() -> None:
    targets = pictures(6)
    assert target_changes(targets, targets) == []
    assert target_changes(targets, None) == []
    assert target_changes(targets, [image[:, :16] for image in targets]) == []


def test_the_border_pads_shifted_images() -> None:
    image = torch.arange(6.0).reshape(1, 2, 3)
    assert shift_by(1, -1)(image, (2, 3)).tolist() == [[[1.0, 2.0, 2.0], [1.0, 2.0, 2.0]]]
