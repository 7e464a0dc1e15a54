"""A diagnosis as groups, text and HTML."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pellucid.doctor import Diagnosis, Finding
from pellucid.doctor.diagnosis import (
    footnote,
    format_value,
    group_findings,
    headline,
    ineffective_changes,
    summary,
    without_refuted_causes,
)
from pellucid.doctor.intervention import MeasuredEffect
from tests.doctor.example_diagnoses import diagnosis_with_findings, healthy_diagnosis


def test_findings_are_grouped_below_their_causes() -> None:
    rate, duplicates = group_findings(diagnosis_with_findings())
    assert (rate.first.check, duplicates.first.check) == ("learning-rate", "duplicates")
    (dead_units,) = rate.consequences
    assert [group.path for group in dead_units.findings] == ["block.relu1", "relu2"]
    rows = [("where", "dead", "share"), ("block.relu1", "20", "0.667"), ("relu2", "3", "1")]
    assert dead_units.tables(100) == [rows]
    assert dead_units.tables(23) == [[(a, b) for a, b in zip(rows[0], row, strict=True)] for row in rows[1:]]
    (transposed,) = rate.tables(100)
    assert transposed == [("where", "training"), ("loss at it", "2.31"), ("best factor", "0.1"), ("steps", "1,250")]
    assert [group.first.check for group in dead_units.consequences] == ["useless-maps"]
    assert not duplicates.consequences


def test_other_causes_or_evidence_make_another_group() -> None:
    diagnosis = diagnosis_with_findings()
    other_cause = replace(diagnosis.findings[0], cause="another one")
    findings, causes = (
        (diagnosis.findings[0], other_cause, *diagnosis.findings[1:]),
        {k + 1: name for k, name in diagnosis.cause_by_consequence.items()},
    )
    (first_group, second_group, _) = group_findings(replace(diagnosis, findings=findings, cause_by_consequence=causes))
    assert (len(first_group.consequences), len(second_group.consequences)) == (0, 1)
    other_evidence = replace(diagnosis.findings[3], evidence={"dead": 3})
    (rate, _) = group_findings(
        replace(diagnosis, findings=(*diagnosis.findings[:3], other_evidence, diagnosis.findings[4]))
    )
    assert [len(group.consequences) for group in rate.consequences] == [0, 1]


def test_causes_of_consequences_make_no_groups() -> None:
    diagnosis = diagnosis_with_findings()
    other_cause = replace(diagnosis.findings[3], cause="another one")
    (rate, _) = group_findings(
        replace(diagnosis, findings=(*diagnosis.findings[:3], other_cause, diagnosis.findings[4]))
    )
    assert [len(group.findings) for group in rate.consequences] == [2]


def test_a_refuted_likely_cause_and_its_consequences_become_symptoms() -> None:
    causes = Diagnosis(
        (
            Finding("shift", "validation", {}, is_fault=True),
            Finding("noise", "train", {}, is_fault=True),
            Finding("slow", "training", {}),
            Finding("gap", "validation", {}),
            Finding("wobble", "training", {}),
        ),
        ("a",) * 5, {3: "shift", 4: "noise"}, {1: diagnosis_with_findings().attempts[0]}, symptoms=frozenset({2}),
        resolved=frozenset({3, 4}),
    )  # fmt: skip
    diagnosis = without_refuted_causes(causes, {"shift", "slow"})
    assert [finding.check for finding in diagnosis.findings] == ["noise", "shift", "slow", "gap", "wobble"]
    kinds = [diagnosis.kind(k) for k in range(5)]
    assert kinds == ["likely cause", "symptom", "symptom", "symptom", "consequence"]
    assert (diagnosis.cause_by_consequence, diagnosis.resolved) == ({4: "noise"}, {4})
    assert diagnosis.attempts.keys() == {0}
    assert without_refuted_causes(causes, set()).findings == causes.findings


def test_proven_causes_and_faults_of_the_training_data_are_not_refuted() -> None:
    before = diagnosis_with_findings()
    after = without_refuted_causes(before, {"learning-rate", "duplicates"})
    assert (after.findings, after.cause_by_consequence) == (before.findings, before.cause_by_consequence)
    assert [after.kind(k) for k in range(5)] == [before.kind(k) for k in range(5)]


def test_headlines_count_checks_not_layers() -> None:
    assert headline(diagnosis_with_findings()) == "1 cause, 1 likely cause and 2 consequences, found by 12 checks"
    assert headline(healthy_diagnosis()) == "nothing wrong was found by 12 checks"
    assert footnote(diagnosis_with_findings()) == ""
    assert footnote(healthy_diagnosis()) == "skipped: learning-rate, update-ratio (nobody knows how)"


def test_values_are_formatted_with_three_digits() -> None:
    formatted = [format_value(value) for value in (1250, -3, 0.66666, -0.5, 1e-9, "a-b", float("inf"), True)]
    assert formatted == ["1,250", "\u22123", "0.667", "\u22120.5", "1e\u221209", "a-b", "inf", "yes"]


EXPECTED_TEXT = """\
Go slower & start lower. Measured: a tenth of the learning rate: mean recall 0.00 → 0.88 (gain 0.62
to 1.12, 200 held-out examples, 2 pairs of trainings of 150 steps)

1 cause, 1 likely cause and 2 consequences, found by 12 checks

learning-rate
  where        training
  loss at it       2.31
  best factor       0.1
  steps           1,250
  cause  the steps are <large>
  fix    go slower & start lower
  tried  a tenth of the learning rate: mean recall 0.00 → 0.88 (gain 0.62 to 1.12, 200 held-out
         examples, 2 pairs of trainings of 150 steps)

    dead-units, which goes away with learning-rate
      where        dead  share
      block.relu1    20  0.667
      relu2           3      1

        useless-maps, which may follow from dead-units
          where  conv
          maps      2

duplicates
  where        train
  copies          −3
  why     same-bytes
  likely cause  a file came twice
  fix    remove it"""  # noqa: RUF001


def test_the_text_of_a_diagnosis() -> None:
    assert str(diagnosis_with_findings()) == EXPECTED_TEXT


def test_the_text_of_a_healthy_model_is_one_line_and_a_note() -> None:
    line, empty, note = str(healthy_diagnosis()).split("\n")
    assert (line, empty) == ("nothing wrong was found by 12 checks", "")
    assert note == "skipped: learning-rate, update-ratio (nobody knows how)"


def test_notes_are_above_the_findings() -> None:
    lines = str(replace(diagnosis_with_findings(), notes=("nothing was trained", "go on"))).split("\n")
    assert lines[3:10] == [EXPECTED_TEXT.splitlines()[3], "", "nothing was trained", "", "go on", "", "learning-rate"]


def effect_of_lower_rate() -> MeasuredEffect:
    return MeasuredEffect("learning-rate", "a lower rate", "recall", (0.25,), (0.75,), 0.4, 0.6, "cause", 40, 0)


def test_the_first_sentence_names_the_change_and_its_gain() -> None:
    effect_of_clipping = replace(
        effect_of_lower_rate(),
        name="x",
        description="no clipping",
        after=(0.25,),
        low=-0.01,
        high=0.01,
        verdict="no effect",
    )
    diagnosis = replace(diagnosis_with_findings(), intervention_effects=(effect_of_clipping, effect_of_lower_rate()))
    assert summary(diagnosis) == (
        "Go slower & start lower. Measured: a lower rate: recall 0.25 → 0.75 (gain 0.40 to 0.60, 40 held-out examples)"
    )
    assert ineffective_changes(diagnosis) == (
        "tried, no effect: no clipping: recall 0.25 → 0.25 (gain -0.01 to 0.01, 40 held-out examples)"
    )
    lines = str(diagnosis).split("\n\n")
    assert lines[0].startswith("Go slower & start lower. Measured: a lower rate")
    assert lines[-1].startswith("tried, no effect: no clipping")
    assert diagnosis.to_json()["summary"] == summary(diagnosis)
    assert [effect["verdict"] for effect in diagnosis.to_json()["effects"]] == ["no effect", "cause"]
    assert any("a lower rate: recall" in text for _, text in TextReader(diagnosis._repr_html_()).texts)
    assert summary(healthy_diagnosis()) == ineffective_changes(healthy_diagnosis()) == ""


FAULT = Finding("duplicates", "train", {"copies": 3}, "a file came twice", "remove it", is_fault=True)
SYMPTOM = Finding("dead-units", "relu1", {"dead": 20})


@pytest.mark.parametrize("verdict", ["unclear", "no effect", ""])
@pytest.mark.parametrize("others", [(), (SYMPTOM,), (replace(FAULT, check="shifted-labels"), SYMPTOM)])
def test_the_first_sentence_names_a_likely_cause(verdict: str, others: tuple[Finding, ...]) -> None:
    findings = (FAULT, *others)
    symptoms = frozenset(k for k, finding in enumerate(findings) if finding is SYMPTOM)
    effect = replace(effect_of_lower_rate(), name="duplicates", description="no copies", verdict=verdict)
    effects = (effect_of_lower_rate(), effect) if verdict else ()
    diagnosis = Diagnosis(findings, ("a",), {}, {}, symptoms=symptoms, intervention_effects=effects)
    assert diagnosis.kind(0) == "likely cause"
    measured = f" Measured, but not certain: {effect}" if verdict else ""
    assert summary(diagnosis) == f"Likely cause, duplicates: remove it.{measured}"
    first_block = str(diagnosis).split("\n\n")[0]
    assert " ".join(first_block.split()) == summary(diagnosis)
    assert diagnosis.to_json()["summary"] == summary(diagnosis)
    assert any("Likely cause, duplicates" in text for _, text in TextReader(diagnosis._repr_html_()).texts)


def test_symptoms_alone_have_no_first_sentence() -> None:
    diagnosis = Diagnosis((SYMPTOM,), ("a",), {}, {}, symptoms=frozenset({0}))
    assert summary(diagnosis) == ""
    assert str(diagnosis).startswith("1 symptom, found by 1 check")


def test_a_proven_cause_is_named_before_a_likely_one() -> None:
    proven = replace(FAULT, check="learning-rate", fix="go slower", proven=True)
    diagnosis = Diagnosis((proven, FAULT), ("a",), {}, {}, intervention_effects=(effect_of_lower_rate(),))
    assert summary(diagnosis) == f"Go slower. Measured: {effect_of_lower_rate()}"
    assert summary(replace(diagnosis, intervention_effects=())) == "Go slower."


class TextReader(HTMLParser):
    """Collect the texts of a page with the number of open sections; check that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.texts: list[tuple[int, str]] = []  # number of open sections, text
        self.feed(text)
        assert not self.open_tags, "every tag is closed"

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open_tags and data.strip():
            self.texts.append((self.open_tags.count("section"), data))


def test_html_contains_findings_in_nested_sections() -> None:
    texts = TextReader(diagnosis_with_findings()._repr_html_()).texts
    assert (0, "1 cause, 1 likely cause and 2 consequences, found by 12 checks") in texts
    assert [text for depth, text in texts if depth == 1 and text in ("learning-rate", "duplicates")]
    assert {(2, "dead-units"), (2, "block.relu1"), (2, "0.667"), (3, "useless-maps")} <= {*texts}
    assert {(1, "the steps are <large>"), (1, "\u22123")} <= {*texts}
    assert any(depth == 1 and text.startswith("a tenth of the learning rate: mean recall") for depth, text in texts)


def test_texts_are_escaped_in_html() -> None:
    assert "<large>" not in replace(diagnosis_with_findings(), notes=("so <large>",))._repr_html_()
    assert "<script" not in diagnosis_with_findings()._repr_html_()
    assert "go slower &amp; start lower" in diagnosis_with_findings()._repr_html_()


def test_the_html_of_a_healthy_model_is_one_line_and_a_note() -> None:
    texts = [text for _, text in TextReader(healthy_diagnosis()._repr_html_()).texts]
    assert texts[0] == "nothing wrong was found by 12 checks"
    assert len(texts) == 2  # and the skipped checks


def test_consequences_are_reported_without_cause_and_fix() -> None:
    texts = [text for _, text in TextReader(diagnosis_with_findings()._repr_html_()).texts]
    assert (texts.count("cause"), texts.count("likely cause"), texts.count("fix")) == (1, 1, 2)
    assert any("goes away with learning-rate" in text for text in texts)
    assert any("may follow from dead-units" in text for text in texts)
    assert not {"their bias fell", "see above"} & {*texts}


def test_notes_are_above_the_findings_in_html() -> None:
    texts = [
        text
        for _, text in TextReader(
            replace(diagnosis_with_findings(), notes=("nothing was trained",))._repr_html_()
        ).texts
    ]
    assert texts.index("nothing was trained") < texts.index("learning-rate")
