"""Names of earlier releases work as before, and warn."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid import Loss
from pellucid.doctor import Check, Diagnosis, Finding, Remedy
from pellucid.layers import Trait


def find_nothing(case: Any) -> list[Finding]:
    return []


@pytest.mark.parametrize(
    ("make", "old", "new"),
    [
        (lambda **values: Check("mine", **values), {"look": find_nothing}, "find"),
        (lambda **values: Check("mine", find_nothing, **values), {"direct": True}, "finds_faults"),
        (lambda **values: Check("mine", find_nothing, **values), {"own_trial": True}, "runs_trial"),
        (lambda **values: Finding("mine", "train", {}, **values), {"direct": True}, "is_fault"),
        (lambda **values: Remedy(apply=find_nothing, **values), {"does": "change it"}, "description"),
    ],
)
def test_an_old_argument_and_attribute_work_and_warn(make: Any, old: dict[str, Any], new: str) -> None:
    ((old_name, value),) = old.items()
    with pytest.warns(DeprecationWarning, match=rf": {old_name} is named {new}; the old name will be removed in 0\.4"):
        built = make(**old)
    assert getattr(built, new) == value
    with pytest.warns(DeprecationWarning, match=f"{old_name} is named {new}"):
        assert getattr(built, old_name) == value


def test_an_old_method_works_and_warns() -> None:
    check = Check("mine", find_nothing, trained=True)
    with pytest.warns(DeprecationWarning, match="cannot_ask is named skip_reason"):
        assert callable(check.cannot_ask)


def test_new_names_do_not_warn(recwarn: pytest.WarningsRecorder) -> None:
    assert replace(Check("mine", find_nothing), runs_trial=True).runs_trial
    assert not recwarn.list


def test_old_attributes_of_a_diagnosis_work_and_warn() -> None:
    diagnosis = Diagnosis((), (), {}, {}, {}, (), True)
    for old, new in (("follows", "cause_by_consequence"), ("gone", "resolved"), ("effects", "intervention_effects")):
        with pytest.warns(DeprecationWarning, match=f"{old} is named {new}"):
            assert getattr(diagnosis, old) == getattr(diagnosis, new)


def test_old_traits_are_the_new_ones() -> None:
    assert (Trait.SUM, Trait.MERGE) == (Trait.ADDITIVE, Trait.MULTIPLE_INPUTS)


def test_a_loss_with_the_methods_of_an_earlier_release_is_used_and_warns() -> None:
    def compute(self: Loss, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        return (y - target).abs().mean(), (y - target).sign() / y.numel()

    methods = {
        "kept": lambda self, target: target > 0,
        "counted": lambda self, target: 3.0,
        "judged": lambda self, y: y[0],
    }
    for old, new in (("kept", "valid_mask"), ("counted", "total_weight"), ("judged", "main_output")):
        message = rf"Old\.{old} is named {new}; the old name will be removed in 0\.4"
        with pytest.warns(DeprecationWarning, match=message):
            old_class = type("Old", (Loss,), {"compute": compute, old: methods[old]})
        loss = old_class()
        target = torch.tensor([1.0, -1.0])
        expected = {"kept": [True, False], "counted": 3.0, "judged": 1.0}[old]
        result = getattr(loss, new)(target)
        assert (result.tolist() if isinstance(result, Tensor) else result) == expected
