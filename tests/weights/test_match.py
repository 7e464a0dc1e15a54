"""Differences between the tensors of a network and of a file, all in one error."""

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.weights import Mismatch, MismatchError, match, require_match

EXPECTED = {"a.weight": torch.empty(2, 3, device="meta"), "a.bias": torch.empty(2, device="meta")}


def test_equal_names_shapes_and_dtypes_match():
    file_tensors = {"a.bias": torch.zeros(2), "a.weight": torch.zeros(2, 3)}
    assert match(EXPECTED, file_tensors) == []
    require_match("file", EXPECTED, file_tensors)


def test_all_kinds_of_difference_are_listed():
    file_tensors = {"a.weight": torch.zeros(3, 2), "b": torch.tensor(1)}
    assert match(EXPECTED, file_tensors) == [
        Mismatch("a.bias", "float32 2", None),
        Mismatch("b", None, "int64 number"),
        Mismatch("a.weight", "float32 2x3", "float32 3x2"),
    ]
    assert match(EXPECTED, {**EXPECTED, "a.bias": torch.zeros(2).half()}) == [
        Mismatch("a.bias", "float32 2", "float16 2")
    ]


def test_error_message_has_five_mismatches_and_the_error_has_all():
    expected = {f"layer{k}": torch.zeros(1) for k in range(7)}
    with pytest.raises(PellucidError) as info:
        require_match("the/file.pth", expected, {"x\n": torch.zeros(2)})
    assert str(info.value) == (
        "the/file.pth does not fit the network: layer0 is missing; layer1 is missing; layer2 is missing; "
        "layer3 is missing; layer4 is missing; and 3 more, which --debug lists; give the file of this network"
    )
    assert isinstance(info.value, MismatchError)
    assert [mismatch.path for mismatch in info.value.mismatches] == [*expected, "x\n"]
    assert str(info.value.mismatches[-1]) == "x\\n is not in the network"
    assert info.value.__notes__ == ["layer5 is missing", "layer6 is missing", "x\\n is not in the network"]


def test_the_error_describes_shapes_and_dtypes():
    with pytest.raises(MismatchError, match=r"a\.bias is int64 4, not float32 2; give"):
        require_match("f", {"a.bias": torch.zeros(2)}, {"a.bias": torch.zeros(4, dtype=torch.int64)})
