"""The part of a training with the fault, found by exchanging it for that of a small reference."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.data.source import Arrays
from pellucid.doctor import Diagnosis, Finding, case_of, exchanged_parts, experiments
from pellucid.doctor.diagnosis import PARTS, other_lines, sentences
from pellucid.doctor.evaluations import Evaluations
from pellucid.doctor.examination import examine
from pellucid.doctor.finding import suspect
from pellucid.doctor.intervention import MeasuredEffect
from pellucid.doctor.paired import PairedTrainings, ProvenCause, ScoredModel
from pellucid.doctor.suspects import layers
from pellucid.layers import AdaptiveAvgPool2d, Conv2d, Dense, Flatten, ReLU
from pellucid.losses import HeatMaps, Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.optim import SGD, Adam
from pellucid.optim.regularizers import L2
from pellucid.task import task_of
from tests.doctor.small_cases import corners, dense_net, make_case


def diagnosis_of(net: Sequential, held_out: int = 200, shift: float = 0.0) -> Diagnosis:
    """Return the diagnosis of a regression; held_out: the number of validation examples, shift: of their targets."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(400 + held_out, 4, generator=rng)
    y = x[:, :1] * x[:, 1:2] + x[:, 2:3] + 0.1 * torch.randn(400 + held_out, 1, generator=rng)
    y[400:] += shift
    model = Model(net, Quadratic(), Adam(0.01), input_shape=(4,), metrics=())
    history = model.fit(x[:400], y[:400], epochs=20, batch_size=32, verbose=False)
    return model.doctor(x[:400], y[:400], validation=(x[400:], y[400:]), history=history, epochs=20, batch_size=32)


def sound_net() -> Sequential:
    return Sequential(one=Dense(48), act=ReLU(), two=Dense(48), act2=ReLU(), out=Dense(1))


@pytest.mark.slow
def test_a_sound_training_has_no_part_at_fault() -> None:
    assert "part" not in {one["kind"] for one in diagnosis_of(sound_net()).to_json()["findings"]}


@pytest.mark.slow
def test_validation_data_unlike_those_of_the_training_are_the_part() -> None:
    diagnosis = diagnosis_of(sound_net(), 30, shift=4.0)  # too few for trainings on them
    assert (diagnosis.findings[0].check, diagnosis.kind(0), diagnosis.causes) == ("faulty-data", "part", ())
    effect = diagnosis.attempts[0]
    assert effect.after[0] > 0.7
    assert effect.before[0] < 0.4
    assert sentences(diagnosis)[0].startswith("The training and the validation data differ: with ")


@pytest.mark.slow
def test_a_network_that_is_too_small_is_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MIN_WIDTH", 0)  # otherwise, narrow layers are named
    diagnosis = diagnosis_of(Sequential(one=Dense(1), act=ReLU(), out=Dense(1)))
    assert (diagnosis.findings[0].check, diagnosis.kind(0)) == ("faulty-network", "part")
    (first, *_) = diagnosis.to_json()["findings"]
    assert (first["kind"], bool(first["cause"]), bool(first["fix"])) == ("part", True, True)


def test_settings_are_exchanged_and_first_weights_kept() -> None:
    x, y = corners(64)
    model = Model(dense_net(), optimizer=SGD(0.5), clip=1.0, regularizer=L2(0.1), input_shape=(1, 4, 4))
    model.scale_rate("dense1.*", 0.1)
    case = case_of(model, x, y, batch_size=16, epochs=3)
    plain = exchanged_parts._with_plain_settings(case)
    assert (plain.model.optimizer, plain.model.clip, plain.model.regularizers) == (Adam(2e-3), None, ())
    assert (plain.batch_size, plain.model.rates, case.model.rates != {}) == (32, {}, True)
    for path, value in case.begin().weights.items():
        assert torch.equal(value, plain.begin().weights[path])


NETS: list[tuple[Any, Any, tuple[int, ...]]] = [
    (Sequential(Flatten(), Dense(3)), SoftmaxCrossEntropy(), (1, 8, 8)),
    (Sequential(Dense(2)), Quadratic(), (5,)),
    (Sequential(Conv2d(4, 3, padding=1)), SoftmaxCrossEntropy(), (3, 20, 28)),
    (Sequential(Conv2d(4, 2, stride=2), Conv2d(7, 2, stride=2)), HeatMaps(stride=4), (3, 48, 48)),
]


@pytest.mark.parametrize(("net", "loss", "shape"), NETS)
def test_the_reference_has_the_outputs_of_the_network(net: Any, loss: Any, shape: tuple[int, ...]) -> None:
    model = Model(net, loss, Adam(), input_shape=shape, metrics=())
    reference = exchanged_parts._reference_network(model, ends_in_tanh=False)
    assert reference is not None
    assert Model(reference, loss, Adam(), input_shape=shape, metrics=()).output_shape == model.output_shape


@pytest.mark.parametrize("side", [20, 36])
def test_the_reference_has_the_size_of_the_data_if_the_network_takes_any(side: int) -> None:
    net = Sequential(Conv2d(4, 3), AdaptiveAvgPool2d(1), Flatten(), Dense(3))
    model = Model(net, SoftmaxCrossEntropy(), Adam(), input_shape=(1, None, None), metrics=())
    case = case_of(model, torch.rand(24, 1, side, side), torch.arange(24) % 3, epochs=1)
    *_, exchange = exchanged_parts._exchanges(case)
    assert exchange.finding.check == "faulty-network"
    changed = exchange.apply(case).model
    assert (changed.input_shape, changed.output_shape) == ((1, side, side), (3,))


@pytest.mark.parametrize("side", [16, 24])
@pytest.mark.parametrize("channels", [1, 4])
def test_a_reference_with_more_work_than_a_small_network_for_maps_is_trained(side: int, channels: int) -> None:
    net = Sequential(Conv2d(channels, 3, padding=1), ReLU(), Conv2d(1, 1))
    x = torch.rand(24, 1, side, side)
    model = Model(net, Quadratic(), Adam(), input_shape=(1, side, side), metrics=())
    case = case_of(model, x, 1 - x, validation=(x, 1 - x), epochs=20, batch_size=4)
    *_, exchange = exchanged_parts._exchanges(case)
    changed_case = exchange.apply(case)
    for budget, is_allowed in ((None, True), (6.0, False)):  # one that is given remains
        trainings = PairedTrainings(task_of(model), case, lambda line: None, budget)
        steps = trainings.max_steps
        assert trainings.spend(exchange.remedy, *(5 * [(case, steps)]))  # for other experiments
        assert budget or not trainings.spend(exchange.remedy, (changed_case, steps))
        two_pairs = 2 * [(case, steps), (changed_case, steps)]
        trainings.reserve(*two_pairs)
        assert trainings.spend(exchange.remedy, *two_pairs) is is_allowed
        assert not trainings.spend(exchange.remedy, *(100 * two_pairs))


def test_examples_that_are_compared_are_drawn_from_sorted_validation_data(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = corners(200)
    held_out = torch.rand(200, 1, 4, 4), y.sort().values
    case = case_of(Model(dense_net(), input_shape=(1, 4, 4)), x, y, validation=held_out, epochs=12)
    trainings = PairedTrainings(task_of(case.model), case, lambda line: None)
    evaluations = Evaluations(trainings, [], False)
    first_are_bad = (torch.arange(200) >= 100).double()
    trained = ScoredModel(case.model, torch.full((50,), 0.5))
    monkeypatch.setattr(PairedTrainings, "train", lambda *values: trained)
    monkeypatch.setattr(evaluations, "score", Scorer(first_are_bad))
    assert exchanged_parts._unlike_data(evaluations) is None
    assert trainings.effects[-1].before[0] == pytest.approx(0.5, abs=0.15)


@dataclass
class Scorer:
    """A score that is always the same."""

    values: torch.Tensor
    name: str = "recall"

    def __call__(self, *values: Any) -> torch.Tensor:
        return self.values


@pytest.mark.parametrize(("present", "is_surpassed"), [(0.5, True), (0.68, True), (0.72, False), (0.9, False)])
def test_trainings_that_are_no_better_than_the_present_model_show_no_harm(present: float, is_surpassed: bool) -> None:
    effect = MeasuredEffect("splits-differ", "", "recall", (0.4, 0.4), (0.7, 0.7), 0.2, 0.4, "cause", 40, 100)
    assert effect.surpasses(torch.tensor([present, present])) is is_surpassed


def test_the_share_of_scored_targets_leaves_out_ignored_ones() -> None:
    y = torch.zeros(2, 4, 4, dtype=torch.int64)
    y[:, 0] = 255
    part = Arrays(torch.rand(2, 1, 4, 4), y)
    for loss, share in ((SoftmaxCrossEntropy(ignore=255), 0.75), (SoftmaxCrossEntropy(), 1.0)):
        model = Model(Sequential(Conv2d(3, 1)), loss, Adam(), input_shape=(1, 4, 4), metrics=())
        assert exchanged_parts._scored_share(model, part) == share


def test_nothing_is_exchanged_beside_a_measured_fault_or_at_a_good_score(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(epochs=1)
    trainings = PairedTrainings(task_of(case.model), case, lambda line: None)
    fault = Finding("leakage", "validation", {}, is_fault=True)
    monkeypatch.setattr(PairedTrainings, "train", lambda *values: pytest.fail("a training was made"))
    assert exchanged_parts.find_faulty_part(Evaluations(trainings, [fault], False)) is None
    monkeypatch.setattr(exchanged_parts, "GOOD_SCORE", 0.0)
    assert exchanged_parts.find_faulty_part(Evaluations(trainings, [], False)) is None


@pytest.mark.parametrize("check", ["faulty-settings", "learning-rate-too-low"])
def test_the_settings_of_the_reference_are_not_searched_for_causes(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(epochs=1)
    effect = MeasuredEffect(check, "another one", "recall", (0.5,), (0.75,), 0.2, 0.3, "cause", 40, 100)
    change = suspect(check, "why", "look here", "another one", lambda case: case)
    searches = list[str]()

    def first_cause(evaluations: Evaluations) -> ProvenCause | None:
        searches.append(check)
        return ProvenCause(change, effect, case) if len(searches) == 1 else None

    monkeypatch.setattr(experiments, "_first_cause", first_cause)
    experiments.with_causes(examine(case, []), task_of(case.model), case, budget=18)
    assert len(searches) == (1 if check in PARTS else 2)


@pytest.mark.parametrize("check", PARTS)
def test_a_part_is_told_with_its_gain_and_what_decides(check: str) -> None:
    finding = Finding(check, "training", {}, "why", "look here", proven=True)
    effect = MeasuredEffect(check, "another one", "recall", (0.5,), (0.75,), 0.2, 0.3, "cause", 40, 100)
    diagnosis = Diagnosis((finding,), ("a",), {}, {0: effect})
    first, second = sentences(diagnosis)
    assert first == f"{PARTS[check]}: with another one, the recall is 0.75 instead of 0.50."
    assert second.endswith("To find the place, look here.")
    other = replace(finding, check="leakage")
    assert "look here" in other_lines(Diagnosis((other, finding), ("a",), {}, {}))[0]


@pytest.mark.parametrize(
    ("gains", "examples", "has_signs", "is_probable"),
    [
        ((0.1,), 400, True, True),
        ((0.1,), 400, False, False),  # one pair alone, of a training without a symptom
        ((0.12, 0.08), 400, False, True),
        ((0.07, 0.07), 4000, True, False),
        ((0.1,), 100, True, False),  # as much as two trainings differ by on so few examples
    ],
)
@pytest.mark.parametrize("check", ["faulty-settings", "faulty-network", "splits-differ"])
def test_a_part_is_probable_from_a_gain_above_chance(
    gains: tuple[float, ...], examples: int, has_signs: bool, is_probable: bool, check: str
) -> None:
    case = make_case(epochs=1)
    trainings = PairedTrainings(task_of(case.model), case, lambda line: None)
    before, after = (0.6,) * len(gains), tuple(0.6 + gain for gain in gains)
    effect = MeasuredEffect(check, "another one", "recall", before, after, -0.1, 0.2, "unclear", examples, 100)
    trainings.unclear.append(ProvenCause(suspect(check, "why", "look here", "", lambda case: case), effect, case))
    found = exchanged_parts.probable_part(trainings, has_signs)
    assert (found is not None) == (is_probable and check in PARTS)


def test_a_probable_part_is_not_called_certain() -> None:
    finding = Finding("faulty-settings", "training", {}, "why", "look here", is_fault=True)
    effect = MeasuredEffect("faulty-settings", "others", "recall", (0.5,), (0.75,), -0.1, 0.3, "unclear", 40, 100)
    first, second = sentences(Diagnosis((finding,), ("a",), {}, {}, intervention_effects=(effect,)))
    assert first.startswith("Probably, the fault is in the settings of the training: with others, the recall is 0.75")
    assert second.startswith("That is not certain, since the gain is -0.10 to 0.30")


@pytest.mark.parametrize("is_proven", [True, False])
@pytest.mark.parametrize("shape", [(6,), (1, 8, 8)])
def test_the_network_is_not_at_fault_if_it_learns_from_standardized_inputs(
    shape: tuple[int, ...], is_proven: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = torch.rand(64, *shape), torch.arange(64) % 4
    case = case_of(Model(dense_net(), input_shape=shape), x, y, validation=(x, y), batch_size=16, epochs=3)
    trainings = PairedTrainings(task_of(case.model), case, lambda line: None)
    evaluations = Evaluations(trainings, [], False)
    evaluations.base_scores[trainings.max_steps] = {}

    def measure(self: PairedTrainings, base: Any, change: Any, *values: Any) -> ProvenCause | None:
        changed = change.apply(base)
        assert float(changed.inputs(changed.train).mean()) == pytest.approx(0, abs=1e-5)
        assert change.min_gain == pytest.approx(0.2)
        return ProvenCause(change, effect, case) if is_proven else None

    monkeypatch.setattr(PairedTrainings, "measure", measure)
    effect = MeasuredEffect("faulty-network", "", "recall", (0.5,), (0.9,), 0.2, 0.4, "cause", 40, 100)
    exchange = [*exchanged_parts._exchanges(case)][-1]
    found = exchanged_parts._narrowed_to_inputs(evaluations, ProvenCause(exchange, effect, case))
    assert found.finding.check == ("unnormalised-inputs" if is_proven else "faulty-network")
