"""Inputs and targets from whatever the user has."""

import numpy as np
import pytest
import torch

from pellucid.data import Dataset
from pellucid.errors import PellucidError
from pellucid.training.examples import as_inputs, examples, split


def test_a_data_set_is_taken_as_it_is():
    data = Dataset.from_arrays(np.zeros((2, 3, 4, 4), np.uint8), [0, 1], ["a", "b"])
    found = examples(data)
    assert found.x is data.x
    assert (found.classes, found.checksum, len(found)) == (("a", "b"), data.checksum, 2)
    with pytest.raises(PellucidError, match="has its own labels"):
        examples(data, [0, 1])


def test_arrays_keep_their_shape():
    found = examples([[0.5, 1.0]] * 3, [[0.25], [0.5], [1]])
    assert (found.x.shape, found.x.dtype) == ((3, 2), torch.float32)
    assert (found.y.shape, found.y.dtype) == ((3, 1), torch.float32)
    assert found.classes is None


def test_the_checksum_depends_on_values_shapes_and_types():
    x = np.arange(6, dtype="f")
    sums = {
        examples(x.reshape(2, 3), [0, 1]).checksum,
        examples(x.reshape(2, 3, 1), [0, 1]).checksum,
        examples(x.reshape(2, 3), [1, 0]).checksum,
        examples(x.reshape(2, 3).astype(np.uint8), [0, 1]).checksum,
        examples(x.reshape(2, 3) + 1, [0, 1]).checksum,
    }
    assert len(sums) == 5
    assert examples(x.reshape(2, 3), [0, 1]).checksum in sums


def test_halves_and_doubles_become_float32():
    assert as_inputs(np.zeros((1, 2))).dtype == torch.float32
    assert as_inputs(torch.zeros(1, 2, dtype=torch.float16)).dtype == torch.float32


def test_a_split_is_a_partition_in_order_that_the_seed_decides():
    whole = examples(np.arange(20, dtype="f")[:, None], np.arange(20))
    rest, part = split(whole, 0.25, seed=1)
    assert (len(rest), len(part)) == (15, 5)
    for one in (rest, part):
        assert torch.equal(one.x[:, 0].long(), one.y)
        assert torch.equal(one.y, one.y.sort().values)
    assert sorted([*rest.y.tolist(), *part.y.tolist()]) == list(range(20))
    assert torch.equal(split(whole, 0.25, seed=1)[1].y, part.y)
    assert not torch.equal(split(whole, 0.25, seed=2)[1].y, part.y)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 1.5, 0.01])
def test_a_split_that_leaves_a_part_empty_is_refused(fraction):
    with pytest.raises(PellucidError, match="leaves a part empty"):
        split(examples([[0.0]] * 20, [0] * 20), fraction, 0)
