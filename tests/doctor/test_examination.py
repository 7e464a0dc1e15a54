"""How findings become a diagnosis: causes first, consequences named, remedies tried."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pkgutil import iter_modules
from typing import Any

import pytest
import torch

from pellucid.doctor import Check, Finding, Remedy, case_of, checks, diagnose
from pellucid.doctor.checks import CHECKS
from pellucid.doctor.examination import examine
from pellucid.doctor.predictions import UnansweredError
from pellucid.doctor.remedies import rebuilt, with_rate
from pellucid.optim import SGD
from pellucid.optim.schedules import Cosine, Warmup
from pellucid.tasks.generate.doctor import CHECKS as OF_GENERATORS
from tests.doctor.examined import case, conv_net, corners, model


def says(
    name: str, *paths: str, explains: Sequence[str] = (), remedy: Remedy | None = None, direct: bool = False
) -> Check:
    """A check that always finds the same, as a proof where it explains something."""
    found = [Finding(name, path, {"number": 0.5}, f"{name} is so", f"mend {name}", remedy) for path in paths]
    return Check(name, lambda case: found, tuple(explains), direct=direct or bool(explains))


def test_diagnosis_without_findings_is_healthy() -> None:
    found = diagnose(case(), checks=[says("a"), says("b")])
    assert found.healthy
    assert (found.names, found.checks) == ((), ("a", "b"))


def test_causes_come_before_what_they_explain() -> None:
    table = [
        says("symptom", "relu"),
        says("other", "train"),
        says("cause", "training", explains=("symptom", "absent")),
    ]
    found = diagnose(case(), checks=table)
    assert found.names == ("cause", "other", "symptom")
    assert (found.causes, found.symptoms, found.follows) == (("cause",), {1}, {2: "cause"})


def test_without_an_experiment_nothing_is_proven_and_nothing_goes_away() -> None:
    """Two tables of checks, one of a detector: neither makes a trial, so both speak of likely causes."""
    table = [says("fault", "train", explains=("symptom",)), says("symptom", "relu")]
    for found in (diagnose(case(), checks=table), examine(case(), table)):
        assert [found.kind(index) for index in (0, 1)] == ["likely cause", "consequence"]
        assert found.causes == ("fault",)
        for text in (str(found), found._repr_html_()):
            assert "goes away" not in text
            assert "which may follow from fault" in text or "may follow from fault</span>" in text
        said = found.to_json()["findings"]
        assert [(one["proven"], one["goes_away"]) for one in said] == [(False, False)] * 2
    assert "1 likely cause and 1 consequence" in str(diagnose(case(), checks=table))


def test_copies_of_inputs_are_a_likely_cause() -> None:
    """Copies are a fact; that they do harm is not measured."""
    x, y = corners()
    found = diagnose(case_of(model(), torch.cat([x, x]), torch.cat([y, y])))
    assert found.kind(found.names.index("duplicated-inputs")) == "likely cause"
    assert "goes away" not in str(found)


def test_a_check_that_finds_nothing_explains_nothing() -> None:
    found = diagnose(case(), checks=[says("cause", explains=("symptom",)), says("symptom", "relu")])
    assert (found.names, found.follows) == (("symptom",), {})


def test_of_two_causes_the_first_check_is_named() -> None:
    table = [says("a", "train", explains=("c",)), says("b", "train", explains=("c",)), says("c", "relu")]
    assert diagnose(case(), checks=table).follows == {2: "a"}


def test_checks_that_explain_each_other_leave_one_cause() -> None:
    table = [says("a", "x", explains=("b",)), says("b", "x", explains=("c", "a")), says("c", "x", explains=("a", "b"))]
    found = diagnose(case(), checks=table)
    assert found.names == ("a", "b", "c")
    assert found.follows == {1: "a", 2: "b"}


def test_only_remedies_of_causes_are_tried_and_shared_ones_once() -> None:
    applied: list[str] = []

    def remedy(name: str) -> Remedy:
        return Remedy(name, lambda it: applied.append(name) or with_rate(it, 0.1))

    table = [
        says("cause", "relu1", "relu2", explains=("symptom",), remedy=remedy("slower")),
        says("symptom", "dense", remedy=remedy("never")),
        says("helpless", "train", direct=True),
    ]
    assert diagnose(case(), checks=table).attempts == {}
    found = diagnose(case(), attempts=True, checks=table)
    assert applied == ["slower"]
    assert set(found.attempts) == {0, 1}
    assert found.attempts[0] is found.attempts[1]


def test_checks_that_need_an_unknown_training_are_left_out() -> None:
    rehearses = Check("rehearses", lambda it: [] * len(it.rehearsal.losses))
    found = diagnose(replace(case(), trainable=False), checks=[rehearses, says("a", "train")])
    assert found.checks == ("a",)
    assert "give the run folder" in found.left_out["rehearses"]
    assert diagnose(case(), checks=[rehearses]).left_out == {}
    with pytest.raises(UnansweredError):
        diagnose(replace(case(), trainable=False), attempts=True, checks=[])


def test_json_holds_all_of_it() -> None:
    remedy = Remedy("slower", lambda it: with_rate(it, 0.1))
    table = [says("cause", "relu", explains=("symptom",), remedy=remedy), says("symptom", "dense", remedy=remedy)]
    cause, symptom = json.loads(json.dumps(diagnose(case(), True, table).to_json()))["findings"]
    assert (cause["check"], cause["path"], cause["evidence"]) == ("cause", "relu", {"number": 0.5})
    assert (cause["follows_from"], cause["can_try"]) == (None, "slower")
    assert cause["tried"]["loss"]["after"] > 0
    assert (symptom["follows_from"], symptom["tried"]) == ("cause", None)
    assert (cause["cause"], cause["fix"]) == ("cause is so", "mend cause")
    assert (symptom["cause"], symptom["fix"], symptom["can_try"]) == (None, None, None)  # the parent's are what counts


def test_a_model_that_was_not_trained_is_reported() -> None:
    found = diagnose(case(), checks=[says("a", "train")])
    assert "not trained yet" in str(found).split("\n")[2]
    assert (found.to_json()["trained"], len(found.to_json()["notes"])) == (False, 1)
    found = diagnose(replace(case(epochs=1), notes=("it was cut",)), checks=[])
    assert (found.to_json()["trained"], found.to_json()["notes"]) == (True, ["it was cut"])


def test_every_check_is_in_the_table_with_a_name_of_its_own_and_explains_others() -> None:
    names = [check.name for check in CHECKS]
    files = [one.name for one in iter_modules(checks.__path__)]
    assert sorted(names) == sorted(name.replace("_", "-") for name in files)
    assert len(set(names)) == len(names)
    known = {*names, *(check.name for check in OF_GENERATORS)}
    for check in (*CHECKS, *OF_GENERATORS):
        assert set(check.explains) <= known - {check.name}


def test_model_doctor_builds_its_own_case() -> None:
    x, y = corners()
    it = model()
    it.fit(x, y, epochs=8, batch_size=16, verbose=False)
    options = {"validation": corners(40, seed=1), "batch_size": 16}
    assert it.doctor(x, y, **options).to_json() == diagnose(case_of(it, x, y, **options)).to_json()


@pytest.mark.slow
def test_a_rate_that_a_schedule_makes_good_is_quiet() -> None:
    options = {"optimizer": SGD(15.0), "epochs": 50}  # 30 times the usual rate, 200 steps
    warm = {**options, "schedule": Warmup(100, Cosine())}
    assert case(**warm).model.evaluate(*corners())["loss"] < 1e-3
    begun = [replace(rebuilt(case(**one)), epochs=50) for one in ({**options, "epochs": 0}, {**warm, "epochs": 0})]
    assert [diagnose(it).names for it in begun] == [("learning-rate-too-high",), ()]
    assert diagnose(case(**warm)).healthy


def test_a_frozen_part_is_examined_as_it_was_loaded() -> None:
    x, y = corners()
    it = model(conv_net())
    it.fit(x, y, epochs=8, batch_size=16, verbose=False)
    it.freeze("conv1.*", "norm.*", "block.*")
    it.weights["scores.weight"].copy_(model(conv_net()).weights["scores.weight"])
    it.weights["scores.bias"].zero_()
    assert it.doctor(x, y, batch_size=16, epochs=8).healthy  # a head that is still to be trained


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"epochs": 8}, {"optimizer": SGD(1e4)}])
def test_without_room_for_all_examples_the_same_is_found(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = replace(case(conv_net(), **options), epochs=8)  # no trial makes more steps than the training
    names = diagnose(it).names
    assert names
    monkeypatch.setattr("pellucid.doctor.passes.MAX_PASS_BYTES", 4 * 1_000 * 12)
    monkeypatch.setattr("pellucid.doctor.passes.MAX_ACTIVITY_BYTES", 4 * 64 * 11 * 24)
    assert diagnose(replace(it)).names == names  # a copy, which has measured nothing


def test_checks_that_cannot_ask_are_left_out_with_their_reason() -> None:
    found = diagnose(case_of(model(), *corners(1)))
    assert found.healthy or "underfitting" not in found.names
    assert found.left_out["underfitting"] == "needs 50 training examples"
    assert found.left_out["duplicated-inputs"] == "needs 2 training examples"
    assert found.left_out["overfitting"] == "needs validation data"
    assert set(found.checks) | set(found.left_out) == {check.name for check in CHECKS}
    assert not set(found.checks) & set(found.left_out)
    few = diagnose(case_of(model(), *corners(60), validation=corners(3))).left_out
    assert few["miscalibration"] == "needs 200 validation examples"
    assert few["underfitting"] == "needs a trained model"


def test_none_is_left_out_where_all_can_ask() -> None:
    it = model()
    x, y = corners(400)
    it.fit(x, y, epochs=1, batch_size=16, verbose=False)
    assert diagnose(case_of(it, x, y, validation=(x, y), batch_size=16)).left_out == {}
