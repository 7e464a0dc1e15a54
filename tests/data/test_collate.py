"""Batches of examples of any sizes: what was padded is found again, and what pads it is known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pellucid.data import collate
from pellucid.errors import PellucidError

sizes = st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=5)


@given(sizes=sizes, channels=st.integers(1, 3), seed=st.integers(0, 99))
def test_each_image_and_mask_lies_at_the_top_left_and_all_else_is_padding(sizes, channels, seed):
    rng = np.random.default_rng(seed)
    images = [rng.integers(1, 256, (channels, *size), dtype=np.uint8) for size in sizes]
    masks = [rng.integers(0, 9, size) for size in sizes]
    pairs = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in zip(images, masks, strict=True)]
    batch = collate(pairs, ignored=99)
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    assert batch.images.shape == (len(sizes), channels, height, width)
    assert (batch.images.dtype, batch.targets.dtype) == (torch.uint8, torch.int64)
    for row, (image, mask) in enumerate(zip(images, masks, strict=True)):
        for i in range(height):
            for j in range(width):
                inside = i < mask.shape[0] and j < mask.shape[1]
                assert int(batch.targets[row, i, j]) == (mask[i, j] if inside else 99)
                assert batch.images[row, :, i, j].tolist() == (image[:, i, j].tolist() if inside else [0] * channels)


def test_numbers_become_a_tensor_and_lists_stay():
    image = torch.zeros(1, 2, 2)
    assert collate([(image, 1), (image, 4)]).targets.tolist() == [1, 4]
    assert collate([(image, 1.5), (image, 4)]).targets.dtype is torch.float32
    boxes = [torch.zeros(3, 4), torch.zeros(0, 4)]
    assert collate([(image, boxes[0]), (image, boxes[1])]).targets == boxes
    assert collate([(image, {"name": "a"}), (image, {"name": "b"})]).targets == [{"name": "a"}, {"name": "b"}]


def test_masks_to_pad_need_a_class():
    pairs = [(torch.zeros(1, h, 2), torch.zeros(h, 2, dtype=torch.int64)) for h in (2, 3)]
    with pytest.raises(PellucidError, match="give the class `ignored` that the loss ignores"):
        collate(pairs)
