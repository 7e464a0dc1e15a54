"""Captum's and Zennit's explanations beside ours: what passes, what is skipped, and what would be seen."""

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from pellucid import explain, rules
from pellucid.explain import METHODS
from pellucid.layers import Mode
from pellucid.rules import COMPOSITES, Epsilon, Gamma, ZPlus
from pellucid.scorecard.case import Case

if find_spec("captum") is None or find_spec("zennit") is None:
    pytest.skip("Captum and Zennit are not installed: pip install captum zennit", allow_module_level=True)

from pellucid.scorecard.explanations import captum_side, cases, zennit_rules, zennit_side
from pellucid.scorecard.explanations.networks import FAMILIES, MOBILENET, RESNET, VGG, pair
from pellucid.scorecard.tally import count
from tests.oracle import assert_close


@pytest.fixture(scope="module")
def rows() -> list[Any]:
    return list(count(cases(), every=2))


def test_nothing_fails_and_only_what_the_tools_cannot_is_skipped(rows: list[Any]) -> None:
    assert [failure for row in rows for failure in row.failures] == []
    assert {reason for row in rows for reason in row.skips} <= {
        "Captum guides nn.ReLU only, not nn.ReLU6",
        "inputs below 0, which Captum's rule is not for",
        "Captum's differs from Zennit's and ours where torch.cat joins an input to its map",
    }


def test_every_method_composite_and_rule_that_a_tool_has_too_is_reached(rows: list[Any]) -> None:
    passed = {row.subject for row in rows if row.passed}
    # Neither has it, see tests/explain/test_gradcam.py.
    assert {*METHODS.values()} - passed == {explain.gradcam_plus_plus}
    made = {*COMPOSITES.values(), rules.guided_backprop, rules.deconvnet} - passed
    assert made <= {rules.epsilon_everywhere}  # its rule, Epsilon, is
    leaves = {rules.AlphaBeta, rules.Deconv, Epsilon, rules.Flat, Gamma, rules.Guided, rules.Norm, rules.Pass}
    assert leaves | {rules.WSquare, rules.ZBox, ZPlus} <= passed


def test_the_cases_of_a_row_stand_together_and_have_names_of_their_own() -> None:
    seen: list[tuple[str, Any]] = []
    names: set[tuple[str, Any, str]] = set()
    for case in cases():
        if (case.suite, case.subject) not in seen[-1:]:
            assert (case.suite, case.subject) not in seen
            seen.append((case.suite, case.subject))
        assert (case.suite, case.subject, case.name) not in names
        names.add((case.suite, case.subject, case.name))
        assert case.suite.startswith(("Captum", "Zennit"))
        assert isinstance(case, Case)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_both_networks_are_the_same(family: Any) -> None:
    both = pair(family, zennit_side.Stacked)
    with torch.no_grad():
        theirs = both.module(both.x)
    ours, _ = both.net.forward(both.params, both.x, Mode())
    assert_close(ours, theirs, 1e-12)


def test_a_slightly_wrong_rule_is_seen() -> None:
    usual = next(one for one in zennit_side.usuals() if one.name == "EpsilonPlus")
    assert zennit_side.compare(usual, RESNET, 0) <= zennit_side.TOLERANCE
    wrong = replace(usual, ours=rules.epsilon_plus(epsilon=1.01e-6))
    assert zennit_side.compare(wrong, RESNET, 0) > zennit_side.TOLERANCE
    wrong = replace(usual, ours=rules.epsilon_plus(stabilizer=1.1e-6))
    assert zennit_side.compare(wrong, MOBILENET, 0) > zennit_side.TOLERANCE


def test_a_slightly_wrong_method_is_seen() -> None:
    method = next(one for one in captum_side.methods() if one.name == "IntegratedGradients riemann_left")
    assert captum_side.compare(method, VGG, 0) <= method.tolerance
    wrong = replace(method, ours=lambda both: explain.integrated_gradients(
        both.net, both.params, both.x, both.target, steps=20, quadrature="middle", baseline=0.2))  # fmt: skip
    assert captum_side.compare(wrong, VGG, 0) > method.tolerance


def test_zennits_rules_are_tried_on_every_kind_of_layer() -> None:
    names = [case.name for case in zennit_rules.cases()]
    for kind in ("Dense", "Conv2d", "ConvTranspose2d", "AvgPool2d", "AdaptiveAvgPool2d"):
        assert any(kind in name for name in names)
