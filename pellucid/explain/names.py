"""Names of classes and outputs in the targets of explanations, and targets as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_known
from pellucid.explain.target import Region

MINUS = " - "  # between two classes, for their difference


def target_by_index(target: Any, classes: Sequence[str] | None, outputs: Sequence[str] = ()) -> Any:
    """Return the target of an explanation, see `aim`, with indices instead of the names of classes and outputs.

    "cat - dog" is the difference of two classes. Raises PellucidError for an unknown name.
    """
    if isinstance(target, str):
        return _target_of_name(target, classes)
    if isinstance(target, list):
        return [target_by_index(part, classes, outputs) for part in target]
    if isinstance(target, Mapping):
        weights: dict[Any, float] = {}
        for part, weight in target.items():
            index = target_by_index(part, classes, outputs)
            weights[index] = weights[index] + weight if index in weights else weight
        return weights
    if isinstance(target, tuple):
        first, *rest = target or (None,)
        if isinstance(first, str):
            check_known("no output", first, outputs)
            first = outputs.index(first)
        return (first, *(target_by_index(part, classes, outputs) for part in rest)) if target else target
    return target


def _target_of_name(target: str, classes: Sequence[str] | None) -> Any:
    if classes is not None and target in classes:
        return classes.index(target)
    if "[" in target:
        return target  # the path of a unit
    if target.isdecimal() and (classes is None or int(target) < len(classes)):
        return int(target)
    if MINUS in target:
        terms = [_target_of_name(term.strip(), classes) for term in target.split(MINUS)]
        if len(terms) != 2 or terms[0] == terms[1]:
            raise PellucidError(
                f"target {target!r}: a difference has two different classes; give other sums as a dict of weights, "
                "such as {3: 1.0, 5: -0.5, 7: -0.5}"
            )
        return {terms[0]: 1.0, terms[1]: -1.0}
    if classes is not None:
        check_known("no", target, classes)
    return target


def target_text(target: Any, classes: Sequence[str]) -> str:
    """Return a target as text: the name of a class, with the pixels of a region, a difference, or a path."""
    if isinstance(target, Region):
        return f"{classes[int(target.classes[0])]} {target.where}".rstrip()
    if isinstance(target, Mapping):
        terms = [_term_text(target_text(part, classes), weight) for part, weight in target.items()]
        return " ".join(terms).removeprefix("+ ")
    if isinstance(target, int):
        return classes[target] if len(classes) > 1 else "the output"
    return "the output" if target is None else str(target)


def _term_text(name: str, weight: float) -> str:
    sign = "-" if weight < 0 else "+"
    magnitude = abs(weight)
    return f"{sign} {name}" if magnitude == 1 else f"{sign} {magnitude:g} {name}"
