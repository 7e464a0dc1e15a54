"""Experiments on trainings with mistakes in classes and values, and without mistakes."""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data import Batch
from pellucid.doctor import Case, Diagnosis, case_of
from pellucid.doctor.checks import class_imbalance
from pellucid.doctor.evaluations import Evaluations
from pellucid.doctor.experiments import with_causes
from pellucid.doctor.finding import Finding, suspect
from pellucid.doctor.kinds_of_examples import MAX_COLUMNS, train_with_exchanged_columns
from pellucid.doctor.paired import PairedTrainings
from pellucid.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from pellucid.layers.base import Layer, Mode
from pellucid.losses import Quadratic
from pellucid.model import Model
from pellucid.objective import Objective
from pellucid.optim import Adam
from pellucid.sweep import backward
from pellucid.task import Evaluation, Task, task_of
from tests.detectors.drawn import Rectangles
from tests.doctor.detection.small_cases import make_case as detection_case

Data = tuple[torch.Tensor, torch.Tensor]


def band_images(count: int, seed: int) -> Data:
    """Return noise images (count, 1, 16, 16) with a bright band of rows, and its position from 0 to 3 as labels."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 4
    x = 0.4 * torch.rand(count, 1, 16, 16, generator=rng)
    for k, label in enumerate(y.tolist()):
        x[k, :, 4 * label : 4 * label + 4] += 0.5
    return x, y


def diagnosis_after_training(train: Data, validation: Data, **options: Any) -> Diagnosis:
    net = Sequential(
        conv=Conv2d(4, 3, padding=1), relu=ReLU(), pool=MaxPool2d(2), flatten=Flatten(), scores=Dense(4)
    )  # fmt: skip
    model = Model(net, optimizer=Adam(0.01), input_shape=(1, 16, 16), **options)
    history = model.fit(*train, epochs=6, batch_size=16, verbose=False)
    return model.doctor(*train, validation=validation, history=history, epochs=6, batch_size=16)


def test_classes_counted_from_one_in_the_validation_data_are_the_cause() -> None:
    x, y = band_images(120, 1)
    diagnosis = diagnosis_after_training(band_images(160, 0), (x, (y + 1) % 4))
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("shifted-labels", "cause")
    effect = next(one for one in diagnosis.intervention_effects if one.verdict == "cause")
    assert effect.before[0] < 0.2
    assert effect.after[0] > 0.9
    assert diagnosis.names.count("shifted-labels") == 1


@pytest.mark.parametrize(("scale", "shift"), [((3.0, 3.0, 3.0, 3.0), 1.0), ((1.0, 4.0, 0.2, 1.0), 0.0)])
def test_features_that_are_standardised_otherwise_in_validation_are_the_cause(
    scale: tuple[float, ...], shift: float
) -> None:
    x = torch.randn(600, 4, generator=torch.Generator().manual_seed(0))
    y = torch.stack([2 * x[:, 0], x[:, 1] - x[:, 2]], 1)
    validation = x[400:] * torch.tensor(scale) + shift, y[400:]
    net = Sequential(hidden=Dense(32), relu=ReLU(), out=Dense(2))
    model = Model(net, Quadratic(), Adam(0.02), input_shape=(4,), metrics=())
    history = model.fit(x[:400], y[:400], epochs=15, batch_size=32, verbose=False)
    diagnosis = model.doctor(x[:400], y[:400], validation=validation, history=history, epochs=15, batch_size=32)
    assert (diagnosis.causes, diagnosis.kind(0)) == (("preprocessing-mismatch",), "cause")
    assert "validation inputs are standardised otherwise" in diagnosis.findings[0].cause


def test_a_sound_training_has_no_cause_and_needs_no_short_training() -> None:
    diagnosis = diagnosis_after_training(band_images(160, 0), band_images(120, 1))
    assert (diagnosis.causes, diagnosis.intervention_effects) == ((), ())


def test_classes_that_only_the_training_data_lack_are_the_cause() -> None:
    x, y = band_images(320, 0)
    is_known = y < 2
    diagnosis = diagnosis_after_training((x[is_known], y[is_known]), band_images(120, 1))
    assert (diagnosis.causes[0], diagnosis.kind(0), diagnosis.findings[0].path) == ("class-imbalance", "cause", "train")
    assert "share of class 2: 0 in training, 0.25 in validation" in diagnosis.findings[0].cause
    assert diagnosis.intervention_effects[0].description == "validation without classes that training lacks"
    assert "further-causes" not in diagnosis.left_out  # without the cause, there is nothing left to find


def test_the_score_without_lacking_classes_is_that_of_the_other_classes() -> None:
    """With 30 examples of classes 0 and 1 each, and 5 or 90 of others, the mean recall is not that of the examples."""
    x, y = band_images(600, 1)
    counts = (30, 30, 5, 90)
    indices = torch.cat([(y == label).nonzero().flatten()[:count] for label, count in enumerate(counts)])
    train_x, train_y = band_images(320, 0)
    is_known = train_y < 2
    diagnosis = diagnosis_after_training((train_x[is_known], train_y[is_known]), (x[indices], y[indices]))
    effect = diagnosis.intervention_effects[0]
    assert effect.description == "validation without classes that training lacks"
    assert effect.before[0] == pytest.approx(0.5, abs=0.02)  # two of four classes
    assert effect.after[0] == pytest.approx(1.0, abs=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_inputs_that_leak_labels_only_in_training_make_the_splits_differ(threads: int) -> None:
    """The last four inputs are the one-hot class in the training data, and random in the validation data."""

    def examples(count: int, seed: int, leaks: bool) -> Data:
        rng = torch.Generator().manual_seed(seed)
        y = torch.randint(0, 4, (count,), generator=rng)
        leaked_labels = y if leaks else torch.randint(0, 4, (count,), generator=rng)
        noisy_one_hot = F.one_hot(y, 4) + 0.6 * torch.randn(count, 4, generator=rng)
        return torch.cat([noisy_one_hot, 3.0 * F.one_hot(leaked_labels, 4)], 1).float(), y

    train, validation = examples(400, 0, True), examples(200, 1, False)
    model = Model(Sequential(Dense(16), ReLU(), Dense(4)), optimizer=Adam(0.02), input_shape=(8,))
    n_threads = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model.fit(*train, epochs=8, batch_size=16, verbose=False)
        diagnosis = model.doctor(*train, validation=validation, epochs=8, batch_size=16)
    finally:
        torch.set_num_threads(n_threads)
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("splits-differ", "cause")
    assert "as a leak does" in diagnosis.findings[0].cause
    assert diagnosis.left_out["further-causes"].startswith("needs a budget")


def test_validation_values_in_another_unit_are_the_cause() -> None:
    def examples(count: int, seed: int) -> Data:
        rng = torch.Generator().manual_seed(seed)
        x = torch.randn(count, 5, generator=rng)
        return x, x @ torch.tensor([[1.0], [-0.5], [0.3], [0.8], [0.2]]) + 1.5

    train, (x, y) = examples(300, 0), examples(100, 1)
    model = Model(Sequential(Dense(16), ReLU(), Dense(1)), Quadratic(), Adam(0.02), input_shape=(5,))
    model.fit(*train, epochs=12, batch_size=16, verbose=False)
    options: dict[str, Any] = {"epochs": 12, "batch_size": 16}
    diagnosis = model.doctor(*train, validation=(x, 100 * y), **options)
    assert diagnosis.causes[0] == "other-values"
    assert "multiplied by 0.0" in diagnosis.intervention_effects[0].description
    assert model.doctor(*train, validation=(x, y), **options).causes == ()


class ReadSource:
    """A source of examples that are read in batches."""

    classes, checksum = None, "bands"

    def __init__(self, data: Data) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data[1])

    def batch(self, indices: Any, rng: torch.Generator) -> Batch:
        return Batch(self.data[0][list(indices)], self.data[1][list(indices)])


def test_sources_and_streams_are_examined_like_the_same_arrays() -> None:
    train, (x, y) = band_images(96, 0), band_images(80, 1)
    net = Sequential(flatten=Flatten(), scores=Dense(4))
    model = Model(net, optimizer=Adam(0.01), input_shape=(1, 16, 16))
    model.fit(*train, epochs=6, batch_size=16, verbose=False)
    shifted_validation = (x, (y + 1) % 4)
    options: dict[str, Any] = {"epochs": 6, "batch_size": 16}
    diagnosis = model.doctor(*train, validation=shifted_validation, **options)
    assert diagnosis.causes[0] == "shifted-labels"
    assert str(model.doctor(ReadSource(train), validation=ReadSource(shifted_validation), **options)) == str(diagnosis)
    stream_diagnosis = model.doctor(
        lambda: zip(train[0].split(16), train[1].split(16), strict=True), validation=shifted_validation, **options
    )
    assert str(stream_diagnosis) == str(diagnosis)


def test_a_source_of_objects_is_refused_for_a_classifier() -> None:
    model = Model(Sequential(flatten=Flatten(), scores=Dense(4)), input_shape=(3, 48, 64))
    with pytest.raises(PellucidError, match="x: the doctor needs images of one size, and targets that are numbers"):
        model.doctor(Rectangles(4))


def test_a_plugins_task_is_scored_by_its_loss() -> None:
    """The task has no scores, so wrong targets of the validation data are found by training on these data."""
    data = [band_images(160, 0), band_images(160, 1)]
    targets = [torch.deg2rad(90.0 * y + 10) for _, y in data]
    targets[1] = targets[1] + 2.0
    (x, _), (held_out, _) = data
    net = Sequential(flatten=Flatten(), dense=Dense(16), relu=ReLU(), out=Dense(2))
    model = Model(AngleObjective(net), optimizer=Adam(0.01), input_shape=(1, 16, 16), metrics=())
    model.fit(x, targets[0], epochs=10, batch_size=16, verbose=False)
    case = case_of(model, x, targets[0], validation=(held_out, targets[1]), epochs=10, batch_size=16)
    diagnosis = with_causes(Diagnosis((), (), {}, {}), AngleTask(), case)
    assert (diagnosis.causes, diagnosis.kind(0)) == (("splits-differ",), "cause")
    assert diagnosis.intervention_effects[0].score == "share of the first loss removed"
    correct_case = replace(case, validation=replace(case.train, x=held_out, y=targets[1] - 2.0))
    assert with_causes(Diagnosis((), (), {}, {}), AngleTask(), correct_case).causes == ()


@dataclass(frozen=True)
class AngleObjective(Objective):
    """The squared distance of two outputs from the cosine and sine of the target angle."""

    net: Layer

    def gradients(self, params: Any, batch: Batch, mode: Mode) -> Any:
        y, cache = self.net.forward(params["net"], batch.images, mode)
        difference = y - torch.stack([batch.targets.cos(), batch.targets.sin()], 1)
        return {"loss": difference.square().sum(1).mean()}, {
            "net": backward(self.net, params["net"], cache, 2 * difference / len(y))[1]
        }

    def predict(self, params: Any, images: torch.Tensor) -> torch.Tensor:
        return self.net.forward(params["net"], images, Mode(keep=False))[0]


class AngleTask(Task):
    name, model = "turning", "model of angles"

    def evaluate(self, model: Any, name: str, data: str | None, **options: Any) -> Evaluation:
        return Evaluation({})


@pytest.mark.parametrize(
    ("epochs", "held_out", "reason"),
    [
        (1, 40, "could not be tried: too few steps (3, at least 10 are needed)"),
        (10, 7, "could not be tried: too few held-out examples (7, at least 8 are needed)"),
    ],
)
def test_trainings_of_too_few_steps_or_held_out_examples_are_not_made(epochs: int, held_out: int, reason: str) -> None:
    model = Model(Sequential(flatten=Flatten(), out=Dense(4)), input_shape=(1, 16, 16))
    case = case_of(model, *band_images(160, 0), validation=band_images(held_out, 1), epochs=epochs, batch_size=64)
    trainings = PairedTrainings(task_of(model), case, lambda line: None)
    change = suspect("momentum", "", "", "without momentum", lambda case: case)
    assert trainings.measure(case, change, {}) is None
    assert (trainings.effects, trainings.untried) == ([], {"momentum": reason})


@pytest.mark.parametrize(("held_out", "is_enough"), [(4, False), (5, True), (7, True)])
def test_fewer_held_out_maps_are_enough_than_held_out_vectors(held_out: int, is_enough: bool) -> None:
    model = Model(Sequential(Conv2d(1, 1)), Quadratic(), input_shape=(1, 8, 8), metrics=())
    x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    case = case_of(model, x, x, validation=(x[:held_out], x[:held_out]), epochs=10)
    trainings = PairedTrainings(task_of(model), case, lambda line: None)
    change = suspect("momentum", "", "", "without momentum", lambda case: case)
    assert trainings.proves_nothing(case, change.remedy, 20) is not is_enough


@pytest.mark.parametrize(("gap", "score", "harmless"), [(0.01, 0.9, True), (0.2, 0.9, False), (0.01, 0.2, False)])
def test_other_validation_inputs_do_no_harm_if_they_are_predicted_as_well(
    gap: float, score: float, harmless: bool
) -> None:
    evaluations = object.__new__(Evaluations)
    case = SimpleNamespace(validation=(), trained=True)
    evaluations.__dict__.update(case=case, score_gap=gap, validation_scores=torch.full((4,), score))
    assert evaluations.is_harmless(Finding("preprocessing-mismatch", "validation", {})) == harmless
    assert not evaluations.is_harmless(Finding("preprocessing-mismatch", "train", {}))


def cases_with_exchanged_columns(case: Case, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the cases that the exchange of columns would train with, without training."""
    tried: list[Any] = []
    monkeypatch.setattr(PairedTrainings, "measure", lambda self, base, change, *rest: tried.append(change.apply(base)))
    trainings = PairedTrainings(task_of(case.model), case, lambda line: None)
    train_with_exchanged_columns(Evaluations(trainings, [], False))
    return tried


# The columns of points, by pairs (left, right); the other columns are heights or points in the middle.
MIRRORED_POINTS = [
    (4, [(0, 2)], [1, 3]),
    (10, [(0, 2), (6, 8)], [1, 3, 4, 5, 7, 9]),
    (6, [(4, 1)], [0, 2, 3, 5]),
]


@pytest.mark.parametrize(("n_columns", "sides", "others"), MIRRORED_POINTS)
@pytest.mark.parametrize(
    ("fraction", "is_exchanged", "is_tried"), [(0.5, False, True), (0.5, True, False), (0.05, False, False)]
)
def test_points_that_keep_their_places_in_mirrored_images_are_exchanged(
    n_columns: int, sides: list[tuple[int, int]], others: list[int], fraction: float, is_exchanged: bool,
    is_tried: bool, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rng = torch.Generator().manual_seed(n_columns)
    y = 0.5 + 0.03 * torch.randn(300, n_columns, generator=rng)
    for k, (left, right) in enumerate(sides):
        y[:, left] -= 0.2 - 0.08 * k
        y[:, right] += 0.2 - 0.08 * k
    right_targets, is_mirrored = y[:200].clone(), torch.rand(200, generator=rng) < fraction
    for left, right in sides:
        mirrored = 1 - y[:200, [left, right]]
        y[:200, [left, right]] = torch.where(is_mirrored[:, None], mirrored, y[:200, [left, right]])
        right_targets[:, [left, right]] = torch.where(
            is_mirrored[:, None], mirrored.flip(1), right_targets[:, [left, right]]
        )
    x = torch.rand(300, 5)
    model = Model(Sequential(Dense(n_columns)), Quadratic(), Adam(), input_shape=(5,), metrics=())
    case = case_of(model, x[:200], right_targets if is_exchanged else y[:200], validation=(x[200:], y[200:]), epochs=9)
    tried = cases_with_exchanged_columns(case, monkeypatch)
    assert len(tried) == is_tried
    for changed in tried:
        assert torch.allclose(changed.train.y, right_targets)
        assert torch.equal(changed.train.y[:, others], y[:200, others])


@pytest.mark.parametrize(("sides", "middle"), [([(0, 1)], 0), ([(1, 0), (2, 3)], 1), ([(0, 2)], 2)])
@pytest.mark.parametrize(("fraction", "is_exchanged", "is_tried"), [(0.5, False, True), (0.5, True, False)])
def test_heat_maps_that_keep_their_places_in_mirrored_images_are_exchanged(
    sides: list[tuple[int, int]], middle: int, fraction: float, is_exchanged: bool, is_tried: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rng, n_sides = torch.Generator().manual_seed(middle), max(max(pair) for pair in sides) + 1
    points = torch.randint(11, 14, (120, n_sides + middle), generator=rng)
    order = torch.arange(n_sides + middle)
    for k, (left, right) in enumerate(sides):
        points[:, left] -= 8 - 4 * k
        points[:, right] += 8 - 4 * k
        order[[left, right]] = order[[right, left]]
    maps = torch.nn.functional.one_hot(points, 25).float()[:, :, None].expand(-1, -1, 4, -1)
    is_mirrored = (torch.rand(120, generator=rng) < fraction)[:, None, None, None]
    right_maps = torch.where(is_mirrored, maps.flip(3)[:, order], maps)
    y = right_maps if is_exchanged else torch.where(is_mirrored, maps.flip(3), maps)
    model = Model(Conv2d(n_sides + middle, 1), Quadratic(), Adam(), input_shape=(1, 4, 25), metrics=())
    case = case_of(model, torch.rand(120, 1, 4, 25), y, validation=(torch.rand(120, 1, 4, 25), maps), epochs=9)
    tried = cases_with_exchanged_columns(case, monkeypatch)
    assert len(tried) == is_tried
    for changed in tried:
        assert torch.equal(changed.train.y, right_maps)


def test_columns_are_exchanged_only_in_vectors() -> None:
    x, y = band_images(40, 0)
    classifier = Model(Sequential(Flatten(), Dense(4)), optimizer=Adam(), input_shape=(1, 16, 16))
    detector_case = detection_case()
    detector_case = replace(detector_case, validation=detector_case.train)
    for case in (detector_case, case_of(classifier, x, y, validation=(x, y), epochs=1)):
        evaluations = Evaluations(PairedTrainings(task_of(case.model), case, lambda line: None), [], False)
        assert train_with_exchanged_columns(evaluations) is None


@pytest.mark.parametrize(("n_columns", "is_tried"), [(MAX_COLUMNS, True), (MAX_COLUMNS + 1, False)])
def test_columns_are_exchanged_only_among_a_few_hundred(
    n_columns: int, is_tried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.rand(200, 4, generator=torch.Generator().manual_seed(0))
    y = torch.linspace(0, 1, n_columns) + 1e-4 * x[:, :1]
    mirrored = torch.where(torch.arange(200)[:, None] % 2 == 0, y, y.flip(1))
    model = Model(Dense(n_columns), Quadratic(), Adam(), input_shape=(4,))
    case = case_of(model, x, mirrored, validation=(x, y), epochs=1)
    assert len(cases_with_exchanged_columns(case, monkeypatch)) == is_tried


@pytest.mark.parametrize(
    ("train_labels", "validation_labels", "is_of_other_classes"),
    [
        ((0, 1, 2, 3), (4,), True),  # sorted data, split without a shuffle
        ((0, 1, 2, 3, 4, 5), (6, 7), True),
        ((0, 1, 2), (1, 2, 3), False),  # counted from one
        ((0, 1), (1, 2), False),
        ((0, 1, 2, 3), (4, 5, 6, 7), False),  # counted from four: their order is evidence
        ((0, 1, 2, 3), (0, 1, 2, 3), False),
    ],
)
def test_unknown_classes_are_not_called_renumbered(
    train_labels: tuple[int, ...], validation_labels: tuple[int, ...], is_of_other_classes: bool
) -> None:
    y, held_out_y = (torch.tensor(labels).repeat_interleave(40) for labels in (train_labels, validation_labels))
    model = Model(Sequential(Flatten(), Dense(8)), input_shape=(1, 4, 4))
    held_out = torch.rand(len(held_out_y), 1, 4, 4), held_out_y
    case = case_of(model, torch.rand(len(y), 1, 4, 4), y, validation=held_out, epochs=1)
    findings = class_imbalance.CHECK.find(case)
    evaluations = Evaluations(PairedTrainings(task_of(model), case, lambda line: None), findings, False)
    assert evaluations._is_of_other_classes is is_of_other_classes
