"""Identifiers decide a diagnosis, and texts are only shown: other words lead to the same decisions."""

import ast
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import pellucid
from pellucid.combine import Sequential
from pellucid.doctor import Check, Diagnosis, Finding, Remedy, case_of, diagnose
from pellucid.doctor.checks import class_imbalance
from pellucid.doctor.differences import TraitDifference, lacked_text
from pellucid.doctor.evaluations import Evaluations
from pellucid.doctor.finding import Suspect
from pellucid.doctor.inputs import InputChange
from pellucid.doctor.intervention import effect_of
from pellucid.doctor.paired import PairedTrainings
from pellucid.layers import Conv2d, Dense, Dropout, Flatten, LayerNorm, ReLU, Tanh
from pellucid.losses import Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.optim import SGD, Adam, Momentum
from pellucid.optim.regularizers import L1, L2
from pellucid.optim.schedules import Cosine
from pellucid.task import TargetChange, task_of
from pellucid.task.values import OF_CLASS
from tests.doctor.small_cases import make_case
from tests.doctor.test_experiments import band_images, diagnosis_after_training

PACKAGE = Path(pellucid.__file__).parent
TEXTS = {"cause", "fix", "description", "fault"}  # fields that are shown


def reword(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace each shown text by words that occur nowhere else, also if the same text is made twice."""
    numbers = count()

    def reworded(make: Callable[..., Any], names: tuple[str, ...], fields: tuple[str, ...]) -> Callable[..., Any]:
        def make_reworded(self: Any, *args: Any, **values: Any) -> Any:
            values |= dict(zip(fields, args, strict=False))
            texts = {name: f"words {next(numbers)}" for name in names if values.get(name)}
            return make(self, **values | texts)

        return make_reworded

    for cls, names in ((Finding, ("cause", "fix")), (Remedy, ("description",))):
        fields = tuple(cls.__dataclass_fields__)
        monkeypatch.setattr(cls, "__init__", reworded(cls.__init__, names, fields))
    records: tuple[tuple[Any, tuple[str, ...]], ...] = (
        (InputChange, ("fault",)), (TargetChange, ("description", "cause", "fix")),
    )  # fmt: skip
    for cls, names in records:
        monkeypatch.setattr(cls, "__new__", reworded(cls.__new__, names, cls._fields))


def decisions(diagnosis: Diagnosis) -> list[Any]:
    findings = [
        (finding.check, finding.path, finding.proven, diagnosis.kind(index), index in diagnosis.resolved)
        for index, finding in enumerate(diagnosis.findings)
    ]
    effects = [
        (effect.key, effect.name, effect.verdict, effect.before, effect.after)
        for effect in diagnosis.intervention_effects
    ]
    attempts = {index: effect.key for index, effect in diagnosis.attempts.items()}
    reasons = list(diagnosis.left_out.values())
    return [findings, effects, attempts, reasons, diagnosis.cause_by_consequence, diagnosis.symptoms, diagnosis.checks]


def inverted_validation() -> Diagnosis:
    x, y = band_images(120, 1)
    return diagnosis_after_training(band_images(160, 0), (1 - x, y))


def lacking_classes() -> Diagnosis:
    x, y = band_images(320, 0)
    return diagnosis_after_training((x[y < 2], y[y < 2]), band_images(120, 1))


def other_classes_in_validation() -> Diagnosis:
    x, y = band_images(120, 1)
    return diagnosis_after_training(band_images(160, 0), (x, (y + 1) % 4))


def masks_at_other_positions() -> Diagnosis:
    """Return the diagnosis of brightness masks; the validation masks are shifted, and their images are inverted."""
    x = F.interpolate(torch.rand(80, 1, 4, 4, generator=torch.Generator().manual_seed(0)), (16, 16))
    y = (x[:, 0] > 0.5).long()
    net = Sequential(conv=Conv2d(8, 3, padding=1), relu=ReLU(), out=Conv2d(2, 1))
    model = Model(net, optimizer=Adam(0.02), input_shape=(1, 16, 16), metrics=())
    model.fit(x[:40], y[:40], epochs=15, batch_size=8, verbose=False)
    validation = 1 - x[40:], y[40:].roll(4, 1)
    return model.doctor(x[:40], y[:40], validation=validation, epochs=15, batch_size=8)


def tiny_rate() -> Diagnosis:
    return diagnose(make_case(epochs=20, optimizer=SGD(1e-4)))


def tried_remedies() -> Diagnosis:
    return diagnose(make_case(epochs=20, optimizer=SGD(100.0)), attempts=True)


def wrong_kinds_of_vectors() -> Diagnosis:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(300, 4, generator=rng)
    y = x[:, :1] - x[:, 1:2]
    x[:60, 0] = -999.0
    model = Model(Sequential(Dense(16), ReLU(), Dense(1)), Quadratic(), Adam(0.02), input_shape=(4,), metrics=())
    model.fit(x[:200], y[:200], epochs=8, batch_size=16, verbose=False)
    return model.doctor(x[:200], y[:200], validation=(x[200:], y[200:]), epochs=8, batch_size=16, budget=12)


def many_settings() -> Diagnosis:
    optimizer = Momentum(1e-4, momentum=0.5)
    options: dict[str, Any] = {"regularizer": (L1(1e-3), L2(1e-2)), "schedule": Cosine(), "clip": 0.5, "average": 0.999}
    x, y = band_images(160, 0)
    net = Sequential(
        conv=Conv2d(4, 3, padding=1), norm=LayerNorm(), act=Tanh(), flatten=Flatten(), drop=Dropout(0.8), out=Dense(4)
    )
    loss = SoftmaxCrossEntropy(class_weights=(1.0, 1.0, 1.0, 200.0), label_smoothing=0.4)
    model = Model(net, loss, optimizer, input_shape=(1, 16, 16), **options)
    model.fit(x, y, epochs=8, batch_size=16, verbose=False)
    return model.doctor(x, y, validation=band_images(120, 1), epochs=8, batch_size=16, budget=30)


CASES = (
    inverted_validation, lacking_classes, other_classes_in_validation, masks_at_other_positions, tiny_rate,
    tried_remedies, wrong_kinds_of_vectors,
    pytest.param(many_settings, marks=(pytest.mark.slow, pytest.mark.heavy)),
)  # fmt: skip


@pytest.mark.parametrize("make_diagnosis", CASES)
def test_other_words_lead_to_the_same_decisions(
    make_diagnosis: Callable[[], Diagnosis], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = make_diagnosis()
    reword(monkeypatch)
    other = make_diagnosis()
    assert decisions(other) == decisions(usual)
    assert usual.intervention_effects or usual.left_out
    texts = [{finding.cause for finding in diagnosis.findings if finding.cause} for diagnosis in (usual, other)]
    assert texts[0].isdisjoint(texts[1])


def test_remedies_of_other_words_and_the_same_key_are_tried_once() -> None:
    texts = count()

    def find(case: Any) -> list[Finding]:
        remedies = [Remedy(f"the same {next(texts)}", lambda case: case, "same") for _ in range(2)]
        return [Finding("fault", path, {}, "cause", "fix", one) for path, one in zip("ab", remedies, strict=True)]

    diagnosis = diagnose(make_case(epochs=20), attempts=True, checks=[Check("fault", find, finds_faults=True)])
    first, second = diagnosis.attempts[0], diagnosis.attempts[1]
    assert first is second
    assert (first.key, first.description) == ("same", "the same 0")


def test_only_a_finding_of_the_same_change_is_refuted() -> None:
    """The fault is named by its kind, also if the words of another fault occur in its cause."""
    case = make_case()
    trainings = PairedTrainings(task_of(case.model), case, lambda line: None)
    evaluations = Evaluations(trainings, (), False)
    scores = torch.zeros(40), torch.zeros(40)
    remedy = Remedy("undone in validation images: inverted", lambda case: case, "undone-in-validation/inverted")
    trainings.effects.append(effect_of(Suspect(Finding("", "", {}, remedy=remedy)), "recall", [scores], 0))
    assert evaluations.refutes(Finding("preprocessing-mismatch", "validation", {}, "other words", kind="inverted"))
    assert not evaluations.refutes(Finding("shifted-labels", "validation", {}, "these are inverted"))
    assert not evaluations.refutes(Finding("preprocessing-mismatch", "validation", {}, "inverted", kind="mirrored"))


def test_a_class_is_lacking_by_the_kinds_of_the_finding_and_the_difference() -> None:
    x, y = torch.rand(80, 1, 2, 2), torch.arange(80) % 3
    model = Model(Sequential(flatten=Flatten(), out=Dense(3)), input_shape=(1, 2, 2))
    case = case_of(model, x[y < 2], y[y < 2], validation=(x, y))
    (finding,) = [one for one in class_imbalance.CHECK.find(case) if one.path == "train"]
    difference = TraitDifference("share of class 2", 0.0, 0.3, 2.0)
    assert lacked_text(finding, [difference]) == ""
    assert lacked_text(finding, [difference._replace(trait="anything", kind=OF_CLASS)]) == (
        " (anything: 0 in training, 0.3 in validation)"
    )


def test_a_remedy_without_a_key_is_identified_by_its_description() -> None:
    assert Remedy("slower", lambda case: case).key == "slower"


def comparisons_of_texts(source: str) -> list[int]:
    """Return the lines in which code compares, searches or splits a field that is shown."""

    def has_text(node: ast.AST) -> bool:
        return any(isinstance(one, ast.Attribute) and one.attr in TEXTS for one in ast.walk(node))

    methods = ("startswith", "endswith", "partition", "rpartition", "split", "find", "index", "count")
    lines = []
    for node in ast.walk(ast.parse(source)):
        is_comparison = isinstance(node, ast.Compare) and has_text(node)
        is_search = (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in methods
            and has_text(node)
        )
        if isinstance(node, ast.expr) and (is_comparison or is_search):
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    "line", ["a.description == b", "name in one.cause", "one.fix.startswith('x')", "x.partition(one.fault)"]
)
def test_comparisons_of_texts_are_found(line: str) -> None:
    assert comparisons_of_texts(f"\n{line}") == [2]


def test_no_code_of_the_doctor_compares_shown_texts() -> None:
    files = [*(PACKAGE / "doctor").rglob("*.py"), *(PACKAGE / "tasks").glob("*/doctor.py")]
    files += (PACKAGE / "tasks").glob("*/doctor/*.py")
    assert len(files) > 60
    assert [(str(file), line) for file in files for line in comparisons_of_texts(file.read_text("utf-8"))] == []
