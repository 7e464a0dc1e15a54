"""Training data: arrays, sources that are not in memory, and iterators of batches."""

import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from pellucid.base.errors import PellucidError
from pellucid.data import Batch, Dataset
from pellucid.training.examples import as_inputs, examples, split
from tests.training.small import digits, flip, small_conv


def test_a_data_set_is_used_unchanged():
    data = Dataset.from_arrays(np.zeros((2, 3, 4, 4), np.uint8), [0, 1], ["a", "b"])
    batch = examples(data)
    assert batch.x is data.x
    assert (batch.classes, batch.checksum, len(batch)) == (("a", "b"), data.checksum, 2)
    with pytest.raises(PellucidError, match="has its own labels"):
        examples(data, [0, 1])


def test_arrays_keep_their_shape():
    batch = examples([[0.5, 1.0]] * 3, [[0.25], [0.5], [1]])
    assert (batch.x.shape, batch.x.dtype) == ((3, 2), torch.float32)
    assert (batch.y.shape, batch.y.dtype) == ((3, 1), torch.float32)
    assert batch.classes is None


def test_the_checksum_depends_on_values_shapes_and_types():
    x = np.arange(6, dtype="f")
    sums = {
        examples(x.reshape(2, 3), [0, 1]).checksum,
        examples(x.reshape(2, 3, 1), [0, 1]).checksum,
        examples(x.reshape(2, 3), [1, 0]).checksum,
        examples(x.reshape(2, 3).astype(np.uint8), [0, 1]).checksum,
        examples(x.reshape(2, 3) + 1, [0, 1]).checksum,
    }
    assert len(sums) == 5
    assert examples(x.reshape(2, 3), [0, 1]).checksum in sums


def test_float16_and_float64_become_float32():
    assert as_inputs(np.zeros((1, 2))).dtype == torch.float32
    assert as_inputs(torch.zeros(1, 2, dtype=torch.float16)).dtype == torch.float32


def test_a_split_is_a_partition_that_depends_on_the_seed():
    data = examples(np.arange(20, dtype="f")[:, None], np.arange(20))
    training, validation = split(data, 0.25, seed=1)
    assert (len(training), len(validation)) == (15, 5)
    for part in (training, validation):
        assert torch.equal(part.x[:, 0].long(), part.y)
        assert torch.equal(part.y, part.y.sort().values)
    assert sorted([*training.y.tolist(), *validation.y.tolist()]) == list(range(20))
    assert torch.equal(split(data, 0.25, seed=1)[1].y, validation.y)
    assert not torch.equal(split(data, 0.25, seed=2)[1].y, validation.y)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 1.5, 0.01])
def test_a_split_that_leaves_a_part_empty_is_refused(fraction):
    with pytest.raises(PellucidError, match="leaves a part empty"):
        split(examples([[0.0]] * 20, [0] * 20), fraction, 0)


DATA = digits()
X, Y = DATA.x, DATA.y
FIT_OPTIONS = {"epochs": 2, "batch_size": 20, "verbose": False}


class ArraySource:
    """A source with only the methods and attributes described in docs/your-own-parts.md."""

    classes = None

    def __init__(self, x=X, y=Y):
        self.x, self.y, self.checksum = x, y, f"rows {len(x)}"

    def __len__(self):
        return len(self.x)

    def batch(self, indices, rng):
        return Batch(self.x[indices], self.y[indices])


def columns_without_times(history):
    return [
        {name: value for name, value in row.items() if name not in ("seconds", "images_per_second")}
        for row in history.rows
    ]


@pytest.mark.parametrize("augment", [None, flip])
def test_a_source_trains_as_the_same_data_in_memory(augment):
    array_model, source_model = small_conv(), small_conv()
    array_history = array_model.fit(DATA, validation=digits(300, 350), augment=augment, **FIT_OPTIONS)
    validation = digits(300, 350)
    source_history = source_model.fit(
        ArraySource(), validation=ArraySource(validation.x, validation.y), augment=augment, **FIT_OPTIONS
    )
    assert columns_without_times(array_history) == columns_without_times(source_history)
    assert array_model.sha256() == source_model.sha256()
    assert array_model.evaluate(validation) == source_model.evaluate(ArraySource(validation.x, validation.y))
    assert torch.equal(array_model.predict(validation), source_model.predict(ArraySource(validation.x, validation.y)))


def test_a_fraction_of_a_source_is_held_out():
    history = small_conv().fit(ArraySource(), validation=0.2, **FIT_OPTIONS)
    assert history["val_loss"][-1] == small_conv().fit(X, Y, validation=0.2, **FIT_OPTIONS)["val_loss"][-1]


def epoch_batches(epoch, size=20, count=None):
    """Yield the batches of an epoch in an order drawn with the epoch as seed."""
    order = np.random.default_rng(epoch).permutation(len(X))
    for indices in itertools.islice(np.split(order, range(size, len(X), size)), count):
        yield X[indices], Y[indices]


def endless_batches():
    for epoch in itertools.count():
        yield from epoch_batches(epoch)


@pytest.mark.parametrize(
    "batches_and_steps",
    [
        (epoch_batches, 15),
        (lambda: epoch_batches(0), 15),
        (endless_batches(), 15),
        (DataLoader(TensorDataset(X, Y), 20, generator=torch.Generator().manual_seed(0), shuffle=True), None),
    ],
    ids=["function of the epoch", "function", "generator", "DataLoader"],
)
def test_yielded_batches_train_in_their_order(batches_and_steps):
    images_seen = []
    x, steps = batches_and_steps

    def record_images(images, rng):
        images_seen.append(images.clone())
        return images

    history = small_conv().fit(x, steps_per_epoch=steps, augment=record_images, **FIT_OPTIONS)
    assert (len(images_seen), history.rows[-1]["step"]) == (30, 30)
    if not isinstance(x, DataLoader):
        epochs = (0, 0) if steps and getattr(x, "__name__", "") == "<lambda>" else (0, 1)
        expected = [images for epoch in epochs for images, _ in epoch_batches(epoch)]
        assert all(torch.equal(a, b) for a, b in zip(images_seen, expected, strict=True))
    else:  # each example once per epoch
        rows = torch.cat(images_seen[:15]).flatten(1).tolist()
        assert sorted(rows) == sorted(X.flatten(1).tolist())


def test_yielded_batches_are_evaluated_and_predicted_to_their_end():
    model = small_conv()
    model.fit(DATA, **FIT_OPTIONS)
    loader = DataLoader(TensorDataset(X, Y), 32)  # 300 = 9 x 32 + 12
    expected = model.evaluate(DATA)
    for batches in (loader, lambda: iter(loader), iter(loader)):
        evaluation = model.evaluate(batches)
        assert (evaluation["n"], evaluation["accuracy"]) == (300, expected["accuracy"])
        assert evaluation["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    probabilities = model.predict(DATA)
    for batches in (loader, (x for x, _ in loader), ([x] for x, _ in loader)):
        torch.testing.assert_close(model.predict(batches), probabilities)


def test_validation_data_may_be_a_function_but_not_a_generator():
    history = small_conv().fit(DATA, validation=lambda: epoch_batches(0), **FIT_OPTIONS)
    assert history["val_loss"] == pytest.approx(
        small_conv().fit(DATA, validation=DATA, **FIT_OPTIONS)["val_loss"], rel=1e-6
    )
    with pytest.raises(PellucidError, match="validation is a generator, which can be read only once"):
        small_conv().fit(DATA, validation=epoch_batches(0), **FIT_OPTIONS)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (endless_batches(), {}, "give steps_per_epoch"),
        (epoch_batches(0), {"steps_per_epoch": 15}, "x ended in epoch 2 after 0 of 15 batches"),
        (lambda: epoch_batches(0), {"steps_per_epoch": 16}, "x ended in epoch 1 after 15 of 16 batches"),
        (lambda: 3, {"steps_per_epoch": 1}, "x returned 3; return an iterator of batches"),
        (iter([]), {"steps_per_epoch": 1}, "x yields no batch"),
        (iter([X[:5]]), {"steps_per_epoch": 1}, "yield batches"),
        (iter([(X[:5], Y[:4])]), {"steps_per_epoch": 1}, "5 images and 4 targets"),
        (iter([(X[:5].float() + torch.nan, Y[:5])]), {"steps_per_epoch": 1}, "example 0 contains NaN"),
        (iter([(X[:5].long(), Y[:5])]), {"steps_per_epoch": 1}, "images of torch.int64"),
        (iter([(X[:5], Y[:5]), (X[:5, :, 1:], Y[:5])]), {"steps_per_epoch": 2}, r"inputs of shape \(1, 7, 8\)"),
        (iter([(X[:5], Y[:5]), (X[:5], Y[:5] + 7)]), {"steps_per_epoch": 2}, "classes"),
        (endless_batches(), {"steps_per_epoch": 15, "y": Y}, "leave y out"),
        (endless_batches(), {"steps_per_epoch": 15, "validation": 0.5}, "cannot be split"),
        (endless_batches(), {"steps_per_epoch": 0}, "steps_per_epoch must be a whole number of at least 1"),
        (DATA, {"steps_per_epoch": 3}, "steps_per_epoch is for a generator"),
        (ArraySource(X, Y + 7), {}, "classes"),
        (ArraySource(X[:0], Y[:0]), {}, "contains no examples"),
        (ArraySource(), {"y": Y}, "leave y out"),
    ],
)
def test_data_that_do_not_fit_are_refused_in_one_line(x, options, message):
    with pytest.raises(PellucidError, match=message):
        small_conv().fit(x, **{**FIT_OPTIONS, "epochs": 2, **options})


def test_a_source_without_a_checksum_is_refused():
    class SourceWithoutChecksum:
        classes = None

        def __len__(self):
            return 3

        def batch(self, indices, rng):
            return Batch(X[indices], Y[indices])

    with pytest.raises(PellucidError, match="a SourceWithoutChecksum has no 'checksum'"):
        small_conv().fit(SourceWithoutChecksum(), **FIT_OPTIONS)


def test_a_source_with_classes_that_differ_from_the_models_is_refused():
    model = small_conv()
    model.fit(DATA, **FIT_OPTIONS)
    other = ArraySource()
    other.classes = tuple("abcdefghij")
    with pytest.raises(PellucidError, match="but the model has"):
        model.evaluate(other)


class StoppedError(Exception):
    pass


def hash_after_resuming(run, make_source, steps=None, stop_batch=19):
    """Train until batch `stop_batch`, resume with a new source, and return the hash of the weights."""
    calls = []

    def stop_at_batch(images, rng):
        calls.append(1)
        if len(calls) == stop_batch + 1:
            raise StoppedError
        return flip(images, rng)

    stop_at_batch.__qualname__ = flip.__qualname__  # the name makes the augmentations equal settings
    options = {**FIT_OPTIONS, "steps_per_epoch": steps, "run": run, "checkpoint_seconds": 0.0, "resume": True}
    with pytest.raises(StoppedError):
        small_conv().fit(make_source(), augment=stop_at_batch, **options)
    model = small_conv()
    model.fit(make_source(), augment=flip, **options)
    return model.sha256()


@pytest.mark.parametrize(
    ("make_source", "steps"),
    [(ArraySource, None), (lambda: epoch_batches, 15), (endless_batches, 15)],
    ids=["source", "function", "generator"],
)
def test_resuming_is_exact_if_the_source_yields_the_same_batches(tmp_path, capsys, make_source, steps):
    uninterrupted = small_conv()
    uninterrupted.fit(make_source(), augment=flip, steps_per_epoch=steps, **FIT_OPTIONS)
    assert hash_after_resuming(tmp_path / "run", make_source, steps) == uninterrupted.sha256()
    assert ("only if it yields the same batches again" in capsys.readouterr().err) is (steps is not None)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.rand(1, 4), 3, r"x has 1 input and 1 target; give a list of one target for each input, such as \[3\]$"),
        (torch.rand(1, 4), "bee", r"x has 1 input and 1 target; give a list .*, such as \['bee'\]$"),
        (torch.rand(1, 4), torch.tensor(3), "x has 1 input and 1 target; give a list of one target for each input$"),
        (torch.rand(1, 4), [1, 2], "x has 1 input and 2 targets; give a list of one target for each input"),
        (torch.rand(2, 4), [1], "x has 2 inputs and 1 target; give"),
    ],
)
def test_targets_that_are_not_one_for_each_input_are_refused(x, y, message):
    with pytest.raises(PellucidError, match=message):
        examples(x, y, classes=["ant", "bee"])
