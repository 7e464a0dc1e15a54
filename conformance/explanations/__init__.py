"""Our explanations compared with Captum's and Zennit's."""

from collections.abc import Iterator

from conformance.case import Case
from conformance.explanations import captum_side, reuse, worked, zennit_attributors, zennit_rules, zennit_side


def cases() -> Iterator[Case]:
    """Yield a case for every method, rule and composite that Captum or Zennit also has, and for Captum's examples."""
    for part in (captum_side, worked, zennit_rules, zennit_side, zennit_attributors, reuse):
        yield from part.cases()
