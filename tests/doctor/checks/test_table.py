"""The table of checks: which findings they explain, their order, and the names of their evidence."""

import ast
from pathlib import Path

import pytest

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of, checks, diagnose
from pellucid.doctor.checks import CHECKS
from pellucid.layers import Dense, Flatten, ReLU
from pellucid.model import Model
from pellucid.tasks.generate.doctor import CHECKS as GENERATOR_CHECKS
from tests.doctor.small_cases import corners

CHECK_BY_NAME = {check.name: check for check in (*CHECKS, *GENERATOR_CHECKS)}
EXPLAINED_BY_NAME = {name: check.explains for name, check in CHECK_BY_NAME.items()}
INDEX_BY_NAME = {name: index for index, name in enumerate(CHECK_BY_NAME)}


def test_only_checks_that_find_faults_explain_others() -> None:
    """Other checks list no consequences: experiments determine which findings go away."""
    checks_with_some_faults = {"unnormalised-inputs"}
    assert {check.name for check in CHECKS if check.explains and not check.finds_faults} == checks_with_some_faults


def test_causes_are_checked_before_their_consequences() -> None:
    wrong_order = [
        (name, consequence)
        for name, explained in EXPLAINED_BY_NAME.items()
        for consequence in explained
        if INDEX_BY_NAME[consequence] < INDEX_BY_NAME[name]
    ]
    assert wrong_order == []


def test_names_of_evidence_contain_no_variable_numbers() -> None:
    """An f-string in a name may contain only the name of a part of the data, or `direction`, so runs are comparable."""
    variable_names: list[str] = []
    for path in Path(checks.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = node.keys if isinstance(node, ast.Dict) else [node.slice] if isinstance(node, ast.Subscript) else []
            f_strings = [part for name in names if name for part in ast.walk(name) if isinstance(part, ast.JoinedStr)]
            names = {part.id for text in f_strings for part in ast.walk(text) if isinstance(part, ast.Name)}
            unexpected = names - {"direction", "other_path", "path"}
            variable_names += [f"{path.name}: {unexpected}"] if unexpected else []
    assert variable_names == []


def case_of_low_biases() -> Case:
    """Return the case of a trained network whose hidden units are dead from the start."""

    def begin() -> Model:
        model = Model(
            Sequential(flatten=Flatten(), dense=Dense(12), relu=ReLU(), scores=Dense(4)), input_shape=(1, 4, 4)
        )
        model.weights["dense.bias"].fill_(-100.0)
        return model

    model, (x, y) = begin(), corners(400)
    model.fit(x, y, epochs=20, batch_size=16, verbose=False)
    return case_of(model, x, y, validation=corners(100, seed=1), batch_size=16, epochs=20, begin=begin)


@pytest.mark.slow
def test_underfitting_follows_from_low_initial_biases() -> None:
    diagnosis = diagnose(case_of_low_biases())
    assert "underfitting" in diagnosis.names
    assert diagnosis.causes == ("bad-initialization",)
    cause_by_check = {diagnosis.findings[index].check: cause for index, cause in diagnosis.cause_by_consequence.items()}
    assert cause_by_check["underfitting"] == "bad-initialization"
