"""Differences of training and validation data, and trainings without examples of one kind."""

from typing import Any

import numpy as np
import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data import float_images
from pellucid.data.changed_source import with_images, with_targets
from pellucid.data.source import Arrays
from pellucid.doctor import case_of
from pellucid.doctor.cross_fit import compare_targets
from pellucid.doctor.differences import TraitDifference, as_text, differences
from pellucid.doctor.evaluations import Evaluations
from pellucid.doctor.paired import PairedTrainings
from pellucid.generators import Regression
from pellucid.layers import Conv2d, Dense, Flatten, ReLU
from pellucid.losses import L1, Coordinates, Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.ops.image_objects import Objects
from pellucid.optim import Adam, Momentum
from pellucid.task import task_of
from pellucid.task.traits import input_traits, plain_target_traits, target_traits
from pellucid.task.values import OF_CLASS
from pellucid.training.reading import read_examples
from tests.detectors.drawn import Rectangles
from tests.doctor.detection.small_cases import ListSource


def classifier(classes: int = 3) -> Model:
    return Model(Sequential(flatten=Flatten(), scores=Dense(classes)), input_shape=(3, 4, 4))


def arrays(x: torch.Tensor, y: torch.Tensor) -> Arrays:
    return Arrays(x, y, None, "")


def images(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def found_differences(model: Model, train: Arrays, validation: Arrays) -> dict[str, Any]:
    return {one.trait: one for one in differences(model, train, validation)}


def found_traits(model: Model, data: Arrays) -> dict[str, torch.Tensor]:
    examples = read_examples(data, len(data), 0)
    found = input_traits(examples) | target_traits(model, examples)
    return {name: trait.values for name, trait in found.items()}


def test_parts_of_the_same_data_have_no_differences() -> None:
    y = torch.arange(120) % 3
    assert found_differences(classifier(), arrays(images(120, 0), y), arrays(images(60, 1), y[:60])) == {}


def test_a_difference_of_brightness_is_measured_in_standard_deviations() -> None:
    x, y, darker = images(90, 0), torch.arange(90) % 3, images(60, 1) / 2
    one = found_differences(classifier(), arrays(x, y), arrays(darker, y[:60]))["brightness"]
    a, b = (part.numpy().astype("float64").mean((1, 2, 3)) for part in (x, darker))
    assert (one.train, one.validation) == (pytest.approx(a.mean()), pytest.approx(b.mean()))
    assert one.size == pytest.approx((a.mean() - b.mean()) / np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2), rel=1e-3)
    assert one.is_of_inputs


def test_a_class_that_one_part_lacks_is_the_first_difference_in_the_text() -> None:
    x, y = images(120, 0), torch.arange(120) % 3
    found = differences(classifier(), arrays(x, y % 2), arrays(images(60, 1) / 4, y[:60]))
    lacking = next(one for one in found if one.trait == "share of class 2")
    assert (lacking.train, lacking.validation, lacking.is_of_inputs) == (0.0, pytest.approx(1 / 3), False)
    assert as_text(found).startswith(" (share of class 2: 0 in training, 0.333 in validation")
    assert as_text([]) == ""


def test_ignored_labels_are_no_difference() -> None:
    x, y = images(90, 0), torch.arange(90 * 16).reshape(90, 4, 4) % 2
    with_void = y.clone()
    with_void[:, 0] = 9
    net = Sequential(scores=Conv2d(2, 1))
    model = Model(net, SoftmaxCrossEntropy(ignore=9), Adam(), input_shape=(3, 4, 4), metrics=())
    found = found_differences(model, arrays(x, with_void), arrays(images(60, 1), y[:60]))
    assert found == {}  # half of the labelled pixels have each class


def test_small_ratios_of_means_are_no_large_differences() -> None:
    sizes = [
        TraitDifference("boxes", *values).is_large for values in ((2, 4, 3.0), (3, 4, 3.0), (2, 4, 0.6), (-1, 1, 2))
    ]
    assert sizes == [True, False, False, True]
    shares = [TraitDifference("share of class 0", *values, 1.2, kind=OF_CLASS) for values in ((0.2, 0.1), (0.2, 0.0))]
    assert [one.is_large for one in shares] == [False, True]


def cells(count: int, seed: int, side: float = 20.0) -> ListSource:
    """Return images in each of which a box of every one of 12 classes is with a chance of 40 %."""
    rng = torch.Generator().manual_seed(seed)
    examples: list[Any] = []
    for _ in range(count):
        labels = (torch.rand(12, generator=rng) < 0.4).nonzero().flatten()
        corners = 40 * torch.rand(len(labels), 2, generator=rng)
        sides = side * torch.exp(0.3 * torch.randn(len(labels), 2, generator=rng))
        examples.append((torch.rand(3, 8, 8, generator=rng), Objects(torch.cat([corners, corners + sides], 1), labels)))
    return ListSource(examples)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [5, 12])
def test_classes_that_a_small_part_lacks_by_chance_are_no_difference(seed: int, count: int) -> None:
    found = differences(classifier(), cells(100, seed), cells(count, 100 + seed))
    assert [str(one) for one in found if one.is_large] == []


@pytest.mark.parametrize("seed", range(2))
def test_boxes_of_another_size_in_a_small_part_are_a_difference(seed: int) -> None:
    found = differences(classifier(), cells(100, seed), cells(12, 100 + seed, side=5.0))
    assert {"width of the boxes", "height of the boxes"} <= {one.trait for one in found if one.is_large}


def test_traits_of_boxes_are_those_of_the_mean_box() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 2], [2, 2, 4, 6]])
    targets = [Objects(boxes, torch.tensor([0, 1])), Objects(boxes[:0], torch.zeros(0, dtype=torch.int64))]
    found = {name: one.values for name, one in plain_target_traits(targets, ("cat",)).items()}
    assert [float(found[name][0]) for name in ("x of the boxes' centres", "y of the boxes' centres")] == [2.5, 2.5]
    assert [float(found[name][0]) for name in ("width of the boxes", "height of the boxes")] == [3.0, 3.0]
    assert found["width of the boxes"][1].isnan()
    assert found["images without boxes"].tolist() == [False, True]
    assert found["boxes of class 0 (cat) in an image"].tolist() == [1.0, 0.0]
    assert found["boxes of class 1 in an image"].tolist() == [1.0, 0.0]


def test_traits_of_key_points_are_those_of_the_labelled_ones() -> None:
    net = Sequential(flatten=Flatten(), out=Dense(4))
    model = Model(net, Coordinates(size=(4, 4)), Adam(), input_shape=(3, 4, 4), metrics=())
    y = torch.tensor([[[1.0, 2, 2], [3, 3, 2]], [[1, 2, 2], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]])
    found = found_traits(model, arrays(images(3, 0), y))
    assert found["x of the key-points"][:2].tolist() == [2.0, 1.0]
    assert found["y of the key-points"][:2].tolist() == [2.5, 2.0]
    assert found["share of labels of key-point 1"].tolist() == [1.0, 0.0, 0.0]
    assert found["images without key-points"].tolist() == [False, False, True]
    model.preprocess["keypoints"] = {"of": "mouse", "names": ["snout", "tail"]}
    assert "share of labels of key-point 1 (tail)" in found_traits(model, arrays(images(3, 0), y))


def test_kinds_are_images_without_colours_and_masks_of_one_class() -> None:
    x, y = images(6, 0), torch.arange(6 * 16).reshape(6, 4, 4) % 2
    x[:2], y[4] = x[:2].mean(1, keepdim=True), 1
    found = found_traits(classifier(), arrays(x, y))
    assert found["images without colours"].tolist() == [True, True, False, False, False, False]
    assert found["masks of a single class"].tolist() == [False, False, False, False, True, False]


def test_kinds_of_vectors_are_repeated_and_far_values() -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(100, 3, generator=rng), torch.randn(100, 1, generator=rng)
    model = Model(Sequential(Dense(1)), Quadratic(), Adam(), input_shape=(3,), metrics=())
    assert not any(bool(one.any()) for one in found_traits(model, arrays(x, y)).values() if one.dtype is torch.bool)
    x[:10, 1], y[20:30], y[30] = -999.0, 0.5, 500.0
    found = found_traits(model, arrays(x, y))
    assert found["inputs with the value -999"].nonzero().flatten().tolist() == [*range(10)]
    assert found["targets that are exactly 0.5"].nonzero().flatten().tolist() == [*range(20, 30)]
    assert found["targets far from all others"].nonzero().flatten().tolist() == [30]


def test_targets_that_stand_for_missing_ones_are_the_cause() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(500, 4, generator=rng)
    y = x[:, :1] - x[:, 1:2] + 5
    train_y = torch.where(torch.rand(400, 1, generator=rng) < 0.4, 0.0, y[:400])
    net = Sequential(hidden=Dense(16), relu=ReLU(), out=Dense(1))
    model = Model(net, Quadratic(), Adam(0.02), input_shape=(4,), metrics=())
    history = model.fit(x[:400], train_y, epochs=10, batch_size=32, verbose=False)
    diagnosis = model.doctor(x[:400], train_y, validation=(x[400:], y[400:]), history=history, epochs=10, batch_size=32)
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("filled-targets", "cause")
    assert "of the training targets are exactly 0" in diagnosis.findings[0].cause


def test_target_images_that_equal_the_inputs_in_training_alone_are_a_difference() -> None:
    model = Model(Regression(Sequential(conv=Conv2d(1, 1)), L1(), to="image"), input_shape=(1, 8, 8), metrics=())
    x = torch.rand(40, 1, 8, 8)
    found = found_differences(model, arrays(x, x), arrays(x, 1 - x))
    assert found["mean difference of target and input images"].train == 0


def test_unlike_targets_are_shown_by_examples_held_out_of_the_training_data() -> None:
    """With fewer than 40 validation examples, no training on validation data is tried."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(430, 4, generator=rng)
    y = x[:, :1] + 0.1 * torch.randn(430, 1, generator=rng)
    y[400:] -= 4.0
    net = Sequential(hidden=Dense(16), relu=ReLU(), out=Dense(1))
    model = Model(net, Quadratic(), Adam(0.02), input_shape=(4,), metrics=())
    history = model.fit(x[:400], y[:400], epochs=10, batch_size=32, verbose=False)
    diagnosis = model.doctor(x[:400], y[:400], validation=(x[400:], y[400:]), history=history, epochs=10, batch_size=32)
    assert (diagnosis.names[0], diagnosis.kind(0)) == ("faulty-data", "part")
    assert "column 0 of the targets" in diagnosis.findings[0].cause


def test_images_of_a_source_are_changed_when_they_are_read() -> None:
    source = ListSource([Rectangles().example(k) for k in range(3)])
    changed, rng = with_images(source, lambda x: 1 - x), torch.Generator()
    batch, original = changed.batch([2, 0], rng), source.batch([2, 0], rng)
    torch.testing.assert_close(batch.images, 1 - float_images(original.images))
    assert (len(changed), batch.targets) == (3, original.targets)


def test_only_the_targets_at_given_indices_are_changed() -> None:
    source = ListSource([Rectangles().example(k) for k in range(3)])
    changed = with_targets(source, lambda target, size: target.take(torch.zeros(0, dtype=torch.int64)), frozenset({2}))
    counts = [len(target) for target in changed.batch([2, 0], torch.Generator()).targets]
    assert counts == [0, len(source.batch([0], torch.Generator()).targets[0])]
    values = with_targets(
        arrays(torch.zeros(3, 1), torch.arange(3.0)), lambda target, size: target + 10, frozenset({1})
    )
    assert values.y.tolist() == [0.0, 11.0, 2.0]


@pytest.mark.slow
def test_a_rate_that_stops_the_training_of_a_segmenter_is_the_cause() -> None:
    x = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0.5).long()
    net = Sequential(conv=Conv2d(8, 3, padding=1), relu=ReLU(), scores=Conv2d(2, 1))
    model = Model(net, SoftmaxCrossEntropy(), Momentum(1e30), input_shape=(1, 8, 8), metrics=())
    with pytest.raises(PellucidError) as stopped:
        model.fit(x[:40], y[:40], epochs=20, batch_size=4, verbose=False)
    diagnosis = model.doctor(
        x[:40], y[:40], validation=(x[40:], y[40:]), epochs=20, batch_size=4, stopped=stopped.value,
        begin=lambda: Model(net, SoftmaxCrossEntropy(), Momentum(1e30), input_shape=(1, 8, 8), metrics=()),
    )  # fmt: skip
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("learning-rate-too-high", "cause")


@pytest.mark.parametrize("balance", ["", "weights", "sampler"])
def test_other_shares_of_classes_that_are_balanced_are_no_cause(balance: str) -> None:
    rng = torch.Generator().manual_seed(0)
    data = []
    for fraction, n in ((0.5, 300), (0.02, 300)):
        y = (torch.rand(n, generator=rng) < fraction).long()
        data.append((torch.randn(n, 6, generator=rng) + y[:, None], y))
    loss = SoftmaxCrossEntropy(class_weights=(0.2, 1.8) if balance == "weights" else None)
    model = Model(Dense(2), loss, input_shape=(6,))
    history = model.fit(*data[0], epochs=1, verbose=False)
    case = case_of(model, *data[0], validation=data[1], history=history, epochs=1, resampled=balance == "sampler")
    evaluations = Evaluations(PairedTrainings(task_of(model), case, lambda line: None), [], False)
    compare_targets(evaluations)
    assert [finding.check for finding, _ in evaluations.likely] == ["splits-differ"] * (balance == "")
