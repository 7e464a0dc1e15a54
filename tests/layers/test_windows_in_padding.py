"""The check for windows that lie in the padding agrees with a loop over the pixels of every window."""

from itertools import product

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.layers import MaxPool2d, Mode
from pellucid.layers.checks import check_windows_overlap_input


def has_window_in_padding(length: int, kernel: int, stride: int, padding: int, dilation: int) -> bool:
    """Return whether a window that slides over the padded row ever covers padding only."""
    row = [False] * padding + [True] * length + [False] * padding
    extent = dilation * (kernel - 1) + 1
    return any(not any(row[start : start + extent : dilation]) for start in range(0, len(row) - extent + 1, stride))


def test_pooling_is_refused_only_if_a_window_lies_in_the_padding() -> None:
    n_refused = 0
    for length, kernel, stride, dilation in product(range(1, 7), range(1, 5), range(1, 4), range(1, 7)):
        for padding in range(kernel // 2 + 1):
            if length + 2 * padding < dilation * (kernel - 1) + 1:
                continue  # the padded row is shorter than a window
            window_arguments = ((length, 9), (kernel, 1), (stride, 1), (padding, 0), (dilation, 1))
            if has_window_in_padding(length, kernel, stride, padding, dilation):
                n_refused += 1
                with pytest.raises(PellucidError, match=f"along its height of {length}"):
                    check_windows_overlap_input(MaxPool2d(2), *window_arguments)
            else:
                check_windows_overlap_input(MaxPool2d(2), *window_arguments)
    assert n_refused > 5


def test_windows_in_the_padding_of_the_width_are_refused() -> None:
    layer = MaxPool2d((1, 2), 1, (0, 1), (1, 2))
    with pytest.raises(PellucidError, match="along its width of 1"):
        layer.forward({}, torch.ones(1, 1, 3, 1), Mode())
