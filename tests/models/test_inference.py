"""The networks of the zoo, with few filters, made ready for prediction."""

from typing import Any

import pytest
import torch

from pellucid.fuse.inference import inference
from pellucid.fuse.inference.runs import Affine
from tests.fuse.test_inference import TOLERANCE, all_parts, compare_with_reference
from tests.models.test_gradients import CASES, small


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("name", "options", "side"), CASES)
def test_the_networks_of_the_zoo_predict_the_same(
    name: str, options: dict[str, Any], side: int, dtype: torch.dtype
) -> None:
    sample = small(name, side, **options)
    compare_with_reference(sample.layer, *sample.inputs(2), dtype)


@pytest.mark.parametrize(("name", "options", "side"), CASES)
def test_no_norm_behind_a_convolution_is_left(name: str, options: dict[str, Any], side: int) -> None:
    sample = small(name, side, **options)
    left = sum(isinstance(one, Affine) for one in all_parts(inference(sample.layer, sample.inputs(2)[0])))
    # Those of a DenseNet that read the maps of several layers: 58 in the blocks, 3 in transitions, one at the end.
    assert left == (62 if name == "densenet121" else 0)
