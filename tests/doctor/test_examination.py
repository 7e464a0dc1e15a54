"""How findings become a diagnosis: causes first, consequences named, remedies tried."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pkgutil import iter_modules

import pytest
import torch

from pellucid.doctor import Check, Finding, Remedy, case_of, checks, diagnose
from pellucid.doctor.case import UnansweredError
from pellucid.doctor.checks import CHECKS
from pellucid.doctor.examination import examine
from pellucid.doctor.remedies import rebuilt
from pellucid.optim import SGD
from pellucid.optim.schedules import Cosine, Warmup
from pellucid.tasks.generate.doctor import CHECKS as GENERATOR_CHECKS
from tests.doctor.small_cases import conv_net, corners, make_case, make_model, with_rate


def check_that_finds(
    name: str, *paths: str, explains: Sequence[str] = (), remedy: Remedy | None = None, finds_faults: bool = False
) -> Check:
    """Return a check with the same findings for every case; faults if `finds_faults`, or if it explains others."""
    findings = [Finding(name, path, {"number": 0.5}, f"{name} is so", f"mend {name}", remedy) for path in paths]
    return Check(name, lambda case: findings, tuple(explains), finds_faults=finds_faults or bool(explains))


def test_diagnosis_without_findings_is_healthy() -> None:
    diagnosis = diagnose(make_case(), checks=[check_that_finds("a"), check_that_finds("b")])
    assert diagnosis.healthy
    assert (diagnosis.names, diagnosis.checks) == ((), ("a", "b"))


def test_causes_come_before_their_consequences() -> None:
    checks = [
        check_that_finds("symptom", "relu"),
        check_that_finds("other", "train"),
        check_that_finds("cause", "training", explains=("symptom", "absent")),
    ]
    diagnosis = diagnose(make_case(), checks=checks)
    assert diagnosis.names == ("cause", "other", "symptom")
    assert (diagnosis.causes, diagnosis.symptoms, diagnosis.cause_by_consequence) == (("cause",), {1}, {2: "cause"})


def test_without_an_experiment_nothing_is_proven_and_nothing_goes_away() -> None:
    """`diagnose` with given checks and `examine`, as used for detectors, make no trials and report likely causes."""
    fake_checks = [check_that_finds("fault", "train", explains=("symptom",)), check_that_finds("symptom", "relu")]
    for diagnosis in (diagnose(make_case(), checks=fake_checks), examine(make_case(), fake_checks)):
        assert [diagnosis.kind(index) for index in (0, 1)] == ["likely cause", "consequence"]
        assert diagnosis.causes == ("fault",)
        for text in (str(diagnosis), diagnosis._repr_html_()):
            assert "goes away" not in text
            assert "may follow from fault" in text
        findings = diagnosis.to_json()["findings"]
        assert [(finding["proven"], finding["goes_away"]) for finding in findings] == [(False, False)] * 2


def test_copies_of_inputs_are_a_likely_cause() -> None:
    """Copies are certain, but their harm is not measured."""
    x, y = corners()
    diagnosis = diagnose(case_of(make_model(), torch.cat([x, x]), torch.cat([y, y])))
    assert diagnosis.kind(diagnosis.names.index("duplicated-inputs")) == "likely cause"
    assert "goes away" not in str(diagnosis)


def test_a_check_that_finds_nothing_explains_nothing() -> None:
    diagnosis = diagnose(
        make_case(), checks=[check_that_finds("cause", explains=("symptom",)), check_that_finds("symptom", "relu")]
    )
    assert (diagnosis.names, diagnosis.cause_by_consequence) == (("symptom",), {})


def test_a_consequence_of_two_causes_names_the_first_check() -> None:
    fake_checks = [
        check_that_finds("a", "train", explains=("c",)),
        check_that_finds("b", "train", explains=("c",)),
        check_that_finds("c", "relu"),
    ]
    assert diagnose(make_case(), checks=fake_checks).cause_by_consequence == {2: "a"}


def test_checks_that_explain_each_other_leave_one_cause() -> None:
    fake_checks = [
        check_that_finds("a", "x", explains=("b",)),
        check_that_finds("b", "x", explains=("c", "a")),
        check_that_finds("c", "x", explains=("a", "b")),
    ]
    diagnosis = diagnose(make_case(), checks=fake_checks)
    assert diagnosis.names == ("a", "b", "c")
    assert diagnosis.cause_by_consequence == {1: "a", 2: "b"}


def test_only_remedies_of_causes_are_tried_and_shared_ones_once() -> None:
    applied: list[str] = []

    def remedy(name: str) -> Remedy:
        return Remedy(name, lambda case: applied.append(name) or with_rate(case, 0.1))

    fake_checks = [
        check_that_finds("cause", "relu1", "relu2", explains=("symptom",), remedy=remedy("slower")),
        check_that_finds("symptom", "dense", remedy=remedy("never")),
        check_that_finds("helpless", "train", finds_faults=True),
    ]
    assert diagnose(make_case(), checks=fake_checks).attempts == {}
    diagnosis = diagnose(make_case(), attempts=True, checks=fake_checks)
    assert applied == ["slower"]
    assert set(diagnosis.attempts) == {0, 1}
    assert diagnosis.attempts[0] is diagnosis.attempts[1]


def test_checks_that_need_an_unknown_training_are_left_out() -> None:
    rehearsing_check = Check("rehearses", lambda case: [] * len(case.rehearsal.losses))
    diagnosis = diagnose(
        replace(make_case(), trainable=False), checks=[rehearsing_check, check_that_finds("a", "train")]
    )
    assert diagnosis.checks == ("a",)
    assert "give the run folder" in diagnosis.left_out["rehearses"]
    assert diagnose(make_case(), checks=[rehearsing_check]).left_out == {}
    with pytest.raises(UnansweredError):
        diagnose(replace(make_case(), trainable=False), attempts=True, checks=[])


def test_json_contains_findings_and_attempts() -> None:
    remedy = Remedy("slower", lambda case: with_rate(case, 0.1))
    fake_checks = [
        check_that_finds("cause", "relu", explains=("symptom",), remedy=remedy),
        check_that_finds("symptom", "dense", remedy=remedy),
    ]
    cause, symptom = json.loads(json.dumps(diagnose(make_case(), True, fake_checks).to_json()))["findings"]
    assert (cause["check"], cause["path"], cause["evidence"]) == ("cause", "relu", {"number": 0.5})
    assert (cause["follows_from"], cause["can_try"]) == (None, "slower")
    assert (cause["tried"]["does"], cause["tried"]["steps"]) == ("slower", 400)
    assert (symptom["follows_from"], symptom["tried"]) == ("cause", None)
    assert (cause["cause"], cause["fix"]) == ("cause is so", "mend cause")
    assert (symptom["cause"], symptom["fix"], symptom["can_try"]) == (None, None, None)  # those of its cause apply


def test_a_model_that_was_not_trained_is_reported() -> None:
    diagnosis = diagnose(make_case(), checks=[check_that_finds("a", "train")])
    assert "not trained yet" in str(diagnosis).split("\n\n")[1]
    assert (diagnosis.to_json()["trained"], len(diagnosis.to_json()["notes"])) == (False, 1)
    diagnosis = diagnose(replace(make_case(epochs=1), notes=("it was cut",)), checks=[])
    assert (diagnosis.to_json()["trained"], diagnosis.to_json()["notes"]) == (True, ["it was cut"])


def test_every_check_is_in_the_table_with_a_unique_name_and_explains_only_others() -> None:
    names = [check.name for check in CHECKS]
    files = [module.name for module in iter_modules(checks.__path__)]
    assert sorted(names) == sorted(name.replace("_", "-") for name in files)
    assert len(set(names)) == len(names)
    known_names = {*names, *(check.name for check in GENERATOR_CHECKS)}
    for check in (*CHECKS, *GENERATOR_CHECKS):
        assert set(check.explains) <= known_names - {check.name}


def test_model_doctor_builds_its_own_case() -> None:
    x, y = corners()
    model = make_model()
    model.fit(x, y, epochs=8, batch_size=16, verbose=False)
    options = {"validation": corners(40, seed=1), "batch_size": 16}
    assert model.doctor(x, y, **options).to_json() == diagnose(case_of(model, x, y, **options)).to_json()


@pytest.mark.slow
def test_a_high_rate_with_warmup_has_no_finding() -> None:
    options = {"optimizer": SGD(15.0), "epochs": 50}  # 30 times the usual rate, 200 steps
    with_warmup = {**options, "schedule": Warmup(100, Cosine())}
    assert make_case(**with_warmup).model.evaluate(*corners())["loss"] < 1e-3
    initial_cases = [
        replace(rebuilt(make_case(**one)), epochs=50)
        for one in ({**options, "epochs": 0}, {**with_warmup, "epochs": 0})
    ]
    assert [diagnose(case).names for case in initial_cases] == [("learning-rate-too-high",), ()]
    assert diagnose(make_case(**with_warmup)).healthy


def test_a_frozen_part_is_examined_as_it_was_loaded() -> None:
    x, y = corners()
    model = make_model(conv_net())
    model.fit(x, y, epochs=8, batch_size=16, verbose=False)
    model.freeze("conv1.*", "norm.*", "block.*")
    model.weights["scores.weight"].copy_(make_model(conv_net()).weights["scores.weight"])
    model.weights["scores.bias"].zero_()
    assert model.doctor(x, y, batch_size=16, epochs=8).healthy  # the head is not trained yet


@pytest.mark.slow
def test_findings_are_the_same_with_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    case = replace(make_case(conv_net(), optimizer=SGD(30.0)), epochs=8)  # no trial makes more steps than the training
    names = diagnose(case).names
    assert names
    monkeypatch.setattr("pellucid.doctor.passes.MAX_PASS_BYTES", 4 * 1_000 * 12)
    assert diagnose(replace(case)).names == names  # a copy without cached measurements


def test_checks_with_too_little_data_are_skipped_with_their_reason() -> None:
    diagnosis = diagnose(case_of(make_model(), *corners(1)))
    assert diagnosis.healthy or "underfitting" not in diagnosis.names
    assert diagnosis.left_out["underfitting"] == "needs 50 training examples"
    assert diagnosis.left_out["duplicated-inputs"] == "needs 2 training examples"
    assert diagnosis.left_out["overfitting"] == "needs validation data"
    assert set(diagnosis.checks) | set(diagnosis.left_out) == {check.name for check in CHECKS}
    assert not set(diagnosis.checks) & set(diagnosis.left_out)
    skip_reasons = diagnose(case_of(make_model(), *corners(60), validation=corners(3))).left_out
    assert skip_reasons["confused-labels"] == "needs 200 training examples"
    assert skip_reasons["underfitting"] == "needs a trained model"


def test_no_check_is_skipped_with_enough_data() -> None:
    model = make_model()
    x, y = corners(400)
    model.fit(x, y, epochs=1, batch_size=16, verbose=False)
    assert diagnose(case_of(model, x, y, validation=(x, y), batch_size=16)).left_out == {}
