"""What the checks say of each other."""

import ast
from pathlib import Path

import pytest

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of, checks, diagnose
from pellucid.doctor.checks import CHECKS
from pellucid.layers import Dense, Flatten, ReLU
from pellucid.train.model import Model
from tests.doctor.examined import corners

EXPLAINS = {check.name: check.explains for check in CHECKS}
PLACES = {check.name: place for place, check in enumerate(CHECKS)}


@pytest.mark.parametrize(
    "cause", ["dead-units", "saturated-units", "vanishing-gradients", "exploding-gradients", "symmetric-init"]
)
def test_what_keeps_units_from_learning_explains_a_poor_fit(cause: str) -> None:
    assert {"underfitting", "collapsed-predictions"} <= set(EXPLAINS[cause])


def test_causes_are_asked_before_what_follows_from_them() -> None:
    late = [(name, other) for name, others in EXPLAINS.items() for other in others if PLACES[other] < PLACES[name]]
    assert late == []


def test_names_of_evidence_hold_no_numbers_that_change() -> None:
    """Of f-strings as names only those that name a part of the data (`other`) are the same in every run."""
    odd: list[str] = []
    for path in Path(checks.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = node.keys if isinstance(node, ast.Dict) else [node.slice] if isinstance(node, ast.Subscript) else []
            inside = [part for name in names if name for part in ast.walk(name) if isinstance(part, ast.JoinedStr)]
            used = {it.id for text in inside for it in ast.walk(text) if isinstance(it, ast.Name)} - {"other", "path"}
            odd += [f"{path.name}: {used}"] if used else []
    assert odd == []


def dead() -> Case:
    """A network no unit of which was ever reached."""

    def begin() -> Model:
        it = Model(Sequential(flatten=Flatten(), dense=Dense(12), relu=ReLU(), scores=Dense(4)), input_shape=(1, 4, 4))
        it.weights["dense.bias"].fill_(-100.0)
        return it

    it, (x, y) = begin(), corners(400)
    it.fit(x, y, epochs=3, batch_size=16, verbose=False)
    return case_of(it, x, y, validation=corners(100, seed=1), batch_size=16, epochs=3, begin=begin)


def test_dead_units_are_the_cause_of_collapse_and_poor_fit() -> None:
    found = diagnose(dead())
    assert {"dead-units", "underfitting", "collapsed-predictions"} <= set(found.names)
    follows = {found.findings[place].check: cause for place, cause in found.follows.items()}
    assert follows["collapsed-predictions"] == "dead-units"
    assert follows["underfitting"] == "dead-units"
