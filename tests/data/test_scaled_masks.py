"""Masks of another size than their images: read if the proportions are the same, and refused otherwise."""

import numpy as np
import pytest

from pellucid.base.errors import PellucidError
from pellucid.data import MaskFolder
from tests.data.mask_sets import draw_set, save
from tests.data.test_mask_forms import check, each_note_is_new  # noqa: F401  (a fixture)


@pytest.mark.parametrize("factor", [2, 3, 5])
@pytest.mark.parametrize("is_larger", [False, True])
def test_masks_of_another_size_and_the_proportions_of_their_images_are_resized(tmp_path, capsys, factor, is_larger):
    drawn = draw_set(18, count=6, size=30)
    for stem, drawn_mask in drawn.masks.items():
        height, width = 40 + 2 * len(stem), 25
        mask = np.resize(drawn_mask, (height, width))
        image = np.zeros((height, width, 3), np.uint8)
        repeated = np.ones((factor, factor), np.uint8)
        saved_mask = np.kron(mask, repeated) if is_larger else mask
        save(tmp_path / f"set/images/{stem}.png", image if is_larger else np.kron(image, repeated[..., None]))
        save(tmp_path / f"set/masks/{stem}.png", saved_mask)
        drawn.masks[stem] = mask if is_larger else np.kron(mask, repeated)
    check(drawn, tmp_path / "set", has_parts=False)
    assert "masks that have the proportions of their image, and another size, are resized" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mask", "image"),
    [((40, 40), (80, 80)), ((388, 388), (572, 572)), ((90, 60), (94, 64)), ((60, 90), (90, 60)), ((50, 60), (50, 61))],
)
def test_crops_and_masks_of_other_proportions_are_no_smaller_copies(tmp_path, mask, image):
    save(tmp_path / "set/images/a.png", np.zeros((*image, 3), np.uint8))
    save(tmp_path / "set/masks/a.png", np.eye(*mask, dtype=np.uint8))
    with pytest.raises(PellucidError, match="make them the same size"):
        MaskFolder(tmp_path / "set", "").read_pair(0)
