"""Shuffled labels, found by a simple classifier that does not depend on the network."""

from dataclasses import replace

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.data.source import Arrays
from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks.shuffled_labels import CHECK
from pellucid.doctor.simple_classifier import count_correct, fit_simple_classifier
from pellucid.layers import Dense, Flatten
from pellucid.losses import BinaryCrossEntropy
from pellucid.model import Model
from tests.doctor.small_cases import corners, make_model


def shuffled_corners(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and labels of the four corners in random order."""
    x, y = corners(n, seed=seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return x[order], y[order]


def make_case(train_y: torch.Tensor | None = None, held_out_y: torch.Tensor | None = None, n: int = 600) -> Case:
    x, y = shuffled_corners(n)
    held_out, true_held_out_y = shuffled_corners(200, seed=1)
    validation = (held_out, true_held_out_y if held_out_y is None else held_out_y)
    return case_of(make_model(), x, y if train_y is None else train_y, validation=validation)


def with_shuffled_labels(y: torch.Tensor, fraction: float = 1.0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(5)
    indices = torch.randperm(len(y), generator=rng)[: int(fraction * len(y))]
    y = y.clone()
    y[indices] = y[indices[torch.randperm(len(indices), generator=rng)]]
    return y


def test_labels_that_belong_to_their_inputs_have_no_finding() -> None:
    assert CHECK.find(make_case()) == []


def test_shuffled_training_labels_are_at_chance() -> None:
    (finding,) = CHECK.find(make_case(with_shuffled_labels(shuffled_corners(600)[1])))
    assert (finding.path, finding.evidence["examples"]) == ("train", 600)
    assert finding.evidence["right_by_chance"] == pytest.approx(0.25, abs=0.01)
    assert float(finding.evidence["right_by_a_simple_classifier"]) == pytest.approx(0.25, abs=0.08)
    assert "labels_moved_by" not in finding.evidence


def test_shuffled_validation_labels_are_distinguished_from_training_labels() -> None:
    (finding,) = CHECK.find(make_case(held_out_y=with_shuffled_labels(shuffled_corners(200, seed=1)[1])))
    assert (finding.path, finding.evidence["examples"]) == ("validation", 200)


def test_the_share_of_shuffled_labels_is_measured_by_the_other_part() -> None:
    (finding,) = CHECK.find(make_case(with_shuffled_labels(shuffled_corners(600)[1], 0.5)))
    assert finding.path == "train"
    assert float(finding.evidence["share_of_labels_without_sense"]) == pytest.approx(0.5, abs=0.1)


def imbalanced_clusters(n: int, rare_classes: slice, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs (n, 12) and labels of forty classes, of which `rare_classes` have half as many examples."""
    rng = torch.Generator().manual_seed(seed)
    class_weights = torch.ones(40)
    class_weights[rare_classes] = 0.5
    y = torch.multinomial(class_weights, n, replacement=True, generator=rng)
    means = 2 * torch.randn(40, 12, generator=torch.Generator().manual_seed(9))
    return means[y] + torch.randn(n, 12, generator=rng), y


@pytest.mark.slow
def test_both_parts_are_compared_on_the_same_classes() -> None:
    x, y = imbalanced_clusters(2_000, slice(20, 40), 0)
    held_out = imbalanced_clusters(2_000, slice(0, 20), 1)  # its rare classes are common in training
    model = make_model(Sequential(Dense(40)), input_shape=(12,))
    assert CHECK.find(case_of(model, x, y, validation=held_out)) == []
    (finding,) = CHECK.find(case_of(model, x, with_shuffled_labels(y, 0.5), validation=held_out))
    assert finding.path == "train"
    assert float(finding.evidence["share_of_labels_without_sense"]) == pytest.approx(0.5, abs=0.1)
    (finding,) = CHECK.find(case_of(model, x, y, validation=(held_out[0], with_shuffled_labels(held_out[1]))))
    assert finding.path == "validation"
    assert "shuffled-labels" in diagnose(case_of(model, x, with_shuffled_labels(y, 0.5), validation=held_out)).names


def test_a_model_with_correct_validation_predictions_has_no_finding() -> None:
    case = make_case(with_shuffled_labels(shuffled_corners(600)[1]))
    case.model.fit(*shuffled_corners(600), epochs=3, batch_size=16, verbose=False)
    assert CHECK.find(case) == []


def test_few_examples_and_regression_targets_are_skipped() -> None:
    assert CHECK.find(case_of(make_model(), *corners(10), validation=corners(8))) == []
    x, y = shuffled_corners(600)
    case = make_case(with_shuffled_labels(y))
    numbers = replace(case, train=Arrays(x, y.float(), None, ""))
    assert CHECK.find(numbers) == []


def several_labels(n: int, n_labels: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (n, 1, 16, 16), and labels (n, n_labels) that each make one place of the image bright."""
    rng = torch.Generator().manual_seed(seed)
    y = (torch.rand(n, n_labels, generator=rng) < 0.4).float()
    x = torch.randn(n, 1, 16, 16, generator=rng)
    for label in range(n_labels):
        row, column = 4 * (label // 4), 4 * (label % 4)
        x[:, 0, row : row + 4, column : column + 4] += 2 * y[:, label, None, None]
    return x, y


@pytest.mark.parametrize("n_labels", [1, 3, 6])
def test_several_labels_of_other_examples_are_found_and_own_ones_are_not(n_labels: int) -> None:
    x, y = several_labels(600, n_labels, 0)
    held_out, held_out_y = several_labels(150, n_labels, 1)
    model = make_model(Sequential(Flatten(), Dense(n_labels)), loss=BinaryCrossEntropy(), input_shape=(1, 16, 16))
    assert CHECK.find(case_of(model, x, y, validation=(held_out, held_out_y))) == []
    by_text = torch.tensor(sorted(range(600), key=str))
    both = (held_out, held_out_y[torch.tensor(sorted(range(150), key=str))])
    (finding,) = CHECK.find(case_of(model, x, y[by_text], validation=both))
    assert (finding.path, finding.evidence["labels"]) == ("train", n_labels)
    (finding,) = CHECK.find(case_of(model, x, y, validation=both))
    assert finding.path == "validation"


def test_several_labels_are_not_judged_if_the_network_predicts_them_or_they_are_few() -> None:
    x, y = several_labels(600, 3, 0)
    exchanged = y[torch.tensor(sorted(range(600), key=str))]
    model = make_model(Sequential(Flatten(), Dense(3)), loss=BinaryCrossEntropy(), input_shape=(1, 16, 16))
    assert CHECK.find(case_of(model, x[:90], exchanged[:90])) == []
    case = case_of(model, x, exchanged, validation=several_labels(150, 3, 1))
    case.model.fit(x, y, epochs=6, batch_size=16, verbose=False)
    assert CHECK.find(case) == []


def test_leave_one_out_predictions_are_those_of_a_fit_without_the_example() -> None:
    x, y = shuffled_corners(40)
    classifier = fit_simple_classifier(Arrays(x, y, None, ""), 0)
    assert classifier is not None
    features = (x.flatten(1) - classifier.centre) / classifier.scale
    kernel = torch.exp(-2 * torch.cdist(features, features).square() / classifier.width)
    target = torch.nn.functional.one_hot(y).float()
    target = target - target.mean(0)
    expected: list[int] = []
    for left_out_index in range(40):
        is_kept = torch.arange(40) != left_out_index
        weights = torch.linalg.solve(kernel[is_kept][:, is_kept] + 0.1 * torch.eye(39), target[is_kept])
        expected.append(int((kernel[left_out_index, is_kept] @ weights).argmax()))
    assert classifier.leave_one_out_predictions.tolist() == expected


def test_chance_is_the_accuracy_of_independent_predictions() -> None:
    count = count_correct(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1]))
    assert (count.right, count.n) == (3, 4)
    assert count.chance == pytest.approx(3 / 4 * 2 / 4 + 1 / 4 * 2 / 4)


def test_few_examples_of_other_classes_have_no_finding() -> None:
    x, y = shuffled_corners(600)
    y = with_shuffled_labels(y)
    indices = torch.cat([(y == 0).nonzero()[:140, 0], (y != 0).nonzero()[:20, 0]])
    case = case_of(make_model(), x[indices], y[indices], validation=shuffled_corners(200, seed=1))
    assert case.simple_classifier is not None
    assert case.simple_classifier.leave_one_out.deviations_above_chance < 3
    assert CHECK.find(case) == []


@pytest.mark.parametrize(("n_rare", "is_judged"), [(60, False), (100, False), (300, True)])
def test_labels_that_a_simple_classifier_cannot_tell_are_judged_only_with_many_of_each(
    n_rare: int, is_judged: bool
) -> None:
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(1200) >= 1200 - n_rare
    signs = torch.randint(0, 2, (1200, 3), generator=rng)
    signs[:, 2] = (signs[:, 0] + signs[:, 1] + y) % 2  # only their product tells the label
    x = (2.0 * signs - 1)[:, None, None, :].expand(-1, 1, 3, -1) + 2 * torch.randn(1200, 1, 3, 3, generator=rng)
    model = Model(Sequential(flat=Flatten(), out=Dense(2)), input_shape=(1, 3, 3))
    assert bool(CHECK.find(case_of(model, x, y.long()))) == is_judged
