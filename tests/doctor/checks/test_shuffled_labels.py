"""Labels without sense, by a classifier that knows nothing of the network."""

from dataclasses import replace

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.data.source import Arrays
from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks.shuffled_labels import CHECK
from pellucid.doctor.simple import hits, simple
from pellucid.layers import Dense
from tests.doctor.examined import corners, model


def mixed(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """The four corners in random order."""
    x, y = corners(n, seed=seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return x[order], y[order]


def case(train_y: torch.Tensor | None = None, held_y: torch.Tensor | None = None, n: int = 600) -> Case:
    x, y = mixed(n)
    held, held_own = mixed(200, seed=1)
    validation = (held, held_own if held_y is None else held_y)
    return case_of(model(), x, y if train_y is None else train_y, validation=validation)


def shuffled(y: torch.Tensor, share: float = 1.0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(5)
    places = torch.randperm(len(y), generator=rng)[: int(share * len(y))]
    y = y.clone()
    y[places] = y[places[torch.randperm(len(places), generator=rng)]]
    return y


def test_labels_that_belong_to_their_inputs_have_no_finding() -> None:
    assert CHECK.look(case()) == []


def test_shuffled_training_labels_are_at_chance() -> None:
    (found,) = CHECK.look(case(shuffled(mixed(600)[1])))
    assert (found.path, found.evidence["examples"]) == ("train", 600)
    assert found.evidence["right_by_chance"] == pytest.approx(0.25, abs=0.01)
    assert float(found.evidence["right_by_a_simple_classifier"]) == pytest.approx(0.25, abs=0.08)
    assert "labels_moved_by" not in found.evidence


def test_shuffled_validation_labels_are_distinguished_from_training_labels() -> None:
    (found,) = CHECK.look(case(held_y=shuffled(mixed(200, seed=1)[1])))
    assert (found.path, found.evidence["examples"]) == ("validation", 200)


def test_labels_that_were_moved_are_moved_back() -> None:
    y = mixed(600)[1]
    it = case(y.roll(3))
    (found,) = CHECK.look(it)
    assert found.evidence["labels_moved_by"] == -3
    assert "3 before" in found.cause
    assert found.remedy is not None
    assert torch.equal(found.remedy.apply(it).train.y, y)


def test_half_of_the_labels_shuffled_is_measured_by_the_other_part() -> None:
    (found,) = CHECK.look(case(shuffled(mixed(600)[1], 0.5)))
    assert found.path == "train"
    assert float(found.evidence["share_of_labels_without_sense"]) == pytest.approx(0.5, abs=0.1)


def clouds(n: int, rarer: slice, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Forty classes, of which some have half as many examples."""
    rng = torch.Generator().manual_seed(seed)
    often = torch.ones(40)
    often[rarer] = 0.5
    y = torch.multinomial(often, n, replacement=True, generator=rng)
    means = 2 * torch.randn(40, 12, generator=torch.Generator().manual_seed(9))
    return means[y] + torch.randn(n, 12, generator=rng), y


@pytest.mark.slow
def test_of_many_classes_both_parts_are_asked_of_the_same() -> None:
    x, y = clouds(2_000, slice(20, 40), 0)
    held = clouds(2_000, slice(0, 20), 1)  # whose commonest classes are the others
    it = model(Sequential(Dense(40)), input_shape=(12,))
    assert CHECK.look(case_of(it, x, y, validation=held)) == []
    (found,) = CHECK.look(case_of(it, x, shuffled(y, 0.5), validation=held))
    assert found.path == "train"
    assert float(found.evidence["share_of_labels_without_sense"]) == pytest.approx(0.5, abs=0.1)
    (found,) = CHECK.look(case_of(it, x, y, validation=(held[0], shuffled(held[1]))))
    assert found.path == "validation"
    assert "shuffled-labels" in diagnose(case_of(it, x, shuffled(y, 0.5), validation=held)).names


def test_a_model_that_is_right_on_unseen_examples_shows_that_labels_have_sense() -> None:
    it = case(shuffled(mixed(600)[1]))
    it.model.fit(*mixed(600), epochs=3, batch_size=16, verbose=False)
    assert CHECK.look(it) == []


def test_too_little_data_and_numbers_are_skipped() -> None:
    assert CHECK.look(case_of(model(), *corners(10), validation=corners(8))) == []
    x, y = mixed(600)
    it = case(shuffled(y))
    numbers = replace(it, train=Arrays(x, y.float(), None, ""))
    assert CHECK.look(numbers) == []


def test_what_leaving_one_out_gives_is_what_fitting_without_it_gives() -> None:
    x, y = mixed(40)
    whole = simple(Arrays(x, y, None, ""), 0)
    assert whole is not None
    features = (x.flatten(1) - whole.centre) / whole.scale
    kernel = torch.exp(-2 * torch.cdist(features, features).square() / whole.width)
    wanted = torch.nn.functional.one_hot(y).float()
    wanted = wanted - wanted.mean(0)
    guesses: list[int] = []
    for out in range(40):
        kept = torch.arange(40) != out
        weights = torch.linalg.solve(kernel[kept][:, kept] + 0.1 * torch.eye(39), wanted[kept])
        guesses.append(int((kernel[out, kept] @ weights).argmax()))
    assert whole.leave_one_out_predictions.tolist() == guesses


def test_chance_is_what_independent_guesses_would_get() -> None:
    found = hits(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1]))
    assert (found.right, found.n) == (3, 4)
    assert found.chance == pytest.approx(3 / 4 * 2 / 4 + 1 / 4 * 2 / 4)


def test_a_dozen_examples_of_other_classes_are_too_few_to_see_anything() -> None:
    x, y = mixed(600)
    y = shuffled(y)
    kept = torch.cat([(y == 0).nonzero()[:140, 0], (y != 0).nonzero()[:20, 0]])
    it = case_of(model(), x[kept], y[kept], validation=mixed(200, seed=1))
    assert it.simple is not None
    assert it.simple.leave_one_out.deviations_above_chance < 3
    assert CHECK.look(it) == []


def test_labels_that_were_moved_in_an_ordered_list_are_reported_a_little_and_found_even_so() -> None:
    x, y = corners(600)  # 0, 1, 2, 3, 0, 1, ...; a tenth of them in other places
    rng = torch.Generator().manual_seed(3)
    order = torch.arange(600)
    some = torch.randperm(600, generator=rng)[:300]
    order[some] = some[torch.randperm(300, generator=rng)]
    x, y = x[order], y[order]
    it = case_of(model(), x, y.roll(1), validation=(x[:200], y[:200].roll(1)))
    assert it.simple is not None
    assert it.simple.leave_one_out.deviations_above_chance > 3
    found = CHECK.look(it)
    assert [one.path for one in found] == ["train", "validation"]
    assert {one.evidence["labels_moved_by"] for one in found} == {-1}
