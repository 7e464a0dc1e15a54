"""Data sets from arrays, and errors for arrays that are no valid data set."""

import hashlib

import numpy as np
import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data import Dataset, float_images
from pellucid.layers import Conv2d, Dense, Flatten
from pellucid.model import Model

RNG = np.random.default_rng(0)


def small_dataset(n: int = 20, classes: int = 4) -> Dataset:
    x = RNG.integers(0, 256, (n, 1, 3, 5), dtype=np.uint8)
    return Dataset.from_arrays(x, np.arange(n) % classes)


def test_uint8_images_are_stored_unchanged_and_batches_are_divided_by_255():
    x = RNG.integers(0, 256, (6, 3, 4, 5), dtype=np.uint8)
    data = Dataset.from_arrays(x, [0, 1, 2, 0, 1, 2], classes=["a", "b", "c"])
    assert data.x.dtype == torch.uint8
    assert data.classes == ("a", "b", "c")
    assert len(data) == 6
    batch = float_images(data.x[[4, 1]])
    np.testing.assert_array_equal(batch.numpy(), x[[4, 1]].astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(
    ("shape", "stored"),
    [((5, 2), (5, 2, 1, 1)), ((5, 4, 3), (5, 1, 4, 3)), ((5, 3, 4, 2), (5, 3, 4, 2))],
)
def test_missing_axes_are_added(shape, stored):
    assert tuple(Dataset.from_arrays(RNG.random(shape), np.zeros(5, int)).x.shape) == stored


def test_float64_becomes_float32_and_labels_int64():
    data = Dataset.from_arrays(RNG.random((4, 1, 2, 2)), np.array([0, 1, 1, 0], np.uint8))
    assert (data.x.dtype, data.y.dtype) == (torch.float32, torch.int64)
    assert data.classes == ("0", "1")


@pytest.mark.parametrize(
    "y",
    [
        ["cat", "dog", "cat", "ant"],
        np.array(["cat", "dog", "cat", "ant"]),
        np.array(["cat", "dog", "cat", "ant"], object),
    ],
)
def test_labels_may_be_names(y):
    data = Dataset.from_arrays(RNG.random((4, 1, 2, 2)), y)
    assert (data.classes, data.y.tolist(), data.y.dtype) == (("ant", "cat", "dog"), [1, 2, 1, 0], torch.int64)
    data = Dataset.from_arrays(RNG.random((4, 1, 2, 2)), y, classes=["dog", "cat", "ant", "bee"])
    assert (data.classes, data.y.tolist()) == (("dog", "cat", "ant", "bee"), [1, 0, 1, 2])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["cat", "dgo", "cat"], "y contains the unknown class 'dgo'; did you mean 'dog'?"),
        (["cat", 3, "dog"], "y contains 3; give one class name for each example, or integers from 0"),
        (np.array(["cat", None, "dog"], object), "y contains None; give one class name"),
        ([["cat"], ["dog"], ["cat"]], "y contains shape (3, 1); give one class name"),
        (np.array([b"cat", b"dog", b"cat"]), "y contains b'cat'; give one class name"),
    ],
)
def test_class_names_that_do_not_match_the_labels_are_refused(y, message):
    with pytest.raises(PellucidError) as caught:
        Dataset.from_arrays(np.zeros((3, 1, 2, 2), np.float32), y, classes=["cat", "dog"])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "shape",
    [(4, 28, 28, 1), (4, 32, 32, 3), (4, 48, 64, 4), (4, 8, 8, 1), (4, 8, 8, 3), (4, 10, 12, 3), (4, 16, 16, 4)],
)
def test_channels_last_is_refused_with_a_remedy(shape):
    with pytest.raises(
        PellucidError, match=r"channels last \(H, W, C\); give channels first.*x.transpose\(0, 3, 1, 2\) of an array"
    ):
        Dataset.from_arrays(np.zeros(shape, np.uint8), [0, 1, 0, 1])
    assert len(Dataset.from_arrays(np.zeros(shape, np.float32).transpose(0, 3, 1, 2), [0, 1, 0, 1])) == 4


# (8, 32, 1): 32 steps of 8 channels; (16, 8, 4): a small feature map; (1, 64, 4) and (3, 96, 3): narrow images.
@pytest.mark.parametrize(
    "shape",
    [
        (8, 32, 1), (16, 8, 4), (1, 64, 4), (3, 96, 3), (64, 100, 1), (512, 7, 4), (8, 8, 1), (64, 64, 1), (9, 10, 3),
        (4, 4, 4),
    ],
)  # fmt: skip
def test_feature_maps_and_sequences_are_not_mistaken_for_channels_last(shape):
    x = np.zeros((4, *shape), np.float32)
    assert Dataset.from_arrays(x, [0, 1, 0, 1]).x.shape[1:] == shape
    model = Model(Sequential(flat=Flatten(), dense=Dense(2)), input_shape=shape)
    assert model.predict(x).shape == (4, 2)


def test_single_trailing_channel_is_a_sequence_only_for_windows_of_width_1():
    x = np.zeros((4, 64, 64, 1), np.float32)
    sequence = Sequential(conv=Conv2d(3, (5, 1)), flat=Flatten(), dense=Dense(2))
    Model(sequence).fit(x, [0, 1, 0, 1], epochs=1, batch_size=4, verbose=False)
    with pytest.raises(PellucidError, match="channels last"):
        Model(Sequential(conv=Conv2d(3, 5, padding=2), flat=Flatten(), dense=Dense(2))).fit(x, [0, 1, 0, 1], epochs=1)


def test_data_set_has_a_repr_a_table_and_html():
    data = Dataset.from_arrays(np.zeros((3, 1, 6, 5), np.float32), ["<b>", "\x1b[31mred", "<b>"], name="mine")
    assert repr(data) == "<Dataset 'mine': 3 images of 1 x 6 x 5, 2 classes>"
    assert str(data).splitlines()[1:] == ["class        images", "\\x1b[31mred       1", "<b>               2"]
    page = data._repr_html_()
    assert '<th scope="row">&lt;b&gt;</th><td class="n">2</td>' in page
    assert "\x1b" not in page
    assert "<b>" not in page
    many_classes = Dataset.from_arrays(np.zeros((90, 1, 2, 2), np.float32), np.arange(90) % 45)
    assert str(many_classes).splitlines()[-1].split() == ["...", "25", "more", "50"]
    assert repr(Dataset.from_arrays(np.zeros((1, 2)), [0])).endswith("1 image of 2 x 1 x 1, 1 class>")


def test_arrays_are_copied():
    x = torch.zeros(2, 1, 2, 2)
    data = Dataset.from_arrays(x, torch.tensor([0, 1]))
    x.add_(1)
    assert float(data.x.sum()) == 0


X = np.zeros((3, 1, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((3, 2), np.int64), [0, 1, 0], "int64; give images as uint8"),
        (np.zeros((3, 1, 1, 2, 2), np.float32), [0, 1, 0], "give images as (N, C, H, W)"),
        (X, [0, 1], "3 images but y has 2 labels"),
        (X, [[0], [1], [0]], "one label per image"),
        (X, [0.0, 1.0, 0.0], "labels as integers"),
        (X, [0, -1, 0], "labels span -1..0"),
        (X[:0], np.zeros(0, int), "no values"),
        (np.where(np.arange(3)[:, None, None, None] == 1, np.nan, X), [0, 1, 0], "image 1 contains NaN"),
        (np.full_like(X, np.inf), [0, 1, 0], "infinity"),
        ([["a"]], [0], "x is not an array of numbers"),
        ([[1.0], [2.0, 3.0]], [0, 1], "x is not an array of numbers"),
    ],
)
def test_invalid_arrays_are_refused_in_one_line(x, y, message):
    with pytest.raises(PellucidError) as info:
        Dataset.from_arrays(x, y)
    assert message in str(info.value)
    assert "\n" not in str(info.value)


def test_a_label_without_a_class_is_refused():
    with pytest.raises(PellucidError, match="2 classes"):
        Dataset.from_arrays(X, [0, 1, 2], classes=["a", "b"])


def test_checksum_is_the_sha256_of_shape_and_bytes():
    x = RNG.integers(0, 256, (2, 1, 2, 2), dtype=np.uint8)
    expected = hashlib.sha256(b"uint8(2, 1, 2, 2)" + x.tobytes() + np.array([0, 1], "<i8").tobytes())
    assert Dataset.from_arrays(x, [0, 1]).checksum == expected.hexdigest()
    x[1, 0, 1, 1] ^= 1
    assert Dataset.from_arrays(x, [0, 1]).checksum != expected.hexdigest()


def test_subset_takes_the_given_order():
    data = small_dataset()
    part = data.subset([7, 3])
    assert torch.equal(part.x, torch.stack([data.x[7], data.x[3]]))
    assert part.y.tolist() == [3, 3]
    assert part.checksum != data.checksum


@pytest.mark.parametrize("indices", [[20], [-1]])
def test_subset_out_of_range_is_refused(indices):
    with pytest.raises(PellucidError, match=r"but there are 0 to 19"):
        small_dataset().subset(indices)


def test_evenly_takes_equally_spaced_examples():
    data = small_dataset()
    assert torch.equal(data.evenly(4).x, data.subset([0, 5, 10, 15]).x)
    assert torch.equal(data.evenly(30).x, data.x)


def test_split_is_stratified_complete_and_seeded():
    data = Dataset.from_arrays(np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1), [0] * 60 + [1] * 30 + [2] * 10)
    parts = data.split(0.2, seed=3)
    assert torch.bincount(parts.test.y).tolist() == [12, 6, 2]
    assert torch.bincount(parts.train.y).tolist() == [48, 24, 8]
    all_values = parts.train.x.flatten().tolist() + parts.test.x.flatten().tolist()
    assert sorted(all_values) == list(range(100))
    assert torch.equal(parts.test.x, data.split(0.2, seed=3).test.x)
    assert not torch.equal(parts.test.x, data.split(0.2, seed=4).test.x)
    held_out = parts.test.x.flatten().tolist()
    assert held_out == sorted(held_out)
    assert held_out != list(range(held_out[0], held_out[0] + len(held_out)))


def test_both_parts_of_a_split_have_an_example_of_each_class():
    parts = Dataset.from_arrays(np.zeros((4, 1, 1, 1), np.uint8), [0, 0, 1, 1]).split(0.01)
    assert parts.test.y.tolist() == [0, 1]
    assert parts.train.y.tolist() == [0, 1]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_split_fraction_is_checked(fraction):
    with pytest.raises(PellucidError, match="between 0 and 1"):
        small_dataset().split(fraction)


def test_a_split_without_two_examples_of_any_class_is_refused():
    with pytest.raises(PellucidError, match="no class has two"):
        Dataset.from_arrays(np.zeros((2, 1, 1, 1), np.uint8), [0, 1]).split(0.5)


def test_float_images_returns_floats_unchanged():
    x = torch.tensor([[-3.0, 2.0]])
    assert torch.equal(float_images(x), x)
    assert float_images(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [0.0, 1.0]
