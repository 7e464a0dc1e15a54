"""Planted differences between parts are stated, and parts with the same distribution are hardly ever."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import pellucid
from pellucid.data.source import Batch
from pellucid.ops.image_objects import Objects
from pellucid.task.split_differences import fisher_p, ks_distance, ks_p, split_differences
from pellucid.task.traits import plain_target_traits


def drawn(count: int, seed: int, classes: int = 4, side: int = 8) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    smooth = rng.random((count, 3, 4, 4), np.float32).repeat(side, 2).repeat(side, 3)
    return (smooth + 0.2 * rng.random(smooth.shape, np.float32)) / 1.2, rng.integers(0, classes, count)


def faults(train: Any, validation: Any) -> list[str]:
    return pellucid.data_page(*train, validation=validation).faults


def test_the_tests_equal_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        n, m = rng.integers(2, 80, 2).tolist()
        a, b = int(rng.integers(0, n + 1)), int(rng.integers(0, m + 1))
        expected = stats.fisher_exact([[a, n - a], [b, m - b]])[1]
        assert fisher_p(a, n, b, m) == pytest.approx(expected, rel=1e-6, abs=1e-12)
        first, second = rng.random(n + 20), rng.random(m + 20) ** 1.3
        result = stats.ks_2samp(first, second)
        distance = ks_distance(torch.from_numpy(first), torch.from_numpy(second))
        assert distance == pytest.approx(result.statistic, abs=1e-9)
        assert ks_p(distance, len(first), len(second)) == pytest.approx(result.pvalue, rel=0.35, abs=2e-3)


def test_validation_that_is_not_divided_by_255_is_one_sentence() -> None:
    x, y = drawn(60, 1)
    found = faults(drawn(200, 0), (x * 255, y))
    assert [one.partition(":")[0] for one in found] == ["largest value"]
    assert "units differ" in found[0]


def test_a_class_that_validation_lacks() -> None:
    x, y = drawn(100, 1, 3)
    (found,) = faults(drawn(300, 0), (x, y))
    assert found.startswith("share of class 3")
    assert found.endswith("none in validation.")


def test_empty_masks_in_training_only() -> None:
    rng = np.random.default_rng(0)
    x, _ = drawn(120, 0)
    masks = rng.integers(0, 2, (120, 32, 32))
    masks[::2] = 0
    (x_val, _), masks_val = drawn(60, 1), rng.integers(0, 2, (60, 32, 32))
    found = faults((x, masks), (x_val, masks_val))
    assert any(one == "masks of a single class: 50.0 % in training, none in validation." for one in found)


class Sized:
    """A source of images of one size, with or without boxes."""

    classes = ("thing",)

    def __init__(self, count: int, side: int, seed: int, empty: float = 0.0) -> None:
        self.count, self.side, self.seed, self.empty, self.checksum = count, side, seed, empty, str((count, side, seed))

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Any, rng: torch.Generator) -> Batch:
        def one(k: int) -> tuple[torch.Tensor, Objects]:
            own = torch.Generator().manual_seed(1000 * self.seed + k)
            n = int(torch.rand((), generator=own) >= self.empty)
            boxes = torch.tensor([[2.0, 2, 12, 12]])[:n]
            return torch.rand(3, self.side, self.side, generator=own), Objects(boxes, torch.zeros(n, dtype=torch.int64))

        images, targets = zip(*map(one, indices), strict=True)
        return Batch(torch.stack(images), [*targets])


def test_another_size_of_images() -> None:
    found = pellucid.data_page(Sized(60, 40, 0), validation=Sized(40, 64, 1)).faults
    assert {"height of the images", "width of the images"} <= {one.partition(":")[0] for one in found}


def test_images_without_boxes_in_training_only() -> None:
    found = pellucid.data_page(Sized(80, 40, 0, empty=0.5), validation=Sized(60, 40, 1)).faults
    assert any(one.startswith("images without boxes:") and "none in validation" in one for one in found)


def test_copies_and_near_duplicates_across_parts() -> None:
    (x, y), (x_val, y_val) = drawn(80, 0), drawn(30, 1)
    x_val[:3], x_val[3] = x[10:13], x[40] * 0.9 + 0.02
    page = pellucid.data_page(x, y, validation=(x_val, y_val))
    assert page.faults == ["4 validation images are copies or near duplicates of training images, 3 of them equal."]
    pairs = {(copy.other, copy.train, copy.is_exact) for copy in page.copies}
    assert pairs == {(0, 10, True), (1, 11, True), (2, 12, True), (3, 40, False)}


def test_parts_of_one_distribution_are_hardly_ever_said_to_differ() -> None:
    """The level is 1 % for all comparisons together; of 50 seeds, at most two may be marked."""
    marked = 0
    for seed in range(50):
        train, (x, y) = drawn(100, 2 * seed, side=2), drawn(40, 2 * seed + 1, side=2)
        marked += bool(split_page(train, (x, y)))
    assert marked <= 2


def split_page(train: Any, validation: Any) -> list[str]:
    page = pellucid.data_page(*train, validation=validation, limit=60)
    assert page.copies == []
    return page.faults


def test_shares_of_boxes_of_one_distribution() -> None:
    marked = 0
    for seed in range(50):
        sources = [Sized(count, 16, 2 * seed + k, 0.3) for k, count in enumerate((80, 40))]
        targets = [
            target for source in sources for target in source.batch(range(len(source)), torch.Generator()).targets
        ]
        traits = plain_target_traits(targets, ("thing",))
        marked += bool(split_differences(traits, [("training", 80), ("validation", 40)], [*traits]))
    assert marked <= 2


def test_fit_says_in_one_line_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    from pellucid.combine import Sequential
    from pellucid.layers import Dense, Flatten

    def lines(validation: Any, **options: Any) -> list[str]:
        net = Sequential(flat=Flatten(), out=Dense(4))
        pellucid.Model(net, classes=4).fit(*drawn(200, 0), epochs=1, validation=validation, **options)
        return [line for line in capsys.readouterr().err.splitlines() if "differ" in line]

    x, y = drawn(80, 1)
    assert lines((x, y)) == []
    (line,) = lines((x * 255, y % 3))
    assert "largest value: " in line
    assert "share of class 3" in line
    assert lines((x * 255, y), verbose=False) == []
