"""The comparisons with Captum and Zennit: their cases are complete, and slightly wrong explanations fail."""

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from conformance.case import Case
from pellucid import explain, rules
from pellucid.layers import Mode

if find_spec("captum") is None or find_spec("zennit") is None:
    pytest.skip("Captum and Zennit are not installed: pip install captum zennit", allow_module_level=True)

from conformance.explanations import captum_side, cases, zennit_rules, zennit_side
from conformance.explanations.networks import FAMILIES, MOBILENET, RESNET, VGG, draw_pair
from tests.oracle import assert_close

pytestmark = pytest.mark.slow


def test_the_cases_of_a_row_are_consecutive_and_have_unique_names() -> None:
    rows: list[tuple[str, Any]] = []
    names: set[tuple[str, Any, str]] = set()
    for case in cases():
        if (case.suite, case.subject) not in rows[-1:]:
            assert (case.suite, case.subject) not in rows
            rows.append((case.suite, case.subject))
        assert (case.suite, case.subject, case.name) not in names
        names.add((case.suite, case.subject, case.name))
        assert case.suite.startswith(("Captum", "Zennit"))
        assert isinstance(case, Case)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_both_networks_are_the_same(family: Any) -> None:
    pair = draw_pair(family, zennit_side.StackedSum)
    with torch.no_grad():
        expected = pair.module(pair.x)
    actual, _ = pair.net.forward(pair.params, pair.x, Mode())
    assert_close(actual, expected, 1e-12)


def test_a_slightly_wrong_rule_fails() -> None:
    usual = next(usual for usual in zennit_side.composite_pairs() if usual.name == "EpsilonPlus")
    assert zennit_side.compare(usual, RESNET, 0) <= zennit_side.TOLERANCE
    wrong = replace(usual, pellucid=rules.epsilon_plus(epsilon=1.01e-6))
    assert zennit_side.compare(wrong, RESNET, 0) > zennit_side.TOLERANCE
    wrong = replace(usual, pellucid=rules.epsilon_plus(stabilizer=1.1e-6))
    assert zennit_side.compare(wrong, MOBILENET, 0) > zennit_side.TOLERANCE


def test_a_slightly_wrong_method_fails() -> None:
    method = next(method for method in captum_side.methods() if method.name == "IntegratedGradients riemann_left")
    assert captum_side.compare(method, VGG, 0) <= method.tolerance
    wrong = replace(method, attribute=lambda pair: explain.integrated_gradients(
        pair.net, pair.params, pair.x, pair.target, steps=20, quadrature="middle", baseline=0.2))  # fmt: skip
    assert captum_side.compare(wrong, VGG, 0) > method.tolerance


def test_zennits_rules_are_compared_on_every_kind_of_layer() -> None:
    names = [case.name for case in zennit_rules.cases()]
    for kind in ("Dense", "Conv2d", "ConvTranspose2d", "AvgPool2d", "AdaptiveAvgPool2d"):
        assert any(kind in name for name in names)
