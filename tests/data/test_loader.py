"""The loader: equal batches for any start, number of threads and chunk size; threads stop with the epoch."""

import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.base.errors import PellucidError
from pellucid.data import Arrays, Augment, Batch, Loader
from pellucid.data.loader import WORKERS, usable_processors
from pellucid.data.seeds import mix

X = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (103, 1, 6, 6), dtype=np.uint8))
Y = torch.arange(103)
STRONG_AUGMENT = Augment(rotate=20, elastic_alpha=5, elastic_sigma=2)


def batches_of(loader: Loader, epoch: int = 0, start: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(loader.epoch(epoch, start))


def are_equal(a: list[tuple[torch.Tensor, torch.Tensor]], b: list[tuple[torch.Tensor, torch.Tensor]]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(xa, xb) and torch.equal(ya, yb) for (xa, ya), (xb, yb) in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("options", [{}, {"transform": lambda x: x}, {"augment": lambda x, rng: x}])
def test_an_epoch_has_every_example_once_divided_by_255(options):
    loader = Loader(Arrays(X, Y), 10, seed=1, **options)
    batch_list = batches_of(loader)
    assert [len(y) for _, y in batch_list] == [10] * 10 + [3]
    assert len(loader) == 11
    order = torch.cat([y for _, y in batch_list])
    assert sorted(order.tolist()) == list(range(103))
    assert order.tolist() != list(range(103))
    x = torch.cat([x for x, _ in batch_list])
    assert x.dtype == torch.float32
    np.testing.assert_array_equal(x.numpy(), X.numpy()[order.numpy()].astype(np.float32) / np.float32(255))


def test_without_shuffling_the_order_is_kept_and_an_incomplete_batch_can_be_dropped():
    loader = Loader(Arrays(X, Y), 10, seed=1, shuffle=False, drop_last=True)
    assert torch.cat([y for _, y in loader.epoch(3)]).tolist() == list(range(100))
    assert len(loader) == 10


def test_rows_and_float_targets_keep_their_shape():
    x, y = torch.rand(7, 4, dtype=torch.float64), torch.rand(7, 2)
    (first, target), *_ = batches_of(Loader(Arrays(x, y), 5, seed=0, shuffle=False))
    assert (first.shape, first.dtype) == ((5, 4), torch.float32)
    assert torch.equal(target, y[:5])


def test_each_epoch_and_seed_has_a_different_order():
    orders = {
        tuple(torch.cat([y for _, y in Loader(Arrays(X, Y), 10, seed=seed).epoch(epoch)]).tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def test_the_order_is_uniform():
    """Over many epochs, each example is equally often at each position."""
    loader = Loader(Arrays(torch.zeros(8, 1), torch.arange(8)), 8, seed=5)
    counts = np.zeros((8, 8))
    for epoch in range(2000):
        ((_, y),) = loader.epoch(epoch)
        counts[np.arange(8), y.numpy()] += 1
    assert np.abs(counts / 2000 - 1 / 8).max() < 5 * np.sqrt(1 / 8 / 2000)


@settings(deadline=None, max_examples=40)
@given(
    start=st.integers(0, 11),
    prefetch=st.integers(0, 5),
    augment=st.sampled_from([None, STRONG_AUGMENT]),
    epoch=st.integers(0, 10**9),
)
def test_an_epoch_resumed_at_any_batch_has_equal_bits(start, prefetch, augment, epoch):
    expected = batches_of(Loader(Arrays(X, Y), 10, seed=3, augment=augment), epoch)
    resumed = batches_of(Loader(Arrays(X, Y), 10, seed=3, augment=augment, prefetch=prefetch), epoch, start)
    assert are_equal(expected[start:], resumed)


def test_the_chunk_size_does_not_change_the_batches(monkeypatch):
    expected = batches_of(Loader(Arrays(X, Y), 3, seed=3))
    for size in (1, 500, 5000):
        monkeypatch.setattr("pellucid.data.loader._CHUNK_BYTES", size)
        assert are_equal(batches_of(Loader(Arrays(X, Y), 3, seed=3)), expected)


def test_every_batch_and_epoch_is_augmented_differently():
    x = X[:1].repeat(40, 1, 1, 1)
    loader = Loader(Arrays(x, torch.zeros(40)), 10, seed=3, augment=STRONG_AUGMENT)
    pictures = [picture for epoch in range(3) for batch, _ in loader.epoch(epoch) for picture in batch]
    assert len({picture.numpy().tobytes() for picture in pictures}) == 120


def test_transform_comes_after_augmentation():
    options = {"augment": lambda x, rng: x + 1, "transform": lambda x: 10 * x}
    (x, _), *_ = Loader(Arrays(torch.zeros(4, 2), torch.zeros(4)), 2, seed=0, **options).epoch(0)
    assert x.tolist() == [[10.0, 10.0], [10.0, 10.0]]


@pytest.mark.parametrize("augment", [None, STRONG_AUGMENT, lambda x, rng: x])
def test_batches_may_be_written_to(augment):
    x = X.float()
    original = x.clone()
    for batch, _ in Loader(Arrays(x, Y), 10, seed=0, augment=augment, shuffle=False).epoch(0):
        batch.zero_()
    assert torch.equal(x, original)


@pytest.mark.parametrize("augment", [None, STRONG_AUGMENT])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_each_batch(world, augment):
    """The rows of all ranks together are the rows of the batch in one process; all ranks have equally many batches."""
    expected = batches_of(Loader(Arrays(X, Y), 10, seed=7), 2)
    ranks = [
        batches_of(Loader(Arrays(X, Y), 10, seed=7, rank=r, world=world, augment=augment), 2) for r in range(world)
    ]
    assert {len(result) for result in ranks} == {len(expected)}
    for k, (_, y) in enumerate(expected):
        for r in range(world):
            assert ranks[r][k][1].tolist() == y[r::world].tolist()


def test_a_last_batch_too_small_for_all_ranks_is_left_out():
    for rank in range(4):
        loader = Loader(Arrays(X, Y), 20, seed=0, rank=rank, world=4)  # 3 examples remain for 4 ranks
        assert len(batches_of(loader)) == len(loader) == 5


@settings(deadline=None, max_examples=150)
@given(
    n=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    world=st.integers(1, 4),
    min_rows=st.integers(1, 3),
    start=st.integers(0, 6),
    in_threads=st.booleans(),
)
def test_a_last_batch_of_few_rows_is_merged_into_the_batch_before(n, batch_size, world, min_rows, start, in_threads):
    """Batches are written here as slices of the order; only the last one differs from those without `min_rows`."""
    if batch_size < world or n < batch_size:
        return
    augment = (lambda x, rng: x) if in_threads else None
    source = Arrays(torch.arange(float(n))[:, None], torch.arange(n))
    order = torch.cat([y for _, y in Loader(source, n, seed=3).epoch(5)]).tolist()
    starts = [*range(0, n, batch_size)]
    remainder = n % batch_size
    if remainder and remainder < world:
        n -= remainder
        del starts[-1]
    elif remainder and remainder < world * min_rows:
        del starts[-1]
    batches = [order[first:end] for first, end in zip(starts, [*starts[1:], n], strict=True)]
    start = min(start, len(batches))
    for rank in range(world):
        loader = Loader(source, batch_size, 3, augment, rank=rank, world=world, min_rows=min_rows)
        expected = [batch[rank::world] for batch in batches[start:]]
        assert len(loader) == len(batches)
        assert [y.tolist() for _, y in batches_of(loader, 5, start)] == expected
        assert [x[:, 0].tolist() for x, _ in batches_of(loader, 5, start)] == expected


def loader_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("pellucid-loader")]


def test_closing_an_epoch_stops_its_threads():
    iterator = Loader(Arrays(X, Y), 2, seed=0, augment=STRONG_AUGMENT, prefetch=4).epoch(0)
    next(iterator)
    assert loader_threads()
    iterator.close()
    assert not loader_threads()


def test_finishing_stops_the_threads_and_leaves_the_thread_count():
    before = torch.get_num_threads()
    batches_of(Loader(Arrays(X, Y), 10, seed=0, augment=STRONG_AUGMENT))
    assert not loader_threads()
    assert torch.get_num_threads() == before
    thread_counts: list[int] = []
    thread = threading.Thread(
        target=lambda: thread_counts.append(torch.rand(9).add(1).numel() * 0 + torch.get_num_threads())
    )
    thread.start()
    thread.join()
    assert thread_counts == [before]


def test_an_error_in_a_background_thread_is_raised_in_the_consumer():
    def faulty(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        raise PellucidError("no such picture")

    with pytest.raises(PellucidError, match="no such picture"):
        batches_of(Loader(Arrays(X, Y), 10, seed=0, augment=faulty))
    assert not loader_threads()


def test_one_batch_per_thread_is_prepared_at_the_same_time(monkeypatch):
    barrier = threading.Barrier(WORKERS)

    def wait_for_all(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        barrier.wait(timeout=30)
        return x

    batches_of(Loader(Arrays(X[:WORKERS], Y[:WORKERS]), 1, seed=0, augment=wait_for_all))
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {3, 5, 8}, raising=False)
    assert usable_processors() == 3


def test_the_number_of_prefetched_batches_is_bounded():
    prepared: list[int] = []

    def count_batch(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        prepared.append(1)
        return x

    iterator = Loader(Arrays(X, Y), 1, seed=0, augment=count_batch, prefetch=3).epoch(0)
    next(iterator)
    time.sleep(0.05)
    assert len(prepared) <= 5
    iterator.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch size 0"),
        ({"batch_size": 2, "world": 3}, "batch size 2"),
        ({"rank": 2, "world": 2}, "rank 2 of 2"),
        ({"prefetch": -1}, "prefetch is -1"),
        ({"batch_size": 200, "drop_last": True}, "do not fill one batch"),
        ({"source": Arrays(X[:0], Y[:0])}, "do not fill one batch"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(PellucidError, match=message):
        Loader(**({"source": Arrays(X, Y), "batch_size": 10, "seed": 0} | options))


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(PellucidError, match="103 images but 5 labels"):
        Arrays(X, Y[:5])


class Squares:
    """A user-defined source, whose example k is k squared plus a random number."""

    classes, checksum = None, "squares"

    def __len__(self):
        return 103

    def batch(self, indices, rng):
        k = torch.tensor(indices)
        return Batch((k * k)[:, None] + torch.rand(len(k), 1, generator=rng), k)


@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_any_source_is_read_in_the_documented_order_with_the_documented_generators(prefetch):
    loader = Loader(Squares(), 10, seed=9, prefetch=prefetch)
    order = torch.randperm(103, generator=torch.Generator().manual_seed(mix(9, 2)))
    batch_list = batches_of(loader, 2)
    assert [len(y) for _, y in batch_list] == [10] * 10 + [3]
    for k, (x, y) in enumerate(batch_list):
        expected_indices = order[10 * k : 10 * k + 10]
        assert torch.equal(y, expected_indices)
        rng = torch.Generator().manual_seed(mix(9, 2, k, 0))
        assert torch.equal(
            x[:, 0], expected_indices * expected_indices + torch.rand(len(expected_indices), 1, generator=rng)[:, 0]
        )
    assert are_equal(batches_of(loader, 2, start=4), batch_list[4:])
    assert not loader_threads()


def test_a_joint_augmentation_receives_images_and_targets_before_the_transform():
    class Negate:
        joint = True

        def __call__(self, batch, rng):
            return Batch(-batch.images, -batch.targets)

    (result,) = Loader(
        Arrays(torch.ones(4, 2), torch.arange(4)), 4, 0, Negate(), False, transform=lambda x: x - 1
    ).epoch(0)
    assert result.images.tolist() == [[-2.0, -2.0]] * 4
    assert result.targets.tolist() == [0, -1, -2, -3]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda k: torch.zeros(len(k), 2), "return pellucid.data.Batch"),
        (lambda k: (torch.zeros(len(k), 2), torch.zeros(len(k)), 0), "return pellucid.data.Batch"),
        (lambda k: Batch(torch.zeros(len(k) + 1, 2), torch.zeros(len(k))), "11 images and 10 targets for 10 indices"),
        (lambda k: Batch(torch.zeros(len(k), 2), []), "10 images and 0 targets for 10 indices"),
    ],
)
def test_a_batch_with_a_wrong_number_of_examples_is_refused(answer, message):
    class Wrong(Squares):
        def batch(self, indices, rng):
            return answer(indices)

    with pytest.raises(PellucidError, match=f"Wrong.batch returned .*{message}"):
        batches_of(Loader(Wrong(), 10, seed=0))


def test_an_invalid_start_is_refused():
    loader = Loader(Arrays(X, Y), 10, seed=0)
    assert batches_of(loader, start=11) == []
    with pytest.raises(PellucidError, match="start is 12"):
        loader.epoch(0, start=12)
