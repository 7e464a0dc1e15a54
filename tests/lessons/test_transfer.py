"""The lesson on transfer learning, compared with scikit-learn's neighbours and PyTorch's convolutions."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from pellucid import Model
from pellucid.lessons import LessonSettings
from pellucid.lessons.transfer import (
    COUNTS,
    DRAWS,
    GUIDE,
    digits,
    features_of,
    few,
    nearest,
    network,
    new_examples,
    new_test,
    placed,
    trained,
    tuned,
)


def by_pytorch(model: Model, squares: Tensor) -> Tensor:
    """Return the features of squares by PyTorch's functions."""
    first, _, _, second, *_ = model.params["features"].values()
    y = F.max_pool2d(F.conv2d(squares, first["weight"], first["bias"], padding=1).relu(), 2)
    return F.conv2d(y, second["weight"], second["bias"], padding=1).relu().amax((2, 3))


def neighbours_accuracy(x: Tensor, y: Tensor, known_x: Tensor, known_y: Tensor) -> float:
    classifier = KNeighborsClassifier(1).fit(known_x.flatten(1).numpy(), known_y.numpy())
    return 100 * float(classifier.score(x.flatten(1).numpy(), y.numpy()))


def test_digits_are_placed_whole_and_everywhere():
    images = torch.from_numpy(np.stack([load_digits().images[:300]], 1)).float() / 16
    squares = placed(images, 4, torch.Generator().manual_seed(0))
    assert torch.allclose(squares.sum((1, 2, 3)), images.sum((1, 2, 3)))
    corners = set()
    for square, image in zip(squares, images, strict=True):
        found = [
            (top, left)
            for top in range(9)
            for left in range(9)
            if torch.equal(square[0, top : top + 8, left : left + 8], image[0])
        ]
        corners.add(found[0])
    assert {top for top, _ in corners} == {left for _, left in corners} == {*range(9)}
    assert torch.equal(placed(images, 0, torch.Generator())[:, :, 4:12, 4:12], images)


def test_examples_are_as_many_of_each_new_digit():
    x, y = new_examples(7, 4, 3)
    assert np.bincount(y).tolist() == [0] * 5 + [7] * 5
    assert x.shape == (35, 1, 16, 16)
    assert {*new_test(4, 0)[1].tolist()} == {5, 6, 7, 8, 9}


def test_features_are_pytorchs_and_the_network_knows_the_old_digits():
    model = trained(0)
    x, _ = new_test(4, 0)
    assert torch.allclose(features_of(model, x), by_pytorch(model, x), atol=1e-5)
    test = digits().test
    old_x = placed(test.x[test.y < 5], 4, torch.Generator().manual_seed(1))
    scores = by_pytorch(model, old_x) @ model.params["scores"]["weight"].T + model.params["scores"]["bias"]
    assert float((scores.argmax(1) == test.y[test.y < 5]).float().mean()) > 0.95


def test_nearest_examples_are_those_of_scikit_learn():
    numbers = nearest(LessonSettings()).numbers
    (x, y), (known_x, known_y) = new_test(4, 0), new_examples(10, 4, 0)
    assert numbers["test images"] == y[:10].tolist()
    by_pixels = KNeighborsClassifier(1).fit(known_x.flatten(1).numpy(), known_y.numpy())
    assert numbers["nearest by pixels"] == by_pixels.predict(x[:10].flatten(1).numpy()).tolist()
    by_features = KNeighborsClassifier(1).fit(by_pytorch(trained(0), known_x).numpy(), known_y.numpy())
    assert numbers["nearest by features"] == by_features.predict(by_pytorch(trained(0), x[:10]).numpy()).tolist()


@pytest.mark.parametrize("farthest", [0, 4])
def test_accuracies_of_few_examples_are_those_of_scikit_learn(farthest: int):
    numbers = few(LessonSettings(), farthest).numbers
    x, y = new_test(farthest, 0)
    expected = {name: np.zeros(len(COUNTS)) for name in ("pixels", "untrained", "learned")}
    for draw in range(DRAWS):
        known_x, known_y = new_examples(COUNTS[-1], farthest, draw)
        for k, count in enumerate(COUNTS):
            chosen = torch.cat([torch.nonzero(known_y == digit)[:count, 0] for digit in range(5, 10)])
            some_x, some_y = known_x[chosen], known_y[chosen]
            expected["pixels"][k] += neighbours_accuracy(x, y, some_x, some_y) / DRAWS
            for name, model in (("untrained", network(1)), ("learned", trained(0))):
                spaces = by_pytorch(model, x), by_pytorch(model, some_x)
                expected[name][k] += neighbours_accuracy(spaces[0], y, spaces[1], some_y) / DRAWS
    for name, accuracies in expected.items():
        assert numbers[name] == pytest.approx(accuracies, abs=0.3)  # ties and rounding may change single images


def test_transfer_helps_for_shifted_digits_and_harms_for_those_in_the_middle():
    middle, shifted = (few(LessonSettings(), farthest).numbers for farthest in (0, 4))
    assert all(pixels > learned + 5 for pixels, learned in zip(middle["pixels"], middle["learned"], strict=True))
    assert all(learned > pixels + 20 for pixels, learned in zip(shifted["pixels"], shifted["learned"], strict=True))
    for numbers in (middle, shifted):
        assert all(learned > drawn for drawn, learned in zip(numbers["untrained"], numbers["learned"], strict=True))
    assert middle["pixels"][0] == pytest.approx(69, abs=2)  # the numbers of the guess
    assert middle["learned"][0] == pytest.approx(52, abs=5)
    assert shifted["pixels"][0] == pytest.approx(20, abs=2)
    assert shifted["learned"][0] == pytest.approx(50, abs=5)


def test_frozen_features_forget_nothing_and_a_large_rate_nearly_everything():
    before = {path: value.clone() for path, value in trained(0).weights.items()}
    numbers = tuned(LessonSettings()).numbers
    assert all(torch.equal(value, before[path]) for path, value in trained(0).weights.items())
    model, test = trained(0), digits().test
    old_x = placed(test.x[test.y < 5], 4, torch.Generator().manual_seed(0))
    scores = by_pytorch(model, old_x) @ model.params["scores"]["weight"].T + model.params["scores"]["bias"]
    known = 100 * float((scores.argmax(1) == test.y[test.y < 5]).float().mean())
    assert numbers["frozen"]["digits 0 to 4 (%)"] == pytest.approx(known, abs=1e-4)
    assert numbers["fine-tuned"]["digits 0 to 4 (%)"] < known - 5
    assert tuned(LessonSettings(), 5, 0.05).numbers["fine-tuned"]["digits 0 to 4 (%)"] < 50
    assert numbers["fine-tuned"]["digits 5 to 9 (%)"] > numbers["frozen"]["digits 5 to 9 (%)"]


def test_the_answers_of_the_exercises():
    trained_numbers, digit = GUIDE.exercises
    weights = network(0).weights
    assert trained_numbers.answer == sum(weights[f"scores.{kind}"].numel() for kind in ("weight", "bias"))
    convolutions = sum(math.prod(value.shape) for path, value in weights.items() if path.startswith("features"))
    assert convolutions == 4800
    classifier = KNeighborsClassifier(1).fit([[0, 0, 2], [1, 2, 2], [3, 0, 0]], [5, 7, 9])
    assert digit.answer == classifier.predict([[1, 0, 2]])[0]
