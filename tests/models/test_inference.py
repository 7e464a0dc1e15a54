"""Networks of the zoo with few filters, converted for inference."""

from typing import Any

import pytest
import torch

from pellucid.fuse.inference import inference
from pellucid.fuse.inference.runs import Affine
from tests.fuse.test_inference import TOLERANCE, all_parts, compare_with_reference
from tests.models.test_gradients import CASES, small_sample


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("name", "options", "side"), CASES)
def test_networks_converted_for_inference_predict_the_same(
    name: str, options: dict[str, Any], side: int, dtype: torch.dtype
) -> None:
    sample = small_sample(name, side, **options)
    compare_with_reference(sample.layer, *sample.inputs(2), dtype)


@pytest.mark.parametrize(("name", "options", "side"), CASES)
def test_norms_after_convolutions_are_folded(name: str, options: dict[str, Any], side: int) -> None:
    sample = small_sample(name, side, **options)
    n_affine = sum(isinstance(part, Affine) for part in all_parts(inference(sample.layer, sample.inputs(2)[0])))
    # A DenseNet's norms of concatenated maps are not folded: 58 in the blocks, 3 in transitions, one at the end.
    assert n_affine == (62 if name == "densenet121" else 0)
