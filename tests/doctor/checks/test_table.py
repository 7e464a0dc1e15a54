"""What the checks say of each other."""

import ast
from pathlib import Path

import pytest

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of, checks, diagnose
from pellucid.doctor.checks import CHECKS
from pellucid.layers import Dense, Flatten, ReLU
from pellucid.model import Model
from pellucid.tasks.generate.doctor import CHECKS as OF_GENERATORS
from tests.doctor.examined import corners

ORDERED = {check.name: check for check in (*CHECKS, *OF_GENERATORS)}  # the discriminator is asked by both
EXPLAINS = {name: check.explains for name, check in ORDERED.items()}
PLACES = {name: place for place, name in enumerate(ORDERED)}


def test_only_what_is_proven_explains_by_its_name() -> None:
    """Of what a trial establishes, the trial itself tells what goes away."""
    fitted = {"batch-norm", "unnormalised-inputs", "collapsed-predictions"}  # of which some findings are
    assert {check.name for check in CHECKS if check.explains and not check.direct and not check.own_trial} == fitted


def test_causes_are_asked_before_what_follows_from_them() -> None:
    late = [(name, other) for name, others in EXPLAINS.items() for other in others if PLACES[other] < PLACES[name]]
    assert late == []


def test_names_of_evidence_hold_no_numbers_that_change() -> None:
    """Of f-strings as names only those of a part of the data (`other`) and of `direction` are the same in every run."""
    odd: list[str] = []
    for path in Path(checks.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = node.keys if isinstance(node, ast.Dict) else [node.slice] if isinstance(node, ast.Subscript) else []
            inside = [part for name in names if name for part in ast.walk(name) if isinstance(part, ast.JoinedStr)]
            names = {it.id for text in inside for it in ast.walk(text) if isinstance(it, ast.Name)}
            used = names - {"direction", "other", "path"}
            odd += [f"{path.name}: {used}"] if used else []
    assert odd == []


def dead() -> Case:
    """A network no unit of which was ever reached."""

    def begin() -> Model:
        it = Model(Sequential(flatten=Flatten(), dense=Dense(12), relu=ReLU(), scores=Dense(4)), input_shape=(1, 4, 4))
        it.weights["dense.bias"].fill_(-100.0)
        return it

    it, (x, y) = begin(), corners(400)
    it.fit(x, y, epochs=20, batch_size=16, verbose=False)
    return case_of(it, x, y, validation=corners(100, seed=1), batch_size=16, epochs=20, begin=begin)


@pytest.mark.slow
def test_dead_units_of_low_first_biases_go_away_with_these() -> None:
    found = diagnose(dead())
    assert {"dead-units", "underfitting", "collapsed-predictions"} <= set(found.names)
    assert found.causes == ("bad-initialization",)
    follows = {found.findings[place].check: cause for place, cause in found.follows.items()}
    assert follows["dead-units"] == follows["collapsed-predictions"] == "bad-initialization"
