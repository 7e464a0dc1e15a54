"""A diagnosis as text and HTML: what is said first, and what is folded."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pellucid.doctor import Diagnosis, Finding, Remedy
from pellucid.doctor.diagnosis import footnote, format_value, other_lines, sentences, without_refuted_causes
from pellucid.doctor.finding import UNREACHABLE
from pellucid.doctor.intervention import MeasuredEffect
from tests.doctor.example_diagnoses import diagnosis_with_findings, healthy_diagnosis

EXPECTED_TEXT = """\
Go slower & start lower: with a tenth of the learning rate, the mean recall is 0.88 instead of 0.00.
That it helps is certain, since the gain is 0.62 to 1.12 on 200 held-out examples, in 2 pairs of
trainings of 150 steps. Why: the steps are <large>.

Also: duplicates in the training data: a file came twice; remove it.
Dead units at block.relu1, at relu2: goes away with learning rate.
Useless maps at conv: may follow from dead units."""


def test_the_text_of_a_diagnosis() -> None:
    assert str(diagnosis_with_findings()) == EXPECTED_TEXT


def test_the_text_of_a_healthy_model_is_one_line_and_a_note() -> None:
    line, empty, note = str(healthy_diagnosis()).split("\n")
    assert (line, empty) == ("Nothing wrong was found by 12 checks.", "")
    assert note == "skipped: learning-rate, update-ratio (nobody knows how)"
    assert footnote(diagnosis_with_findings()) == ""


def test_notes_are_below_the_first_sentences() -> None:
    blocks = str(replace(diagnosis_with_findings(), notes=("nothing was trained", "go on"))).split("\n\n")
    assert blocks[1:3] == ["nothing was trained", "go on"]


def test_other_layers_are_counted() -> None:
    findings = [Finding("dead-units", f"relu{k}", {}) for k in range(6)]
    diagnosis = Diagnosis(tuple(findings), ("a",), {}, {}, symptoms=frozenset(range(6)))
    assert sentences(diagnosis) == ("No cause was found; a symptom is dead units at relu0.",)
    assert other_lines(diagnosis) == [
        "Dead units at relu1, at relu2, at relu3 and 2 more: a symptom whose cause is not known."
    ]


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


def test_values_are_formatted_with_three_digits() -> None:
    formatted = [format_value(value) for value in (1250, -3, 0.66666, -0.5, 1e-9, "a-b", float("inf"), True)]
    assert formatted == ["1,250", "\u22123", "0.667", "\u22120.5", "1e\u221209", "a-b", "inf", "yes"]


def effect_of_lower_rate() -> MeasuredEffect:
    return MeasuredEffect("learning-rate", "a lower rate", "recall", (0.25,), (0.75,), 0.4, 0.6, "cause", 40, 0)


def test_ineffective_changes_are_in_json_alone() -> None:
    clipping = replace(
        effect_of_lower_rate(), name="x", description="no clipping", after=(0.25,), verdict="no effect", key="no-clip"
    )
    diagnosis = replace(diagnosis_with_findings(), attempts={}, intervention_effects=(clipping, effect_of_lower_rate()))
    assert sentences(diagnosis) == (
        "Go slower & start lower: with a lower rate, the recall is 0.75 instead of 0.25.",
        "That it helps is certain, since the gain is 0.40 to 0.60 on 40 held-out examples. Why: the steps are <large>.",
    )
    assert "no clipping" not in str(diagnosis) + diagnosis._repr_html_()
    values = diagnosis.to_json()
    assert values["summary"] == " ".join(sentences(diagnosis))
    assert [(effect["key"], effect["verdict"]) for effect in values["effects"]] == [
        ("no-clip", "no effect"),
        ("", "cause"),
    ]


FAULT = Finding("duplicates", "train", {"copies": 3}, "a file came twice", "remove it", is_fault=True)
SYMPTOM = Finding("dead-units", "relu1", {"dead": 20})


@pytest.mark.parametrize("verdict", ["unclear", ""])
@pytest.mark.parametrize("others", [(), (SYMPTOM,), (replace(FAULT, check="shifted-labels"), SYMPTOM)])
def test_the_first_sentence_names_the_place_of_a_likely_cause(verdict: str, others: tuple[Finding, ...]) -> None:
    findings = (FAULT, *others)
    symptoms = frozenset(k for k, finding in enumerate(findings) if finding is SYMPTOM)
    effect = replace(effect_of_lower_rate(), name="duplicates", description="no copies", verdict=verdict)
    effects = (effect_of_lower_rate(), effect) if verdict else ()
    diagnosis = Diagnosis(findings, ("a",), {}, {}, symptoms=symptoms, intervention_effects=effects)
    assert diagnosis.kind(0) == "likely cause"
    measured = "It is measured directly; no training has proven it."
    if verdict:
        measured = (
            "It is likely, not certain: with no copies, the recall is 0.75 instead of 0.25, and the gain is 0.40 to "
            "0.60 on 40 held-out examples."
        )
    first, second = sentences(diagnosis)
    assert first == "Probably at fault in the training data: a file came twice."
    assert second == f"Remove it. {measured}"
    assert " ".join(str(diagnosis).split("\n\n")[0].split()) == f"{first} {second}"
    assert first in [text for _, text in TextReader(diagnosis._repr_html_()).texts]


def test_a_proven_cause_is_named_before_a_likely_one() -> None:
    proven = replace(FAULT, check="learning-rate", fix="go slower", proven=True)
    diagnosis = Diagnosis((proven, FAULT), ("a",), {}, {}, intervention_effects=(effect_of_lower_rate(),))
    assert sentences(diagnosis)[0] == "Go slower: with a lower rate, the recall is 0.75 instead of 0.25."
    assert sentences(replace(diagnosis, intervention_effects=())) == (
        "Go slower.", "It is proven as the cause in the training data: a file came twice.",
    )  # fmt: skip


@pytest.mark.parametrize("path", ["train", "validation", "relu1"])
def test_a_fault_without_which_nothing_is_gained_is_not_named_first(path: str) -> None:
    remedy = Remedy("no copies", lambda case: case)
    useless = replace(FAULT, path=path, remedy=remedy)
    other = replace(FAULT, check="leakage", cause="the parts overlap")
    effect = replace(effect_of_lower_rate(), name=FAULT.check, description="no copies", verdict="no effect", key="n")
    both = Diagnosis((useless, other), ("a",), {}, {}, intervention_effects=(effect,))
    after = without_refuted_causes(both, set(), {remedy.key})
    assert [after.kind(k) for k in range(2)] == ["likely cause", "symptom"]
    assert "the parts overlap" in sentences(after)[0]
    alone = without_refuted_causes(replace(both, findings=(useless,)), set(), {remedy.key})
    first, second = sentences(alone)
    assert first.startswith("No cause was found")
    assert second.startswith("Tried: with no copies, the recall is ")
    assert without_refuted_causes(both, set(), {"another"}).findings == both.findings
    unreachable = replace(both, findings=(replace(useless, kind=UNREACHABLE),))
    assert without_refuted_causes(unreachable, set(), {remedy.key}).kind(0) == "likely cause"


@pytest.mark.parametrize(("check", "is_kept"), [("unnormalised-inputs", False), ("overfitting", True)])
def test_a_symptom_whose_change_gains_nothing_is_not_blamed(check: str, is_kept: bool) -> None:
    remedy = Remedy("other inputs", lambda case: case)
    useless = replace(SYMPTOM, check=check, cause="scales differ", fix="use others", remedy=remedy)
    other = replace(SYMPTOM, check="label-noise", cause="labels are doubtful", fix="look at them")
    both = Diagnosis((useless, other), ("a",), {}, {}, symptoms=frozenset({0, 1}))
    after = without_refuted_causes(both, set(), {remedy.key})
    assert after.names == ((check,) if is_kept else ()) + ("label-noise",)
    assert ("Scales differ" in sentences(after)[0]) is is_kept
    assert len(after.findings) == len(after.symptoms)
    assert without_refuted_causes(both, set(), {"another"}).findings == both.findings


def test_a_symptom_says_what_to_try_in_which_order() -> None:
    symptom = replace(SYMPTOM, cause="units are dead", fix="a lower rate; a leaky ReLU")
    diagnosis = Diagnosis((symptom,), ("a",), {}, {}, symptoms=frozenset({0}))
    expected = ("Units are dead.", "No change is proven to end this. Try in this order: a lower rate; a leaky ReLU.")
    assert sentences(diagnosis) == expected


class TextReader(HTMLParser):
    """Collect the texts of a page with the number of open details; check that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.texts: list[tuple[int, str]] = []  # number of open details, text
        self.feed(text)
        assert not self.open_tags, "every tag is closed"

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open_tags and data.strip():
            self.texts.append((self.open_tags.count("details"), data))


def test_the_evidence_is_folded_in_html() -> None:
    texts = TextReader(diagnosis_with_findings()._repr_html_()).texts
    assert [text for depth, text in texts if not depth][:2] == list(sentences(diagnosis_with_findings()))
    assert {*other_lines(diagnosis_with_findings())} <= {text for depth, text in texts if not depth}
    assert {(1, "dead-units at block.relu1"), (1, "0.667"), (1, "\u22123"), (1, "best factor")} <= {*texts}


def test_texts_are_escaped_in_html() -> None:
    assert "<large>" not in replace(diagnosis_with_findings(), notes=("so <large>",))._repr_html_()
    assert "<script" not in diagnosis_with_findings()._repr_html_()
    assert "Go slower &amp; start lower" in diagnosis_with_findings()._repr_html_()


def test_the_html_of_a_healthy_model_is_one_line_and_a_note() -> None:
    texts = [text for _, text in TextReader(healthy_diagnosis()._repr_html_()).texts]
    assert texts == ["Nothing wrong was found by 12 checks.", footnote(healthy_diagnosis())]


def test_consequences_are_reported_without_cause_and_fix() -> None:
    assert not {"their bias fell", "see above"} & {*str(diagnosis_with_findings()).split(": ")}
    assert "their bias fell" not in diagnosis_with_findings()._repr_html_()
