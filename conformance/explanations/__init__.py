"""Captum's and Zennit's explanations beside ours."""

from collections.abc import Iterator

from conformance.case import Case
from conformance.explanations import captum_side, reuse, worked, zennit_attributors, zennit_rules, zennit_side


def cases() -> Iterator[Case]:
    """Yield the cases of every method, rule and composite that Captum or Zennit has too, and Captum's own examples."""
    for part in (captum_side, worked, zennit_rules, zennit_side, zennit_attributors, reuse):
        yield from part.cases()
